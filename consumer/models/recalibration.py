"""A recalibration over snapshots: what the child process, or a dry run, does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from consumer.core import Core
from consumer.errors import ConfigError
from consumer.snapshots import SnapshotStore
from consumer.snapshots.loader import load
from consumer.snapshots.manifest import Manifest
from online_model.compile_plan import compile_plan
from online_model.evaluate import Evaluated, Population, evaluate, priors_of, share_totals
from online_model.model import Model
from online_model.model_json import from_json, to_json
from online_model.panel import Progress
from online_model.partition import PartitionState
from online_model.plan import FeaturePlan
from online_model.recalibration import Proposal, Recalibration, RecalibrationPolicy
from online_model.rows import NEVER
from online_model.scan import KEYS
from online_model.spec import FeatureSpec
from online_model.strategy import StrategyFile
from schemas.batch import Int32Array

#: Customers that a recalibration looks at; of more a sample, each segment in proportion.
ROWS: Final = 250_000


@dataclass(frozen=True, slots=True)
class RecalibrationTask:
    """Everything that a recalibration needs; it travels to a child process.

    `model`: the JSON of the version to start from; `topics`: the input topics, which manifests name.
    """

    model: bytes
    cause: str
    spec: FeatureSpec
    strategies: StrategyFile
    policy: RecalibrationPolicy
    uri: str
    app: str
    partition_count: int
    topics: tuple[str, str, str]
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
            uri=config.snapshots.uri,
            app=config.app.name,
            partition_count=core.partition_count,
            topics=topics,
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
    population, raw_before = gather(task, old, plan, report)
    recalibration = Recalibration(old, plan, task.strategies, task.policy, task.cause)
    return recalibration.propose(population, raw_before, report)


def gather(
    task: RecalibrationTask, old: Model, plan: FeaturePlan, report: Progress
) -> tuple[Population, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Features of the customers in the newest snapshots, and the same under the share priors of `old`.

    Partitions are read one after the other, twice, because the shares of all come before the features of
    any, and a million customers are two gigabytes.
    """
    totals, customers = np.zeros((plan.columns.n, 2), np.int64), 0
    for number, (_, state) in enumerate(_states(task, plan)):
        report(number, 2 * task.partition_count, f"reading snapshots: partition {number}")
        live = state.live_rows(0, KEYS)
        customers += len(live)
        totals += share_totals(state.store.rows, live, state.watermark_us, plan)
    share = min(1.0, task.rows / max(customers, 1))
    priors, watermark_us = priors_of(totals), NEVER
    parts: list[Evaluated] = []
    before = []
    for number, (_, state) in enumerate(_states(task, plan), task.partition_count):
        report(number, 2 * task.partition_count, f"features of {customers} customers")
        rows = _chosen(state, share)
        parts.append(evaluate(state.store.rows, rows, state.watermark_us, plan, priors))
        before.append(evaluate(state.store.rows, rows, state.watermark_us, plan, old.share_priors).raw)
        watermark_us = max(watermark_us, state.watermark_us)
    raw, observed_days, silent_days = (np.concatenate(column) for column in zip(*parts, strict=True))
    population = Population(raw, observed_days, silent_days, priors, watermark_us)
    return population, np.concatenate(before)


def _states(task: RecalibrationTask, plan: FeaturePlan) -> Iterator[tuple[Manifest, PartitionState]]:
    try:
        store = SnapshotStore(task.uri, task.app)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    for partition in range(task.partition_count):
        yield _newest(task, store, plan, partition)


def _newest(
    task: RecalibrationTask, store: SnapshotStore, plan: FeaturePlan, partition: int
) -> tuple[Manifest, PartitionState]:
    """The newest snapshot of a partition that can be used."""
    problem, numbers = "there is none yet", []
    try:
        numbers = store.numbers(partition)
    except OSError as error:
        problem = str(error)
    for number in numbers:
        state = PartitionState(partition, task.partition_count, plan, 1)
        try:
            manifest = store.manifest(partition, number)
            load(store, manifest, state, plan.spec.hash, task.topics)
        except (OSError, ValueError) as error:  # pruned meanwhile, or damaged
            problem = f"n={number}: {error}"
            continue
        state.intake.watermark_us = manifest.watermark_us
        return manifest, state
    raise ValueError(f"partition {partition} has no snapshot under {task.uri} that can be used ({problem})")


def _chosen(state: PartitionState, share: float) -> Int32Array:
    """Live rows: `share` of every segment's, by hash."""
    live = state.live_rows(0, KEYS)
    if share >= 1.0:
        return live
    segment = state.store.rows.hot["segment"][live]
    order = np.lexsort((state.index.hashes[live], segment))
    live, segment = live[order], segment[order]
    _, start, n = np.unique(segment, return_index=True, return_counts=True)
    place = np.arange(len(live)) - np.repeat(start, n)
    chosen: Int32Array = live[place < np.ceil(np.repeat(n, n) * share)]
    return chosen
