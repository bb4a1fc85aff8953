"""Rebuilding a partition after an assignment.

Windows are a pure function of the input, so they are rebuilt by reading it again up to the last
committed audit record, silently: no decision is made. What was refused then (late, wrong clock,
misrouted) depended on clock and watermark of its commit; the dead letters tell which it was. The
published segments come from the output topics, and decisions go on as differences against them.

    no audit, no output, no committed offset   fresh: begin at the start of the inputs
    otherwise                                  replay up to the audit record, read the published segments
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import structlog
from confluent_kafka import Consumer, KafkaException, Message

from consumer.core import Core
from consumer.errors import BrokerUnreachable, StateUnknown
from consumer.failpoints import failpoint
from consumer.log_reader import LogReader, Ranges
from consumer.output import ORIGIN_OFFSET, ORIGIN_TOPIC
from consumer.topics import TopicNames
from online_model.active_model import segment_number
from online_model.partition import PartitionState
from online_model.poll import Poll
from online_model.rows import SEGMENT_NONE
from schemas.batch import StringColumn, Topic
from schemas.internal import AuditRecord, from_json
from schemas.outbox import Change, decode_change, decode_current
from schemas.records import RawRecords
from schemas.times import parse_time

_log = structlog.get_logger("restore")

#: Keys looked up at once.
_BLOCK: Final = 50_000
#: What the text of an event that ends a life, or lets one end, contains.
_ENDINGS: Final = (b"closed", b"forget", b"consent_profiling", b"\\u")


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a partition goes on: next offset per input topic, and the number of its last audit record."""

    offsets: dict[tuple[int, int], int]
    commits: int


class _Published(NamedTuple):
    """What is known of a customer from the output; `current`: from the current topic."""

    seq: int
    segment: int
    since_us: int
    provisional: bool
    effective_us: int
    current: bool


class Restorer:
    """Restores one partition at a time with readers of its own, which belong to no group.

    `make_reader` is told whether to see committed records only; `has_committed` whether the group has
    ever committed an offset of a partition; `progress` is told (partition, records still to be
    replayed) now and then.
    """

    def __init__(
        self,
        make_reader: Callable[[bool], Consumer],
        names: TopicNames,
        core: Core,
        has_committed: Callable[[int], bool],
        progress: Callable[[int, int], None],
    ) -> None:
        self._make_reader = make_reader
        self._names = names
        self._core = core
        self._has_committed = has_committed
        self._progress = progress

    def restore(self, partition: int) -> Restored:
        """Adds `partition` to the engine in the state its last commit left.

        Raises `StateUnknown` or `BrokerUnreachable`; the partition must then not be worked on.
        """
        try:
            with LogReader(self._make_reader) as log:
                return self._restore(log, partition)
        except KafkaException as exception:
            raise BrokerUnreachable(
                f"restoring partition {partition} failed: {exception.args[0].str()}",
                "check the brokers; the process starts again from the same commit",
            ) from exception

    def _restore(self, log: LogReader, partition: int) -> Restored:
        failpoint("restore.begin")
        inputs = self._names.inputs
        state = self._core.engine.add_partition(partition)
        low = [log.bounds(topic, partition)[0] for topic in inputs]
        commits = _Commits.read(log, self._names.audit, partition, inputs)
        if commits is None:
            self._require_fresh(log, partition)
            state.next_offset[:] = low
            return Restored({(partition, code): offset for code, offset in enumerate(low)}, 0)
        failpoint("restore.audit")
        audit, end = commits.last, commits.to[-1].tolist()
        for topic, first in zip(inputs, low, strict=True):
            if audit.from_offsets[topic] < first:
                _log.warning(
                    "input no longer reaches back to the last commit", topic=topic, partition=partition
                )
        replay = _Replay(self._core, inputs, state, self._refused(log, partition))
        replay.run(log, low, commits, lambda left: self._progress(partition, left))
        failpoint("restore.replayed")
        self._read_published(log, state)
        failpoint("restore.published")
        state.next_offset[:] = end
        self._resume_scan(state, audit)
        return Restored({(partition, code): offset for code, offset in enumerate(end)}, audit.n)

    def _resume_scan(self, state: PartitionState, audit: AuditRecord) -> None:
        """Goes on after the pass of the last commit, so that a restart does not look at everybody once more.

        A model promoted since then starts a pass of its own.
        """
        active = self._core.engine.active
        if audit.scan is None or active is None:
            return
        if active.model.kind == "folded" or active.model.version <= audit.model_version:
            state.scan.resume(audit.scan.id, audit.scan.hi)

    def _require_fresh(self, log: LogReader, partition: int) -> None:
        """Without audit there must be no output and no commit either; otherwise something was lost.

        The end of an output topic tells nothing: a process that died in its first transaction has moved it.
        """
        outputs = [
            topic
            for topic in (self._names.current, self._names.changes)
            if log.bounds(topic, partition)[0] > 0 or next(log.all_of(topic, partition), None) is not None
        ]
        if outputs or self._has_committed(partition):
            found = f"records in {outputs[0]}" if outputs else "committed offsets"
            raise StateUnknown(
                f"partition {partition} has {found} but no audit record",
                f"restore {self._names.audit} from a backup, "
                "or start a new group (app.name) with new output topics (topics.prefix)",
            )

    def _refused(self, log: LogReader, partition: int) -> list[list[int]]:
        """Offsets per input topic that went to the dead letters."""
        code = {topic.encode(): number for number, topic in enumerate(self._names.inputs)}
        refused: list[list[int]] = [[] for _ in code]
        for message in log.all_of(self._names.dlq, partition):
            headers = dict(message.headers() or [])
            topic = headers.get(ORIGIN_TOPIC)
            offset = headers.get(ORIGIN_OFFSET)
            if isinstance(topic, bytes) and isinstance(offset, bytes) and topic in code:
                refused[code[topic]].append(int(offset))
        return refused

    # -- published segments --------------------------------------------------------------------

    def _read_published(self, log: LogReader, state: PartitionState) -> None:
        """The published segment of every customer, and `seq` also of those that have left.

        An erased customer's numbering starts again, so what was published before the erasure counts
        nothing.
        """
        latest: dict[bytes, _Published] = {}
        for message in log.all_of(self._names.changes, state.number):
            change = decode_change(_value(message))
            latest[_key(message)] = _published(change, change.effective_at, current=False)
        for message in log.all_of(self._names.current, state.number):
            key = _key(message)
            if message.value() is None:
                gone = latest.get(key)
                if gone is not None and (gone.current or gone.segment != SEGMENT_NONE):
                    del latest[key]  # erased: an exit would be the last change
                continue
            record = decode_current(_value(message))
            known = latest.get(key)
            if known is None or known.seq <= record.seq:
                latest[key] = _published(record, record.since, current=True)
        kept = [key for key, item in latest.items() if not state.is_erased(key, item.effective_us)]
        for first in range(0, len(kept), _BLOCK):
            keys = kept[first : first + _BLOCK]
            _place(state, keys, [latest[key] for key in keys])


@dataclass(frozen=True, slots=True)
class _Commits:
    """The audit log of a partition: next offsets int64[n, 3] and watermark int64[n] after each commit."""

    last: AuditRecord
    to: npt.NDArray[np.int64]
    watermark_us: npt.NDArray[np.int64]

    @classmethod
    def read(cls, log: LogReader, topic: str, partition: int, inputs: tuple[str, ...]) -> _Commits | None:
        """None if there is no record; of those older than the compaction lag some may be missing."""
        last, to, watermark = None, array("q"), array("q")
        for message in log.all_of(topic, partition):
            last = from_json(_value(message), AuditRecord)
            to.extend(last.to_offsets[name] for name in inputs)
            watermark.append(last.watermark_us)
        if last is None:
            return None
        return cls(last, np.array(to, np.int64).reshape(-1, len(inputs)), np.array(watermark, np.int64))

    def around(self, offsets: list[int]) -> npt.NDArray[np.intp]:
        """Indices of the commits that hold `offsets` of the customer topic, of those before, and the last."""
        at = np.searchsorted(self.to[:, Topic.CUSTOMER], np.array(offsets, np.int64), side="right")
        cuts = np.unique(np.concatenate([at - 1, at, [len(self.to) - 1]]))
        return cuts[(cuts >= 0) & (cuts < len(self.to))].astype(np.intp)


class _Replay:
    """Applies the input of a partition up to its last commit, without deciding anything.

    Windows do not depend on how events are grouped. Ends of lives do: an event after a `closed` begins
    a new life, one before it is forgotten with the old. So the commits that hold such events are
    replayed one by one, and what is between them as it comes.
    """

    def __init__(
        self, core: Core, inputs: tuple[str, str, str], state: PartitionState, refused: list[list[int]]
    ) -> None:
        self._core = core
        self._code = {topic: number for number, topic in enumerate(inputs)}
        self._inputs = inputs
        self._state = state
        self._refused = [np.array(sorted(offsets), np.int64) for offsets in refused]
        self._ahead: list[deque[Message]] = [deque() for _ in inputs]

    def run(self, log: LogReader, low: list[int], commits: _Commits, progress: Callable[[int], None]) -> None:
        """Leaves the partition with the windows and the watermark of the last commit."""
        number, now_us = self._state.number, commits.last.now_us
        end = commits.to[-1].tolist()
        ranges: Ranges = {
            (topic, number): (first, last) for topic, first, last in zip(self._inputs, low, end, strict=True)
        }
        cuts = commits.around(self._ends_of_lives(log, ranges))
        position, at = list(low), 0
        for chunk in chain(log.chunks(ranges), [[]]):
            for message in chunk:
                code = self._code[message.topic() or ""]
                self._ahead[code].append(message)
                position[code] = int(message.offset() or 0) + 1
            while at < len(cuts):
                cut = commits.to[cuts[at]].tolist()
                reached = [place >= last for place, last in zip(position, cut, strict=True)]
                self._step(cut, reached, now_us)
                if not all(reached):
                    break
                self._state.intake.watermark_us = int(commits.watermark_us[cuts[at]])
                at += 1
            failpoint("restore.replay")
            progress(sum(max(last - place, 0) for place, last in zip(position, end, strict=True)))
        for code in self._code.values():
            self._state.intake.mark_end(code, at_end=False)

    def _ends_of_lives(self, log: LogReader, ranges: Ranges) -> list[int]:
        """Offsets of the customer topic whose records may end a life."""
        place = (self._inputs[Topic.CUSTOMER], self._state.number)
        return [
            int(message.offset() or 0)
            for chunk in log.chunks({place: ranges[place]})
            for message in chunk
            if any(word in (message.value() or b"") for word in _ENDINGS)
        ]

    def _step(self, cut: list[int], reached: list[bool], now_us: int) -> None:
        """Applies what has been read up to `cut`; topics that have `reached` it hold nothing back."""
        number = self._state.number
        taken: list[Message] = []
        moved = {}
        for code, queue in enumerate(self._ahead):
            before = len(taken)
            while queue and int(queue[0].offset() or 0) < cut[code]:
                taken.append(queue.popleft())
            if len(taken) > before:
                moved[number, code] = int(taken[-1].offset() or 0) + 1
        at_end = {(number, code): is_there for code, is_there in enumerate(reached)}
        raw = self._records(taken)
        batch, rejects = self._core.decoder.decode(raw)
        self._core.engine.rebuild(self._state, Poll(raw, batch, rejects, moved, at_end), now_us)

    def _records(self, messages: list[Message]) -> RawRecords:
        """The records but those refused."""
        topic = np.array([self._code[message.topic() or ""] for message in messages], np.uint8)
        offset = np.array([message.offset() for message in messages], np.int64)
        keep = np.ones(len(messages), np.bool_)
        for code, refused in enumerate(self._refused):
            mine = topic == code
            keep[mine] = ~np.isin(offset[mine], refused)
        values = cast("list[bytes | None]", [message.value() for message in messages])
        keys = cast("list[bytes | None]", [message.key() for message in messages])
        raw = RawRecords(values, keys, topic, np.full(len(messages), self._state.number, np.int32), offset)
        return raw if keep.all() else raw.take(np.flatnonzero(keep).tolist())


def _published(record: Change, since: str, *, current: bool) -> _Published:
    number = SEGMENT_NONE if record.segment is None else segment_number(record.segment.id)
    effective_us = parse_time(record.effective_at) or 0
    return _Published(record.seq, number, parse_time(since) or 0, record.provisional, effective_us, current)


def _place(state: PartitionState, keys: list[bytes], items: list[_Published]) -> None:
    """Writes what was published into the rows; exits keep their number for the next life."""
    known = state.index.n
    rows = state.index.rows_of(StringColumn.from_bytes(keys), np.arange(len(keys), dtype=np.int64))
    state.store.reserve(state.index.n)
    if state.index.n > known:
        _log.warning(
            "customers with a segment but without input", partition=state.number, n=state.index.n - known
        )
    ours = np.flatnonzero(rows >= 0)  # below: of another partition count
    hot, at = state.store.rows.hot, rows[ours]
    hot["seq"][at] = np.array([item.seq for item in items], np.int32)[ours]
    hot["segment"][at] = np.array([item.segment for item in items], np.int16)[ours]
    hot["since"][at] = np.array([item.since_us for item in items], np.int64)[ours]
    hot["provisional"][at] = np.array([item.provisional for item in items], np.uint8)[ours]


def _key(message: Message) -> bytes:
    return cast("bytes", message.key())


def _value(message: Message) -> bytes:
    return cast("bytes", message.value())
