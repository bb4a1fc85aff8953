"""Customers of all partitions, from the newest snapshots: for whoever calibrates without owning them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consumer.child import NotNow
from consumer.config import Config
from consumer.errors import ConfigError
from consumer.masking import without_userinfo
from consumer.models.readiness import Share
from consumer.snapshots import SnapshotStore
from consumer.snapshots.loader import load
from consumer.snapshots.manifest import Manifest
from online_model.evaluate import Population
from online_model.panel import Progress
from online_model.partition import PartitionState
from online_model.plan import FeaturePlan
from online_model.population import Choose, populations_of
from online_model.rows import NEVER

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

    def __str__(self) -> str:
        """For messages: without the credentials that the URI may have."""
        return without_userinfo(self.uri)

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
    """Reads about `rows` live customers of `partitions`, chosen by `choose`."""

    place: SnapshotPlace
    partitions: tuple[int, ...]
    rows: int
    choose: Choose

    def gather(
        self, plan: FeaturePlan, report: Progress, before: Matrix | None = None
    ) -> tuple[Population, Matrix]:
        """Their features, and the same under the share priors `before` (without them: no rows).

        Partitions are read one after the other, twice, because the shares of all come before the features of
        any, and a million customers are two gigabytes. Raises `NotNow` if a snapshot is missing.
        """
        return populations_of(lambda: self._states(plan, report), plan, self.rows, self.choose, before)

    def _states(self, plan: FeaturePlan, report: Progress) -> Iterator[PartitionState]:
        try:
            store = SnapshotStore(self.place.uri, self.place.app)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        for step, partition in enumerate(self.partitions):
            report(step, len(self.partitions), f"reading snapshots: partition {partition}")
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
        raise NotNow(f"partition {partition} has no snapshot under {self.place} that can be used ({problem})")
