"""Reading what was committed: however many commits there are, little of it is in memory at once."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from consumer import log_reader
from consumer.log_reader import LogReader
from consumer.output import ORIGIN_OFFSET, ORIGIN_TOPIC
from consumer.restore import KeptStates, RestoreCancelled, Restorer, Surroundings
from consumer.restore.published import read_published
from consumer.restore.reapply import Commits, Reapplication
from consumer.restore.tail import Incomplete, Tail, audits_after, last_audit, read_back
from consumer.topics import TopicNames
from schemas.internal import AuditRecord, to_json
from schemas.outbox import Change, Consent, Segment
from schemas.times import format_time

NAMES = TopicNames.with_prefix("")
COMMITS = 6_000
CHUNK = 200

#: Every third commit publishes two changes, every fiftieth has a dead letter.
PUBLISHED, REFUSED = 3, 50


class Message:
    """A record, counted while it is alive."""

    alive: ClassVar[int] = 0
    most: ClassVar[int] = 0

    def __init__(self, place: tuple[str, int], offset: int, record: tuple[bytes, bytes] | None) -> None:
        self._place, self._offset, self._record = place, offset, record
        type(self).alive += 1
        type(self).most = max(self.most, self.alive)

    def __del__(self) -> None:
        type(self).alive -= 1

    def topic(self) -> str:
        """Of the place."""
        return self._place[0]

    def partition(self) -> int:
        """Of the place."""
        return self._place[1]

    def offset(self) -> int:
        """Of the record, or the end."""
        return self._offset

    def key(self) -> bytes:
        """Of the record."""
        return cast("tuple[bytes, bytes]", self._record)[0]

    def value(self) -> bytes:
        """Of the record."""
        return cast("tuple[bytes, bytes]", self._record)[1]

    def headers(self) -> list[tuple[str, bytes]]:
        """Where a dead letter comes from."""
        return [(ORIGIN_TOPIC, NAMES.usage.encode()), (ORIGIN_OFFSET, b"%d" % self._offset)]

    def error(self) -> KafkaError | None:
        """Set for an end."""
        return KafkaError(KafkaError._PARTITION_EOF) if self._record is None else None


class Client:
    """Hands out the records of `topics`: a function per topic, and how many offsets there are.

    After each record comes the end of its transaction, which has an offset of its own.
    """

    def __init__(self, topics: dict[str, tuple[Callable[[int], tuple[bytes, bytes]], int]]) -> None:
        self._topics = topics
        self._at: dict[str, int] = {}

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        """Everything is still there."""
        return 0, self._topics[place.topic][1]

    def assign(self, places: list[TopicPartition]) -> None:
        """Reads from there on."""
        self._at = {place.topic: place.offset for place in places}

    def unassign(self) -> None:
        """Reads no more."""
        self._at = {}

    def list_topics(self, timeout: float) -> None:
        """They are known."""

    def close(self) -> None:
        """Nothing is open."""

    def consume(self, n: int, _: float) -> list[Message]:
        """The next records, or the end."""
        found: list[Message] = []
        for topic, at in list(self._at.items()):
            make, end = self._topics[topic]
            while at < end and len(found) < n:
                if at % 2 == 0:
                    found.append(Message((topic, 0), at, make(at // 2)))
                at += 1
            if at >= end and len(found) < n:
                found.append(Message((topic, 0), end, None))
            self._at[topic] = at
        return found


def _audit(index: int) -> tuple[bytes, bytes]:
    n = index + 1
    record = AuditRecord(
        partition=0,
        n=n,
        from_offsets=dict.fromkeys(NAMES.inputs, 10 * index),
        to_offsets={topic: 10 * n + code for code, topic in enumerate(NAMES.inputs)},
        now_us=n,
        watermark_us=1_000_000 * n,
        model_version=1,
        previous_version=0,
        frontiers=dict.fromkeys(NAMES.inputs, (n, n)),
        scan=None,
        outputs=2 if n % PUBLISHED == 0 else 0,
        outputs_crc32=0,
        rejects=1 if n % REFUSED == 0 else 0,
        run_id="run",
    )
    return b"0", to_json(record)


def _change(index: int) -> tuple[bytes, bytes]:
    record = Change(
        customer_id=f"customer-{index}",
        change="assigned",
        seq=index + 1,
        segment=Segment("s2", "Two"),
        previous_segment=None,
        cause="first",
        actionable=True,
        provisional=index % 2 == 0,
        confidence=None,
        drivers=(),
        effective_at=format_time(1_700_000_000_000_000 + index * 1_000_000),
        model_version=1,
        strategy=None,
        consent=Consent(None, None),
        origin="live",
    )
    return record.customer_id.encode(), record.encode()


def _letter(_: int) -> tuple[bytes, bytes]:
    return b"key", b"value"


def _nobody(_: int) -> tuple[bytes, bytes]:
    return b"customer", b'{"type":"data"}'


CHANGES, LETTERS = COMMITS // PUBLISHED * 2, COMMITS // REFUSED
TOPICS = {
    NAMES.audit: (_audit, 2 * COMMITS),
    NAMES.changes: (_change, 2 * CHANGES),
    NAMES.current: (_nobody, 0),
    NAMES.dlq: (_letter, 2 * LETTERS),
    NAMES.customer: (_nobody, 2 * COMMITS),
}


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Messages that were alive each time when progress was told; chunks are small."""
    monkeypatch.setattr(log_reader, "_CHUNK", CHUNK)
    Message.alive = Message.most = 0
    return []


def _log(heard: list[int], **other: Any) -> LogReader:
    made = cast("Consumer", Client(TOPICS | other))
    return LogReader(lambda _: made, lambda: heard.append(Message.alive))


@pytest.mark.parametrize("after", [0, 1, 2_999, 3_000, COMMITS - 1, COMMITS])
def test_the_tail_is_what_came_after(heard: list[int], after: int) -> None:
    """Commits, what each of them published, and which offsets were refused."""
    with _log(heard) as log:
        tail = Tail.read(log, NAMES, 0, after)
    n = np.arange(after + 1, COMMITS + 1)
    assert tail.changes is not None
    assert np.array_equal(tail.audits.n, n)
    assert np.array_equal(tail.audits.to, 10 * n[:, None] + np.arange(3))
    assert np.array_equal(tail.audits.watermark_us, 1_000_000 * n)
    assert np.array_equal(tail.changes.commits, np.flatnonzero(n % PUBLISHED == 0))
    for commit in tail.changes.commits.tolist()[:: max(1, len(n) // 50)]:
        made = tail.changes.of(commit)
        seq = 2 * (after + 1 + commit) // PUBLISHED
        assert made.seq.tolist() == [seq - 1, seq]
        assert made.ids.to_bytes() == [b"customer-%d" % (seq - 2), b"customer-%d" % (seq - 1)]
        assert made.since_us.tolist() == [1_700_000_000_000_000 + 1_000_000 * s for s in (seq - 2, seq - 1)]
        assert (made.segment.tolist(), made.provisional.tolist()) == ([2, 2], [True, False])
    assert [len(offsets) for offsets in tail.refused] == [LETTERS - after // REFUSED, 0, 0]


def test_a_long_tail_is_read_in_chunks_and_told_of(heard: list[int]) -> None:
    """As with a day of commits and no snapshot that can be used; nothing is held but a chunk or two."""
    with _log(heard) as log:
        tail = Tail.read(log, NAMES, 0, 0)
        state = cast("Any", SimpleNamespace(number=0))
        again = Reapplication(cast("Any", None), NAMES.inputs, state, Commits.of(tail), lambda _: None)
        assert len(again._ends_of_lives(log, {(NAMES.customer, 0): (0, 2 * COMMITS)})) == 0
        Tail.without_changes(log, NAMES, 0)
        read = 2 * COMMITS + CHANGES + COMMITS + 2 * LETTERS
        assert len(heard) >= read // CHUNK
        assert Message.most <= 3 * CHUNK


def test_what_was_published_is_read_in_chunks_and_told_of(heard: list[int]) -> None:
    """Where changes are gone, the topics are read whole."""

    class Gone(Exception):
        """The end of this test: what is placed into rows is tested with rows."""

    class State:
        number = 0

        def is_erased(self, *_: object) -> bool:
            raise Gone

    with _log(heard) as log, pytest.raises(Gone):
        read_published(log, NAMES, cast("Any", State()))
    assert len(heard) >= CHANGES // CHUNK
    assert Message.most <= 3 * CHUNK


def test_whoever_hears_may_end_the_reading(heard: list[int]) -> None:
    """A partition that is lost meanwhile is not read to the end of its log."""

    class Lost(Exception):
        """Not wanted any more."""

    def lost() -> None:
        heard.append(0)
        if len(heard) == 5:
            raise Lost

    made = cast("Consumer", Client(TOPICS))
    with LogReader(lambda _: made, lost) as log, pytest.raises(Lost):
        Tail.read(log, NAMES, 0, 0)


def test_what_is_gone_is_noticed(heard: list[int]) -> None:
    """Commits, changes or dead letters that are counted and not there."""
    later: Any = (lambda index: _audit(index + 100), 2 * (COMMITS - 100))
    with _log(heard, **{NAMES.audit: later}) as log:
        assert Tail.read(log, NAMES, 0, 100).audits.n[0] == 101
        with pytest.raises(Incomplete, match="lacks commits after 99"):
            Tail.read(log, NAMES, 0, 99)
    for topic, make, left in ((NAMES.changes, _change, CHANGES - 1), (NAMES.dlq, _letter, LETTERS - 1)):
        with _log(heard, **{topic: (make, 2 * left)}) as log:
            with pytest.raises(Incomplete, match=f"has {left} of the last {left + 1} records"):
                Tail.read(log, NAMES, 0, 0)
            assert Tail.without_changes(log, NAMES, 0).changes is None


def test_the_newest_ones_are_found_from_the_end(heard: list[int]) -> None:
    """Whole records, of a few."""
    with _log(heard) as log:
        audit = last_audit(log, NAMES.audit, 0)
        assert audit is not None
        assert audit.n == COMMITS
        assert [one.n for one in audits_after(log, NAMES.audit, 0, COMMITS - 700)] == list(
            range(COMMITS - 699, COMMITS + 1)
        )
        found = read_back(log, NAMES.dlq, 0, lambda read: len(read) >= 10)
        assert [message.offset() for message in found[-10:]] == list(range(2 * LETTERS - 20, 2 * LETTERS, 2))
        assert last_audit(log, NAMES.current, 0) is None
    assert Message.most <= 1_000


def test_a_restore_that_reads_the_log_for_long_says_so(heard: list[int]) -> None:
    """How much is to be applied, as soon as that is known; whoever listens may give the restore up."""
    told: list[tuple[int, int]] = []
    dropped: list[int] = []

    def progress(partition: int, left: int) -> None:
        told.append((partition, left))
        if len(told) == 20:
            raise RestoreCancelled

    engine = SimpleNamespace(
        empty_state=None,
        add_partition=lambda number: SimpleNamespace(number=number),
        drop_partition=dropped.append,
    )
    plan = SimpleNamespace(spec=SimpleNamespace(hash="h"))
    core = SimpleNamespace(engine=engine, plan=plan, partition_count=6)
    inputs = dict.fromkeys(NAMES.inputs, (_nobody, 20 * COMMITS))
    made = cast("Consumer", Client(TOPICS | inputs))
    around = Surroundings(lambda _: made, lambda _: True, progress, lambda _: None)
    store = SimpleNamespace(numbers=lambda _: [])
    restorer = Restorer(cast("Any", core), NAMES, cast("Any", store), KeptStates(), around)
    with pytest.raises(RestoreCancelled):
        restorer.restore(0)
    restorer.close()
    assert dropped == [0]
    assert {partition for partition, _ in told} == {0}
    assert told[-1][1] == 30 * COMMITS + 3
    assert Message.most <= 3 * CHUNK
