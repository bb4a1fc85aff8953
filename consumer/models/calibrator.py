"""The first calibration, in a child process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

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
class Recipe:
    """What a first model is made by, whoever its customers are. Travels to the child."""

    spec: FeatureSpec
    strategies: StrategyFile
    policy: CalibrationPolicy
    dormant_after_days: float

    @classmethod
    def of(cls, core: Core) -> Recipe:
        """With the settings of `core`."""
        return cls(core.spec, core.strategies, core.calibration, core.config.decision.dormant_after_days)

    def make(self, population: Population, report: Progress) -> bytes:
        """The first model as JSON. Raises ValueError."""
        plan = compile_plan(self.spec)
        model = make_first_model(
            population, plan, self.strategies, self.policy, self.dormant_after_days, report
        )
        return to_json(model)


class CustomerSource(Protocol):
    """Where the customers of a first calibration come from."""

    def begin(self) -> Child[Any] | None:
        """A child that makes the model, once there are customers and history enough."""
        ...

    def close(self) -> None:
        """Lets go of what it looks at."""
        ...


@dataclass(frozen=True, slots=True)
class _Task:
    """Everything the child needs travels with it."""

    recipe: Recipe
    population: Population


def _work(task: _Task, report: Progress) -> bytes:
    return task.recipe.make(task.population, report)


class OwnCustomers:
    """Those of the partitions that this process works on."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def begin(self) -> Child[_Task] | None:
        """As `CustomerSource`."""
        core = self._core
        if not core.is_ready_to_calibrate:
            return None
        population = core.engine.population(CALIBRATION_ROWS)
        _log.info(
            "calibration begins", customers=len(population.raw), history_days=round(core.history_days(), 1)
        )
        return Child(_work, _Task(Recipe.of(core), population), "calibration")

    def close(self) -> None:
        """Nothing is held."""


class Calibrator:
    """Starts a calibration when there is enough to see, and hands out the model when it is done."""

    def __init__(self, core: Core, source: CustomerSource) -> None:
        self._core = core
        self._source = source
        self._child: Child[Any] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a calibration is under way."""
        return self._child is not None

    def poll(self) -> list[Model]:
        """The model that has just been made, if any. Raises `CalibrationFailed`."""
        if self._core.coordinator.model is not None:
            self.drop()
            return []
        if self._child is None:
            self._child = self._source.begin()
            if self._child is not None:
                failpoint("calibration.begin")
            return []
        answer = self._child.poll()
        if answer is None:
            return []
        self._end()
        if answer.is_passing:
            _log.warning("calibration put off", problem=answer.problem)
            return []
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

    def drop(self) -> None:
        """There is a model: gives up a calibration under way."""
        if self._child is not None:
            _log.info("calibration dropped: another process was first")
            self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def close(self) -> None:
        """Gives up a calibration under way."""
        self._end()
        self._source.close()
