"""Bills and payments: invoices on each customer's bill day, payments after them, late ones too."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from consumer.simulator.population import DAY_US, Population
from consumer.simulator.settings import SimulationSettings
from consumer.simulator.streams import Purpose, stream
from consumer.simulator.traits import FloatArray, IntArray, Traits

#: Days from the invoice to the day it is due.
DUE_DAYS = 14
#: Invoices of this many days before the run still have payments inside it.
HISTORY_DAYS = 75
EPOCH = date(1970, 1, 1)
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Invoices:
    """`m` invoices; `period_start` and `period_end` (exclusive) are days since 1970-01-01."""

    customer: IntArray
    time_us: IntArray
    amount: FloatArray
    period_start: IntArray
    period_end: IntArray

    def take(self, mask: Mask) -> Invoices:
        """The invoices where `mask` is true."""
        return Invoices(**{f.name: getattr(self, f.name)[mask] for f in fields(self)})


@dataclass(frozen=True, slots=True)
class Payments:
    """`m` payments; `days_late` int64[m] is 0 for a payment by the due day."""

    customer: IntArray
    time_us: IntArray
    amount: FloatArray
    days_late: IntArray

    def take(self, mask: Mask) -> Payments:
        """The payments where `mask` is true."""
        return Payments(**{f.name: getattr(self, f.name)[mask] for f in fields(self)})

    def split(self, before_us: int) -> tuple[Payments, Payments]:
        """The payments before that instant, and the others."""
        due = self.time_us < before_us
        return self.take(due), self.take(~due)

    def plus(self, other: Payments) -> Payments:
        """These payments and the others."""
        return Payments(
            **{f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)}
        )


def no_payments() -> Payments:
    """A table of no payments."""
    none = np.zeros(0, np.int64)
    return Payments(none, none, np.zeros(0), none)


def draw_bills(
    settings: SimulationSettings, population: Population, traits: Traits, day: int
) -> tuple[Invoices, Payments]:
    """Invoices issued on `day` of the run (negative: before it) and the payments they will get.

    Invoices leave between 02:00 and 06:00. A first period begins at activation
    or with the change of plan of a migration.
    """
    rng = stream(settings.seed, Purpose.BILLING, day + HISTORY_DAYS)
    today_us = settings.start_us + day * DAY_US
    today = EPOCH + timedelta(days=today_us // DAY_US)
    end = (today - EPOCH).days
    previous = (today.replace(day=1) - timedelta(days=1)).replace(day=min(today.day, 28))
    changed_plan = population.migrated_us <= today_us
    since = np.where(changed_plan, population.migrated_us // DAY_US, population.activated_day)
    rows = np.flatnonzero(traits.postpaid & (population.bill_day == today.day) & (since < end))
    begin = np.maximum((previous - EPOCH).days, since[rows])
    amount = traits.price[rows] * (end - begin) / 30 * np.exp(rng.normal(0, 0.03, len(rows)))
    overage = np.exp(rng.normal(1.6, 0.7, len(rows)))
    amount = np.round(amount + np.where(rng.random(len(rows)) < 0.15, overage, 0.0), 2)
    issued = today_us + rng.integers(2 * 3_600_000, 6 * 3_600_000, len(rows)) * 1000
    invoices = Invoices(rows, issued, amount, begin, np.full(len(rows), end))

    late = rng.random(len(rows)) < traits.late[rows]
    delay = rng.geometric(1.0 / traits.late_days[rows])
    days_late = np.where(late, np.minimum(delay, 45), 0)
    after = np.where(late, DUE_DAYS + days_late, rng.integers(1, DUE_DAYS + 1, len(rows)))
    hour_ms = rng.integers(7 * 3_600_000, 21 * 3_600_000, len(rows))
    paid = today_us + after * DAY_US + hour_ms * 1000
    return invoices, Payments(rows, paid, amount, days_late)
