"""A run onto Kafka: as fast as possible, at a rate, or with event time running faster than the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from consumer.simulator.records import TOPICS, FaultKind
from consumer.simulator.simulation import EventChunk, Simulation

#: A step of `run` lasts about this long, so that a stop or a rate takes effect soon.
TICK_S = 0.05
#: Records per call of `Producer.poll`.
POLL_EVERY = 10_000


class FeedError(RuntimeError):
    """Records were not delivered; the truth's counters do not hold for the topics."""


class RecordProducer(Protocol):
    """What the feed needs of `confluent_kafka.Producer`."""

    def produce(self, topic: str, *, value: bytes, key: bytes, partition: int, timestamp: int) -> None:
        """Queue a record (partition -1: by its key); BufferError if the queue is full."""

    def poll(self, timeout: float) -> int:
        """Serve delivery reports."""

    def flush(self, timeout: float) -> int:
        """Wait for deliveries; the number of records still in the queue."""


class KafkaFeed:
    """Produces a simulation's records, keyed by customer, stamped with their time of arrival.

    `producer` is a producer or the librdkafka settings of one, for example those of
    `kafka_clients.plain_producer_settings`; its partitioner is then Java's. `events_per_s` or
    `speed` (event seconds per second) paces `run`, neither means as fast as possible. `partitions`
    of the input topics is needed for misrouted records. `topic_prefix` goes before the topic names
    of the contract.

    Call `step` to send by hand, or `run` or `follow` (in a thread of the caller's, if it shall not wait);
    then `close`. Not thread-safe: one thread sends. `stop` and the counters are for the others.
    """

    def __init__(
        self,
        producer: Mapping[str, Any] | RecordProducer,
        simulation: Simulation,
        events_per_s: float | None = None,
        speed: float | None = None,
        partitions: int | None = None,
        topic_prefix: str = "",
    ) -> None:
        if events_per_s is not None and speed is not None:
            raise ValueError("give events_per_s or speed, not both")
        if min(x for x in (events_per_s, speed, 1.0) if x is not None) <= 0:
            raise ValueError("events_per_s and speed must be positive")
        if simulation.settings.faults.misrouted > 0 and (partitions or 0) < 2:
            raise ValueError("misrouted records need partitions >= 2; set the fault's share to 0")
        self._producer = self._create(producer) if isinstance(producer, Mapping) else producer
        self._topics = {topic: topic_prefix + topic for topic in TOPICS}
        self._events_per_s, self._speed = events_per_s, speed
        self._partitions = partitions or 1
        self._start_us, self._end_us = simulation.settings.start_us, simulation.settings.end_us
        self._chunks: Iterator[EventChunk] = simulation.chunks()
        self._chunk: EventChunk | None = next(self._chunks)
        self._row = 0
        self._stopping = threading.Event()
        self._sent = 0
        self._failed = 0

    @property
    def sent(self) -> int:
        """Records handed to the producer so far."""
        return self._sent

    @property
    def done(self) -> bool:
        """Whether the whole run was sent."""
        return self._chunk is None

    @property
    def position_us(self) -> int:
        """Arrival time of the next record (event-time clock); the end of the run when done."""
        if self._chunk is None:
            return self._end_us
        if self._row < self._chunk.n:
            return int(self._chunk.arrival_us[self._row])
        return self._chunk.end_us

    def step(self, until_event_time_us: int, limit: int | None = None) -> int:
        """Send what arrives before that instant, at most `limit` records; how many were sent."""
        before = self._sent
        while self._chunk is not None and not self._stopping.is_set():
            chunk = self._chunk
            stop = int(np.searchsorted(chunk.arrival_us, until_event_time_us))
            if limit is not None:
                stop = min(stop, self._row + limit - (self._sent - before))
            self._send(chunk, stop)
            if self._row < chunk.n or chunk.end_us > until_event_time_us:
                break
            self._chunk, self._row = next(self._chunks, None), 0
        self._producer.poll(0.0)
        return self._sent - before

    def run(self) -> None:
        """Send the whole run at the chosen pace; returns when it is done or stopped."""
        begun, first = time.monotonic(), self._sent
        origin_us = self.position_us if self._sent else self._start_us
        while not self.done and not self._stopping.is_set():
            elapsed = time.monotonic() - begun
            if self._speed is not None:
                self.step(origin_us + int(elapsed * self._speed * 1e6))
            elif self._events_per_s is not None:
                due = int(elapsed * self._events_per_s) - (self._sent - first)
                self.step(self._end_us, limit=max(due, 0))
            else:
                self.step(self._end_us, limit=POLL_EVERY)
                continue
            self._stopping.wait(TICK_S)

    def skip(self, until_us: int) -> None:
        """Pass over what arrives before that instant, without sending it."""
        while self._chunk is not None and self._chunk.end_us <= until_us:
            self._chunk, self._row = next(self._chunks, None), 0
        if self._chunk is not None:
            self._row = max(self._row, int(np.searchsorted(self._chunk.arrival_us, until_us)))

    def follow(self, now_us: Callable[[], int]) -> None:
        """Send what has arrived by the clock: the past at once, the rest as it comes.

        Returns when the whole run is sent, or stopped. The chosen pace does not matter.
        """
        while not self.done and not self._stopping.is_set():
            if self.step(now_us(), limit=POLL_EVERY) < POLL_EVERY:
                self._stopping.wait(TICK_S)

    def stop(self) -> None:
        """Make `run` or `follow` return within a tick."""
        self._stopping.set()

    def close(self, timeout_s: float = 30.0) -> None:
        """Stop sending and wait until everything sent is delivered; `FeedError` if it was not."""
        self.stop()
        waiting = self._producer.flush(timeout_s)
        if waiting or self._failed:
            lost = waiting + self._failed
            raise FeedError(f"{lost} of {self._sent} records were not delivered; check the broker")

    def _send(self, chunk: EventChunk, stop: int) -> None:
        """Produce the rows of `chunk` from the current one to `stop` (exclusive)."""
        timestamps = (chunk.arrival_us[self._row : stop] // 1000).tolist()
        faults = chunk.fault[self._row : stop].tolist()
        misrouted = int(FaultKind.MISROUTED)
        first = self._row
        for row, (timestamp, fault) in enumerate(zip(timestamps, faults, strict=True), first):
            key = chunk.key[row]
            partition = self._other_partition(key) if fault == misrouted else -1
            if not self._produce(self._topics[chunk.topic[row]], chunk.value[row], key, partition, timestamp):
                return
            self._row = row + 1
            self._sent += 1
            if self._sent % POLL_EVERY == 0:
                self._producer.poll(0.0)

    def _produce(self, topic: str, value: bytes, key: bytes, partition: int, timestamp: int) -> bool:
        """Produce one record, waiting while the queue is full; False if stopped meanwhile."""
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, partition=partition, timestamp=timestamp)
                return True
            except BufferError:
                if self._stopping.is_set():
                    return False
                self._producer.poll(TICK_S)

    def _other_partition(self, key: bytes) -> int:
        """A partition that is not the one of `key`."""
        from online_model.id_index import murmur2  # brings numba, which only misrouted records need

        own = (int(murmur2(np.frombuffer(key, np.uint8), 0, len(key))) & 0x7FFFFFFF) % self._partitions
        return (own + 1) % self._partitions

    def _create(self, config: Mapping[str, Any]) -> RecordProducer:
        return Producer(
            {
                "delivery.report.only.error": True,
                **config,
                "partitioner": "murmur2_random",
                "on_delivery": self._delivered,
            }
        )

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed += 1
