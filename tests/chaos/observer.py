"""A read_committed reader beside the workers, from before their first commit to after their last."""

from __future__ import annotations

import threading
import time
import zlib
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, TopicPartition

from consumer.config import Config
from consumer.kafka_clients import make_consumer, reader_settings
from consumer.topics import TopicNames
from schemas.internal import AuditRecord, from_json
from tests.service.world import PARTITIONS

#: What is kept of a record: offset and a checksum of key and value.
Seen = tuple[int, int]


def checksum(key: bytes | None, value: bytes | None) -> int:
    """Of a record as it was read."""
    return zlib.crc32(value or b"\0", zlib.crc32(key or b"\0"))


class Observer:
    """Reads changes and audit records on a thread of its own. Use as a context manager.

    `seen`: per (topic, partition) what came, in the order in which it came.
    """

    def __init__(self, config: Config, names: TopicNames) -> None:
        self._names = names
        self._consumer: Consumer = make_consumer(reader_settings(config, committed_only=True))
        places = [(t, p) for t in (names.changes, names.audit) for p in range(PARTITIONS)]
        self._consumer.assign([TopicPartition(t, p, 0) for t, p in places])
        self.seen: dict[tuple[str, int], list[Seen]] = {place: [] for place in places}
        self._last: dict[int, AuditRecord] = {}
        self._stopping: Final = threading.Event()
        self._advanced_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True, name="observer")
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for message in self._consumer.consume(1000, 0.02):
                if message.error() is not None:
                    continue
                place = message.topic() or "", int(message.partition() or 0)
                key, value = message.key(), message.value()
                self.seen[place].append((int(message.offset() or 0), checksum(key, value)))
                if place[0] == self._names.audit:
                    self._last[place[1]] = from_json(value or b"", AuditRecord)
                    self._advanced_s = time.monotonic()

    @property
    def commits(self) -> int:
        """Audit records seen."""
        return sum(len(self.seen[self._names.audit, p]) for p in range(PARTITIONS))

    @property
    def quiet_s(self) -> float:
        """Seconds since the last audit record, or since the start."""
        return time.monotonic() - self._advanced_s

    def is_done(self, ends: list[list[int]]) -> bool:
        """Whether every partition is committed to the `ends` of its inputs."""
        last = dict(self._last)
        return len(last) == len(ends) and all(
            all(
                last[p].to_offsets[topic] >= end
                for topic, end in zip(self._names.inputs, ends[p], strict=True)
            )
            for p in last
        )

    def settle(self, ends: dict[tuple[str, int], int], timeout_s: float = 20.0) -> None:
        """Waits until it has read what a final reader has: (topic, partition) to its last offset."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if all((self.seen[place] or [(-1, 0)])[-1][0] >= last for place, last in ends.items()):
                return
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._consumer.close()
