"""What a subscriber sees: the changes topic, read back with read_committed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

from consumer.clock import Deadline
from consumer.config import Config
from consumer.errors import BrokerUnreachable
from consumer.kafka_clients import make_consumer, reader_settings
from schemas.outbox import decode_change

_READ_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Published:
    """One change: `segment` is the id after it, None for a customer who left."""

    customer_id: str
    seq: int
    change: str
    cause: str
    segment: str | None
    effective_at: datetime


def read_changes(config: Config, topic: str, partitions: int) -> list[Published]:
    """All committed changes in the order of their partitions. Raises `BrokerUnreachable`."""
    consumer = make_consumer(reader_settings(config, committed_only=True))
    waiting = set(range(partitions))
    found: list[Published] = []
    deadline = Deadline(_READ_TIMEOUT_S)
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in sorted(waiting)])
        while waiting:
            if deadline.expired:
                raise BrokerUnreachable(
                    f"{topic} could not be read to its end in {_READ_TIMEOUT_S:.0f} s",
                    "check the broker; an open transaction of another process may hold it back",
                )
            for message in consumer.consume(10_000, 0.5):
                error, value = message.error(), message.value()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        waiting.discard(message.partition() or 0)
                elif value is not None:
                    found.append(_published(value))
    finally:
        consumer.close()
    return found


def _published(value: bytes) -> Published:
    change = decode_change(value)
    return Published(
        customer_id=change.customer_id,
        seq=change.seq,
        change=change.change,
        cause=change.cause,
        segment=None if change.segment is None else change.segment.id,
        effective_at=datetime.fromisoformat(change.effective_at),
    )
