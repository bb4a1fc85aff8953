"""The feed hands a run to Kafka: in order, at a pace, every record once."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from consumer.brokers import Broker
from consumer.simulator import Faults, FeedError, KafkaFeed, Simulation, SimulationSettings
from tests.conftest import create_topic

SETTINGS = SimulationSettings(customers=30, days=3, faults=Faults(misrouted=0.05, late=0.1))
TOPICS = ("telecom.usage.v1", "telecom.billing.v1", "telecom.customer.v1")
Sent = tuple[str, bytes, bytes, int, int]


class MemoryProducer:
    """A producer with a small queue that fills up and is emptied by `poll`."""

    def __init__(self, queue: int = 50, stuck: int = 0) -> None:
        self.sent: list[Sent] = []
        self.refused = 0
        self._queue, self._stuck, self._waiting = queue, stuck, 0

    def produce(self, topic: str, *, value: bytes, key: bytes, partition: int, timestamp: int) -> None:
        """Take a record or refuse it."""
        if self._waiting >= self._queue:
            self.refused += 1
            raise BufferError
        self._waiting += 1
        self.sent.append((topic, value, key, partition, timestamp))

    def poll(self, timeout: float) -> int:
        """Deliver what waits."""
        self._waiting = 0
        return 0

    def flush(self, timeout: float) -> int:
        """Deliver all but the stuck records."""
        return self._stuck


def expected() -> list[tuple[str, bytes, bytes, int]]:
    """Topic, value, key and timestamp of the run's records."""
    return [
        (topic, value, key, arrival // 1000)
        for chunk in Simulation(SETTINGS).chunks()
        for topic, value, key, arrival in zip(
            chunk.topic, chunk.value, chunk.key, chunk.arrival_us.tolist(), strict=True
        )
    ]


def test_steps_send_every_record_once_in_order() -> None:
    """Whatever the steps and a full queue, the records are the run's, stamped with their arrival."""
    producer = MemoryProducer()
    feed = KafkaFeed(producer, Simulation(SETTINGS), partitions=4)
    at_us = SETTINGS.start_us
    while not feed.done:
        at_us += 5 * 3_600_000_000
        feed.step(at_us)
        assert all(timestamp * 1000 < at_us for *_, timestamp in producer.sent)
        assert feed.position_us >= min(at_us, SETTINGS.end_us)
    feed.close()
    assert [(t, v, k, ts) for t, v, k, _, ts in producer.sent] == expected()
    assert feed.sent == len(producer.sent)
    assert producer.refused > 0


def test_a_limit_cuts_a_step() -> None:
    """A step sends at most `limit` records and the next goes on from there."""
    producer = MemoryProducer()
    feed = KafkaFeed(producer, Simulation(SETTINGS), partitions=4)
    assert feed.step(SETTINGS.end_us, limit=7) == 7
    assert feed.step(SETTINGS.end_us, limit=0) == 0
    assert feed.step(SETTINGS.end_us) == len(expected()) - 7
    assert feed.done
    assert [v for _, v, *_ in producer.sent] == [v for _, v, *_ in expected()]


def test_what_is_skipped_is_not_sent() -> None:
    """After `skip`, inside a chunk or beyond some, the first record is the first that arrives then."""
    for days in (0.3, 2.0, 2.7):
        producer = MemoryProducer()
        feed = KafkaFeed(producer, Simulation(SETTINGS), partitions=4)
        until_us = SETTINGS.start_us + int(days * 86_400_000_000)
        feed.skip(until_us)
        feed.skip(SETTINGS.start_us)  # never back
        feed.step(SETTINGS.end_us)
        later = sum(a >= until_us for c in Simulation(SETTINGS).chunks() for a in c.arrival_us.tolist())
        assert [v for _, v, *_ in producer.sent] == [v for _, v, *_ in expected()[-later:]]
    feed.skip(SETTINGS.end_us)
    assert feed.done


def test_following_the_clock_sends_the_past_at_once_and_nothing_of_the_future() -> None:
    """What has arrived by the clock is sent, again and again, until the run or the patience is over."""
    producer = MemoryProducer()
    feed = KafkaFeed(producer, Simulation(SETTINGS), partitions=4)
    sent_by: list[tuple[int, int]] = []

    def clock() -> int:
        """Half a day later each time it is asked."""
        now_us = SETTINGS.start_us + len(sent_by) * 43_200_000_000
        sent_by.append((now_us, len(producer.sent)))
        return now_us

    feed.follow(clock)
    assert [v for _, v, *_ in producer.sent] == [v for _, v, *_ in expected()]
    for (now_us, _), (_, n_sent) in pairwise(sent_by):
        assert n_sent == sum(timestamp * 1000 < now_us for *_, timestamp in expected())


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for another thread, however long it does not get a core."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_rate_is_kept() -> None:
    """`events_per_s` bounds the records of a time."""
    producer = MemoryProducer()
    feed = KafkaFeed(producer, Simulation(SETTINGS), events_per_s=200, partitions=4)
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(feed.run)
        wait_until(lambda: feed.sent > 20)
        feed.stop()
        running.result(60)
    assert 20 < feed.sent <= 200 * (time.monotonic() - begun)
    assert not feed.done


def test_event_time_runs_faster_than_the_clock() -> None:
    """`speed` is event seconds per second."""
    producer = MemoryProducer()
    feed = KafkaFeed(producer, Simulation(SETTINGS), speed=24 * 3600.0, partitions=4)
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(feed.run)
        # Everybody's profile comes at the very start; wait for what comes after.
        wait_until(lambda: any(timestamp * 1000 > SETTINGS.start_us for *_, timestamp in producer.sent[-1:]))
        feed.stop()
        running.result(60)
    passed_us = producer.sent[-1][4] * 1000 - SETTINGS.start_us
    assert 0 < passed_us <= 24 * 3600e6 * (time.monotonic() - begun)


def test_full_speed_ends_by_itself() -> None:
    """Without a pace `run` returns when all is sent."""
    producer = MemoryProducer()
    feed = KafkaFeed(producer, Simulation(SETTINGS), partitions=4)
    feed.run()
    assert feed.done
    assert len(producer.sent) == len(expected())


def test_lost_records_are_an_error() -> None:
    """What is not delivered is said, for the truth no longer holds."""
    feed = KafkaFeed(MemoryProducer(stuck=3), Simulation(SETTINGS), partitions=4)
    feed.step(SETTINGS.end_us)
    with pytest.raises(FeedError, match="3 of"):
        feed.close()


def test_an_error_of_the_producer_ends_the_run() -> None:
    """A run that failed does not look like one that finished."""

    class Broken(MemoryProducer):
        def produce(self, topic: str, *, value: bytes, key: bytes, partition: int, timestamp: int) -> None:
            raise KafkaException("broken")

    feed = KafkaFeed(Broken(), Simulation(SETTINGS), partitions=4)
    with pytest.raises(KafkaException, match="broken"):
        feed.run()
    assert not feed.done


@pytest.mark.parametrize(
    "wrong",
    [
        {"events_per_s": 1.0, "speed": 1.0, "partitions": 2},
        {"speed": 0.0, "partitions": 2},
        {"partitions": 1},
        {},
    ],
)
def test_impossible_feeds_are_refused(wrong: dict[str, float]) -> None:
    """Two paces, no pace at all, or misrouting without a second partition."""
    with pytest.raises(ValueError, match=r"events_per_s|misrouted"):
        KafkaFeed(MemoryProducer(), Simulation(SETTINGS), **wrong)  # type: ignore[arg-type]


def test_records_reach_a_broker_on_the_partition_of_their_key(embedded_broker: Broker) -> None:
    """On a broker every record is there once, a customer's on one partition except the misrouted."""
    prefix, partitions = f"feed-{uuid.uuid4().hex[:8]}-", 3
    for topic in TOPICS:
        create_topic(embedded_broker, prefix + topic, partitions)
    simulation = Simulation(SETTINGS)
    config = {"bootstrap.servers": embedded_broker.bootstrap}
    feed = KafkaFeed(config, simulation, partitions=partitions, topic_prefix=prefix)
    feed.run()
    feed.close()
    messages = _read(embedded_broker, prefix, partitions, feed.sent)
    found = [((m.topic() or "").removeprefix(prefix), m.value(), m.key(), m.timestamp()[1]) for m in messages]
    assert sorted(found) == sorted(expected())
    homes: dict[bytes, Counter[int]] = {}
    for message in messages:
        homes.setdefault(message.key() or b"", Counter())[message.partition() or 0] += 1
    # A customer's own partition has most records, whatever the topic; the rest was misrouted.
    strays = sum(home.total() - max(home.values()) for home in homes.values())
    assert strays == simulation.truth.sent.by_fault["misrouted"] > 0
    assert len({home.most_common(1)[0][0] for home in homes.values()}) == partitions


def _read(broker: Broker, prefix: str, partitions: int, n: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": prefix + "reader"})
    consumer.assign([TopicPartition(prefix + t, p, 0) for t in TOPICS for p in range(partitions)])
    messages: list[Message] = []
    deadline = time.monotonic() + 60
    while len(messages) < n and time.monotonic() < deadline:
        messages += consumer.consume(10_000, 0.5)
    messages += consumer.consume(10_000, 0.5)
    consumer.close()
    return messages
