"""A recalibration over snapshots: what the child process, or a dry run, does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consumer.core import Core
from consumer.models.population import Gathering, SnapshotPlace
from online_model.compile_plan import compile_plan
from online_model.model import Model
from online_model.model_json import from_json, to_json
from online_model.panel import Progress
from online_model.recalibration import Proposal, Recalibration, RecalibrationPolicy
from online_model.spec import FeatureSpec
from online_model.strategy import StrategyFile

#: Customers that a recalibration looks at; of more a sample, each segment in proportion.
ROWS: Final = 250_000


@dataclass(frozen=True, slots=True)
class RecalibrationTask:
    """Everything that a recalibration needs; it travels to a child process.

    `model`: the JSON of the version to start from.
    """

    model: bytes
    cause: str
    spec: FeatureSpec
    strategies: StrategyFile
    policy: RecalibrationPolicy
    place: SnapshotPlace
    rows: int = ROWS

    @classmethod
    def of(cls, core: Core, topics: tuple[str, str, str], model: Model, cause: str) -> RecalibrationTask:
        """With the settings of `core`."""
        config = core.config
        policy = RecalibrationPolicy(
            core.calibration,
            max_moved=config.model.max_moved,
            dormant_after_days=config.decision.dormant_after_days,
        )
        return cls(
            model=to_json(model),
            cause=cause,
            spec=core.spec,
            strategies=core.strategies,
            policy=policy,
            place=SnapshotPlace.of(config, core.partition_count, topics),
        )


def work(task: RecalibrationTask, report: Progress) -> bytes:
    """The proposal's model as JSON. Raises ValueError."""
    return to_json(propose(task, report).model)


def propose(task: RecalibrationTask, report: Progress) -> Proposal:
    """Reads the newest snapshots and proposes a version.

    Raises:
        ValueError: a partition has no snapshot that can be used, or as `Recalibration.propose`.
    """
    old, plan = from_json(task.model), compile_plan(task.spec)
    everyone = Gathering(task.place, tuple(range(task.place.partition_count)), task.rows)
    population, raw_before = everyone.gather(plan, report, old.share_priors)
    recalibration = Recalibration(old, plan, task.strategies, task.policy, task.cause)
    return recalibration.propose(population, raw_before, report)
