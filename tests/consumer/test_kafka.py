"""The shell on a real Apache Kafka: topics, doctor, transactions."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.cimpl import NewPartitions

from consumer import doctor, kafka_clients, topics
from consumer.brokers import Broker
from consumer.config import Config
from consumer.config_sources import load_config
from consumer.doctor import Verdict
from consumer.errors import BrokerUnreachable, Fenced, TopicError, TransactionAborted
from consumer.input import Input
from consumer.topics import TopicNames
from consumer.transaction import State, TransactionalOutput

pytestmark = pytest.mark.kafka

NewName = Callable[[str], str]


@pytest.fixture
def config(kafka: Broker, new_name: NewName) -> Config:
    """Settings with a prefix and an application of their own."""
    name = new_name("t")
    overrides = {
        "kafka.bootstrap": kafka.bootstrap,
        "topics.prefix": f"{name[-8:]}.",
        "app.name": name[-40:],
        "app.instance": "i0",
        "http.port": "0",
    }
    return load_config(None, {}, overrides)


@pytest.fixture
def names(config: Config) -> TopicNames:
    """The ten topics, created with two partitions."""
    names = TopicNames.with_prefix(config.topics.prefix)
    topics.create(kafka_clients.make_admin(config), names, partitions=2, replication=1)
    return names


@pytest.fixture
def member(config: Config, names: TopicNames) -> Iterator[Consumer]:
    """A consumer of the group that owns all input partitions."""
    consumer = kafka_clients.make_consumer(kafka_clients.consumer_settings(config))
    consumer.subscribe(list(names.inputs))
    wait_for_assignment(consumer)
    yield consumer
    consumer.close()


def wait_for_assignment(consumer: Consumer) -> None:
    """Polls until the consumer owns all input partitions."""
    end = time.monotonic() + 90
    while len(consumer.assignment()) < 6:
        assert time.monotonic() < end, consumer.assignment()
        # Without committed offsets auto.offset.reset=error shows as errors; the positions do not matter here.
        consumer.consume(10, 0.1)


def output_of(config: Config) -> TransactionalOutput:
    """A started output of the application."""
    output = TransactionalOutput(
        kafka_clients.producer_factory(config), kafka_clients.transactional_id(config)
    )
    output.start()
    return output


def committed_values(config: Config, topic: str, partition: int) -> list[bytes | None]:
    """Values a read_committed reader sees, up to the high watermark.

    The broker writes the markers of a commit a moment after it has confirmed it, so the end of what is
    stable comes too early; the end of the log is told by an uncommitted reader only.
    """
    watcher = kafka_clients.make_consumer(kafka_clients.reader_settings(config, committed_only=False))
    high = watcher.get_watermark_offsets(TopicPartition(topic, partition), timeout=30, cached=False)[1]
    watcher.close()
    reader = kafka_clients.make_consumer(kafka_clients.reader_settings(config, committed_only=True))
    reader.assign([TopicPartition(topic, partition, 0)])
    values: list[bytes | None] = []
    try:
        while True:
            message: Message | None = reader.poll(30)
            assert message is not None, "neither a record nor the end within half a minute"
            if message.error() is None:
                values.append(message.value())
            elif (message.offset() or 0) >= high:
                return values
    finally:
        reader.close()


def test_created_topics_are_as_check_wants_them(config: Config, names: TopicNames) -> None:
    """Creating is repeatable, and what it made passes the check."""
    admin = kafka_clients.make_admin(config)
    assert topics.check(admin, names) == []
    assert topics.require(admin, names) == 2
    again = topics.create(admin, names, partitions=2, replication=1)
    assert again.created == ()
    assert len(again.existing) == 10
    wanted = {s.name: s.config for s in topics.shapes(names)}
    for setting in ("cleanup.policy", "retention.ms", "min.compaction.lag.ms", "message.timestamp.type"):
        told = topics.topic_settings(admin, list(wanted), setting)
        assert {n: v for n, v in told.items() if n in wanted and setting in wanted[n]} == {
            n: c[setting] for n, c in wanted.items() if setting in c
        }


def test_a_contradicting_partition_count_is_refused(config: Config, names: TopicNames) -> None:
    """The message names the count that fits."""
    with pytest.raises(TopicError, match=r"2 partitions, not 3[\s\S]*--partitions 2"):
        topics.create(kafka_clients.make_admin(config), names, partitions=3, replication=1)


def test_too_many_copies_are_one_clear_error(config: Config) -> None:
    """One broker cannot hold three copies."""
    names = TopicNames.with_prefix(f"{config.topics.prefix}copies.")
    with pytest.raises(TopicError, match="--replication"):
        topics.create(kafka_clients.make_admin(config), names, partitions=1, replication=3)


def test_check_finds_missing_topics_wrong_counts_and_policies(config: Config, names: TopicNames) -> None:
    """Each finding names its topic and its fix."""
    admin = kafka_clients.make_admin(config)
    admin.delete_topics([names.catalog])[names.catalog].result(20)
    for topic in (names.billing, names.current, names.models):
        admin.create_partitions([NewPartitions(topic, 4)])[topic].result(20)
    wanted = {
        names.catalog: "does not exist",
        names.usage: "differ",
        names.customer: "differ",
        **dict.fromkeys((names.changes, names.audit, names.dlq), "has 2 partitions, the input topics have 4"),
        names.models: "has 4 partitions, must have 1",
        # Nothing about `current`: it has four, as the largest input.
    }
    # Brokers learn of each change at a time of their own, so wait for all of them, not for a number.
    end = time.monotonic() + 60
    findings = topics.check(admin, names)
    while {f.topic for f in findings} != wanted.keys():
        assert time.monotonic() < end, findings
        time.sleep(0.2)
        findings = topics.check(admin, names)
    assert [f for f in findings if wanted[f.topic] not in f.problem] == []
    assert all(f.fix for f in findings)
    with pytest.raises(TopicError, match=names.catalog):
        topics.require(admin, names)
    with pytest.raises(TopicError, match="differ"):
        topics.input_partitions(admin, names)


def test_the_doctor_finds_a_healthy_cluster_healthy(config: Config, names: TopicNames) -> None:
    """Nothing fails, and the transaction check really asked the coordinator."""
    checks = {c.name: c for c in doctor.examine(config)}
    assert [c for c in checks.values() if c.verdict is Verdict.FAILED] == []
    assert checks["transactions"].verdict is Verdict.OK
    assert checks["connection"].detail.startswith(config.kafka.bootstrap)
    assert {"client", "specification", "strategies", "topics", "port", "snapshots"} <= checks.keys()


def test_the_doctor_compares_clocks_by_the_brokers_stamp(config: Config, names: TopicNames) -> None:
    """A record from the past is stamped with the broker's time on arrival."""
    producer = kafka_clients.make_producer(kafka_clients.plain_producer_settings(config))
    producer.produce(names.usage, b"{}", b"k", 0, timestamp=1_000)
    assert producer.flush(20) == 0
    clock = {c.name: c for c in doctor.examine(config)}["clock"]
    assert clock.verdict is Verdict.OK
    assert names.usage in clock.detail


def test_the_doctor_gives_a_fix_for_everything_that_fails(config: Config) -> None:
    """Missing topics, a taken port and bad files are found in one go."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sick = load_config(
            None,
            {},
            {
                "kafka.bootstrap": config.kafka.bootstrap,
                "topics.prefix": "nobody.",
                "http.host": "127.0.0.1",
                "http.port": port,
                "model.spec": "/absent/spec.yaml",
                "model.strategies": "/absent/strategies.yaml",
            },
        )
        failed = {c.name: c for c in doctor.examine(sick) if c.verdict is Verdict.FAILED}
    assert {"port", "specification", "strategies", "topic nobody.telecom.usage.v1"} <= failed.keys()
    assert all(c.fix for c in failed.values())


def test_only_committed_records_are_seen(config: Config, names: TopicNames, member: Consumer) -> None:
    """An aborted transaction is invisible, a committed one is complete with its offsets."""
    output = output_of(config)
    output.produce(names.changes, 1, b"k", b"aborted")
    output.abort()
    output.produce_many(names.changes, 1, [b"k"] * 3, [b"1", b"2", b"3"], [[("ce_id", b"x")]] * 3)
    times = output.commit([TopicPartition(names.usage, 0, 42)], member.consumer_group_metadata())
    assert committed_values(config, names.changes, 1) == [b"1", b"2", b"3"]
    assert member.committed([TopicPartition(names.usage, 0)], timeout=20)[0].offset == 42
    assert times.total_s > 0
    output.close()


def test_a_replaced_producer_goes_on(config: Config, names: TopicNames, member: Consumer) -> None:
    """After a suspicious step the next transaction is the successor's, and nothing is lost or doubled."""
    output = output_of(config)
    for i in range(3):
        output.produce(names.changes, 0, b"k", b"%d" % i)
        output._suspect("slow")
        output.commit([TopicPartition(names.usage, 0, i)], member.consumer_group_metadata())
        assert output.state is State.STALE
    output.close()
    assert committed_values(config, names.changes, 0) == [b"0", b"1", b"2"]
    assert output.rebuilds["slow"] == 3


def test_the_younger_process_of_a_name_wins(config: Config, names: TopicNames, member: Consumer) -> None:
    """The older one is fenced at its commit and leaves nothing behind."""
    old = output_of(config)
    old.produce(names.changes, 0, b"k", b"old")
    young = output_of(config)
    young.produce(names.changes, 0, b"k", b"young")
    with pytest.raises(Fenced, match=r"app\.instance"):
        old.commit([TopicPartition(names.usage, 0, 1)], member.consumer_group_metadata())
    young.commit([TopicPartition(names.usage, 0, 2)], member.consumer_group_metadata())
    old.close()
    young.close()
    assert committed_values(config, names.changes, 0) == [b"young"]


def test_a_stranger_to_the_group_cannot_commit(config: Config, names: TopicNames, member: Consumer) -> None:
    """Group metadata of a member that left aborts the transaction; fresh metadata commits the payload."""
    stale = member.consumer_group_metadata()
    member.unsubscribe()
    output = output_of(config)
    output.produce(names.changes, 0, b"k", b"payload")
    other = load_config(
        None,
        {},
        {"kafka.bootstrap": config.kafka.bootstrap, "app.name": config.app.name, "app.instance": "i1"},
    )
    heir = kafka_clients.make_consumer(kafka_clients.consumer_settings(other))
    heir.subscribe(list(names.inputs))
    kafka_clients.leave_group(member, "member")
    wait_for_assignment(heir)
    offsets = [TopicPartition(names.usage, 0, 9)]
    with pytest.raises(TransactionAborted):
        output.commit(offsets, stale)
    output.produce(names.changes, 0, b"k", b"payload")
    output.commit(offsets, heir.consumer_group_metadata())
    output.close()
    kafka_clients.leave_group(heir, "heir")
    assert committed_values(config, names.changes, 0) == [b"payload"]


def test_members_leave_in_the_middle_of_a_rebalance(config: Config, names: TopicNames) -> None:
    """Both have an assignment that they have not heard of yet; a client that is simply closed hangs there."""

    def joined(instance: str, heard: list[str]) -> Consumer:
        settings = kafka_clients.consumer_settings(config) | {"group.instance.id": instance}
        made = kafka_clients.make_consumer(settings | {"heartbeat.interval.ms": 300})

        def on_assign(client: Consumer, _: list[TopicPartition]) -> None:
            heard.append("assigned")
            client.assign([])

        made.subscribe(list(names.inputs), on_assign=on_assign, on_revoke=lambda *_: heard.append("revoked"))
        return made

    heard: tuple[list[str], list[str]] = ([], [])
    first = joined("a", heard[0])
    while "assigned" not in heard[0]:
        first.consume(10, 0.1)
    second = joined("b", heard[1])
    while "revoked" not in heard[0]:
        first.consume(10, 0.1)
    time.sleep(3)  # the next generation begins, and nobody polls
    assert kafka_clients.leave_group(second, "second")
    assert kafka_clients.leave_group(first, "first")
    assert heard[1][-1] == "revoked"
    assert heard[0][-1] == "revoked"


def test_the_group_tells_a_member_that_it_is_spare(config: Config) -> None:
    """One partition and two members: the group answers both, one of them with nothing."""
    names = TopicNames.with_prefix(config.topics.prefix)
    topics.create(kafka_clients.make_admin(config), names, partitions=1, replication=1)
    members = []
    for instance in ("i0", "i1"):
        own = config.model_copy(update={"app": config.app.model_copy(update={"instance": instance})})
        members.append(Input(kafka_clients.make_consumer(kafka_clients.consumer_settings(own)), names.inputs))
    try:
        end = time.monotonic() + 60
        while sorted((len(m.owned), m.is_spare) for m in members) != [(0, True), (1, False)]:
            assert time.monotonic() < end
            for member in members:
                member.poll(10, 0.1)
    finally:
        for member in members:
            member.close()


def test_an_unreachable_broker_is_named_quickly() -> None:
    """No broker: one clear error within the deadline."""
    config = load_config(None, {}, {"kafka.bootstrap": "127.0.0.1:1"})
    with pytest.raises(BrokerUnreachable, match=r"kafka\.bootstrap"):
        topics.cluster_metadata(kafka_clients.make_admin(config), 1.0)
    checks = {c.name: c.verdict for c in doctor.examine(config)}
    assert checks["connection"] is Verdict.FAILED
    assert checks["topics"] is Verdict.SKIPPED
