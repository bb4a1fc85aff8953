"""The broker of a benchmark, its topics, and putting events into them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from consumer.brokers import Broker, BrokerOptions, resolve
from consumer.config import Config
from consumer.config_sources import load_config
from consumer.kafka_clients import make_admin, make_consumer, plain_producer_settings, reader_settings
from consumer.topics import TopicNames, create
from tests.bench._events import Events

#: First offset to read, by (topic, partition).
Offsets = dict[tuple[str, int], int]

#: What one call of `consume` may bring, for every reader alike.
BATCH: Final = 20_000
WAIT_S: Final = 0.1


def start_broker(bootstrap: str | None, core: int) -> Broker:
    """The broker at `bootstrap`, else a real Apache Kafka bound to `core` (where it is a process of ours)."""
    return resolve("real", bootstrap, BrokerOptions(cpus=str(core), heap_mb=1024))


def _folder() -> str:
    """A directory that is gone when the process ends."""
    path = tempfile.mkdtemp(prefix="segmenter-bench-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def bench_config(bootstrap: str, **settings: Any) -> Config:
    """Configuration with topics and a group of its own; `settings` by name with `__` for the dot."""
    run = uuid.uuid4().hex[:8]
    values = {
        "app.name": f"bench-{run}",
        "app.instance": "bench",
        "topics.prefix": f"bench-{run}.",
        "kafka.bootstrap": bootstrap,
        "snapshots.uri": _folder(),
        "http.host": "127.0.0.1",
        "http.port": 0,
        "model.k": 6,  # choosing k is not what is measured
    }
    return load_config(None, {}, values | {name.replace("__", "."): v for name, v in settings.items()})


def make_topics(config: Config, partitions: int) -> TopicNames:
    """Creates all topics of `config`."""
    names = TopicNames.with_prefix(config.topics.prefix)
    create(make_admin(config), names, partitions, 1)
    return names


def make_yardstick_topic(config: Config, partitions: int) -> str:
    """Creates the topic that the pipelines we compare with write to; its name."""
    name = f"{config.topics.prefix}yardstick"
    admin = make_admin(config)  # must outlive the futures
    for done in admin.create_topics([NewTopic(name, partitions, 1)], request_timeout=15).values():
        done.result(20)
    return name


class Loader:
    """Writes events to the input topics, in order, by the partitioner of the contract."""

    def __init__(self, config: Config, **settings: Any) -> None:
        self._producer = Producer(plain_producer_settings(config) | settings)
        self._topics = TopicNames.with_prefix(config.topics.prefix).inputs

    def load(self, chunks: Iterable[Events]) -> int:
        """Writes all `chunks` and waits until the broker has them; returns the number of records."""
        total = 0
        for events in chunks:
            self.send(events, 0, events.n)
            total += events.n
        self.flush()
        return total

    def send(self, events: Events, low: int, high: int) -> None:
        """Hands the records `low` to `high` to the client."""
        produce, topics = self._producer.produce, self._topics
        names = [topics[code] for code in events.topic[low:high].tolist()]
        for name, key, value in zip(names, events.keys[low:high], events.values[low:high], strict=True):
            try:
                produce(name, value, key)
            except BufferError:
                while len(self._producer) > 400_000:
                    self._producer.poll(0.05)
                produce(name, value, key)
        self._producer.poll(0)

    def flush(self) -> None:
        """Waits until the broker has everything. Raises RuntimeError if it does not take it."""
        if left := self._producer.flush(60.0):
            raise RuntimeError(f"the broker did not take {left} records")


def ends_of(config: Config, partitions: int, topics: Iterable[str]) -> Offsets:
    """Offset after the last record of each partition of `topics`."""
    reader = make_consumer(reader_settings(config, committed_only=False))
    try:
        return {
            (topic, number): int(reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10.0)[1])
            for topic in topics
            for number in range(partitions)
        }
    finally:
        reader.close()


def assign(consumer: Consumer, offsets: Offsets) -> None:
    """Reads from `offsets` on."""
    consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()])


def without_ends(messages: list[Message]) -> list[Message]:
    """The records among `messages`. Raises RuntimeError for a real error."""
    if None not in map(Message.value, messages) and None not in map(Message.key, messages):
        return messages
    for message in messages:
        error = message.error()
        if error is not None and error.name() != "_PARTITION_EOF":
            raise RuntimeError(f"reading failed: {error.str()}")
    return [message for message in messages if message.error() is None]


def cpu_seconds(pid: int | None) -> float | None:
    """Processor time that the process has used so far; None if it is not ours."""
    if pid is None:
        return None
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
