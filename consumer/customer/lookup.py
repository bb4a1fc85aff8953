"""The state of one customer as the last commit left it, from the newest snapshot and the log after it.

The partition is restored as a worker would, with readers of its own: no group is joined, nothing is
written, and whether a service runs does not matter. The service itself has no page about customers: whoever
may read the topics and the snapshots can look, and nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass

from consumer.config import Config
from consumer.core import Core
from consumer.errors import ConfigError
from consumer.kafka_clients import make_admin, make_consumer, reader_settings
from consumer.models.history import History
from consumer.replay_feed import partition_of
from consumer.restore import KeptStates, Restored, Restorer, Surroundings
from consumer.snapshots import SnapshotStore
from consumer.topics import TopicNames, require
from online_model.model import Model
from online_model.partition import PartitionState
from schemas.batch import StringColumn


@dataclass(frozen=True, slots=True)
class Found:
    """A customer's `row` in the `state` of the partition, as commit number `restored.commits` left it.

    `model`: the newest version (None: there is none yet).
    """

    core: Core
    names: TopicNames
    customer: bytes
    state: PartitionState
    row: int
    restored: Restored
    model: Model | None

    @classmethod
    def of(cls, config: Config, customer: str) -> Found:
        """Restores the partition of `customer`. Raises `ConfigError` if nothing is known of them.

        Also `BrokerUnreachable`, `TopicError`, `StateUnknown` where the partition cannot be restored.
        """
        names = TopicNames.with_prefix(config.topics.prefix)
        core = Core(config, require(make_admin(config), names))
        versions = History.read(config).versions
        if versions:
            core.adopt(versions[max(versions)])
        partition = partition_of(customer.encode(), core.partition_count)
        around = Surroundings(
            make_reader=lambda committed: make_consumer(reader_settings(config, committed)),
            has_committed=lambda _: False,
            progress=lambda _, __: None,
            model=versions.get,
        )
        store = SnapshotStore(config.snapshots.uri, config.app.name)
        restorer = Restorer(core, names, store, KeptStates(), around)
        try:
            restored = restorer.restore(partition)
        finally:
            restorer.close()
        state = core.engine.partitions[partition]
        key = customer.encode()
        row = int(state.index.find(StringColumn.from_bytes([key]))[0])
        if row < 0:
            raise ConfigError(
                f"nothing is known of this customer in partition {partition} as of commit {restored.commits}",
                "check the id (case counts), topics.prefix and app.name; the erased leave nothing to show",
            )
        newest = versions[max(versions)] if versions else None
        return cls(core, names, key, state, row, restored, newest)
