"""What was committed of a partition since a certain commit, read from the ends of its topics.

The audit record of a commit counts its changes and dead letters, so the last ones of each topic are found
from its end, however long it is. A partition may have a million commits a day: records are read in chunks,
and all that is kept of them are a few numbers per commit, change and dead letter.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Self, cast

import numpy as np
import numpy.typing as npt
from confluent_kafka import Message

from consumer.log_reader import LogReader
from consumer.output import ORIGIN_OFFSET, ORIGIN_TOPIC
from consumer.topics import TopicNames
from online_model.active_model import segment_number
from online_model.rebuild import Published
from online_model.rows import SEGMENT_NONE
from schemas.batch import StringColumn
from schemas.internal import AuditRecord, from_json
from schemas.outbox import PreviousSegment, Segment, decode_change
from schemas.times import parse_time

#: Offsets looked at first; twice as many when they were not enough. A commit takes two at least.
_FIRST_LOOK: Final = 256

Numbers = npt.NDArray[np.int64]


class Incomplete(ValueError):
    """Records that the audit log counts are no longer there."""


def last_audit(log: LogReader, topic: str, partition: int) -> AuditRecord | None:
    """The last committed audit record of `partition`; None if there is none."""
    for block in blocks_back(log, topic, partition):
        newest = deque(block, 1)
        if newest:
            return from_json(_value(newest[0]), AuditRecord)
    return None


def audits_after(log: LogReader, topic: str, partition: int, n: int) -> list[AuditRecord]:
    """The audit records after number `n`, in order, whole: for a few."""

    def reaches(found: list[Message]) -> bool:
        return bool(found) and from_json(_value(found[0]), AuditRecord).n <= n + 1

    records = (
        from_json(_value(message), AuditRecord) for message in read_back(log, topic, partition, reaches)
    )
    return [record for record in records if record.n > n]


def read_back(
    log: LogReader, topic: str, partition: int, is_enough: Callable[[list[Message]], bool]
) -> list[Message]:
    """The last committed records of a topic: from its end back until `is_enough`, or all there are."""
    found: list[Message] = []
    for block in blocks_back(log, topic, partition):
        found = [*block, *found]
        if is_enough(found):
            break
    return found


def blocks_back(log: LogReader, topic: str, partition: int, about: int = 0) -> Iterator[Iterator[Message]]:
    """The committed records of a topic in blocks, the last one first; inside of one they are in order.

    A block must be read before the next one is asked for. `about`: how many records are looked for at least.
    """
    low, end = log.bounds(topic, partition)
    look = max(_FIRST_LOOK, about)
    while low < end:
        first = max(low, end - look)
        yield (message for chunk in log.chunks({(topic, partition): (first, end)}) for message in chunk)
        end, look = first, 2 * look


@dataclass(frozen=True, slots=True, eq=False)
class Audits:
    """Commits in order.

    Numbers, watermarks, model versions and counts of changes and dead letters int64[m]; next offsets per
    input topic `to` int64[m, topics].
    """

    n: Numbers
    watermark_us: Numbers
    model_version: Numbers
    outputs: Numbers
    rejects: Numbers
    to: Numbers

    @classmethod
    def after(cls, log: LogReader, names: TopicNames, partition: int, n: int) -> Self:
        """Those after number `n`; what is older than the compaction lag may be missing."""
        blocks: list[Numbers] = []
        for block in blocks_back(log, names.audit, partition):
            rows = array("q")
            for message in block:
                audit = from_json(_value(message), AuditRecord)
                rows.extend((audit.n, audit.watermark_us, audit.model_version, audit.outputs, audit.rejects))
                rows.extend(audit.to_offsets[topic] for topic in names.inputs)
            blocks.append(_table(rows, 5 + len(names.inputs)))
            if rows and rows[0] <= n + 1:
                break
        found = _forward(blocks, 5 + len(names.inputs))
        found = found[found[:, 0] > n]
        columns = found.T.copy()
        return cls(columns[0], columns[1], columns[2], columns[3], columns[4], found[:, 5:].copy())


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What commits published, one after the other.

    Commit `i` the changes `ends[i]` to `ends[i + 1]` of `all`; `ends` int64[m + 1].
    """

    all: Published
    ends: Numbers

    @property
    def commits(self) -> npt.NDArray[np.intp]:
        """Those that published something."""
        return np.flatnonzero(np.diff(self.ends))

    def of(self, commit: int) -> Published:
        """What one commit published."""
        first, end = int(self.ends[commit]), int(self.ends[commit + 1])
        a, part = self.all, slice(first, end)
        begin, stop = a.ids.ends[first], a.ids.ends[end]
        ids = StringColumn(a.ids.data[begin:stop], a.ids.ends[first : end + 1] - begin)
        return Published(
            ids, a.segment[part], a.previous[part], a.seq[part], a.since_us[part], a.provisional[part]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Commits, what each published (None: read elsewhere), and per input topic the offsets refused."""

    audits: Audits
    changes: Changes | None
    refused: list[Numbers]

    @classmethod
    def read(cls, log: LogReader, names: TopicNames, partition: int, n: int) -> Self:
        """Everything after commit `n`. Raises `Incomplete` if something of it is no longer there."""
        audits = Audits.after(log, names, partition, n)
        if not np.array_equal(audits.n, np.arange(n + 1, n + 1 + len(audits.n))):
            raise Incomplete(f"{names.audit} [{partition}] lacks commits after {n}")
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(audits.outputs)])
        changes = Changes(_last_changes(log, names.changes, partition, int(ends[-1])), ends)
        letters = _last_letters(log, names, partition, int(audits.rejects.sum()))
        return cls(audits, changes, _refused(letters, names.inputs))

    @classmethod
    def without_changes(cls, log: LogReader, names: TopicNames, partition: int) -> Self:
        """What there is of all commits; what they published is read elsewhere."""
        letters = _letters(log.all_of(names.dlq, partition), names.inputs)
        return cls(Audits.after(log, names, partition, 0), None, _refused(letters, names.inputs))


def _letters(messages: Iterable[Message], inputs: tuple[str, ...]) -> Numbers:
    """Input topic and offset int64[m, 2] of dead letters; the topic of foreign ones is -1."""
    code = {topic.encode(): number for number, topic in enumerate(inputs)}
    rows = array("q")
    for message in messages:
        headers = dict(message.headers() or [])
        topic, offset = headers.get(ORIGIN_TOPIC), headers.get(ORIGIN_OFFSET)
        is_ours = isinstance(topic, bytes) and isinstance(offset, bytes) and topic in code
        rows.extend((code[cast("bytes", topic)], int(cast("bytes", offset))) if is_ours else (-1, -1))
    return _table(rows, 2)


def _refused(letters: Numbers, inputs: tuple[str, ...]) -> list[Numbers]:
    """Offsets per input topic, ascending."""
    return [np.sort(letters[letters[:, 0] == code, 1]) for code in range(len(inputs))]


def _last_letters(log: LogReader, names: TopicNames, partition: int, n: int) -> Numbers:
    blocks, found = list[Numbers](), 0
    for block in blocks_back(log, names.dlq, partition, n) if n else ():
        blocks.append(_letters(block, names.inputs))
        found += len(blocks[-1])
        if found >= n:
            break
    _require(names.dlq, partition, found, n)
    return _forward(blocks, 2)[found - n :]


@dataclass(slots=True)
class _ChangeRows:
    """Changes that are being read: ids, their lengths, and five numbers each."""

    ids: bytearray = field(default_factory=bytearray)
    lengths: array[int] = field(default_factory=lambda: array("q"))
    values: array[int] = field(default_factory=lambda: array("q"))

    def add(self, message: Message) -> None:
        """Takes what is needed of a change."""
        change, id = decode_change(_value(message)), cast("bytes", message.key())
        self.ids += id
        self.lengths.append(len(id))
        self.values.extend(
            (
                number_of(change.segment),
                number_of(change.previous_segment),
                change.seq,
                parse_time(change.effective_at) or 0,
                change.provisional,
            )
        )


def _last_changes(log: LogReader, topic: str, partition: int, n: int) -> Published:
    blocks, found = list[_ChangeRows](), 0
    for block in blocks_back(log, topic, partition, n) if n else ():
        rows = _ChangeRows()
        for message in block:
            rows.add(message)
        blocks.append(rows)
        found += len(rows.lengths)
        if found >= n:
            break
    _require(topic, partition, found, n)
    values = _forward([_table(rows.values, 5) for rows in blocks], 5)[found - n :]
    lengths = _forward([_table(rows.lengths, 1) for rows in blocks], 1)[:, 0]
    skipped = int(lengths[: found - n].sum())
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[found - n :])])
    # A buffer that can be written to, as any other column: kernels are compiled again for one that cannot.
    data = np.frombuffer(bytearray().join(rows.ids for rows in reversed(blocks)), np.uint8)[skipped:]
    return Published(
        StringColumn(data, ends),
        values[:, 0].astype(np.int16),
        values[:, 1].astype(np.int16),
        values[:, 2].astype(np.int32),
        values[:, 3].copy(),
        values[:, 4].astype(np.bool_),
    )


def _require(topic: str, partition: int, found: int, n: int) -> None:
    if found < n:
        raise Incomplete(f"{topic} [{partition}] has {found} of the last {n} records")


def _table(rows: array[int], width: int) -> Numbers:
    return np.frombuffer(rows, np.int64).reshape(-1, width) if rows else np.empty((0, width), np.int64)


def _forward(blocks: list[Numbers], width: int) -> Numbers:
    """Blocks that were read from the end back, as one table in order."""
    return np.concatenate([np.empty((0, width), np.int64), *reversed(blocks)])


def number_of(segment: Segment | PreviousSegment | None) -> int:
    """Number of a segment in a change record."""
    return SEGMENT_NONE if segment is None else segment_number(segment.id)


def _value(message: Message) -> bytes:
    return cast("bytes", message.value())
