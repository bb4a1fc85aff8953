"""Individual behaviour: every customer's own parameters, drawn around those of the persona."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from consumer.simulator.personas import (
    CONTRACTS,
    DIURNAL,
    PAYMENT_METHODS,
    REGION_WEIGHTS,
    REGIONS,
    SERVICES,
    Persona,
)
from schemas.batch import Kind

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ObjectArray = npt.NDArray[np.object_]

#: Kinds that happen at random times; the columns of `Traits.rates`.
RATE_KINDS = (Kind.DATA, Kind.VOICE, Kind.SMS, Kind.TOPUP, Kind.CARE_CONTACT)

#: Hours by which a customer's day is shifted: three chronotypes.
SHIFTS = (-1, 0, 1)


@dataclass(slots=True)
class Traits:
    """Parameters of `n` customers, one row each.

    `persona` int64[n]; `rates` float64[n, 5] events per day in the order of `RATE_KINDS`;
    `session_mb`, `session_sigma` lognormal megabytes per session; `call_s` median call duration;
    `international` and `trips` (per week) probabilities, `trip_days` mean length; `shift` int64[n]
    index into `SHIFTS`; `price` per 30 days; `late` probability, `late_days` mean delay; `fifth`
    probability of 5G; `plan_json`, `person_json` object[n] fragments of the profile event.
    """

    persona: IntArray
    rates: FloatArray
    session_mb: FloatArray
    session_sigma: FloatArray
    call_s: FloatArray
    international: FloatArray
    trips: FloatArray
    trip_days: FloatArray
    shift: IntArray
    postpaid: npt.NDArray[np.bool_]
    price: FloatArray
    late: FloatArray
    late_days: FloatArray
    fifth: FloatArray
    plan_json: ObjectArray
    person_json: ObjectArray

    def replace_rows(self, rows: IntArray, other: Traits) -> None:
        """Overwrite `rows` in place with the rows of `other` (len(rows) of them)."""
        for column in fields(self):
            getattr(self, column.name)[rows] = getattr(other, column.name)


def draw_traits(
    rng: np.random.Generator, personas: Sequence[Persona], persona: IntArray, activity: float
) -> Traits:
    """Traits of len(persona) customers of the given personas; usage rates times `activity`."""
    n = len(persona)

    def of(value: Callable[[Persona], float]) -> FloatArray:
        return np.array([value(p) for p in personas], float)[persona]

    common = _lognormal(rng, of(lambda p: p.usage.spread))
    postpaid = rng.random(n) < of(lambda p: p.money.postpaid)
    late = of(lambda p: p.money.late)
    international = of(lambda p: p.usage.international)
    rates = np.empty((n, len(RATE_KINDS)))
    for column, mean in enumerate(
        (of(lambda p: p.usage.data), of(lambda p: p.usage.voice), of(lambda p: p.usage.sms))
    ):
        rates[:, column] = mean * activity * common * rng.gamma(6.0, 1 / 6.0, n)
    topups = of(lambda p: p.money.topups) * rng.gamma(5.0, 1 / 5.0, n)
    rates[:, 3] = np.where(postpaid, 0.0, topups)
    rates[:, 4] = of(lambda p: p.person.care) * rng.gamma(0.8, 1 / 0.8, n)
    price_spread = np.full(n, 0.2)
    return Traits(
        persona=persona.copy(),
        rates=rates,
        session_mb=of(lambda p: p.usage.session_mb) * np.exp(0.4 * rng.standard_normal(n)),
        session_sigma=of(lambda p: p.usage.session_sigma),
        call_s=of(lambda p: p.usage.call_s) * np.exp(0.2 * rng.standard_normal(n)),
        international=rng.beta(12 * international + 1e-3, 12 * (1 - international)),
        trips=of(lambda p: p.usage.trips),
        trip_days=of(lambda p: p.usage.trip_days),
        shift=rng.integers(0, len(SHIFTS), n),
        postpaid=postpaid,
        price=of(lambda p: p.money.price) * _lognormal(rng, price_spread) * common**0.1,
        late=rng.beta(4 * late + 1e-3, 4 * (1 - late)),
        late_days=of(lambda p: p.money.late_days),
        fifth=of(lambda p: p.person.technology_5g),
        plan_json=_plan_json(rng, personas, persona, postpaid),
        person_json=_person_json(rng, personas, persona),
    )


def draw_tenure_days(rng: np.random.Generator, personas: Sequence[Persona], persona: IntArray) -> IntArray:
    """Whole days since activation at the start of the run, 1 to about 20 years."""
    median = np.array([p.person.tenure_days for p in personas])[persona]
    days = median * np.exp(0.6 * rng.standard_normal(len(persona)))
    return np.asarray(np.clip(days, 1, 7300), np.int64)


def weekly_table(personas: Sequence[Persona]) -> FloatArray:
    """float64[personas, 7]: activity by weekday from Monday, mean 1 per persona."""
    base = np.array([0.97, 0.96, 0.98, 1.0, 1.09, 1.0, 1.0])
    weekend = np.array([p.usage.weekend for p in personas])
    table = np.tile(base, (len(personas), 1))
    table[:, 5] *= weekend
    table[:, 6] *= 0.92 * weekend
    return np.asarray(table / table.mean(axis=1, keepdims=True))


def hourly_table(personas: Sequence[Persona]) -> FloatArray:
    """float64[2, personas, shifts, 24]: share of the day's activity by hour, for data and the rest.

    Calls, texts, top-ups and care contacts lean towards the day, also for people of the night.
    """
    table = np.empty((2, len(personas), len(SHIFTS), 24))
    daytime = np.array(DIURNAL["evening"]) / sum(DIURNAL["evening"])
    for row, persona in enumerate(personas):
        own = np.array(DIURNAL[persona.usage.diurnal])
        own = own / own.sum()
        for column, shift in enumerate(SHIFTS):
            table[0, row, column] = np.roll(own, shift)
            table[1, row, column] = np.roll(0.75 * own + 0.25 * daytime, shift)
    return table


def pick(rng: np.random.Generator, weights: FloatArray) -> IntArray:
    """A column index per row of `weights` float64[n, m], drawn in proportion to the row."""
    cumulative = np.cumsum(weights, axis=1)
    u = rng.random(len(weights)) * cumulative[:, -1]
    return np.asarray((u[:, None] >= cumulative[:, :-1]).sum(axis=1), np.int64)


def _lognormal(rng: np.random.Generator, sigma: FloatArray) -> FloatArray:
    """Lognormal factors of mean 1 with log deviation `sigma`."""
    return np.asarray(np.exp(sigma * rng.standard_normal(len(sigma)) - sigma**2 / 2))


def _plan_json(
    rng: np.random.Generator,
    personas: Sequence[Persona],
    persona: IntArray,
    postpaid: npt.NDArray[np.bool_],
) -> ObjectArray:
    """Profile fields that a change of plan changes, as JSON without the braces."""
    contract = pick(rng, np.array([p.money.contracts for p in personas])[persona])
    method = pick(rng, np.array([p.money.payment_methods for p in personas])[persona])
    wanted = [[p.person.services.get(name, 0.015) for name in SERVICES] for p in personas]
    has = rng.random((len(persona), len(SERVICES))) < np.array(wanted)[persona]
    contract[~postpaid] = 0
    masks = has @ (1 << np.arange(len(SERVICES)))
    # Few combinations occur, and encoding one costs more than all the rest of a row.
    known: dict[tuple[int, bool, int, int, int], str] = {}
    lines = []
    columns = (persona, postpaid, contract, method, masks)
    for row, key in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        if key not in known:
            known[key] = _fields(
                plan=personas[key[0]].money.plan,
                contract=CONTRACTS[key[2]],
                line_type="postpaid" if key[1] else "prepaid",
                payment_method=PAYMENT_METHODS[key[3]],
                services=[SERVICES[i] for i in np.flatnonzero(has[row])],
            )
        lines.append(known[key])
    return _objects(lines)


def _person_json(rng: np.random.Generator, personas: Sequence[Persona], persona: IntArray) -> ObjectArray:
    """Profile fields of the person, as JSON without the braces; a few are unknown."""
    n = len(persona)
    mean, deviation = np.array([p.person.age for p in personas]).T[:, persona]
    age = np.clip(mean + deviation * rng.standard_normal(n), 18, 95).astype(int)
    median = np.array([p.person.income for p in personas])[persona]
    income = median * np.exp(0.25 * rng.standard_normal(n))
    female = rng.random(n) < np.array([p.person.female for p in personas])[persona]
    region = pick(rng, np.tile(np.array(REGION_WEIGHTS), (n, 1)))
    unknown = rng.random((n, 3)) < (0.03, 0.1, 0.02)
    ages = np.where(unknown[:, 0], -1, age).tolist()
    incomes = np.where(unknown[:, 1], -1, np.round(income, -2)).astype(int).tolist()
    genders = np.where(unknown[:, 2], "", np.where(female, "female", "male")).tolist()
    lines = []
    for a, i, g, r in zip(ages, incomes, genders, region.tolist(), strict=True):
        line = f'"region":"{REGIONS[r]}","consent_profiling":true'
        line += f',"age":{a}' if a >= 0 else ""
        line += f',"income":{i}' if i >= 0 else ""
        lines.append(line + (f',"gender":"{g}"' if g else ""))
    return _objects(lines)


def _fields(**values: object) -> str:
    return json.dumps(values, separators=(",", ":"))[1:-1]


def _objects(lines: list[str]) -> ObjectArray:
    column = np.empty(len(lines), object)
    column[:] = lines
    return column
