"""Which model comes next: the first calibration, and the fold of every completed scan.

The coordinator sees mergeable statistics per partition and scan, in the order of their log, and
nothing else, so any owner of the log makes the same versions. It knows no topics.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from online_model.calibration import Identity, calibrate, first_model, settled
from online_model.drift import Drift, measure
from online_model.drift_rule import Alarm, decide, observe
from online_model.evaluate import Population
from online_model.fold import ScanStatistics, fold, merge
from online_model.kmeans import RiverKMeans
from online_model.model import Covers, Model, origin_of
from online_model.model_head import Head
from online_model.observation import Observation
from online_model.panel import CalibrationPolicy, Progress
from online_model.plan import DAY_US, FeaturePlan
from online_model.rows import NEVER
from online_model.scan_means import HISTORY
from online_model.segment_history import SegmentHistory
from online_model.strategy import StrategyFile


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """`partition_count` partitions report a scan; `half_life_us` of what was learnt, event time.

    `scan_interval_us`: event time between scans; `learner`: own folds, frozen keeps the centroids,
    river lets `RiverKMeans` learn the points of one worker.
    """

    partition_count: int
    half_life_us: int
    scan_interval_us: int
    learner: str = "own"


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """One partition's statistics of one scan under one model version."""

    partition: int
    scan_id: int
    model_version: int
    statistics: ScanStatistics


class Coordinator:
    """Folds scans into the next version. `model` is the newest, `drift` what its last scan measured.

    `history`: what the scans since the last calibration said about drift. It is read back from the
    versions that are adopted, so it does not matter who made them; the frozen learner makes none, and
    its history begins again with a new owner of the log.
    """

    def __init__(self, settings: CoordinatorSettings, model: Model | None = None) -> None:
        self.settings = settings
        self.model = model
        #: What became of every segment, up to `model`.
        self.segments = SegmentHistory()
        if model is not None:
            self.segments.adopt(model)
        self.drift: Drift | None = None
        self.history: deque[Observation] = deque(maxlen=HISTORY)
        self._alarms: list[Alarm] | None = None
        self._pending: dict[int, Report] = {}
        self._river: RiverKMeans | None = None

    def adopt(self, model: Model) -> None:
        """Goes on from `model`: a calibration, or the newest version of the log."""
        if self.model is None or model.version > self.model.version:
            self.model = model
            self.segments.adopt(model)
            self._alarms = None
            if model.is_new_fit:
                self.drift = None
                self.history.clear()
            elif model.observed is not None:
                self.history.append(model.observed)
                self.drift = None  # somebody else has measured a later scan
            self._pending.clear()
            self._river = None

    def pass_over(self, head: Head) -> None:
        """Takes note of a version that others have overtaken: a scan that was learnt."""
        if self.model is None or head.version > self.model.version:
            self.segments.adopt(head)
            if head.observed is not None:
                self.history.append(head.observed)

    @property
    def alarms(self) -> list[Alarm]:
        """Why somebody should look or recalibrate, as of the newest scan; reasons to act come first."""
        if self.model is None:
            return []
        if self._alarms is None:
            origin = origin_of(self.model)
            since = None if origin is None else origin.calibrated_us
            self._alarms = decide(list(self.history), self.model.columns, since)
        return self._alarms

    @property
    def event_time_us(self) -> int:
        """Event time of the newest scan, or of the model without one; `NEVER` without a model."""
        if self.model is None:
            return NEVER
        scanned = self.history[-1].boundary_us if self.history else NEVER
        return max(self.model.created_us, self.model.covers.boundary_us, scanned)

    @property
    def model_age_us(self) -> int | None:
        """Event time from the calibration to the newest scan; None where either is not known."""
        origin = None if self.model is None else origin_of(self.model)
        if self.model is None or origin is None:
            return None
        newest = self.history[-1].boundary_us if self.history else self.model.created_us
        return newest - origin.calibrated_us

    def forget_reports(self) -> None:
        """Drops reports that wait for others: a new owner of the log reads them again."""
        self._pending.clear()

    def learn(self, points: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
        """Points of a slice for the river learner."""
        if self.model is not None and len(points):
            if self._river is None:
                self._river = RiverKMeans(self.model.centroids)
            self._river.learn(points)

    def offer(self, report: Report) -> Model | None:
        """Takes a report; the next version if it completes a scan.

        A scan that a later one overtakes is folded with the partitions that have reported it.
        Reports of an older version or an already folded scan count nothing.
        """
        model = self.model
        if model is None or report.model_version != model.version or report.scan_id <= model.covers.scan_id:
            return None
        waiting = max((pending.scan_id for pending in self._pending.values()), default=report.scan_id)
        made = None
        if report.scan_id > waiting and report.partition in self._pending:
            made = self._fold(waiting)
            if made is not None:
                return made
        self._pending[report.partition] = report
        if len(self._pending) == self.settings.partition_count:
            return self._fold(max(pending.scan_id for pending in self._pending.values()))
        return made

    def _fold(self, scan_id: int) -> Model | None:
        model, reports = self.model, [self._pending[p] for p in sorted(self._pending)]
        self._pending.clear()
        assert model is not None
        statistics = reports[0].statistics
        for report in reports[1:]:
            statistics = merge(statistics, report.statistics)
        self.drift = measure(statistics, model)
        boundary = scan_id * self.settings.scan_interval_us
        observed = observe(self.drift, model, scan_id, boundary)
        observed = structs.replace(observed, members=statistics.members)
        self.history.append(observed)
        self._alarms = None
        if self.settings.learner == "frozen":
            return None
        since = boundary - (model.covers.boundary_us if model.covers.boundary_us >= 0 else model.created_us)
        folded = fold(model, statistics, max(since, 0), self.settings.half_life_us, Covers(scan_id, boundary))
        centroids = folded.centroids if self._river is None else self._river.centroids
        folded = dataclasses.replace(folded, centroids=centroids, observed=observed)
        self.model = folded
        self.segments.adopt(folded)
        return folded


def is_ready(customers: int, history_us: int, min_customers: int, min_history_days: float) -> bool:
    """Whether there is enough for a first calibration."""
    return customers >= min_customers and history_us >= min_history_days * DAY_US


def make_first_model(
    population: Population,
    plan: FeaturePlan,
    strategies: StrategyFile,
    policy: CalibrationPolicy,
    dormant_after_days: float,
    progress: Progress | None = None,
) -> Model:
    """The first model from the settled customers of a population."""
    raw = population.raw[settled(population, plan.spec.provisional_days, dormant_after_days)]
    budgets = {name: block.budget for name, block in plan.spec.blocks.items()}
    rng = np.random.default_rng(policy.seed)
    calibration = calibrate(raw, plan.columns, budgets, policy, rng, progress)
    identity = Identity(1, population.watermark_us, plan.spec.hash, population.priors)
    return first_model(calibration, raw, plan.columns, identity, strategies)
