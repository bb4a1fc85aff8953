"""Laws of the transactional output, on a fake that refuses illegal order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.errors import (
    BrokerRefused,
    BrokerUnreachable,
    DataError,
    Fenced,
    StateUnknown,
    TransactionAborted,
)
from consumer.reaction import Reaction, reaction_to
from consumer.transaction import State, TransactionalOutput
from tests.consumer.fake_producer import FakeKafka, abortable, fatal, nameless, retriable

OFFSETS = [TopicPartition("in", 0, 7)]
GROUP = object()


def started(kafka: FakeKafka) -> TransactionalOutput:
    """An output that has taken over its transactional id."""
    output = TransactionalOutput(kafka.factory, "app-1", kafka.time)
    output.start()
    kafka.calls.clear()
    return output


@pytest.mark.parametrize(
    ("exception", "reaction"),
    [
        (retriable(), Reaction.AGAIN),
        (abortable(), Reaction.ABORT),
        (fatal(), Reaction.EXIT),
        (nameless(), Reaction.EXIT),
        (
            KafkaException(KafkaError(KafkaError._FATAL, "both", fatal=True, txn_requires_abort=True)),
            Reaction.EXIT,
        ),
    ],
)
def test_every_error_has_one_reaction(exception: KafkaException, reaction: Reaction) -> None:
    """Retriable: again; abortable: abort; fatal or none of the three: exit."""
    assert reaction_to(exception.args[0]) is reaction


def test_nothing_begins_before_the_first_record() -> None:
    """A transaction is begun lazily, by the first record."""
    kafka = FakeKafka()
    output = started(kafka)
    assert (output.state, kafka.calls) == (State.IDLE, [])
    output.produce("out", 0, b"k", b"v")
    assert (output.state, kafka.calls) == (State.OPEN, ["poll", "begin", "produce"])


def test_records_and_offsets_become_visible_together() -> None:
    """Nothing is visible before the commit; after it records and offsets are."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce_many("out", 3, [b"a", b"b"], [b"1", None], [[("h", b"x")], []])
    assert not kafka.committed
    output.commit(OFFSETS, GROUP)
    assert kafka.committed == [("out", 3, b"a", b"1"), ("out", 3, b"b", None)]
    assert kafka.offsets == {("in", 0): 7}
    assert output.state is State.IDLE


def test_the_flush_comes_before_the_timed_steps() -> None:
    """A slow flush is no reason to suspect a repeated request."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce("out", 0, b"k", b"v")
    kafka.will("flush", 3.0)
    times = output.commit(OFFSETS, GROUP)
    assert times.flush_s == pytest.approx(3.0)
    assert kafka.calls[-3:] == ["flush", "offsets", "commit"]
    assert output.state is State.IDLE


def test_a_commit_of_offsets_only_is_a_transaction_too() -> None:
    """Without records the offsets still advance."""
    kafka = FakeKafka()
    started(kafka).commit(OFFSETS, GROUP)
    assert kafka.offsets == {("in", 0): 7}


def test_no_records_begin_nothing() -> None:
    """Producing an empty sequence is nothing."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce_many("out", 0, [], [])
    assert output.state is State.IDLE


def test_a_commit_without_offsets_is_refused() -> None:
    """Nothing owned, nothing to commit."""
    with pytest.raises(ValueError, match="without offsets"):
        started(FakeKafka()).commit([], GROUP)


def test_a_full_queue_repeats_the_same_record() -> None:
    """No record is lost, doubled or moved when the queue is full in between."""
    kafka = FakeKafka()
    output = started(kafka)
    kafka.will("produce", 0.0, BufferError(), BufferError(), 0.0)
    output.produce_many("out", 0, [b"a", b"b", b"c"], [b"1", b"2", b"3"])
    output.commit(OFFSETS, GROUP)
    assert [r[2] for r in kafka.committed] == [b"a", b"b", b"c"]
    assert kafka.calls.count("poll") == 1 + 2  # one before the transaction


@pytest.mark.parametrize("step", ["offsets", "commit"])
def test_a_retriable_error_repeats_the_call_and_replaces_the_producer(step: str) -> None:
    """The same call again; and because it was suspicious, a new epoch before the next transaction."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce("out", 0, b"k", b"v")
    kafka.will(step, retriable())
    output.commit(OFFSETS, GROUP)
    assert len(kafka.committed) == 1
    assert output.state is State.STALE
    output.produce("out", 0, b"k", b"v")
    assert (kafka.epoch, output.rebuilds["error"]) == (2, 1)


@pytest.mark.parametrize("step", ["offsets", "commit"])
def test_a_slow_step_replaces_the_producer(step: str) -> None:
    """From 400 ms on a step may hide a repeated request: a new epoch before the next transaction."""
    kafka = FakeKafka()
    output = started(kafka)
    kafka.will(step, 0.399)
    output.commit(OFFSETS, GROUP)
    assert output.state is State.IDLE
    kafka.will(step, 0.401)
    output.commit(OFFSETS, GROUP)
    assert (output.state, output.rebuilds["slow"], kafka.epoch) == (State.STALE, 1, 1)
    output.commit(OFFSETS, GROUP)
    assert kafka.epoch == 2


def test_a_lost_connection_replaces_the_producer() -> None:
    """A transport error is as suspicious as a slow step, between transactions and during one."""
    kafka = FakeKafka()
    output = started(kafka)
    kafka.on_error(KafkaError(KafkaError._TRANSPORT, "between transactions"))
    assert (output.state, output.rebuilds["disconnected"]) == (State.STALE, 1)
    output.commit(OFFSETS, GROUP)
    assert (output.state, kafka.epoch) == (State.IDLE, 2)
    output.produce("out", 0, b"k", b"v")
    kafka.on_error(KafkaError(KafkaError._TRANSPORT, "inside"))
    output.commit(OFFSETS, GROUP)
    assert (output.state, output.rebuilds["disconnected"]) == (State.STALE, 2)


@pytest.mark.parametrize("step", ["flush", "offsets", "commit"])
def test_an_abortable_error_leaves_nothing_and_the_payload_can_be_written_again(step: str) -> None:
    """Nothing of the aborted transaction is visible; the same payload once more is visible once."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce("out", 0, b"k", b"v")
    kafka.will(step, abortable())
    with pytest.raises(TransactionAborted):
        output.commit(OFFSETS, GROUP)
    assert (output.state, kafka.committed, kafka.offsets) == (State.STALE, [], {})
    output.produce("out", 0, b"k", b"v")
    output.commit(OFFSETS, GROUP)
    assert len(kafka.committed) == 1


@pytest.mark.parametrize("step", ["flush", "offsets"])
def test_being_late_before_the_commit_is_an_abort(step: str) -> None:
    """Until the commit was asked for, it certainly has not happened."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce("out", 0, b"k", b"v")
    kafka.will(step, 9.5) if step == "flush" else kafka.will("flush", 8.9999999)
    if step == "offsets":
        kafka.will("offsets", *[retriable()] * 3)
        _advance_on(kafka, "offsets", 1.0)
    with pytest.raises(TransactionAborted):
        output.commit(OFFSETS, GROUP)
    assert not kafka.committed


def test_being_late_in_the_commit_means_nobody_knows() -> None:
    """A commit without an answer may have happened: exit, never guess."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce("out", 0, b"k", b"v")
    kafka.will("commit", retriable())
    _advance_on(kafka, "commit", 10.0)
    with pytest.raises(StateUnknown):
        output.commit(OFFSETS, GROUP)
    assert output.state is State.DEAD


@pytest.mark.parametrize("step", ["begin", "flush", "offsets", "commit"])
def test_a_fenced_producer_never_writes_again(step: str) -> None:
    """Fenced means exit; every further use is refused."""
    kafka = FakeKafka()
    output = started(kafka)
    kafka.will(step, fatal())
    with pytest.raises(Fenced):
        output.commit(OFFSETS, GROUP)
    with pytest.raises(RuntimeError, match="dead"):
        output.produce("out", 0, b"k", b"v")


@pytest.mark.parametrize("step", ["flush", "offsets", "commit", "abort"])
def test_an_error_that_says_nothing_is_fatal(step: str) -> None:
    """None of the three flags: the state is unknown."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce("out", 0, b"k", b"v")
    kafka.will(step, nameless())
    call: Callable[[], object] = output.abort if step == "abort" else lambda: output.commit(OFFSETS, GROUP)
    with pytest.raises(StateUnknown):
        call()


def test_a_second_process_of_the_same_name_fences_the_first() -> None:
    """The younger one writes, the older one exits."""
    kafka = FakeKafka()
    old, young = started(kafka), started(kafka)
    old.produce("out", 0, b"k", b"old")
    with pytest.raises(Fenced, match="app-1"):
        old.commit(OFFSETS, GROUP)
    young.produce("out", 0, b"k", b"young")
    young.commit(OFFSETS, GROUP)
    assert [r[3] for r in kafka.committed] == [b"young"]


def test_a_refused_record_aborts() -> None:
    """A delivery that failed in the background shows at the next record and takes the transaction along."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce("out", 0, b"k", b"v")
    kafka.will("produce", nameless())
    with pytest.raises(TransactionAborted):
        output.produce("out", 0, b"k", b"v")
    assert output.state is State.STALE


def test_a_record_too_large_names_its_size() -> None:
    """Writing it again would not help, so it is no `TransactionAborted`."""
    kafka = FakeKafka()
    output = started(kafka)
    kafka.will("produce", nameless(KafkaError.MSG_SIZE_TOO_LARGE))
    with pytest.raises(DataError, match="5 bytes"):
        output.produce("out", 0, b"k", b"12345")
    assert output.state is State.IDLE


def test_an_abort_leaves_nothing_and_costs_no_new_producer() -> None:
    """A planned abort is quick and not suspicious."""
    kafka = FakeKafka()
    output = started(kafka)
    output.abort()
    assert kafka.calls == []
    output.produce("out", 0, b"k", b"v")
    output.abort()
    assert (output.state, kafka.committed) == (State.IDLE, [])


def test_an_abort_without_answer_is_left_to_the_successor() -> None:
    """init_transactions of the next producer aborts what is still open."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce("out", 0, b"k", b"v")
    kafka.will("abort", *[retriable()] * 10)
    _advance_on(kafka, "abort", 2.0)
    output.abort()
    assert output.state is State.STALE


def test_close_may_come_at_any_time_and_twice() -> None:
    """Closing never raises and ends what is open."""
    kafka = FakeKafka()
    output = started(kafka)
    output.produce("out", 0, b"k", b"v")
    kafka.will("abort", fatal())
    output.close()
    output.close()
    assert output.state is State.CLOSED


@pytest.mark.parametrize(
    ("exception", "error"),
    [
        (nameless(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED), BrokerRefused),
        (fatal(), Fenced),
        (nameless(), StateUnknown),
    ],
)
def test_a_start_that_fails_says_why(exception: KafkaException, error: type[Exception]) -> None:
    """Refusal, fencing and the unknown are told apart."""
    kafka = FakeKafka()
    kafka.will("init", exception)
    with pytest.raises(error):
        TransactionalOutput(kafka.factory, "app-1", kafka.time).start()


def test_a_start_without_broker_ends_at_its_deadline() -> None:
    """Unreachable is repeated until the deadline, then named."""
    kafka = FakeKafka()
    kafka.will("init", *[retriable()] * 10)
    _advance_on(kafka, "init", 1.0)
    with pytest.raises(BrokerUnreachable, match="scripted"):
        TransactionalOutput(kafka.factory, "app-1", kafka.time).start(timeout_s=2.5)
    assert kafka.calls.count("init") == 3


def _advance_on(kafka: FakeKafka, slow_step: str, seconds: float) -> None:
    """Let every call of the step `slow_step` take time, whatever its outcome."""
    step = kafka.step

    def slow(name: str) -> None:
        if name == slow_step:
            kafka.time.now_s += seconds
        step(name)

    kafka.step = slow  # type: ignore[method-assign]
