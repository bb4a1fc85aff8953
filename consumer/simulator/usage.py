"""Events at random times: data, voice, SMS, top-ups, care contacts.

Counts are Poisson with a rate per customer that follows the hour, the weekday and a gamma factor per
customer and day (busy and quiet days): a doubly stochastic process, burstier than Poisson.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consumer.simulator.population import DAY_US
from consumer.simulator.settings import SimulationSettings
from consumer.simulator.streams import Purpose, stream
from consumer.simulator.traits import (
    RATE_KINDS,
    SHIFTS,
    FloatArray,
    IntArray,
    Traits,
    hourly_table,
    weekly_table,
)

HOUR_US = 3_600_000_000
#: Shape of the gamma factor per customer and day.
DAY_SHAPE = 2.5


@dataclass(frozen=True, slots=True)
class Slice:
    """A piece of one day of the run: hours ``hour`` to ``hour + hours`` (exclusive) of `day`."""

    day: int
    hour: int
    hours: int
    start_us: int

    @property
    def end_us(self) -> int:
        """End of the slice (exclusive)."""
        return self.start_us + self.hours * HOUR_US

    @property
    def weekday(self) -> int:
        """0 is Monday (1970-01-01 was a Thursday)."""
        return (self.start_us // DAY_US + 3) % 7


@dataclass(frozen=True, slots=True)
class Occurrences:
    """`m` events: `customer` int64[m], `kind` int64[m] column of `RATE_KINDS`, `time_us` int64[m]."""

    customer: IntArray
    kind: IntArray
    time_us: IntArray


class UsageProcess:
    """Draws what happens in a slice of the run; holds only tables, no state between slices."""

    def __init__(self, settings: SimulationSettings) -> None:
        self._seed = settings.seed
        self._weekly = weekly_table(settings.personas)
        self._hourly = hourly_table(settings.personas)

    def draw(
        self, rng: np.random.Generator, traits: Traits, active: npt.NDArray[np.bool_], at: Slice
    ) -> Occurrences:
        """Events of the `active` bool[n] customers in the slice, in no particular order."""
        factor = self._weekly[traits.persona, at.weekday] * active
        factor *= self._day_factor(at.day, len(factor))
        hours = self._hourly[:, :, :, at.hour : at.hour + at.hours]
        weight = hours.sum(axis=3)[:, traits.persona, traits.shift]
        rates = traits.rates * weight[1][:, None]
        rates[:, 0] = traits.rates[:, 0] * weight[0]
        rates *= factor[:, None]
        upper = np.cumsum(rates, axis=1)
        customer = np.repeat(np.arange(len(factor)), rng.poisson(upper[:, -1]))
        u = rng.random(len(customer)) * upper[customer, -1]
        kind = np.zeros(len(customer), np.int64)
        for column in range(len(RATE_KINDS) - 1):
            kind += u >= upper[customer, column]
        hour = self._hours(rng, hours, traits, customer, kind)
        time_ms = hour * 3_600_000 + rng.integers(0, 3_600_000, len(customer))
        return Occurrences(customer, kind, at.start_us + time_ms * 1000)

    def abroad(self, traits: Traits, at: Slice) -> npt.NDArray[np.bool_]:
        """bool[n]: who is on a trip abroad on the day; at most one trip begins per week."""
        n = len(traits.persona)
        away = np.zeros(n, bool)
        week, weekday = divmod(at.day, 7)
        for begun, offset in ((week, weekday), (week - 1, weekday + 7)):
            if begun < 0:
                continue
            rng = stream(self._seed, Purpose.TRIPS, begun)
            travels = rng.random(n) < traits.trips
            first = rng.integers(0, 7, n)
            days = 1 + np.floor(-np.log1p(-rng.random(n)) * (traits.trip_days - 0.5))
            away |= travels & (first <= offset) & (offset < first + np.minimum(days, 7))
        return away

    def _day_factor(self, day: int, n: int) -> FloatArray:
        """float64[n], mean 1: busy and quiet days, the same for every slice of the day."""
        rng = stream(self._seed, Purpose.DAY_FACTOR, day)
        return rng.standard_gamma(DAY_SHAPE, n) / DAY_SHAPE

    @staticmethod
    def _hours(
        rng: np.random.Generator,
        hours: FloatArray,
        traits: Traits,
        customer: IntArray,
        kind: IntArray,
    ) -> IntArray:
        """Hour within the slice of every event, by the table of its customer and kind."""
        n_hours = hours.shape[3]
        if n_hours == 1:
            return np.zeros(len(customer), np.int64)
        rows = hours.reshape(-1, n_hours)
        cumulative = np.cumsum(rows, axis=1)
        cumulative /= cumulative[:, -1:]
        # One sorted axis for all rows: row r covers the numbers from r to r + 1.
        axis = (cumulative + np.arange(len(rows))[:, None]).ravel()
        row = (np.minimum(kind, 1) * hours.shape[1] + traits.persona[customer]) * len(SHIFTS)
        row += traits.shift[customer]
        position = np.searchsorted(axis, row + rng.random(len(customer)), side="right")
        return np.asarray(np.clip(position - row * n_hours, 0, n_hours - 1), np.int64)


def draw_megabytes(
    rng: np.random.Generator, traits: Traits, customer: IntArray, factor: FloatArray
) -> FloatArray:
    """Lognormal megabytes of sessions, times `factor` (the drift), at most 20 GB each."""
    z = rng.standard_normal(len(customer))
    size = traits.session_mb[customer] * np.exp(traits.session_sigma[customer] * z)
    return np.minimum(size * factor, 20_000.0)


def draw_seconds(rng: np.random.Generator, traits: Traits, customer: IntArray) -> IntArray:
    """Whole seconds of calls: log-logistic of shape 1.5 truncated at 2 h; 10 % are not answered.

    The truncated log-logistic is the model of Vaz de Melo et al., ECML-PKDD 2010.
    """
    median, shape, cap = traits.call_s[customer], 1.5, 7200.0
    answered = rng.random(len(customer)) >= 0.1
    below_cap = 1.0 / (1.0 + (cap / median) ** -shape)
    u = rng.random(len(customer)) * below_cap
    seconds = median * (u / (1.0 - u)) ** (1.0 / shape)
    return np.where(answered, np.maximum(seconds, 1.0), 0.0).astype(np.int64)
