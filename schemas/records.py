"""Raw records as they come from the log, in parallel columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.batch import Int32Array, Int64Array, UInt8Array


@dataclass(frozen=True, slots=True)
class RawRecords:
    """`n` undecoded records in arrival order.

    `values` and `keys` hold the bytes as read (None for a missing key or a tombstone);
    `topic` uint8[n] is a code of `schemas.batch.Topic`, `partition` int32[n], `offset` int64[n].
    """

    values: list[bytes | None]
    keys: list[bytes | None]
    topic: UInt8Array
    partition: Int32Array
    offset: Int64Array

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.values)

    @classmethod
    def of_topic(
        cls,
        topic: int,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None],
        *,
        partition: int = 0,
        first_offset: int = 0,
    ) -> RawRecords:
        """Records of one topic and partition with consecutive offsets."""
        n = len(values)
        return cls(
            list(values),
            list(keys),
            np.full(n, topic, np.uint8),
            np.full(n, partition, np.int32),
            np.arange(first_offset, first_offset + n, dtype=np.int64),
        )

    @classmethod
    def concat(cls, parts: Sequence[RawRecords]) -> RawRecords:
        """The records of `parts`, at least one, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            [value for part in parts for value in part.values],
            [key for part in parts for key in part.keys],
            np.concatenate([part.topic for part in parts]),
            np.concatenate([part.partition for part in parts]),
            np.concatenate([part.offset for part in parts]),
        )

    def take(self, rows: Sequence[int]) -> RawRecords:
        """The records at `rows`, in that order."""
        at = np.asarray(rows, np.int64)
        return RawRecords(
            [self.values[row] for row in rows],
            [self.keys[row] for row in rows],
            self.topic[at],
            self.partition[at],
            self.offset[at],
        )
