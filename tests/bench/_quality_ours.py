"""The product on vectors: calibration, then a scan an hour through decision, statistics and fold.

Everything that decides or learns is the product's own: only rows and ids, which Kafka would bring, are
kept here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

import online_model
from consumer.config import Config
from online_model.coordinator import Coordinator, CoordinatorSettings, Report, make_first_model
from online_model.decision import DAY_US, Candidates, DecisionPolicy, Decisions, decide
from online_model.drift import Drift
from online_model.evaluate import Population
from online_model.fold import add_rows, empty, gauge_of
from online_model.model import NO_SEGMENT, Model
from online_model.panel import CalibrationPolicy
from online_model.plan import FeaturePlan
from online_model.scaler import apply
from online_model.strategy import default_strategies
from tests.bench._quality_customers import Day

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Int16Array = npt.NDArray[np.int16]

#: From the old model, the population, its plan and k to the next model.
Recalibrate = Callable[[Model, Population, FeaturePlan, int], Model]

#: Event time of day 0.
_T0_US: Final = 20_000 * DAY_US
_CONFIG: Final = Config()


def default_policy() -> DecisionPolicy:
    """The decision of the default configuration."""
    chosen = _CONFIG.decision
    return DecisionPolicy(
        hysteresis=chosen.hysteresis,
        min_dwell_us=int(chosen.min_dwell_days * DAY_US),
        dormant_after_days=chosen.dormant_after_days,
    )


def plain_policy() -> DecisionPolicy:
    """The same with the hysteresis off."""
    return dataclasses.replace(default_policy(), hysteresis=0.0)


def recalibration() -> Recalibrate | None:
    """The product's way from a model and a population to the next model; None where it has none yet.

    The one place to wire: looked for beside the product's other modules, as it is younger than this file.
    """
    if not Path(online_model.__path__[0], "recalibration.py").is_file():
        return None
    product = import_module("online_model.recalibration")

    def recalibrated(old: Model, population: Population, plan: FeaturePlan, k: int) -> Model:
        policy = product.RecalibrationPolicy(
            calibration=CalibrationPolicy(k=k), dormant_after_days=_CONFIG.decision.dormant_after_days
        )
        work = product.Recalibration(old, plan, default_strategies(), policy, "benchmark")
        model: Model = work.propose(population, population.raw).model
        return model

    return recalibrated


def population(day: Day, rows: BoolArray, now_us: int) -> Population:
    """The customers `rows` bool[n] of a day, as a calibration takes them."""
    priors = np.full(day.raw.shape[1], np.nan)
    return Population(day.raw[rows], day.observed_days[rows], day.silent_days[rows], priors, now_us)


class Published:
    """Segments that customers were told, under a policy. `moves` counts changes after the first."""

    def __init__(self, policy: DecisionPolicy) -> None:
        self.policy = policy
        self.code = np.empty(0, np.int16)
        self.moves = 0
        self._since_us = np.empty(0, np.int64)

    def decide(self, x: Float64Array, silent_days: Float64Array, model: Model, now_us: int) -> Decisions:
        """Decides and publishes every row of `x` float64[n, D]."""
        new = len(x) - len(self.code)
        code = np.append(self.code, np.full(new, NO_SEGMENT, np.int16))
        since_us = np.append(self._since_us, np.zeros(new, np.int64))
        candidates = Candidates(code, since_us, silent_days)
        decisions = decide(x, candidates, model.centroids, model.scaler.importance, now_us, self.policy)
        moved = decisions.moved(code)
        self.moves += int((moved & (code != NO_SEGMENT)).sum())
        self.code, self._since_us = decisions.target, np.where(moved, now_us, since_us)
        return decisions

    def adopt(self, old: Model, new: Model) -> None:
        """The codes of the same segment ids under another model."""
        codes = {int(code): new.code_of(old.id_of(int(code))) for code in np.unique(self.code)}
        self.code = np.array([codes[code] for code in self.code.tolist()], np.int16)


class Ours:
    """The product from its first model on, calibrated on the customers `rows` bool[n] of day 0, else on all.

    `published` is under the default policy, `plain` without hysteresis beside it; `drift` is that of the
    last scan.
    """

    def __init__(self, day: Day, plan: FeaturePlan, k: int, seed: int, rows: BoolArray | None = None) -> None:
        model = make_first_model(
            population(day, np.ones(len(day.raw), np.bool_) if rows is None else rows, _T0_US),
            plan,
            default_strategies(),
            CalibrationPolicy(k=k, seed=seed),
            _CONFIG.decision.dormant_after_days,
        )
        interval_us = _CONFIG.scan.interval_s * 1_000_000
        half_life_us = int(_CONFIG.model.half_life_days * DAY_US)
        self._coordinator = Coordinator(CoordinatorSettings(1, half_life_us, interval_us), model)
        self._plan = plan
        self._interval_us = interval_us
        self._now_us = _T0_US
        self.published = Published(default_policy())
        self.plain = Published(plain_policy())

    @property
    def model(self) -> Model:
        """The newest version."""
        assert self._coordinator.model is not None
        return self._coordinator.model

    @property
    def drift(self) -> Drift | None:
        """Drift that the last scan saw."""
        return self._coordinator.drift

    def scaled(self, day: Day) -> Float64Array:
        """The vectors float64[n, D] of a day in the coordinates of the model."""
        return apply(self.model.scaler, day.raw)

    def live_day(self, day: Day) -> None:
        """One event-day of scans over the customers of `day`."""
        x = self.scaled(day)
        for _ in range(DAY_US // self._interval_us):
            self._now_us += self._interval_us
            self._scan(day, x)

    def recalibrate(self, day: Day, rows: BoolArray, by: Recalibrate) -> None:
        """Goes on from the model that `by` makes of the customers `rows` bool[n]."""
        old = self.model
        new = by(old, population(day, rows, self._now_us), self._plan, old.k)
        self._coordinator.adopt(new)
        for published in (self.published, self.plain):
            published.adopt(old, new)

    def ids(self, codes: Int16Array) -> list[str | None]:
        """Segment id of every code."""
        return [self.model.id_of(code) for code in codes.tolist()]

    def awake(self, day: Day) -> BoolArray:
        """Which customers of a day have a place among the centroids: the dormant have none."""
        return np.asarray(day.silent_days < self.published.policy.dormant_after_days)

    def _scan(self, day: Day, x: Float64Array) -> None:
        model = self.model
        decisions = self.published.decide(x, day.silent_days, model, self._now_us)
        self.plain.decide(x, day.silent_days, model, self._now_us)
        statistics = empty(model.k, x.shape[1])
        # As in `Engine`: the dormant have no centroid and teach none.
        label = np.where(decisions.target >= 0, decisions.nearest, decisions.target)
        add_rows(statistics, gauge_of(model), day.raw, x, label, decisions.d2)
        report = Report(0, self._now_us // self._interval_us, model.version, statistics)
        self._coordinator.offer(report)
