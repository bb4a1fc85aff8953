"""Lines as polls: customers hashed to partitions, offsets counted, steps cut where a scan is due.

What Kafka's producer and consumer do for the service, for lines of files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from consumer.core import Positions
from consumer.ndjson_input import Lines
from online_model.id_index import murmur2
from online_model.intake import N_TOPICS
from schemas.batch import Int32Array, Int64Array
from schemas.records import RawRecords

#: Lines per step at most.
STEP_LINES: Final = 20_000


def steps(blocks: Iterator[Lines], interval_us: int) -> Iterator[Lines]:
    """Cuts `blocks` into steps of at most `STEP_LINES` lines within one scan interval of event time.

    Scans begin between steps, so without the cut a small file would go through in one step and nobody
    would be looked at but at its end.
    """
    held: list[Lines] = []
    room = STEP_LINES
    for piece, begins in _intervals(blocks, interval_us):
        if begins and held:
            yield Lines.concat(held)
            held, room = [], STEP_LINES
        start = 0
        while start < piece.n:
            part = piece.take(slice(start, start + room))
            held.append(part)
            start, room = start + part.n, room - part.n
            if room == 0:
                yield Lines.concat(held)
                held, room = [], STEP_LINES
    if held:
        yield Lines.concat(held)


def _intervals(blocks: Iterator[Lines], interval_us: int) -> Iterator[tuple[Lines, bool]]:
    """Pieces of `blocks` within one interval of event time, and whether a piece begins a new interval."""
    newest: int = np.iinfo(np.int64).min
    for block in blocks:
        # Files taken in the order given may go back in time; the watermark does not.
        came_to = np.maximum.accumulate(np.maximum(block.order_us, newest))
        cuts = np.flatnonzero(np.diff(came_to // interval_us, prepend=newest // interval_us)).tolist()
        newest = int(came_to[-1])
        for start, stop in pairwise(sorted({0, *cuts, block.n})):
            yield block.take(slice(start, stop)), start in cuts


@dataclass(slots=True)
class Places:
    """Where records come from: (partition, topic, offset) to (file, line number)."""

    _known: dict[tuple[int, int], list[tuple[Int64Array, Int32Array, Int64Array]]] = field(
        default_factory=dict
    )

    def add(self, at: tuple[int, int], offsets: Int64Array, lines: Lines, rows: Int64Array) -> None:
        """`offsets` of the partition and topic `at` are the `rows` of `lines`."""
        self._known.setdefault(at, []).append((offsets, lines.file[rows], lines.number[rows]))

    def forget(self) -> None:
        """Everything so far has been applied or refused."""
        self._known.clear()

    def of(self, partition: int, topic: int, offset: int) -> tuple[int, int]:
        """File and line number of a record that was added and not forgotten."""
        for offsets, files, numbers in reversed(self._known[partition, topic]):
            at = offset - int(offsets[0])
            if 0 <= at < len(offsets):
                return int(files[at]), int(numbers[at])
        raise KeyError((partition, topic, offset))


class Feed:
    """Gives lines partitions and offsets as a producer with `murmur2_random` and a broker would.

    A line without a customer goes to partition 0. Every topic counts as read to its end at every poll:
    the lines are in one order already, so no topic has to wait for another.
    """

    def __init__(self, partition_count: int) -> None:
        self.partition_count = partition_count
        self.places = Places()
        self._next = np.zeros((partition_count, N_TOPICS), np.int64)
        self._at_end = {(p, t): True for p in range(partition_count) for t in range(N_TOPICS)}

    def poll(self, lines: Lines) -> tuple[RawRecords, Positions]:
        """`lines` as records, and where they leave the topics."""
        partition = self._partitions(lines.keys)
        offset = np.empty(lines.n, np.int64)
        code = partition.astype(np.int64) * N_TOPICS + lines.topic
        next_offset: dict[tuple[int, int], int] = {}
        for value in np.unique(code).tolist():
            at = (value // N_TOPICS, value % N_TOPICS)
            rows = np.flatnonzero(code == value)
            first = int(self._next[at])
            offset[rows] = np.arange(first, first + len(rows))
            self._next[at] = next_offset[at] = first + len(rows)
            self.places.add(at, offset[rows], lines, rows)
        raw = RawRecords(list(lines.values), lines.keys, lines.topic, partition, offset)
        return raw, Positions(next_offset, self._at_end)

    def nothing(self) -> tuple[RawRecords, Positions]:
        """A poll without records."""
        return RawRecords.of_topic(0, [], []), Positions({}, self._at_end)

    def _partitions(self, keys: list[bytes | None]) -> Int32Array:
        if self.partition_count == 1:
            return np.zeros(len(keys), np.int32)
        hashed = [0 if key is None else partition_of(key, self.partition_count) for key in keys]
        return np.array(hashed, np.int32)


def partition_of(key: bytes, partition_count: int) -> int:
    """Partition of `key` as Kafka's Java client chooses it."""
    positive = murmur2(np.frombuffer(key, np.uint8), 0, len(key)) & 0x7FFFFFFF
    return positive % partition_count
