"""What the shell asks of its clients; tests put stateful fakes in their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, TopicPartition

Headers = Sequence[tuple[str, bytes]]
OnError = Callable[[KafkaError], None]


class TransactionalProducer(Protocol):
    """What is used of `confluent_kafka.Producer`."""

    def init_transactions(self, timeout: float, /) -> None:
        """Fence former producers of the transactional id and abort what they left open."""

    def begin_transaction(self) -> None:
        """Begin a transaction."""

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int, /, *, headers: Any
    ) -> None:
        """Queue a record; `BufferError` if the queue is full."""

    def poll(self, timeout: float, /) -> int:
        """Serve callbacks."""
        ...

    def flush(self, timeout: float, /) -> int:
        """Wait for delivery; number of records still waiting."""
        ...

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], group_metadata: object, timeout: float, /
    ) -> None:
        """Make input offsets part of the transaction."""

    def commit_transaction(self, timeout: float, /) -> None:
        """Commit."""

    def abort_transaction(self, timeout: float, /) -> None:
        """Abort."""


ProducerFactory = Callable[[OnError], TransactionalProducer]
