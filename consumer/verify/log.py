"""The log as the verification reads it: committed records of one topic and partition, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, cast

from consumer.config import Config
from consumer.kafka_clients import make_consumer, reader_settings
from consumer.log_reader import LogReader


class Record(NamedTuple):
    """A committed record."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Source(Protocol):
    """Where records come from: Kafka, or lists in a test."""

    def records(self, topic: str, partition: int) -> Iterator[Record]:
        """Every committed record there is at the call, by rising offset."""
        ...

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Offset at which the log begins (what was before is gone), and its end."""
        ...


class KafkaSource:
    """Records of a cluster. Raises `BrokerUnreachable` or `StateUnknown`."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def records(self, topic: str, partition: int) -> Iterator[Record]:
        """Each call has readers of its own, so that several topics can be read side by side."""
        with self._reader() as log:
            for message in log.all_of(topic, partition):
                headers = cast("list[tuple[str, bytes]]", message.headers() or [])
                yield Record(int(message.offset() or 0), message.key(), message.value(), tuple(headers))

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The log as it is now."""
        with self._reader() as log:
            return log.bounds(topic, partition)

    def _reader(self) -> LogReader:
        return LogReader(lambda committed_only: make_consumer(reader_settings(self._config, committed_only)))
