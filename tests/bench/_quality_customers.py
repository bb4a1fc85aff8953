"""Customers who behave day by day, and their features as the product's windows would give them.

Nothing here knows Kafka or a model: every event-day each customer draws activity from the rates of a
persona, and the features are those of the default specification over the last thirty days.
"""

from __future__ import annotations

import dataclasses
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from online_model.compile_plan import compile_plan
from online_model.plan import FeaturePlan
from online_model.spec import default_spec

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

WINDOW_DAYS: Final = 30
BILL_DAYS: Final = 30
_USUAL_TOPUP: Final = 10.0
_SPREAD: Final = 0.7  # of the logarithm of a customer's rates around those of the persona
_NO_AGE: Final = 0.05

#: Features of the default specification that the streams have.
FEATURES: Final = frozenset(
    """
    data_mb_30d mou_30d sms_30d roaming_share_28d night_share_28d revenue_30d topup_count_30d days_late_90d
    tenure_days days_since_last_activity line_type age
    """.split()  # noqa: SIM905 - a list of quoted words is harder to read
)


class Persona(NamedTuple):
    """Mean behaviour: use per day, shares of activity, money per 30 days, days."""

    sessions: float
    data_mb: float
    minutes: float
    messages: float
    roaming: float
    night: float
    revenue: float
    days_late: float
    postpaid: float
    tenure_days: float
    age: float


PERSONAS: Final = (
    Persona(10, 700, 8, 1.0, 0.01, 0.35, 45, 1.0, 0.9, 700, 27),  # heavy data
    Persona(1, 40, 35, 2.0, 0.01, 0.08, 30, 0.5, 0.8, 2500, 58),  # talkers
    Persona(2, 60, 6, 18.0, 0.01, 0.25, 15, 1.0, 0.3, 500, 21),  # texters
    Persona(0.2, 8, 2, 0.3, 0.01, 0.12, 8, 1.0, 0.05, 900, 45),  # light prepaid
    Persona(3, 150, 18, 4.0, 0.30, 0.10, 80, 1.0, 0.95, 1500, 44),  # travellers
    Persona(4, 200, 10, 3.0, 0.01, 0.20, 35, 15.0, 0.85, 800, 36),  # late payers
    Persona(12, 1500, 0.3, 0.2, 0.01, 0.55, 12, 0.5, 0.0, 60, 30),  # night streamers, who come later
)
#: Number of personas that are there from the start, and the number of the one that is not.
N_PERSONAS: Final = 6
NEWCOMER: Final = 6
HEAVY, TALKER, TEXTER, LIGHT, TRAVELLER, LATE = range(N_PERSONAS)

_RATES: Final = {name: np.array(values) for name, *values in zip(Persona._fields, *PERSONAS, strict=True)}
_MINUTES_PER_CALL: Final = 3.0
_DATA, _MINUTES, _MESSAGES, _ACTIVITY, _ROAMING, _NIGHT, _TOPUPS = range(7)
_USE: Final = ("data_mb", "minutes", "messages")


def feature_plan() -> FeaturePlan:
    """The product's plan of the features that the streams have."""
    spec = default_spec()
    chosen = tuple(feature for feature in spec.features if feature.name in FEATURES)
    return compile_plan(spec.model_copy(update={"features": chosen}))


class Day(NamedTuple):
    """What is known of the n customers at the end of an event-day.

    `raw` float64[n, D] in real units (NaN missing), columns of `feature_plan`; `observed_days`,
    `silent_days` float64[n]; `persona` int64[n]; `migrated_on` int64[n]: the day on which a customer
    took up another persona, -1 for never. Customers keep their row; new ones are appended.
    """

    raw: Float64Array
    observed_days: Float64Array
    silent_days: Float64Array
    persona: Int64Array
    migrated_on: Int64Array


@dataclasses.dataclass(slots=True)
class _State:
    """Arrays by customer: fixed traits, last bill, payments, and thirty days of activity."""

    persona: Int64Array
    migrated_on: Int64Array
    joined: Int64Array
    use: Float64Array  # [n, 3]: factors on data, minutes and messages
    spend: Float64Array  # factor on money
    odds: Float64Array  # factor on the odds of roaming and of the night
    postpaid: BoolArray
    bill_day: Int64Array
    bill: Float64Array
    days_late: Float64Array
    tenure_days: Float64Array
    age: Float64Array
    silent_days: Float64Array
    is_gone: BoolArray
    ring: Float64Array  # [n, days, channel]


class Customers:
    """A base of customers; `live_day` lets one event-day pass."""

    def __init__(self, rng: np.random.Generator, personas: Int64Array, bill_days: int = BILL_DAYS) -> None:
        """Customers of the given `personas` with a whole window behind them.

        `bill_days`: bills close on the first so many days of a cycle of thirty.
        """
        self._rng = rng
        self._bill_days = bill_days
        self._day = -WINDOW_DAYS
        self.use_factor = np.ones(3)  # data, minutes, messages of everybody
        self.is_fed = np.ones(3, np.bool_)  # whether a source still delivers
        self._state = self._new(personas, joined=-10_000)
        for _ in range(WINDOW_DAYS):
            self.live_day()

    @property
    def n(self) -> int:
        """Customers so far, also those who are gone."""
        return len(self._state.persona)

    @property
    def persona(self) -> Int64Array:
        """Persona of every customer, int64[n]."""
        return self._state.persona

    def join(self, personas: Int64Array) -> None:
        """New customers, without any history."""
        new = self._new(personas, joined=self._day)
        new.tenure_days[:] = 0.0
        parts = {}
        for item in dataclasses.fields(_State):
            parts[item.name] = np.concatenate([getattr(self._state, item.name), getattr(new, item.name)])
        self._state = _State(**parts)

    def leave(self, share: float) -> None:
        """A random `share` of all customers stops every activity, and tells nobody."""
        self._state.is_gone |= self._rng.random(self.n) < share

    def migrate(self, share: float, to: int | None = None, at_once: bool = False) -> None:
        """A random `share` of those who never did takes up the persona `to` (another one at random).

        Rates and contract are new from the next day on, and windows follow; `at_once`: the window and the
        payments behind them are those of somebody of that persona, too.
        """
        s, rng = self._state, self._rng
        other = (s.persona + rng.integers(1, N_PERSONAS, self.n)) % N_PERSONAS
        target = other if to is None else np.full(self.n, to)
        chosen = (rng.random(self.n) < share) & (s.migrated_on < 0) & (s.persona != target)
        rows = np.flatnonzero(chosen)
        new = self._new(target[rows], joined=0)
        for name in ("persona", "use", "spend", "odds", "postpaid", "bill"):
            getattr(s, name)[rows] = getattr(new, name)
        s.migrated_on[rows] = self._day
        for row in rows if at_once else ():
            like = rng.choice(np.flatnonzero((s.persona == s.persona[row]) & (s.migrated_on < 0)))
            for name in ("ring", "days_late", "postpaid", "bill"):
                getattr(s, name)[row] = getattr(s, name)[like]

    def live_day(self) -> None:
        """One day of activity, payments and bills."""
        s = self._state
        slot = self._day % WINDOW_DAYS
        s.ring[:, slot, : _NIGHT + 1] = self._activity()
        self._pay(slot)
        s.silent_days = np.where(s.ring[:, slot, _ACTIVITY] > 0, 0.0, s.silent_days + 1)
        s.tenure_days = s.tenure_days + 1
        self._day += 1

    def _activity(self) -> Float64Array:
        """Use of a day float64[n, 6]: sessions and calls of different sizes, messages, shares of all."""
        s, rng = self._state, self._rng
        active = ~s.is_gone
        use = {
            name: _RATES[name][s.persona] * s.use[:, i] * self.use_factor[i] for i, name in enumerate(_USE)
        }
        sessions = rng.poisson(_RATES["sessions"][s.persona] * active)
        calls = rng.poisson(use["minutes"] / _MINUTES_PER_CALL * active)
        messages = rng.poisson(use["messages"] * active)
        today = np.zeros((self.n, _NIGHT + 1))
        today[:, _DATA] = rng.gamma(sessions) * use["data_mb"] / _RATES["sessions"][s.persona]
        today[:, _MINUTES] = rng.gamma(calls) * _MINUTES_PER_CALL
        today[:, _MESSAGES] = messages
        today[:, :_ACTIVITY] *= self.is_fed
        count = np.stack([sessions, calls, messages], axis=1) @ self.is_fed
        today[:, _ACTIVITY] = count
        for channel, name in ((_ROAMING, "roaming"), (_NIGHT, "night")):
            share = _RATES[name][s.persona]
            odds = share / (1 - share) * s.odds
            today[:, channel] = rng.binomial(count, odds / (1 + odds))
        return today

    def _pay(self, slot: int) -> None:
        """Top-ups of a day, and the bills that close on it with the payments of those before."""
        s, rng = self._state, self._rng
        money = _RATES["revenue"][s.persona] * s.spend
        prepaid = ~s.is_gone & ~s.postpaid
        s.ring[:, slot, _TOPUPS] = rng.poisson(money / _USUAL_TOPUP / WINDOW_DAYS * prepaid)
        billed = s.postpaid & (s.bill_day == self._day % BILL_DAYS)
        s.bill = np.where(billed, money * np.exp(rng.normal(scale=0.15, size=self.n)), s.bill)
        late = rng.poisson(_RATES["days_late"][s.persona])
        s.days_late = np.where(billed, s.days_late * 2 / 3 + late / 3, s.days_late)

    def features(self) -> Day:
        """The customers as of now."""
        s = self._state
        observed = np.minimum(self._day - s.joined, 365 * 5).astype(np.float64)
        total = s.ring.sum(axis=1)
        rate = total * (WINDOW_DAYS / np.minimum(WINDOW_DAYS, np.maximum(observed, 1)))[:, None]
        prior = np.array([0.05, 0.2])
        shares = (total[:, [_ROAMING, _NIGHT]] + 10 * prior) / (total[:, _ACTIVITY, None] + 10)
        revenue = s.bill * s.postpaid + rate[:, _TOPUPS] * _USUAL_TOPUP
        level = s.postpaid.astype(np.float64)
        columns = [
            *rate[:, [_DATA, _MINUTES, _MESSAGES]].T,
            *shares.T,
            revenue,
            rate[:, _TOPUPS],
            s.days_late,
            s.tenure_days,
            s.silent_days,
            1 - level,
            level,
            s.age,
        ]
        raw = np.ascontiguousarray(np.stack(columns, axis=1))
        return Day(raw, observed, s.silent_days.copy(), s.persona.copy(), s.migrated_on.copy())

    def _new(self, persona: Int64Array, joined: int) -> _State:
        rng, n = self._rng, len(persona)
        rate = {name: values[persona] for name, values in _RATES.items()}
        spend = np.exp(rng.normal(scale=_SPREAD, size=n))
        postpaid = rng.random(n) < rate["postpaid"]
        age = np.clip(rate["age"] + rng.normal(scale=10, size=n), 16, 95).round()
        return _State(
            persona=persona.astype(np.int64),
            migrated_on=np.full(n, -1),
            joined=np.full(n, joined),
            use=np.exp(rng.normal(scale=_SPREAD, size=(n, 3))),
            spend=spend,
            odds=np.exp(rng.normal(scale=_SPREAD, size=n)),
            postpaid=postpaid,
            bill_day=rng.integers(0, self._bill_days, n),
            bill=rate["revenue"] * spend * postpaid,
            days_late=rng.poisson(3 * rate["days_late"]) / 3 * postpaid,
            tenure_days=(rate["tenure_days"] * np.exp(rng.normal(scale=0.6, size=n))).round(),
            age=np.where(rng.random(n) < _NO_AGE, np.nan, age),
            silent_days=np.zeros(n),
            is_gone=np.zeros(n, np.bool_),
            ring=np.zeros((n, WINDOW_DAYS, 7)),
        )
