"""Whose letters must not be sent again: those of customers who have been erased since."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from consumer.config import Config
from consumer.snapshots import SnapshotStore
from online_model.partition import tombstone


@dataclass(frozen=True, slots=True)
class Erased:
    """Times of erasure, us, by keyed hash (hexadecimal), of customers of the specification `spec_name`."""

    spec_name: str
    cuts_us: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, spec_name: str) -> Self:
        """As the newest snapshots remember them: an erasure is in one after `snapshots.interval_s` or so.

        Where none of a partition can be read nobody there counts as erased: the service drops the records
        all the same. Raises `ConfigError` if `snapshots.uri` names no store.
        """
        cuts: dict[str, int] = {}
        store = SnapshotStore(config.snapshots.uri, config.app.name)
        with suppress(OSError):
            for partition in store.partitions():
                cuts |= _newest(store, partition)
        return cls(spec_name, cuts)

    def covers(self, customer: bytes | None, time_us: int) -> bool:
        """Whether what happened to `customer` at `time_us` was erased."""
        if customer is None or not self.cuts_us:
            return False
        cut_us = self.cuts_us.get(tombstone(customer, self.spec_name).hex())
        return cut_us is not None and time_us <= cut_us


def _newest(store: SnapshotStore, partition: int) -> dict[str, int]:
    """What the newest snapshot of `partition` that can be read remembers."""
    for number in store.numbers(partition):
        with suppress(OSError, ValueError):  # pruned meanwhile, or damaged
            return store.manifest(partition, number).erased
    return {}
