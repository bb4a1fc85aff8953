"""What a simulation run is made of: frozen, documented settings without behaviour."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta

from consumer.simulator.personas import PERSONAS, Persona
from schemas.limits import CURRENCY_PATTERN

#: The contract ends with 2199; clocks of a run may be ten years ahead.
_LATEST_US = int(datetime(2185, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


@dataclass(frozen=True, slots=True)
class Drift:
    """A population-wide gradual change of data usage.

    Megabytes per session are multiplied by a factor that goes linearly from 1 at `start_day` (days
    since the start of the run) to `factor` at ``start_day + ramp_days``.
    """

    start_day: float = 21.0
    factor: float = 1.6
    ramp_days: float = 7.0

    def __post_init__(self) -> None:
        if self.factor <= 0 or self.ramp_days < 0:
            raise ValueError("drift: factor must be positive and ramp_days not negative")


@dataclass(frozen=True, slots=True)
class Migration:
    """Some customers change persona at 00:00 UTC of `day` (whole days since the start of the run).

    `fraction` of the customers that are active on that day move. They go to the persona named `to`,
    or each to another persona drawn by its share. A profile event tells the change of plan.
    """

    fraction: float = 0.05
    day: int = 28
    to: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1 or self.day < 1:
            raise ValueError("migration: fraction must be in 0..1 and day at least 1")


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of records with a planted fault (0..1); a record carries at most one.

    `duplicates` are copies that arrive up to ten minutes after the original. `late` records arrive
    1-20 hours late, `late_day` 1-6 days, `late_week` 7-20 days; `late_window` ones carry an event
    time 95-120 days back. `out_of_order` records arrive up to five minutes late. `bad_clock` is
    shared by event times days ahead, years ahead, and around 1970. `malformed` is shared by the
    kinds of `FaultKind` that corrupt a record. `misrouted` records go to another partition than
    their key's, which only `KafkaFeed` can do. What would arrive after the end of the run is left
    as it was, so that every fault counted in the truth was sent.
    """

    duplicates: float = 0.0
    late: float = 0.0
    late_day: float = 0.0
    late_week: float = 0.0
    late_window: float = 0.0
    out_of_order: float = 0.0
    bad_clock: float = 0.0
    malformed: float = 0.0
    misrouted: float = 0.0

    def __post_init__(self) -> None:
        shares = [getattr(self, f.name) for f in fields(self)]
        if min(shares) < 0 or max(shares) > 1:
            raise ValueError("faults: every share must be in 0..1")
        if sum(shares) - self.duplicates > 1:
            raise ValueError("faults: the shares must not add up to more than 1")

    @property
    def any(self) -> bool:
        """Whether any fault is planted."""
        return any(getattr(self, f.name) > 0 for f in fields(self))

    @classmethod
    def realistic(cls) -> Faults:
        """The preset `realistic_faults`: what mediation systems are said to deliver."""
        return cls(
            duplicates=0.005,
            late=0.015,
            late_day=0.001,
            late_week=0.0001,
            late_window=0.0001,
            out_of_order=0.0045,
            bad_clock=0.0025,
            malformed=0.001,
            misrouted=0.0005,
        )


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """Everything that decides the bytes of a run; the same settings give the same bytes.

    customers            all customers, those who join during the run included
    days, start          length of the run in days, and its first instant (00:00 UTC of a day)
    seed                 of every draw
    personas             who the customers are; their shares are normalised
    new_customer_share   share of customers who join during the run
    silent_churn_share   share who stop without a `closed` event
    closed_share         share who leave with a `closed` event
    drift, migration     planted changes, None for none
    faults               planted faults of records, none by default
    activity             scales the data, voice and SMS events per customer-day (1.0 = about 11)
    currency             ISO 4217 code of every amount
    chunk_hours          event time per chunk, a divisor of 24; None chooses one that keeps a chunk
                         below about 300,000 events
    """

    customers: int = 3000
    days: int = 42
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    seed: int = 7
    personas: tuple[Persona, ...] = PERSONAS
    new_customer_share: float = 0.04
    silent_churn_share: float = 0.03
    closed_share: float = 0.02
    drift: Drift | None = None
    migration: Migration | None = None
    faults: Faults = field(default_factory=Faults)
    activity: float = 1.0
    currency: str = "EUR"
    chunk_hours: int | None = None

    def __post_init__(self) -> None:
        if self.customers < 1 or self.days < 1 or self.seed < 0:
            raise ValueError("simulation: customers and days must be at least 1, seed at least 0")
        if self.start.tzinfo is None or self.start_us % 86_400_000_000:
            raise ValueError("simulation: start must be 00:00 UTC of a day, with its time zone")
        if self.start.year < 1990 or self.start_us + self.days * 86_400_000_000 > _LATEST_US:
            raise ValueError("simulation: must lie between 1990 and 2185")
        if not re.fullmatch(CURRENCY_PATTERN, self.currency):
            raise ValueError(f"simulation: currency {self.currency!r} is not three capital letters")
        if not self.personas or min(p.share for p in self.personas) <= 0:
            raise ValueError("simulation: at least one persona, each with a share above 0")
        shares = (self.new_customer_share, self.silent_churn_share, self.closed_share)
        if min(shares) < 0 or self.silent_churn_share + self.closed_share > 1 or max(shares) > 1:
            raise ValueError("simulation: joining and leaving shares must be in 0..1")
        if self.activity <= 0:
            raise ValueError("simulation: activity must be positive")
        if self.chunk_hours is not None and (self.chunk_hours < 1 or 24 % self.chunk_hours):
            raise ValueError("simulation: chunk_hours must divide 24")
        if self.drift is not None and self.drift.start_day >= self.days:
            raise ValueError(f"drift: day {self.drift.start_day:g} is after the {self.days} days of the run")
        if self.migration is not None:
            self._check_migration(self.migration)

    def _check_migration(self, migration: Migration) -> None:
        names = [p.name for p in self.personas]
        if migration.to is not None and migration.to not in names:
            raise ValueError(f"migration: unknown persona {migration.to!r}, one of {names}")
        if migration.day >= self.days:
            raise ValueError(f"migration: day {migration.day} is after the {self.days} days of the run")
        if len(names) < 2:
            raise ValueError("migration: needs at least two personas")

    @property
    def start_us(self) -> int:
        """First instant of the run, microseconds since the epoch."""
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return (self.start - epoch) // timedelta(microseconds=1)

    @property
    def end_us(self) -> int:
        """End of the run (exclusive), microseconds since the epoch."""
        return self.start_us + self.days * 86_400_000_000

    @property
    def hours_per_chunk(self) -> int:
        """Hours of event time in one chunk."""
        if self.chunk_hours is not None:
            return self.chunk_hours
        per_hour = self.customers * 12 * self.activity / 24
        return next((h for h in (24, 12, 6, 4, 3, 2) if per_hour * h <= 300_000), 1)
