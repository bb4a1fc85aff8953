"""Laws of the input without a broker: what a poll leaves behind, and when partitions are given up."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer import kafka_clients
from consumer.errors import Fenced
from consumer.input import N_TOPICS, Input
from consumer.kafka_clients import QUIET_S, are_left_behind, leave_behind, leave_group
from schemas.records import RawRecords

TOPICS = ("usage", "billing", "customer")


class FakeConsumer:
    """Keeps the callbacks, so that tests can rebalance."""

    def __init__(self) -> None:
        self.assigned: list[TopicPartition] = []
        self.is_closed = False
        self.on: dict[str, Callable[[Any, list[TopicPartition]], None]] = {}

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        """Notes the callbacks."""
        self.on = callbacks

    def assign(self, places: list[TopicPartition]) -> None:
        """Reads from `places`."""
        self.assigned = places

    def resume(self, places: list[TopicPartition]) -> None:
        """Nothing is paused here."""

    def unsubscribe(self) -> None:
        """The revocation of what is assigned comes later than a quiet while."""
        self.revoked_at = time.monotonic() + 2 * QUIET_S

    def assignment(self) -> list[TopicPartition]:
        """What is read."""
        return self.assigned

    def consume(self, _: int, timeout_s: float) -> list[object]:
        """No record; at its time the revocation."""
        time.sleep(timeout_s)
        if time.monotonic() > self.revoked_at:
            self.assigned = []
        return []

    def close(self) -> None:
        """Notes that it was closed, and what it held then."""
        self.is_closed = True
        self.held_at_close = self.assigned


def live_input(partitions: int, settle: Callable[[], None] = lambda: None) -> tuple[Any, Any]:
    """An input that reads every partition from offset 0, and its consumer."""
    consumer: Any = FakeConsumer()
    source = Input(consumer, TOPICS, settle)
    places = [TopicPartition(topic, p) for topic in TOPICS for p in range(partitions)]
    consumer.on["on_assign"](consumer, places)
    source.take_changes()
    source.go_live({(p, t): 0 for p in range(partitions) for t in range(N_TOPICS)})
    return source, consumer


Runs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(1, 5)), max_size=30)


@given(Runs)
def test_positions_follow_the_last_record_of_each_partition(runs: list[tuple[int, int, int]]) -> None:
    """Records of partitions that are not live (3 and 4) are dropped and move nothing."""
    source, _ = live_input(3)
    offsets: dict[tuple[int, int], int] = {}
    parts, kept = [], []
    for partition, topic, n in runs:
        first = offsets.get((partition, topic), 0) + 2  # offsets have gaps
        offsets[partition, topic] = first + n - 1
        values = [b"%d-%d-%d" % (partition, topic, first + i) for i in range(n)]
        parts.append(RawRecords.of_topic(topic, values, values, partition=partition, first_offset=first))
        kept += values if partition < 3 else []
    raw = RawRecords.concat(parts) if parts else RawRecords.of_topic(0, [], [])
    live, positions = source._advance(raw)
    assert live.values == kept
    expected = {key: at + 1 for key, at in offsets.items() if key[0] < 3}
    assert positions.next_offset == expected
    assert all(source._next[key] == at for key, at in expected.items())
    assert not any(positions.at_end[key] for key in expected)


def test_an_end_counts_only_if_nothing_comes_after_it() -> None:
    """The end event may be older than the records of the same poll."""
    source, _ = live_input(1)
    source._ends = {(0, 0): 5, (0, 1): 9}
    _, positions = source._advance(RawRecords.of_topic(1, [b"v"] * 3, [b"k"] * 3, first_offset=8))
    assert positions.at_end == {(0, 0): True, (0, 1): False, (0, 2): False}


@pytest.mark.parametrize("event", ["on_revoke", "on_lost"])
def test_partitions_are_given_up_after_the_commit_under_way(event: str) -> None:
    """Whoever owned them when it began has to end it."""
    seen: list[frozenset[int]] = []
    source, consumer = live_input(2, lambda: seen.append(source.owned))
    consumer.on[event](consumer, [TopicPartition(topic, 1) for topic in TOPICS])
    assert seen == [frozenset({0, 1})]
    assert source.owned == {0}
    assert {key[0] for key in source._next} == {0}
    changed = source.take_changes()
    assert (changed.dropped, changed.assigned) == ({1}, set())


def test_a_partition_of_which_only_some_topics_came_is_noticed() -> None:
    """Another member has the others and would work on it too; a later complete assignment mends it."""
    consumer: Any = FakeConsumer()
    source = Input(consumer, TOPICS)
    whole = [TopicPartition(topic, p) for topic in TOPICS for p in range(2)]
    consumer.on["on_assign"](consumer, [*whole, TopicPartition("usage", 2)])
    assert source.take_changes().split == {2}
    consumer.on["on_revoke"](consumer, [])
    consumer.on["on_assign"](consumer, [*whole, TopicPartition("billing", 2)])
    consumer.on["on_revoke"](consumer, [])
    consumer.on["on_assign"](consumer, whole)
    assert source.take_changes().split == set()


def test_a_member_without_partitions_is_spare_once_the_group_has_said_so() -> None:
    """Not before the first answer, nor between a revocation and the next one."""
    consumer: Any = FakeConsumer()
    source = Input(consumer, TOPICS)
    places = [TopicPartition(topic, p) for topic in TOPICS for p in range(2)]
    spare = [source.is_spare]
    for event, partitions in [
        ("assign", []),
        ("assign", places),
        ("revoke", places),
        ("assign", []),
        ("lost", []),
    ]:
        consumer.on[f"on_{event}"](consumer, partitions)
        spare.append(source.is_spare)
    assert spare == [False, True, False, False, True, False]


def test_a_client_that_does_not_close_is_left_behind() -> None:
    """The process ends all the same; one that closes is waited for."""
    ended = threading.Event()

    class Closing(FakeConsumer):
        """A client."""

        def close(self) -> None:
            """Returns once it may."""
            ended.wait(5)

    assert not leave_group(cast("Consumer", Closing()), "test", limit_s=0.05)
    ended.set()
    assert leave_group(cast("Consumer", Closing()), "test", limit_s=5.0)


def test_a_member_closes_when_nothing_is_assigned_any_more() -> None:
    """A client that closes with a revocation to come may hang."""
    client = FakeConsumer()
    client.assigned = [TopicPartition("usage", 0)]
    assert leave_group(cast("Consumer", client), "test")
    assert client.is_closed
    assert client.held_at_close == []


def test_a_process_that_ends_does_not_close_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing may freeze the whole process: the client is kept alive instead, and the exit is told."""
    monkeypatch.setattr(kafka_clients, "_left", [])
    client = FakeConsumer()
    source, consumer = Input(cast("Consumer", client), TOPICS), weakref.ref(client)
    source.close(leave_behind)
    assert are_left_behind()
    del source, client
    gc.collect()
    kept = consumer()
    assert kept is not None
    assert not kept.is_closed


@pytest.mark.parametrize("error", [KafkaError(KafkaError._FATAL), KafkaError(KafkaError._STATE, fatal=True)])
def test_a_member_that_was_fenced_ends(error: KafkaError) -> None:
    """The client tells it by a code, without the flag of a fatal error."""
    source, _ = live_input(1)
    message: Any = SimpleNamespace(error=lambda: error, topic=lambda: None, partition=lambda: None)
    with pytest.raises(Fenced) as fenced:
        source._is_record(message)
    assert "app.instance" in fenced.value.fix
