"""What the engine is given to read: decoded records and where each topic stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.batch import EventBatch
from schemas.records import RawRecords
from schemas.rejects import Rejects


@dataclass(frozen=True, slots=True, eq=False)
class Poll:
    """What one poll brought: the records, what they decoded to, and where each topic stands.

    `next_offset`: (partition, topic) to the offset after the last record polled of it; records of
    others are not applied. `at_end`: those that are read to their end (or not).
    """

    raw: RawRecords
    batch: EventBatch
    rejects: Rejects
    next_offset: dict[tuple[int, int], int]
    at_end: dict[tuple[int, int], bool]

    def without(self, partition: int) -> Poll:
        """The same poll with nothing to apply of `partition`."""
        return replace(
            self,
            next_offset={place: at for place, at in self.next_offset.items() if place[0] != partition},
            at_end={place: ended for place, ended in self.at_end.items() if place[0] != partition},
        )

    @classmethod
    def concat(cls, parts: Sequence[Poll]) -> Poll:
        """What the polls of `parts`, at least one, brought together; the last one says where topics stand.

        A step over many small polls costs more than their sum: each would be split by partition and topic.
        """
        if len(parts) == 1:
            return parts[0]
        next_offset: dict[tuple[int, int], int] = {}
        at_end: dict[tuple[int, int], bool] = {}
        for part in parts:
            next_offset |= part.next_offset
            at_end |= part.at_end
        return cls(
            RawRecords.concat([part.raw for part in parts]),
            EventBatch.concat([part.batch for part in parts]),
            Rejects.concat([part.rejects for part in parts]),
            next_offset,
            at_end,
        )
