"""What exactly-once rests on and no documentation promises: held against the real broker, again and again.

Each law here is an assumption of the design. If one fails with a new broker or client, the design is wrong
there, not the test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from consumer import kafka_clients, topics
from consumer.brokers import Broker
from consumer.config import Config
from consumer.config_sources import load_config
from consumer.errors import TransactionAborted
from consumer.input import Input
from consumer.topics import TopicNames
from consumer.transaction import SLOW_STEP_S, CommitTimes, State, TransactionalOutput
from tests.brokers.answer_proxy import END_TXN, TXN_OFFSET_COMMIT, AnswerProxy
from tests.conftest import NewTopicCall

pytestmark = pytest.mark.kafka

PARTITIONS = 2


@dataclass
class Site:
    """An application with topics of its own; everything it opens is closed at the end."""

    config: Config
    names: TopicNames
    _closers: list[Callable[[], object]] = field(default_factory=list)

    def with_instance(self, name: str) -> Config:
        """The settings of another process of the group."""
        app = self.config.app.model_copy(update={"instance": name})
        return self.config.model_copy(update={"app": app})

    def member(self, name: str, **callbacks: Callable[[Consumer, list[TopicPartition]], None]) -> Consumer:
        """A group member on the input topics; `settle` brings it in."""
        made = kafka_clients.make_consumer(kafka_clients.consumer_settings(self.with_instance(name)))
        self._closers.append(lambda: kafka_clients.leave_group(made, name))
        made.subscribe(list(self.names.inputs), **callbacks)
        return made

    def input(self, name: str) -> Input:
        """The input of a process."""
        made = Input(
            kafka_clients.make_consumer(kafka_clients.consumer_settings(self.with_instance(name))),
            self.names.inputs,
        )
        self._closers.append(made.close)
        return made

    def output(self, bootstrap: str = "") -> TransactionalOutput:
        """The transactional output, over another address if given."""
        config = self.config
        if bootstrap:
            kafka = config.kafka.model_copy(update={"bootstrap": bootstrap})
            config = config.model_copy(update={"kafka": kafka})
        made = TransactionalOutput(kafka_clients.producer_factory(config), f"{config.app.name}-out")
        made.start()
        self._closers.append(made.close)
        return made

    def commit(self, output: TransactionalOutput, offset: int, metadata: object) -> CommitTimes:
        """A transaction of one record and the offset."""
        output.produce(self.names.changes, 0, b"k", str(offset).encode())
        return output.commit([TopicPartition(self.names.usage, 0, offset)], metadata)

    def close(self) -> None:
        """Closes everything, the last first."""
        for close in reversed(self._closers):
            close()


@pytest.fixture
def site(kafka: Broker, new_name: Callable[[str], str]) -> Iterator[Site]:
    """A fresh application on the real broker."""
    name = new_name("a")
    chosen = {
        "kafka.bootstrap": kafka.bootstrap,
        "topics.prefix": f"{name[-8:]}.",
        "app.name": name[-40:],
        "app.instance": "a",
    }
    config = load_config(None, {}, chosen)
    names = TopicNames.with_prefix(config.topics.prefix)
    topics.create(kafka_clients.make_admin(config), names, PARTITIONS, 1)
    made = Site(config, names)
    yield made
    made.close()


def settle(*members: Consumer) -> None:
    """Polls until the members own all of the input between them, each some."""
    end = time.monotonic() + 60
    while True:
        shares = [member.assignment() for member in members]
        if all(shares) and sum(map(len, shares)) == 3 * PARTITIONS:
            return
        assert time.monotonic() < end, shares
        for member in members:
            member.consume(10, 0.05)


# -- the group's generation fences -----------------------------------------------------------------


def test_offsets_need_the_generation_of_now(site: Site) -> None:
    """Fresh metadata is accepted; that of the generation before aborts the transaction, fresh works again."""
    first, output = site.member("a"), site.output()
    settle(first)
    stale = first.consumer_group_metadata()
    site.commit(output, 1, stale)
    settle(first, site.member("b"))
    with pytest.raises(TransactionAborted):
        site.commit(output, 2, stale)
    assert output.state is State.STALE
    site.commit(output, 3, first.consumer_group_metadata())
    assert first.committed([TopicPartition(site.names.usage, 0)], timeout=20)[0].offset == 3


def test_a_commit_while_partitions_are_revoked_is_accepted(site: Site) -> None:
    """`range` revokes before it joins the next generation: the callback can still commit what was done."""
    output = site.output()
    committed: list[CommitTimes] = []

    def on_revoke(consumer: Consumer, _: list[TopicPartition]) -> None:
        if not committed:
            committed.append(site.commit(output, 7, consumer.consumer_group_metadata()))

    first = site.member("a", on_revoke=on_revoke)
    settle(first)
    settle(first, site.member("b"))
    assert len(committed) == 1
    assert first.committed([TopicPartition(site.names.usage, 0)], timeout=20)[0].offset == 7


# -- a repeated end of a transaction is slow ---------------------------------------------------------


@pytest.fixture
def proxy(kafka: Broker) -> Iterator[AnswerProxy]:
    """A proxy before the broker."""
    made = AnswerProxy(kafka.bootstrap)
    yield made
    made.close()


@pytest.mark.parametrize("api", [END_TXN, TXN_OFFSET_COMMIT], ids=["EndTxn", "TxnOffsetCommit"])
def test_a_repeated_request_never_hides_in_a_fast_step(site: Site, proxy: AnswerProxy, api: int) -> None:
    """The answer is lost, the client asks again by itself: the step takes at least `SLOW_STEP_S`.

    So each such producer is replaced, before a late copy of the first request could end its next transaction.
    """
    member, output = site.member("a"), site.output(proxy.bootstrap)
    settle(member)
    for number in range(1, 4):
        site.commit(output, 10 * number, member.consumer_group_metadata())
        before = proxy.seen[api]
        proxy.lose[api] = 1
        times = site.commit(output, 10 * number + 1, member.consumer_group_metadata())
        assert proxy.lose[api] == 0
        assert proxy.seen[api] - before >= 2
        slow = times.end_s if api == END_TXN else times.offsets_s
        assert slow >= SLOW_STEP_S, times
        assert output.state is State.STALE
    assert output.rebuilds["slow"] + output.rebuilds["disconnected"] >= 2


def test_a_slow_answer_is_not_asked_for_twice(site: Site, proxy: AnswerProxy) -> None:
    """The client waits for the answer: 300 ms of delay are one request, and no reason to replace anything."""
    member, output = site.member("a"), site.output(proxy.bootstrap)
    settle(member)
    site.commit(output, 1, member.consumer_group_metadata())
    before = proxy.seen[END_TXN]
    proxy.delay_s[END_TXN] = 0.3
    times = site.commit(output, 2, member.consumer_group_metadata())
    assert proxy.seen[END_TXN] - before == 1
    assert 0.3 <= times.end_s < SLOW_STEP_S
    assert output.state is State.IDLE


def test_undisturbed_commits_are_far_from_slow(site: Site) -> None:
    """Half take a tenth of what counts as slow at most, or producers would be replaced for nothing."""
    member, output = site.member("a"), site.output()
    settle(member)
    metadata = member.consumer_group_metadata()
    taken = [site.commit(output, n, metadata) for n in range(1, 101)]
    steps = np.array([max(times.offsets_s, times.end_s) for times in taken]) * 1e3
    assert np.median(steps) <= SLOW_STEP_S * 1e3 / 10


# -- reading ---------------------------------------------------------------------------------------


def fill(site: Site, n: int) -> None:
    """`n` records in each partition of each input topic."""
    producer = kafka_clients.make_producer(kafka_clients.plain_producer_settings(site.config))
    for number in range(n):
        for topic in site.names.inputs:
            for partition in range(PARTITIONS):
                producer.produce(topic, str(number).encode(), b"k", partition)
    assert producer.flush(20) == 0


def test_pausing_and_revoking_lose_nothing(site: Site) -> None:
    """Whatever two members read, paused now and then, goes on where the position of the other ended."""
    n = 3_000
    fill(site, n)
    inputs = {"a": site.input("a")}
    position = {(p, t): 0 for p in range(PARTITIONS) for t in range(3)}
    found: dict[tuple[int, int], list[int]] = {key: [] for key in position}
    end, turn = time.monotonic() + 60, 0
    shared: set[str] = set()
    while min(position.values()) < n or len(shared) < 2:
        assert time.monotonic() < end, position
        turn += 1
        if turn % 7 == 0 and sum(map(len, found.values())) > n and "b" not in inputs:
            inputs["b"] = site.input("b")
        for name, source in inputs.items():
            raw, positions = source.poll(60, 0.02)
            for p, t, offset in zip(raw.partition, raw.topic, raw.offset, strict=True):
                found[int(p), int(t)].append(int(offset))
            position |= positions.next_offset
            if source.take_changes():
                source.go_live({key: position[key] for key in position if key[0] in source.owned})
            shared |= {name} if len(inputs) == 2 and len(source.owned) == 1 else set()
            source.hold([(p, turn % 3) for p in source.owned] if turn % 2 else [])
    for source in inputs.values():
        source.hold([])
    assert {key: offsets == list(range(n)) for key, offsets in found.items()} == dict.fromkeys(found, True)


def end_of(site: Site, topic: str, committed_only: bool = True) -> int:
    """Offset of the event that tells a reader of the end."""
    reader = kafka_clients.make_consumer(kafka_clients.reader_settings(site.config, committed_only))
    reader.assign([TopicPartition(topic, 0, 0)])
    stop = time.monotonic() + 20
    try:
        while True:
            assert time.monotonic() < stop
            for message in reader.consume(10, 0.2):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return int(message.offset() or 0)
    finally:
        reader.close()


def wait_for_end(site: Site, topic: str, end: int, timeout_s: float) -> float:
    """Seconds until the committed end is `end`."""
    begin = time.monotonic()
    while end_of(site, topic) != end:
        assert time.monotonic() < begin + timeout_s
    return time.monotonic() - begin


def open_transaction(site: Site, name: str, topic: str, timeout_ms: int = 10_000) -> Producer:
    """A producer with two delivered records in a transaction that it has not ended."""
    settings = kafka_clients.producer_settings(site.config) | {
        "transactional.id": name,
        "transaction.timeout.ms": timeout_ms,
        "message.timeout.ms": timeout_ms,
    }
    producer = kafka_clients.make_producer(settings)
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in (b"1", b"2"):
        producer.produce(topic, value, partition=0)
    assert producer.flush(10) == 0
    return producer


def test_the_end_that_readers_hear_of_is_that_of_the_log_they_may_see(
    site: Site, new_topic: NewTopicCall
) -> None:
    """Before an open transaction for readers of committed records; after its marker once it has ended."""
    topic = new_topic("end")
    assert end_of(site, topic) == 0
    producer = open_transaction(site, f"{site.config.app.name}-end", topic)
    assert (end_of(site, topic), end_of(site, topic, committed_only=False)) == (0, 2)
    producer.commit_transaction(10)
    wait_for_end(site, topic, 3, 10)  # two records and the marker, which is no record but counts
    assert end_of(site, topic, committed_only=False) == 3
    producer.begin_transaction()
    producer.produce(topic, b"3", partition=0)
    producer.abort_transaction(10)
    wait_for_end(site, topic, end_of(site, topic, committed_only=False), 10)


# -- the broker's side of transactions, with a client that knows the first version -------------------


def test_a_successor_ends_the_transaction_of_a_dead_producer_at_once(
    site: Site, new_topic: NewTopicCall
) -> None:
    """`init_transactions` returns when it is aborted; readers go on, and nothing hangs."""
    topic, name = new_topic("dead"), f"{site.config.app.name}-dead"
    dead = open_transaction(site, name, topic, timeout_ms=60_000)
    begin = time.monotonic()
    after = open_transaction(site, name, topic)
    seconds = time.monotonic() - begin
    after.commit_transaction(10)
    wait_for_end(site, topic, 6, 10)  # two lost records, a marker, two records, a marker
    assert seconds < 10
    del dead


def test_the_transaction_of_a_dead_producer_times_out(site: Site, new_topic: NewTopicCall) -> None:
    """Without a successor the broker aborts it after `transaction.timeout.ms` and its next look around."""
    topic = new_topic("silent")
    silent = open_transaction(site, f"{site.config.app.name}-silent", topic, timeout_ms=1_000)
    seconds = wait_for_end(site, topic, 3, 30)
    assert seconds >= 0.8
    del silent
