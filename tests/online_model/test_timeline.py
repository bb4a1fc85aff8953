"""Laws of shares over time, trends, and drift as the versions tell it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from online_model.model import Covers, Model
from online_model.observation import Observation, Raised
from online_model.plan import DAY_US
from online_model.timeline import drift_of, shares_over_time, trend
from tests.online_model.tiny import model


def version(number: int, day: float, weights: tuple[float, float], kind: str = "folded") -> Model:
    """A version of `day` with so many customers behind its two centroids."""
    covers = Covers(number, int(day * DAY_US))
    return model(number, weights=np.array(weights), kind=kind, covers=covers)


HISTORY = [
    version(1, 0, (50.0, 50.0), "calibrated"),
    version(2, 10, (60.0, 40.0)),
    version(3, 30, (70.0, 30.0)),
]


def test_shares_are_of_the_customers_behind_the_centroids() -> None:
    """In event time, with calibrations told apart."""
    points = shares_over_time(HISTORY)
    assert [(p.at_us / DAY_US, p.version, p.is_calibration) for p in points] == [
        (0, 1, True),
        (10, 2, False),
        (30, 3, False),
    ]
    assert [p.share("s1") for p in points] == [0.5, 0.6, 0.7]
    assert points[0].share("s9") is None


def test_of_many_folds_some_are_kept() -> None:
    """The newest among them, and every calibration."""
    many = [HISTORY[0], *(version(n, n, (1.0, 1.0)) for n in range(2, 1001))]
    points = shares_over_time(many, at_most=50)
    assert len(points) <= 52
    assert (points[0].version, points[-1].version) == (1, 1000)


@pytest.mark.parametrize(
    ("days", "before", "apart"), [(100.0, 0.5, 30.0), (30.0, 0.5, 30.0), (25.0, 0.6, 20.0)]
)
def test_a_trend_is_against_the_oldest_version_within_its_days(
    days: float, before: float, apart: float
) -> None:
    """As far back as it may look."""
    found = trend(shares_over_time(HISTORY), "s1", days)
    assert found is not None
    assert (found.before, found.now, found.days) == (before, 0.7, apart)
    assert found.direction == "growing"


def test_directions() -> None:
    """Half a point, or a twentieth of the share, is no change."""
    points = shares_over_time(HISTORY)
    falling = trend(points, "s2", 30)
    assert falling is not None
    assert falling.direction == "shrinking"
    assert replace(falling, before=0.300, now=0.304).direction == "steady"
    assert replace(falling, before=0.300, now=0.314).direction == "steady"
    assert replace(falling, before=0.040, now=0.046).direction == "growing"


def test_less_than_a_day_is_no_trend() -> None:
    """Nor is a segment that is new, nor a history of nothing."""
    short = shares_over_time([HISTORY[0], version(2, 0.9, (90.0, 10.0))])
    assert trend(short, "s1", 30) is None
    assert trend(short, "s9", 30) is None
    assert trend([], "s1", 30) is None


def test_drift_is_that_of_the_versions_since_the_calibration() -> None:
    """Before it is another model; scans with too few customers count nothing."""
    raised = [Raised("share", "", "act", 0.5)]

    def scan(number: int, measured: bool = True) -> Observation:
        return Observation(
            number, number * DAY_US // 6, 5000, measured, raised if measured else [], [1.0] * 4
        )

    folds = [replace(version(n, n / 6, (1.0, 1.0)), observed=scan(n)) for n in range(2, 30)]
    assert [alarm.kind for alarm in drift_of([HISTORY[0], *folds]).alarms] == ["share"]
    assert drift_of([HISTORY[0], *folds]).scans == 28
    again = version(30, 5, (1.0, 1.0), "recalibrated")
    assert drift_of([HISTORY[0], *folds, again]).scans == 0
    small = [replace(fold, observed=scan(fold.version, measured=False)) for fold in folds]
    assert (drift_of([HISTORY[0], *small]).scans, drift_of([]).scans) == (0, 0)
