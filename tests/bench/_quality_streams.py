"""The streams: what happens to a base of customers, event-day by event-day, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from online_model.plan import FeaturePlan
from tests.bench._quality_customers import (
    HEAVY,
    N_PERSONAS,
    NEWCOMER,
    TALKER,
    TEXTER,
    Customers,
    Day,
    Int64Array,
    feature_plan,
)

#: Event-day on which planted changes begin.
CHANGE_DAY: Final = 6
_JUMP: Final = 3.0  # factor of the abrupt shift on data and revenue

Alarm = Literal["due", "false", "either"]


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream by name; `pass_day` is called before each event-day after the first.

    `alarm`: whether drift has to be noticed from `CHANGE_DAY` on, must not be, or may be. `jumps`: every
    feature vector is another one from `CHANGE_DAY` on. `sorted`: customers come in order of their use.
    `bill_days`: see `Customers`. `initial`: share of the customers who are there on day 0.
    """

    name: str
    number: int
    pass_day: Callable[[Customers, int, np.random.Generator, int], None]
    alarm: Alarm = "false"
    jumps: bool = False
    sorted: bool = False
    bill_days: int = 30
    initial: float = 1.0

    @property
    def plan(self) -> FeaturePlan:
        """Features of the vectors."""
        return PLAN

    @property
    def k(self) -> int:
        """Clusters to look for: the personas of day 0."""
        return N_PERSONAS

    def days(self, customers: int, days: int, seed: int) -> Iterator[Day]:
        """Day 0 (for the calibration) and the `days` after it, for at most about `customers` customers."""
        rng = np.random.default_rng([seed, self.number])
        base = Customers(rng, self._first(customers, rng), self.bill_days)
        yield base.features()
        for day in range(1, days + 1):
            self.pass_day(base, day, rng, customers)
            base.live_day()
            seen = base.features()
            if self.jumps and day >= CHANGE_DAY:
                _jump(seen)
            yield seen

    def order(self, day: Day, rng: np.random.Generator) -> Int64Array:
        """Rows in the order in which a learner of single points gets them."""
        if self.sorted:
            return np.argsort(day.raw[:, 0], kind="stable")
        return rng.permutation(len(day.raw))

    def _first(self, customers: int, rng: np.random.Generator) -> Int64Array:
        n = int(customers * self.initial)
        if self.sorted:  # the personas of the least data
            return np.sort(_BY_USE[rng.integers(0, N_PERSONAS // 2, n)])
        return rng.integers(0, N_PERSONAS, n)


#: Personas by rising use of data.
_BY_USE: Final = np.array([3, TALKER, TEXTER, 4, 5, HEAVY])


def _jump(day: Day) -> None:
    """Everybody's data and revenue are multiplied (in place)."""
    names = PLAN.columns.name
    day.raw[:, [names.index("data_mb_30d"), names.index("revenue_30d")]] *= _JUMP


def _nothing(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """Constant rates."""


def _gradual(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """Data grows by 4 % a day, minutes and messages shrink by 2 %."""
    if day >= CHANGE_DAY:
        base.use_factor *= [1.04, 0.98, 0.98]


def _mix(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """Over eight days nearly half of all become heavy users of data."""
    if CHANGE_DAY <= day < CHANGE_DAY + 8:
        base.migrate(0.07, to=HEAVY)


def _new_group(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """A persona that nobody had joins: a sixth of the base within ten days."""
    if CHANGE_DAY <= day < CHANGE_DAY + 10:
        base.join(np.full(customers // 60, NEWCOMER))


def _dead_feature(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """The source of text messages falls silent."""
    if day == CHANGE_DAY:
        base.is_fed[2] = False


def _churn(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """One per cent a day stops all activity, without a word."""
    base.leave(0.01)


def _growing(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """The base doubles in thirty days."""
    base.join(rng.integers(0, N_PERSONAS, customers // 60))


def _sorted(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """Persona by persona, those with more data join later: half of the base within 24 days."""
    if day <= 24:
        step = (day - 1) * (N_PERSONAS // 2) // 24
        base.join(np.full(customers // 48, _BY_USE[N_PERSONAS // 2 + step]))


def _migrations(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """One per cent a day takes up another persona, for fifteen days; their windows follow."""
    if day <= 15:
        base.migrate(0.01)


def _migrations_at_once(base: Customers, day: int, rng: np.random.Generator, customers: int) -> None:
    """The same, with the whole window of the other persona from the first day on."""
    if day <= 15:
        base.migrate(0.01, at_once=True)


PLAN: Final[FeaturePlan] = feature_plan()

STREAMS: Final = (
    Stream("stationary", 1, _nothing),
    Stream("gradual drift", 2, _gradual, alarm="due"),
    Stream("abrupt shift", 3, _nothing, alarm="due", jumps=True),
    Stream("mix shift", 4, _mix, alarm="due"),
    Stream("new group", 5, _new_group, alarm="due"),
    Stream("dead feature", 6, _dead_feature, alarm="due"),
    Stream("sorted", 7, _sorted, alarm="either", sorted=True, initial=0.5),
    Stream("silent churn", 8, _churn, alarm="either"),
    Stream("growing base", 9, _growing, alarm="either", initial=0.5),
    Stream("billing cycles", 10, _nothing, bill_days=3),
)
STATIONARY: Final = STREAMS[0]
#: Constant rates with planted migrations: for moves, not for costs.
MIGRATIONS: Final = Stream("migrations", 11, _migrations)
AT_ONCE: Final = Stream("migrations at once", 12, _migrations_at_once)
