"""The first calibration, in a child process, on the customers of all workers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from time import sleep
from typing import Final

import structlog
from msgspec import structs

from consumer.child import Child
from consumer.clock import Deadline
from consumer.core import CALIBRATION_ROWS, Core
from consumer.errors import SegmenterError
from consumer.exit_codes import ExitCode
from consumer.failpoints import failpoint
from consumer.models.newest_snapshots import NewestSnapshots
from online_model.compile_plan import compile_plan
from online_model.coordinator import is_ready, make_first_model
from online_model.evaluate import Population
from online_model.model import Model
from online_model.model_json import from_json, to_json
from online_model.panel import CalibrationPolicy, Progress
from online_model.plan import FeaturePlan
from online_model.population import history_of, population_of
from online_model.spec import FeatureSpec
from online_model.strategy import StrategyFile

_log = structlog.get_logger("calibration")

#: Snapshots of the others are waited for as long as two of them take, and this.
_PATIENCE_S: Final = 10.0
_LOOK_AGAIN_S: Final = 1.0

_SHARE_ONLY: Final = " Only the customers of one worker were looked at: "


class CalibrationFailed(SegmenterError):
    """The calibration found no model or its process died: a person looks at the data or the memory."""

    exit_code = ExitCode.DATA


@dataclass(frozen=True, slots=True)
class Others:
    """Where the customers of other workers are, and what there must be of all before one calibrates."""

    snapshots: NewestSnapshots
    min_customers: int
    min_history_days: float
    patience_s: float


@dataclass(frozen=True, slots=True)
class FirstTask:
    """Everything the child needs travels with it.

    `own`: the customers of this worker; `others`: None if those are all.
    """

    own: Population
    others: Others | None
    spec: FeatureSpec
    strategies: StrategyFile
    policy: CalibrationPolicy
    dormant_after_days: float

    @classmethod
    def of(cls, core: Core, topics: tuple[str, str, str]) -> FirstTask:
        """With the settings of `core`, and what its engine holds; `topics`: the input topics."""
        needs, others = core.config.model, None
        if len(core.engine.partitions) < core.partition_count:
            others = Others(
                NewestSnapshots.of(core, topics),
                needs.min_customers,
                needs.min_history_days,
                2 * core.config.snapshots.interval_s + _PATIENCE_S,
            )
        return cls(
            own=core.engine.population(CALIBRATION_ROWS),
            others=others,
            spec=core.spec,
            strategies=core.strategies,
            policy=core.calibration,
            dormant_after_days=core.config.decision.dormant_after_days,
        )


def work(task: FirstTask, report: Progress) -> bytes:
    """The first model as JSON. Raises ValueError."""
    plan, population, remark = compile_plan(task.spec), task.own, ""
    if task.others is not None:
        population, remark = _everybody(task.own, task.others, plan, report)
    model = make_first_model(population, plan, task.strategies, task.policy, task.dormant_after_days, report)
    if remark:
        quality = structs.replace(model.quality, explanation=model.quality.explanation + remark)
        model = dataclasses.replace(model, quality=quality)
    return to_json(model)


def _everybody(
    own: Population, others: Others, plan: FeaturePlan, report: Progress
) -> tuple[Population, str]:
    """The customers in the newest snapshots; after a while without enough of them those of this worker.

    Those are a fair sample, as customers are spread by hash, but another one with every other number of
    workers. The second value says so, in words.
    """
    deadline = Deadline(others.patience_s)
    while True:
        try:
            spans = others.snapshots.spans()
            customers = sum(n for _, n in spans)
            if is_ready(customers, history_of(spans), others.min_customers, others.min_history_days):
                return population_of(
                    lambda: others.snapshots.states(plan, report), plan, CALIBRATION_ROWS
                ), ""
            problem = f"snapshots hold {customers} customers, or too little history, so far"
        except ValueError as error:
            problem = str(error)
        if deadline.expired:
            return own, f"{_SHARE_ONLY}{problem}"
        report(0, 1, f"waiting for snapshots of all partitions: {problem}")
        sleep(_LOOK_AGAIN_S)


class Calibrator:
    """Starts a calibration when there is enough to see, and hands out the model when it is done.

    `topics`: the input topics.
    """

    def __init__(self, core: Core, topics: tuple[str, str, str]) -> None:
        self._core = core
        self._topics = topics
        self._child: Child[FirstTask] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a calibration is under way."""
        return self._child is not None

    def poll(self) -> list[Model]:
        """The model that has just been made, if any. Raises `CalibrationFailed`."""
        if self._child is None:
            if self._core.coordinator.model is None and self._core.is_ready_to_calibrate:
                self._child = self._start()
            return []
        if self._core.coordinator.model is not None:
            _log.info("calibration dropped: another process was first")
            self.close()
            return []
        answer = self._child.poll()
        if answer is None:
            return []
        self.close()
        if answer.problem:
            raise CalibrationFailed(
                f"the first calibration failed: {answer.problem}",
                "look at the population (model.min_customers, model.k) and at the memory of the machine",
            )
        model = from_json(answer.value)
        failpoint("calibration.end")
        self._core.coordinator.adopt(model)
        _log.info("calibrated", k=model.k, explanation=model.quality.explanation)
        return [model]

    def _start(self) -> Child[FirstTask]:
        failpoint("calibration.begin")
        task = FirstTask.of(self._core, self._topics)
        _log.info(
            "calibration begins",
            own_customers=len(task.own.raw),
            history_days=round(self._core.history_days(), 1),
            waits_for_snapshots=task.others is not None,
        )
        return Child(work, task, "calibration")

    def close(self) -> None:
        """Gives up a calibration under way."""
        child, self._child = self._child, None
        if child is not None:
            child.close()
