"""What the versions of a model say about time: shares of the segments, their trend, drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from online_model.drift_rule import Alarm, decide
from online_model.model import Model, origin_of
from online_model.model_head import Version
from online_model.plan import DAY_US
from online_model.scan_means import HISTORY

#: A trend needs as much event time as this between two versions.
_SHORTEST_US: Final = DAY_US
#: A share moves when it changes by as much as this, in points and against itself.
_POINTS: Final = 0.005
_RELATIVE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Shares:
    """Customers behind the centroids of a version, by segment id, at event time `at_us`."""

    at_us: int
    version: int
    is_calibration: bool
    customers: dict[str, float]

    def share(self, segment_id: str) -> float | None:
        """Share of a segment; None if the version does not have it."""
        total = sum(self.customers.values())
        if segment_id not in self.customers or total <= 0:
            return None
        return self.customers[segment_id] / total


def event_time_us(model: Version) -> int:
    """When the customers were looked at that the version has learnt from."""
    return max(model.covers.boundary_us, model.created_us)


def shares_of(model: Version) -> Shares:
    """Shares at a version."""
    ids, weights = [segment.id for segment in model.segments], [float(w) for w in model.weights]
    customers = dict(zip(ids, weights, strict=True))
    return Shares(event_time_us(model), model.version, model.is_new_fit, customers)


def shares_over_time(models: Sequence[Version], at_most: int = 200) -> list[Shares]:
    """Shares per version, oldest first: all calibrations, of the folds in between about `at_most`."""
    folded = [model.version for model in models if not model.is_new_fit]
    step = max(1, -(-len(folded) // at_most))
    kept = set(folded[::-1][::step])
    return [shares_of(model) for model in models if model.is_new_fit or model.version in kept]


def add_daily(kept: list[Shares], point: Shares) -> None:
    """Appends `point` to `kept` (in place): the first of every day of event time stays, and the newest.

    So a trend comes out alike whoever keeps count of it, and from whichever version on.
    """
    if len(kept) > 1 and kept[-1].at_us // DAY_US == kept[-2].at_us // DAY_US:
        kept[-1] = point
    else:
        kept.append(point)


def daily_shares(models: Sequence[Version]) -> list[Shares]:
    """Shares at the first version of every day, and at the newest of `models`, oldest first."""
    kept: list[Shares] = []
    for model in models:
        add_daily(kept, shares_of(model))
    return kept


@dataclass(frozen=True, slots=True)
class Trend:
    """A share then and now, `days` of event time apart; `direction` is growing, steady or shrinking."""

    before: float
    now: float
    days: float

    @property
    def direction(self) -> str:
        """In one word."""
        change = self.now - self.before
        if abs(change) < _POINTS or abs(change) < _RELATIVE * self.before:
            return "steady"
        return "growing" if change > 0 else "shrinking"


def trend(history: Sequence[Shares], segment_id: str, days: float) -> Trend | None:
    """Of the newest of `history` against the oldest at most `days` before it that has the segment.

    None with less than a day between them.
    """
    if not history:
        return None
    newest = history[-1]
    now = newest.share(segment_id)
    for then in history:
        before, apart_us = then.share(segment_id), newest.at_us - then.at_us
        if now is None or before is None or apart_us > days * DAY_US:
            continue
        if apart_us < _SHORTEST_US:
            return None
        return Trend(before, now, apart_us / DAY_US)
    return None


@dataclass(frozen=True, slots=True)
class DriftSight:
    """Alarms after the newest of `scans` measured scans since the calibration."""

    scans: int
    alarms: tuple[Alarm, ...]


def drift_of(models: Sequence[Version]) -> DriftSight:
    """The drift rule over the scans that versions (oldest first) carry, as the coordinator applies it.

    The last `HISTORY` of those since the newest calibration count.
    """
    since = max((place for place, model in enumerate(models) if model.is_new_fit), default=0)
    seen = [model.observed for model in models[since:] if model.observed is not None][-HISTORY:]
    if not models or not seen:
        return DriftSight(0, ())
    newest = models[-1]
    assert isinstance(newest, Model), "the newest version is whole"
    origin = origin_of(newest)
    alarms = decide(seen, newest.columns, None if origin is None else origin.calibrated_us)
    return DriftSight(sum(scan.measured for scan in seen), tuple(alarms))
