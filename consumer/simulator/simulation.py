"""The run: chunk after chunk of event time, all customers at once, sorted by arrival."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consumer.simulator import faults as fault_planting
from consumer.simulator.billing import HISTORY_DAYS, draw_bills, no_payments
from consumer.simulator.encode import Encoder
from consumer.simulator.population import DAY_US, Population, draw_population
from consumer.simulator.records import TOPICS, Records
from consumer.simulator.settings import SimulationSettings
from consumer.simulator.streams import Purpose, stream
from consumer.simulator.traits import RATE_KINDS, FloatArray, IntArray, draw_traits
from consumer.simulator.truth import Sent, Truth, customer_table
from consumer.simulator.usage import (
    HOUR_US,
    Occurrences,
    Slice,
    UsageProcess,
    draw_megabytes,
    draw_seconds,
)
from schemas.batch import Kind

_REASONS = ("price", "moved", "service", "competitor", "deceased")
_CHANNELS = ("phone", "chat", "shop", "app")
_CARE_REASONS = ("bill", "network", "plan", "device", "payment")


@dataclass(frozen=True, slots=True)
class EventChunk:
    """Records of a piece of the run in order of arrival; parallel columns.

    `topic` names, `key` and `value` bytes, lists of length m; `arrival_us`, `event_time_us`
    int64[m] (the event time as sent, also where a clock is wrong); `fault` uint8[m] (`FaultKind`).
    Arrivals are not before those of earlier chunks. ``end_us`` is the end of the chunk (exclusive).
    """

    topic: list[str]
    key: list[bytes]
    value: list[bytes]
    arrival_us: IntArray
    event_time_us: IntArray
    fault: npt.NDArray[np.uint8]
    end_us: int

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.value)


class Simulation:
    """A seeded run: the same settings give the same bytes, whoever consumes them and how often."""

    def __init__(self, settings: SimulationSettings | None = None) -> None:
        self.settings = settings or SimulationSettings()
        self.population: Population = draw_population(self.settings)
        self._truth = Truth(customer_table(self.population, self.settings.personas), Sent())

    @property
    def truth(self) -> Truth:
        """What was planted; `Truth.sent` counts what the latest `chunks` yielded so far."""
        return self._truth

    @property
    def n_chunks(self) -> int:
        """Number of chunks in the run."""
        return self.settings.days * 24 // self.settings.hours_per_chunk

    def chunks(self) -> Iterator[EventChunk]:
        """The run from its start; memory is bounded by a chunk, the customers and late records."""
        sent = Sent()
        self._truth = Truth(self._truth.customers, sent)
        run = _Run(self.settings, self.population)
        for index in range(self.n_chunks):
            records = run.chunk(index)
            sent.add(records)
            yield self._finish(records, run.at(index).end_us)

    def _finish(self, records: Records, end_us: int) -> EventChunk:
        names = np.array(TOPICS, object)
        # Row -1 is the key of nobody, for records whose key is not their customer.
        keys = np.append(self.population.keys, b"c00000000")
        values = "\n".join(records.value.tolist()).encode().split(b"\n") if records.n else []
        return EventChunk(
            topic=names[records.topic].tolist(),
            key=keys[records.key].tolist(),
            value=values,
            arrival_us=records.arrival_us,
            event_time_us=records.event_time_us,
            fault=records.fault,
            end_us=end_us,
        )


class _Run:
    """State between chunks: traits (migration changes them), payments due, records on their way."""

    def __init__(self, settings: SimulationSettings, population: Population) -> None:
        self._settings = settings
        self._population = population
        rng = stream(settings.seed, Purpose.TRAITS)
        self._traits = draw_traits(rng, settings.personas, population.persona, settings.activity)
        self._usage = UsageProcess(settings)
        self._encoder = Encoder(f"s{settings.seed}-", population.ids, 1)
        self._waiting: Records | None = None
        self._payments = no_payments()
        for day in range(-HISTORY_DAYS, 0):
            _, payments = draw_bills(settings, population, self._traits, day)
            self._payments = self._payments.plus(payments)
        _, self._payments = self._payments.split(settings.start_us)

    def at(self, index: int) -> Slice:
        """The piece of the run that is chunk `index`."""
        hours = self._settings.hours_per_chunk
        day, hour = divmod(index * hours, 24)
        return Slice(day, hour, hours, self._settings.start_us + index * hours * HOUR_US)

    def chunk(self, index: int) -> Records:
        """Records that arrive in chunk `index`, sorted by arrival; chunks are asked for in order."""
        at = self.at(index)
        self._encoder.begin(at.start_us, at.hours * 60)
        rng = stream(self._settings.seed, Purpose.USAGE, index)
        parts = [*self._migrations(at), *self._activations(at)]
        parts += self._usage_events(rng, at)
        parts += self._bills(at)
        parts += self._closures(rng, at)
        records = Records.concatenate(parts)
        if self._settings.faults.any:
            rng = stream(self._settings.seed, Purpose.FAULTS, index)
            end_us = self._settings.end_us
            records = fault_planting.plant(rng, records, self._settings.faults, end_us)
        if self._waiting is not None:
            records = Records.concatenate([self._waiting, records])
        arrived = records.arrival_us < at.end_us
        self._waiting = records.take(~arrived)
        records = records.take(arrived)
        return records.take(np.argsort(records.arrival_us, kind="stable"))

    def _alive(self, customer: IntArray, time_us: IntArray) -> npt.NDArray[np.bool_]:
        """bool[m]: whether the customer is active at that instant."""
        population = self._population
        joined = population.activated_us[customer] <= time_us
        return np.asarray(joined & (time_us < population.ends_us[customer]))

    def _usage_events(self, rng: np.random.Generator, at: Slice) -> list[Records]:
        population = self._population
        active = (population.activated_us < at.end_us) & (population.ends_us > at.start_us)
        drawn = self._usage.draw(rng, self._traits, active, at)
        alive = self._alive(drawn.customer, drawn.time_us)
        roaming = self._usage.abroad(self._traits, at)
        parts = []
        for column, kind in enumerate(RATE_KINDS):
            rows = np.flatnonzero(alive & (drawn.kind == column))
            some = Occurrences(drawn.customer[rows], drawn.kind[rows], drawn.time_us[rows])
            lines = self._lines(rng, kind, some, roaming)
            parts.append(_records(kind, some.customer, some.time_us, lines))
        return parts

    def _lines(
        self,
        rng: np.random.Generator,
        kind: Kind,
        events: Occurrences,
        roaming: npt.NDArray[np.bool_],
    ) -> list[str]:
        """JSON lines of events of one kind."""
        who, when, n = events.customer, events.time_us, len(events.customer)
        if kind is Kind.DATA:
            tail = 2 * roaming[who] + (rng.random(n) < self._traits.fifth[who])
            factor = self._drift(when)
            megabytes = draw_megabytes(rng, self._traits, who, factor)
            return self._encoder.data(who, when, megabytes, tail.astype(np.int64))
        if kind is Kind.TOPUP:
            return self._encoder.others("topup", who, when, self._topups(rng, who))
        if kind is Kind.CARE_CONTACT:
            rest = [
                f'"channel":"{_CHANNELS[c]}","reason":"{_CARE_REASONS[r]}"'
                for c, r in rng.integers(0, (4, 5), (n, 2)).tolist()
            ]
            return self._encoder.others("care_contact", who, when, rest)
        incoming = rng.random(n) < 0.45
        international = rng.random(n) < self._traits.international[who]
        tail = 4 * incoming + 2 * international + roaming[who]
        if kind is Kind.VOICE:
            seconds = draw_seconds(rng, self._traits, who)
            return self._encoder.voice(who, when, seconds, tail)
        parts = np.where(rng.random(n) < 0.12, 2 + (rng.random(n) < 0.25), 1)
        return self._encoder.sms(who, when, parts, tail)

    def _drift(self, time_us: IntArray) -> FloatArray:
        """Factor on megabytes at each instant."""
        drift = self._settings.drift
        if drift is None:
            return np.ones(len(time_us))
        days = (time_us - self._settings.start_us) / DAY_US
        past = (days - drift.start_day) / max(drift.ramp_days, 1e-9)
        return 1.0 + (drift.factor - 1.0) * np.clip(past, 0.0, 1.0)

    def _topups(self, rng: np.random.Generator, customer: IntArray) -> list[str]:
        personas, u = self._settings.personas, rng.random(len(customer)).tolist()
        bounds = [np.cumsum(p.money.denomination_weights) for p in personas]
        rest = []
        for code, x in zip(self._traits.persona[customer].tolist(), u, strict=True):
            position = int(np.searchsorted(bounds[code][:-1], x * bounds[code][-1], side="right"))
            amount = personas[code].money.denominations[position]
            rest.append(f'"amount":{amount:.2f},"currency":"{self._settings.currency}"')
        return rest

    def _bills(self, at: Slice) -> list[Records]:
        """Invoices of the slice, and the payments that fall into it."""
        if at.hour == 0:
            self._invoices, payments = draw_bills(self._settings, self._population, self._traits, at.day)
            self._payments = self._payments.plus(payments)
        currency, bills = self._settings.currency, self._invoices
        now = (bills.time_us >= at.start_us) & (bills.time_us < at.end_us)
        bills = bills.take(now & self._alive(bills.customer, bills.time_us))
        paid, self._payments = self._payments.split(at.end_us)
        paid = paid.take(self._alive(paid.customer, paid.time_us))
        return [
            _records(
                Kind.INVOICE,
                bills.customer,
                bills.time_us,
                self._encoder.invoices(bills, currency),
            ),
            _records(Kind.PAYMENT, paid.customer, paid.time_us, self._encoder.payments(paid, currency)),
        ]

    def _activations(self, at: Slice) -> list[Records]:
        """Profiles of the customers who are there from the start or join in the slice."""
        population = self._population
        rows = _within(population.activated_us, at)
        when = population.activated_us[rows]
        days = population.activated_day[rows].astype("datetime64[D]").astype(str)
        rest = [
            f'"activated_on":"{day}",{person},{plan}'
            for day, person, plan in zip(
                days.tolist(),
                self._traits.person_json[rows].tolist(),
                self._traits.plan_json[rows].tolist(),
                strict=True,
            )
        ]
        lines = self._encoder.others("profile", rows, when, rest)
        return [_records(Kind.PROFILE, rows, when, lines)]

    def _migrations(self, at: Slice) -> list[Records]:
        """Change the traits of who migrates in the slice; profiles with the new plan."""
        population = self._population
        rows = _within(population.migrated_us, at)
        if len(rows) == 0:
            return []
        rng = stream(self._settings.seed, Purpose.MIGRATED_TRAITS)
        persona = population.persona_after[rows]
        new = draw_traits(rng, self._settings.personas, persona, self._settings.activity)
        new.person_json = self._traits.person_json[rows]
        new.shift = self._traits.shift[rows]
        self._traits.replace_rows(rows, new)
        when = population.migrated_us[rows]
        lines = self._encoder.others("profile", rows, when, new.plan_json.tolist())
        return [_records(Kind.PROFILE, rows, when, lines)]

    def _closures(self, rng: np.random.Generator, at: Slice) -> list[Records]:
        rows = _within(self._population.closed_us, at)
        when = self._population.closed_us[rows]
        reasons = rng.integers(0, len(_REASONS), len(rows)).tolist()
        rest = [f'"reason":"{_REASONS[r]}"' for r in reasons]
        return [_records(Kind.CLOSED, rows, when, self._encoder.others("closed", rows, when, rest))]


def _within(time_us: IntArray, at: Slice) -> IntArray:
    """Rows whose time is in the slice."""
    return np.flatnonzero((time_us >= at.start_us) & (time_us < at.end_us))


def _records(kind: Kind, customer: IntArray, time_us: IntArray, lines: list[str]) -> Records:
    return Records.punctual(customer, np.full(len(lines), int(kind), np.uint8), time_us, lines)
