"""What the product needs from a broker, checked on the real Apache Kafka and on the embedded one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from consumer.brokers import Broker
from consumer.clock import Deadline
from consumer.kafka_clients import leave_group
from tests.conftest import create_topic

pytestmark = pytest.mark.kafka

TRANSACTION_S = 20.0


@pytest.fixture(params=["kafka", "embedded_broker"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each of the two brokers in turn."""
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def topic(broker: Broker, new_name: Callable[[str], str]) -> str:
    """A new topic with two partitions."""
    name = new_name("contract")
    create_topic(broker, name, partitions=2)
    return name


def transactional(broker: Broker, name: str) -> Producer:
    """A producer with the transactional id `name`, initialised."""
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "transactional.id": name,
            "transaction.timeout.ms": 10_000,
            "message.timeout.ms": 8_000,
        }
    )
    producer.init_transactions(TRANSACTION_S)
    return producer


def consumer(broker: Broker, group: str, **settings: Any) -> Consumer:
    """A read_committed consumer that reports the end of a partition."""
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "range",
            **settings,
        }
    )


def read_to_end(reader: Consumer, partitions: set[int]) -> list[Message]:
    """Records until every partition of `partitions` has reported its end."""
    records, waiting, deadline = [], set(partitions), Deadline(90)
    while waiting:
        assert not deadline.expired, f"no end of partitions {waiting}"
        for message in reader.consume(100, timeout=0.2):
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                waiting.discard(message.partition())
            else:
                raise KafkaException(error)
    return records


def values(records: list[Message]) -> list[bytes]:
    """The payloads, sorted."""
    return sorted(record.value() or b"" for record in records)


def test_only_committed_records_are_visible(
    broker: Broker, topic: str, new_name: Callable[[str], str]
) -> None:
    """A read_committed reader sees every committed record, no aborted one, and both partition ends."""
    producer = transactional(broker, new_name("txn"))
    for payload, commit in ((b"first", True), (b"aborted", False), (b"second", True)):
        producer.begin_transaction()
        for partition in (0, 1):
            producer.produce(topic, payload, b"key", partition)
        producer.flush(TRANSACTION_S)
        (producer.commit_transaction if commit else producer.abort_transaction)(TRANSACTION_S)

    reader = consumer(broker, new_name("group"))
    reader.assign([TopicPartition(topic, p, 0) for p in (0, 1)])
    try:
        assert values(read_to_end(reader, {0, 1})) == [b"first"] * 2 + [b"second"] * 2
    finally:
        reader.close()


def test_offsets_follow_the_transaction(broker: Broker, topic: str, new_name: Callable[[str], str]) -> None:
    """Offsets sent to a committed transaction are the group's; those of an aborted one are not."""
    group = new_name("group")
    producer = transactional(broker, new_name("txn"))
    reader = consumer(broker, group)
    reader.subscribe([topic])
    try:
        producer.begin_transaction()
        for number in range(6):
            producer.produce(topic, str(number).encode(), partition=0)
        producer.commit_transaction(TRANSACTION_S)
        records = read_to_end(reader, {0, 1})
        assert len(records) == 6

        for offset, commit in ((4, True), (6, False)):
            producer.begin_transaction()
            producer.produce(topic, b"output", partition=1)
            where = [TopicPartition(topic, 0, offset)]
            producer.send_offsets_to_transaction(where, reader.consumer_group_metadata(), TRANSACTION_S)
            (producer.commit_transaction if commit else producer.abort_transaction)(TRANSACTION_S)

        assert reader.committed([TopicPartition(topic, 0)], timeout=TRANSACTION_S)[0].offset == 4
    finally:
        leave_group(reader, group)


def test_a_second_producer_fences_the_first(
    broker: Broker, topic: str, new_name: Callable[[str], str]
) -> None:
    """With the same transactional id the newer producer wins: the older one cannot commit any more."""
    name = new_name("txn")
    older = transactional(broker, name)
    older.begin_transaction()
    older.produce(topic, b"older", partition=0)
    older.flush(TRANSACTION_S)

    newer = transactional(broker, name)
    newer.begin_transaction()
    newer.produce(topic, b"newer", partition=0)
    newer.commit_transaction(TRANSACTION_S)

    with pytest.raises(KafkaException) as refused:
        older.commit_transaction(TRANSACTION_S)
    assert refused.value.args[0].code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED)

    reader = consumer(broker, new_name("group"))
    reader.assign([TopicPartition(topic, 0, 0)])
    try:
        assert values(read_to_end(reader, {0})) == [b"newer"]
    finally:
        reader.close()


def test_range_gives_a_member_the_same_partition_of_every_topic(
    broker: Broker, new_name: Callable[[str], str]
) -> None:
    """Two members, two co-partitioned topics: each member holds one partition number of both."""
    topics = [new_name("left"), new_name("right")]
    for name in topics:
        create_topic(broker, name, partitions=2)
    group = new_name("group")
    members = [consumer(broker, group, **{"session.timeout.ms": 6000}) for _ in range(2)]
    deadline = Deadline(90)
    try:
        for member in members:
            member.subscribe(topics)
        held: list[set[int]] = []
        while not all(len(numbers) == 1 for numbers in held) or not held:
            assert not deadline.expired, f"the group did not settle: {held}"
            for member in members:
                member.consume(10, timeout=0.2)
            assignments = [member.assignment() for member in members]
            held = [{part.partition for part in parts} for parts in assignments]
        assert [len(parts) for parts in assignments] == [2, 2]
        assert held[0] | held[1] == {0, 1}
    finally:
        for member in members:
            leave_group(member, group)
