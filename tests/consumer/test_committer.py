"""Laws of committing in the background: one at a time, in order, and every failure is told."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, TopicPartition

from consumer.background import Background
from consumer.committer import Committer
from consumer.errors import BrokerUnreachable, StateUnknown, TransactionAborted
from consumer.http import STUCK_AFTER_S
from consumer.output import Batch, Payload
from consumer.transaction import (
    ABORT_TIMEOUT_S,
    CALL_LIMIT_S,
    COMMIT_TIMEOUT_S,
    REBUILD_TIMEOUT_S,
    TransactionalOutput,
)
from tests.consumer.fake_producer import FakeKafka, abortable, nameless, retriable


def payload(value: bytes, offset: int) -> Payload:
    """One record, and the offset that it brings the input to."""
    batch = Batch("out", 0, [b"k"], [value])
    return Payload(batches=[batch], offsets=[TopicPartition("in", 0, offset)])


class Setting:
    """A committer on a fake cluster."""

    def __init__(self) -> None:
        self.kafka = FakeKafka()
        self.output = TransactionalOutput(self.kafka.factory, "app-1", self.kafka.time)
        self.output.start()
        self.generations = 0
        self.asking: set[threading.Thread] = set()
        self.aborts = 0
        self.committer = Committer(self.output, self._metadata, self._aborted)

    def _metadata(self) -> object:
        self.generations += 1
        self.asking.add(threading.current_thread())
        return object()

    def _aborted(self) -> None:
        self.aborts += 1

    @property
    def values(self) -> list[bytes | None]:
        """What is visible."""
        return [value for _, _, _, value in self.kafka.committed]


def test_payloads_become_visible_in_the_order_of_their_turns() -> None:
    """Each with its offsets and with metadata of its own."""
    s = Setting()
    for i in range(5):
        s.committer.start(payload(b"%d" % i, i))
        assert s.committer.finish() is not None
        assert s.kafka.offsets == {("in", 0): i}
    assert s.values == [b"0", b"1", b"2", b"3", b"4"]
    assert (s.generations, s.aborts) == (5, 0)
    assert s.committer.finish() is None


def test_an_aborted_payload_is_written_again_as_it_was() -> None:
    """Once, under the generation that it was made in."""
    s = Setting()
    s.kafka.will("commit", abortable())
    s.committer.start(payload(b"v", 7))
    s.committer.finish()
    assert (s.values, s.kafka.offsets, s.aborts, s.generations) == ([b"v"], {("in", 0): 7}, 1, 1)


def test_only_the_loop_asks_for_the_group() -> None:
    """Never the committing thread: a callback that settles waits for it, and the client for the callback."""
    s = Setting()
    s.kafka.will("commit", abortable())
    s.committer.start(payload(b"v", 7))
    s.committer.finish()
    assert s.asking == {threading.current_thread()}


def test_a_second_abort_is_told_when_the_outcome_is_asked_for() -> None:
    """Nothing of the payload is visible, and the next one is not begun."""
    s = Setting()
    s.kafka.will("commit", abortable(), abortable())
    s.committer.start(payload(b"v", 7))
    s.committer.settle()  # as a rebalance does: it must not raise
    with pytest.raises(RuntimeError):
        s.committer.start(payload(b"w", 8))
    with pytest.raises(TransactionAborted):
        s.committer.finish()
    assert (s.values, s.kafka.offsets) == ([], {})


def test_an_unknown_outcome_is_never_tried_again() -> None:
    """It ends the process, which restores."""
    s = Setting()
    s.kafka.will("commit", nameless())
    s.committer.start(payload(b"v", 7))
    with pytest.raises(StateUnknown):
        s.committer.finish()
    assert s.aborts == 0


def held_call() -> tuple[Callable[[], int], threading.Event]:
    """A call that returns 3 once the event is set."""
    go = threading.Event()

    def call() -> int:
        assert go.wait(30)
        return 3

    return call, go


def test_its_owner_goes_on_while_a_call_runs() -> None:
    """Starting does not wait; settling and closing do, and the outcome is handed out once."""
    background: Background[int] = Background("test")
    call, go = held_call()
    background.start(call)
    busy = [background.is_busy]
    go.set()
    background.settle()
    assert [*busy, background.is_busy] == [True, False]
    assert background.result() == 3
    assert background.result() is None
    call, go = held_call()
    background.start(call)
    threading.Timer(0.05, go.set).start()
    background.close()
    assert not background.is_busy


def test_a_call_that_hangs_is_given_up() -> None:
    """The owner is told that nobody knows the outcome, and nothing waits for the thread any more."""
    background: Background[int] = Background("test", limit_s=0.05)
    call, go = held_call()
    background.start(call)
    background.settle()
    for _ in range(2):
        with pytest.raises(StateUnknown, match="hangs"):
            background.result()
    background.close()
    assert background.is_busy
    go.set()


def seconds_of(s: Setting) -> float:
    """How long the payload took, by the cluster's clock, until no coordinator had answered."""
    begin = s.kafka.time.now_s
    s.committer.start(payload(b"v", 7))
    with pytest.raises(BrokerUnreachable, match="no transaction coordinator answered"):
        s.committer.finish()
    return s.kafka.time.now_s - begin


@pytest.mark.parametrize("each_s", [1.0, 7.5])
def test_an_outage_is_told_before_the_client_counts_as_hanging(each_s: float) -> None:
    """Between two payloads, or in one that is aborted first: by its own error."""
    s = Setting()
    s.kafka.on_error(KafkaError(KafkaError._TRANSPORT, "gone"))
    s.kafka.will("init", *[(each_s, retriable())] * 99)
    assert REBUILD_TIMEOUT_S <= seconds_of(s) <= REBUILD_TIMEOUT_S + each_s
    s = Setting()
    s.kafka.will("flush", COMMIT_TIMEOUT_S + 0.5)
    s.kafka.will("abort", ABORT_TIMEOUT_S)
    s.kafka.will("init", *[(each_s, retriable())] * 99)
    assert REBUILD_TIMEOUT_S <= seconds_of(s) <= REBUILD_TIMEOUT_S + each_s
    assert s.aborts == 1


def test_the_longest_commit_is_within_its_limit() -> None:
    """A producer replaced at the last moment, a commit and an abort: then nothing is tried again."""
    s = Setting()
    s.kafka.on_error(KafkaError(KafkaError._TRANSPORT, "gone"))
    s.kafka.will("init", REBUILD_TIMEOUT_S)
    s.kafka.will("flush", COMMIT_TIMEOUT_S + 0.5)
    s.kafka.will("abort", ABORT_TIMEOUT_S)
    assert seconds_of(s) <= CALL_LIMIT_S
    assert CALL_LIMIT_S + ABORT_TIMEOUT_S < 45.0, "what supervisors grant a stop"
    assert CALL_LIMIT_S < STUCK_AFTER_S


def test_each_payload_has_its_time() -> None:
    """What went before it does not count."""
    s = Setting()
    for offset in range(3):
        s.kafka.on_error(KafkaError(KafkaError._TRANSPORT, "gone for a while"))
        s.kafka.will("init", REBUILD_TIMEOUT_S - 1.0)
        s.committer.start(payload(b"v", offset))
        s.committer.finish()
    assert s.values == [b"v"] * 3
