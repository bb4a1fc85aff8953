"""The first calibration, in a child process, on the customers of all workers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from time import sleep
from typing import Any, Final, Protocol

import structlog
from msgspec import structs

from consumer.child import Child
from consumer.clock import Deadline
from consumer.core import CALIBRATION_ROWS, Core
from consumer.errors import SegmenterError
from consumer.exit_codes import ExitCode
from consumer.failpoints import failpoint
from consumer.models.population import Gathering, SnapshotPlace
from consumer.models.readiness import Needs, Share
from online_model.compile_plan import compile_plan
from online_model.coordinator import make_first_model
from online_model.evaluate import Population
from online_model.model import Model
from online_model.model_json import from_json, to_json
from online_model.panel import CalibrationPolicy, Progress
from online_model.plan import FeaturePlan
from online_model.population import by_hash
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

    def make(self, population: Population, report: Progress, remark: str = "") -> bytes:
        """The first model as JSON; `remark` is added to its explanation. Raises ValueError."""
        plan = compile_plan(self.spec)
        model = make_first_model(
            population, plan, self.strategies, self.policy, self.dormant_after_days, report
        )
        quality = structs.replace(model.quality, explanation=model.quality.explanation + remark)
        return to_json(dataclasses.replace(model, quality=quality))


class CustomerSource(Protocol):
    """Where the customers of a first calibration come from."""

    def begin(self) -> Child[Any] | None:
        """A child that makes the model, once there are customers and history enough."""
        ...

    def close(self) -> None:
        """Lets go of what it looks at."""
        ...


@dataclass(frozen=True, slots=True)
class Others:
    """Where the customers of all workers are, and what there must be of them.

    `owned`: the partitions whose customers are at hand; `patience_s`: how long the rest is waited for.
    """

    gathering: Gathering
    owned: frozenset[int]
    needs: Needs
    spec_hash: str
    patience_s: float


@dataclass(frozen=True, slots=True)
class FirstTask:
    """Everything the child needs travels with it.

    `own`: the customers of this worker; `others`: None if those are all.
    """

    recipe: Recipe
    own: Population
    others: Others | None

    @classmethod
    def of(cls, core: Core, topics: tuple[str, str, str]) -> FirstTask:
        """With the settings of `core`, and what its engine holds; `topics`: the input topics."""
        config, others, owned = core.config, None, frozenset(core.engine.partitions)
        if len(owned) < core.partition_count:
            place = SnapshotPlace.of(config, core.partition_count, topics)
            others = Others(
                Gathering(place, tuple(range(core.partition_count)), CALIBRATION_ROWS, by_hash),
                owned,
                Needs.of(config, core.partition_count),
                core.spec.hash,
                2 * config.snapshots.interval_s + _PATIENCE_S,
            )
        return cls(Recipe.of(core), core.engine.population(CALIBRATION_ROWS), others)


def work(task: FirstTask, report: Progress) -> bytes:
    """The first model as JSON. Raises ValueError."""
    population, remark = task.own, ""
    if task.others is not None:
        plan = compile_plan(task.recipe.spec)
        population, remark = _everybody(task.own, task.others, plan, report)
    return task.recipe.make(population, report, remark)


def _everybody(
    own: Population, others: Others, plan: FeaturePlan, report: Progress
) -> tuple[Population, str]:
    """The customers in the newest snapshots; after a while without them those of this worker.

    Those are a fair sample, as customers are spread by hash, but another one with every other number of
    workers. The second value says so, in words. A partition that has none when patience ends is empty, if
    snapshots of other workers can be seen at all.
    """
    deadline = Deadline(others.patience_s)
    while True:
        shares, problem = _seen(others)
        missing = [p for p in others.gathering.partitions if p not in shares]
        if missing and not deadline.expired:
            problem = problem or f"partitions {missing} have no snapshot"
        if not problem and shares.keys() - others.owned:
            present = dataclasses.replace(others.gathering, partitions=tuple(sorted(shares)))
            try:
                return present.gather(plan, report)[0], ""
            except ValueError as error:
                problem = str(error)
        if deadline.expired:
            return own, f"{_SHARE_ONLY}{problem or 'there are no snapshots of others'}"
        report(0, 1, f"waiting for snapshots of all partitions: {problem}")
        sleep(_LOOK_AGAIN_S)


def _seen(others: Others) -> tuple[dict[int, Share], str]:
    """What snapshots say about the customers of each partition, and what is wrong or lacking with them."""
    try:
        shares = others.gathering.place.shares(others.spec_hash)
    except (OSError, SegmenterError) as error:
        return {}, str(error)
    lacking = others.needs.lacking(list(shares.values()))
    return shares, f"snapshots hold {lacking}" if lacking else ""


class OwnCustomers:
    """Those of the partitions that this process works on, and those of others in their snapshots.

    `topics`: the input topics.
    """

    def __init__(self, core: Core, topics: tuple[str, str, str]) -> None:
        self._core = core
        self._topics = topics

    def begin(self) -> Child[FirstTask] | None:
        """As `CustomerSource`."""
        core = self._core
        if not core.is_ready_to_calibrate:
            return None
        task = FirstTask.of(core, self._topics)
        _log.info(
            "calibration begins",
            own_customers=len(task.own.raw),
            history_days=round(core.history_days(), 1),
            waits_for_snapshots=task.others is not None,
        )
        return Child(work, task, "calibration")

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
