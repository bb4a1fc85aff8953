"""The customers of all partitions, whoever owns them, as their newest snapshots hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from consumer.core import Core
from consumer.errors import ConfigError
from consumer.snapshots import SnapshotStore
from consumer.snapshots.loader import load
from online_model.panel import Progress
from online_model.partition import PartitionState
from online_model.plan import FeaturePlan


@dataclass(frozen=True, slots=True)
class NewestSnapshots:
    """Where they are; it travels to a child process. `topics`: the input topics, which manifests name."""

    uri: str
    app: str
    partition_count: int
    topics: tuple[str, str, str]

    @classmethod
    def of(cls, core: Core, topics: tuple[str, str, str]) -> NewestSnapshots:
        """With the settings of `core`."""
        config = core.config
        return cls(config.snapshots.uri, config.app.name, core.partition_count, topics)

    def states(self, plan: FeaturePlan, report: Progress) -> Iterator[PartitionState]:
        """Every partition, one after the other: a million customers are two gigabytes.

        Raises:
            ValueError: one has no snapshot that can be used.
        """
        store = self._store()
        for partition in range(self.partition_count):
            report(partition, self.partition_count, f"reading snapshots: partition {partition}")
            yield self._newest(store, plan, partition)

    def spans(self) -> list[tuple[int, int]]:
        """History (us) and customers of every partition, by what the newest manifests say.

        Raises:
            ValueError: one has no snapshot, or it cannot be read.
        """
        store, found = self._store(), []
        for partition in range(self.partition_count):
            try:
                numbers = store.numbers(partition)
                manifest = store.manifest(partition, numbers[0]) if numbers else None
            except OSError as error:  # pruned meanwhile, or not to be reached
                raise ValueError(str(error)) from None
            if manifest is None:
                raise ValueError(f"partition {partition} has no snapshot under {self.uri}")
            found.append((manifest.watermark_us - manifest.first_watermark_us, manifest.rows))
        return found

    def _store(self) -> SnapshotStore:
        try:
            return SnapshotStore(self.uri, self.app)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def _newest(self, store: SnapshotStore, plan: FeaturePlan, partition: int) -> PartitionState:
        """The newest snapshot of a partition that can be used."""
        problem, numbers = "there is none yet", []
        try:
            numbers = store.numbers(partition)
        except OSError as error:
            problem = str(error)
        for number in numbers:
            state = PartitionState(partition, self.partition_count, plan, 1)
            try:
                manifest = store.manifest(partition, number)
                load(store, manifest, state, plan.spec.hash, self.topics)
            except (OSError, ValueError) as error:  # pruned meanwhile, or damaged
                problem = f"n={number}: {error}"
                continue
            state.intake.watermark_us = manifest.watermark_us
            return state
        raise ValueError(
            f"partition {partition} has no snapshot under {self.uri} that can be used ({problem})"
        )
