"""One stream with one seed: ours and the peers beside batch K-Means on the same vectors, day by day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from online_model.drift import Drift
from online_model.plan import FeaturePlan
from tests.bench._quality_customers import Day, Int64Array
from tests.bench._quality_measures import (
    AGREEING,
    agreement,
    batch,
    cost,
    dead,
    partition_cost,
)
from tests.bench._quality_ours import Ours
from tests.bench._quality_peers import make_peers
from tests.bench._quality_streams import CHANGE_DAY, Alarm

MODEL: Final = "ours"
PUBLISHED: Final = "published"

#: Above these a figure of drift is an alarm. They are the benchmark's, not the product's.
ALARMS: Final = {
    "psi": 0.25,
    "missing": 0.05,
    "share_distance": 0.1,
    "error_ratio": 1.1,
    "outlier_ratio": 0.03,
}


class Source(Protocol):
    """A stream: see `Stream`."""

    @property
    def name(self) -> str: ...
    @property
    def plan(self) -> FeaturePlan: ...
    @property
    def k(self) -> int: ...
    @property
    def alarm(self) -> Alarm: ...
    @property
    def sorted(self) -> bool: ...
    @property
    def jumps(self) -> bool: ...
    def days(self, customers: int, days: int, seed: int) -> Iterator[Day]: ...
    def order(self, day: Day, rng: np.random.Generator) -> Int64Array: ...


@dataclass(slots=True)
class Run:
    """What one run measured.

    `ratios`: per reader, cost over that of batch K-Means for every day after day 0. `dead`: clusters of
    ours without a customer, per day. `ari`: published segments against the last day's batch fit, None
    where two batch fits disagree. `alarms`: days with a drift alarm, and by which figure first.
    """

    name: str
    seed: int
    ratios: dict[str, list[float]] = field(default_factory=dict)
    dead: list[int] = field(default_factory=list)
    restart_ari: float = 0.0
    ari: float | None = None
    alarms: dict[int, str] = field(default_factory=dict)

    @property
    def mean_ratios(self) -> dict[str, float]:
        """Mean over the days per reader."""
        return {name: float(np.mean(values)) for name, values in self.ratios.items()}

    def after_change(self, name: str) -> float:
        """Highest ratio of a reader from the planted change on."""
        return max(self.ratios[name][CHANGE_DAY - 1 :])


def alarm_of(drift: Drift | None) -> str | None:
    """The first figure of `drift` beyond its threshold."""
    if drift is None or drift.psi is None or drift.missing is None:
        return None
    figures = {
        "psi": float(drift.psi.max()),
        "missing": float(np.abs(drift.missing).max()),
        "share_distance": drift.share_distance,
        "error_ratio": drift.error_ratio,
        "outlier_ratio": drift.outlier_ratio,
    }
    return next((name for name, value in figures.items() if value is not None and value > ALARMS[name]), None)


def run(source: Source, seed: int, customers: int, n_days: int) -> Run:
    """Runs `source` for `n_days` after its first."""
    done = Run(source.name, seed)
    rng = np.random.default_rng([seed, 1000])
    days = source.days(customers, n_days, seed)
    day = next(days)
    ours = Ours(day, source.plan, source.k, seed)
    peers = make_peers(ours.model.centroids, seed)
    importance = ours.model.scaler.importance
    for number, day in enumerate(days, start=1):
        ours.live_day(day)
        x, awake = ours.scaled(day), ours.awake(day)
        order = source.order(day, rng)
        for peer in peers.values():
            peer.learn(np.nan_to_num(x[order[awake[order]]]))
        x = x[awake]
        best = batch(x, source.k, importance, rng)
        costs = {
            MODEL: cost(x, ours.model.centroids, importance),
            PUBLISHED: partition_cost(x, ours.published.code[awake], importance),
            **{name: cost(x, peer.centroids, importance) for name, peer in peers.items()},
        }
        for name, value in costs.items():
            done.ratios.setdefault(name, []).append(value / best.cost)
        done.dead.append(dead(x, ours.model.centroids, importance))
        if (figure := alarm_of(ours.drift)) is not None:
            done.alarms[number] = figure
    _compare(done, ours, day, rng)
    return done


def _compare(done: Run, ours: Ours, day: Day, rng: np.random.Generator) -> None:
    """Agreement of the published segments with batch K-Means, where that agrees with itself (in place)."""
    awake = ours.awake(day)
    x, importance, k = ours.scaled(day)[awake], ours.model.scaler.importance, ours.model.k
    first, second = batch(x, k, importance, rng), batch(x, k, importance, rng)
    done.restart_ari = agreement(first.labels, second.labels)
    if done.restart_ari >= AGREEING:
        done.ari = agreement(ours.published.code[awake], first.labels)
