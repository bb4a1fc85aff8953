"""Whose letters must not be sent again: those of customers who have been erased since."""

from __future__ import annotations

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

        Where snapshots cannot be read nobody counts as erased: the service drops the records all the same.
        """
        cuts: dict[str, int] = {}
        try:
            store = SnapshotStore(config.snapshots.uri, config.app.name)
            for partition in store.partitions():
                for number in store.numbers(partition)[:1]:
                    cuts |= store.manifest(partition, number).erased
        except (OSError, ValueError):
            return cls(spec_name, cuts)
        return cls(spec_name, cuts)

    def covers(self, customer: bytes | None, time_us: int) -> bool:
        """Whether what happened to `customer` at `time_us` was erased."""
        if customer is None or not self.cuts_us:
            return False
        cut_us = self.cuts_us.get(tombstone(customer, self.spec_name).hex())
        return cut_us is not None and time_us <= cut_us
