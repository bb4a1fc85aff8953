"""The first calibration, in a child process."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from consumer.child import Child
from consumer.core import CALIBRATION_ROWS, Core
from consumer.errors import SegmenterError
from consumer.exit_codes import ExitCode
from consumer.failpoints import failpoint
from online_model.compile_plan import compile_plan
from online_model.coordinator import make_first_model
from online_model.evaluate import Population
from online_model.model import Model
from online_model.model_json import from_json, to_json
from online_model.panel import CalibrationPolicy, Progress
from online_model.spec import FeatureSpec
from online_model.strategy import StrategyFile

_log = structlog.get_logger("calibration")


class CalibrationFailed(SegmenterError):
    """The calibration found no model or its process died: a person looks at the data or the memory."""

    exit_code = ExitCode.DATA


@dataclass(frozen=True, slots=True)
class _Task:
    """Everything the child needs travels with it."""

    population: Population
    spec: FeatureSpec
    strategies: StrategyFile
    policy: CalibrationPolicy
    dormant_after_days: float


def _work(task: _Task, report: Progress) -> bytes:
    plan = compile_plan(task.spec)
    model = make_first_model(
        task.population, plan, task.strategies, task.policy, task.dormant_after_days, report
    )
    return to_json(model)


class Calibrator:
    """Starts a calibration when there is enough to see, and hands out the model when it is done."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._child: Child[_Task] | None = None

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

    def _start(self) -> Child[_Task]:
        core = self._core
        failpoint("calibration.begin")
        population = core.engine.population(CALIBRATION_ROWS)
        _log.info(
            "calibration begins", customers=len(population.raw), history_days=round(core.history_days(), 1)
        )
        dormant_after_days = core.config.decision.dormant_after_days
        task = _Task(population, core.spec, core.strategies, core.calibration, dormant_after_days)
        return Child(_work, task, "calibration")

    def close(self) -> None:
        """Gives up a calibration under way."""
        child, self._child = self._child, None
        if child is not None:
            child.close()
