"""Customers of all partitions, from the newest snapshots: for whoever calibrates without owning them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consumer.child import NotNow
from consumer.config import Config
from consumer.errors import ConfigError
from consumer.models.readiness import Share
from consumer.snapshots import SnapshotStore
from consumer.snapshots.loader import load
from consumer.snapshots.manifest import Manifest
from online_model.evaluate import Evaluated, Population, evaluate, priors_of, share_totals
from online_model.panel import Progress
from online_model.partition import PartitionState
from online_model.plan import FeaturePlan
from online_model.rows import NEVER
from online_model.scan import KEYS
from schemas.batch import Int32Array

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SnapshotPlace:
    """Where the snapshots of an application are, and what they must be of. Travels to child processes.

    `topics`: the input topics, which manifests name.
    """

    uri: str
    app: str
    partition_count: int
    topics: tuple[str, str, str]

    @classmethod
    def of(cls, config: Config, partition_count: int, topics: tuple[str, str, str]) -> SnapshotPlace:
        """With the settings of `config`."""
        return cls(config.snapshots.uri, config.app.name, partition_count, topics)

    def shares(self, spec_hash: str) -> dict[int, Share]:
        """By partition what its newest snapshot says about its customers. Reads manifests only.

        A partition without a snapshot of this specification is missing. Raises OSError.
        """
        store = SnapshotStore(self.uri, self.app)
        found = {}
        for partition in range(self.partition_count):
            for number in store.numbers(partition):
                try:
                    manifest = store.manifest(partition, number)
                except (FileNotFoundError, ValueError):  # pruned meanwhile, or damaged
                    continue
                if manifest.spec_hash == spec_hash and manifest.partition_count == self.partition_count:
                    found[partition] = Share(manifest.rows, _history_us(manifest))
                    break
        return found


def _history_us(manifest: Manifest) -> int:
    first = manifest.first_watermark_us
    return 0 if first == NEVER else manifest.watermark_us - first


@dataclass(frozen=True, slots=True)
class Gathering:
    """Reads about `rows` live customers of `partitions`, each segment in proportion."""

    place: SnapshotPlace
    partitions: tuple[int, ...]
    rows: int

    def gather(
        self, plan: FeaturePlan, report: Progress, before: Matrix | None = None
    ) -> tuple[Population, Matrix]:
        """Their features, and the same under the share priors `before` (without them: no rows).

        Partitions are read one after the other, twice, because the shares of all come before the features of
        any, and a million customers are two gigabytes. Raises `NotNow` if a snapshot is missing.
        """
        steps = 2 * len(self.partitions)
        totals, customers = np.zeros((plan.columns.n, 2), np.int64), 0
        for step, state in enumerate(self._states(plan)):
            report(step, steps, f"reading snapshots: partition {state.number}")
            live = state.live_rows(0, KEYS)
            customers += len(live)
            totals += share_totals(state.store.rows, live, state.watermark_us, plan)
        share = min(1.0, self.rows / max(customers, 1))
        priors, watermark_us = priors_of(totals), NEVER
        parts: list[Evaluated] = []
        compared = [np.empty((0, plan.columns.n))]
        for step, state in enumerate(self._states(plan), len(self.partitions)):
            report(step, steps, f"features of {customers} customers")
            rows = _chosen(state, share)
            parts.append(evaluate(state.store.rows, rows, state.watermark_us, plan, priors))
            if before is not None:
                compared.append(evaluate(state.store.rows, rows, state.watermark_us, plan, before).raw)
            watermark_us = max(watermark_us, state.watermark_us)
        raw, observed_days, silent_days = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Population(raw, observed_days, silent_days, priors, watermark_us), np.concatenate(compared)

    def _states(self, plan: FeaturePlan) -> Iterator[PartitionState]:
        try:
            store = SnapshotStore(self.place.uri, self.place.app)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        for partition in self.partitions:
            yield self._newest(store, plan, partition)

    def _newest(self, store: SnapshotStore, plan: FeaturePlan, partition: int) -> PartitionState:
        """The newest snapshot of a partition that can be used."""
        problem, numbers = "there is none yet", []
        try:
            numbers = store.numbers(partition)
        except OSError as error:
            problem = str(error)
        for number in numbers:
            state = PartitionState(partition, self.place.partition_count, plan, 1)
            try:
                manifest = store.manifest(partition, number)
                load(store, manifest, state, plan.spec.hash, self.place.topics)
            except (OSError, ValueError) as error:  # pruned meanwhile, or damaged
                problem = f"n={number}: {error}"
                continue
            state.intake.watermark_us = manifest.watermark_us
            return state
        raise NotNow(
            f"partition {partition} has no snapshot under {self.place.uri} that can be used ({problem})"
        )


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
