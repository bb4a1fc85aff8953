"""A subscriber of the changes topic that notes when it saw what, and where that came from."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from consumer.config import Config
from consumer.kafka_clients import make_consumer, reader_settings
from consumer.topics import TopicNames
from tests.bench._cluster import BATCH, Offsets, assign, ends_of, without_ends

#: (input topic, partition, offset)
Place = tuple[str, int, int]

_IDLE_S: Final = 30.0


class _Cause(msgspec.Struct):
    cause: str


_DECODE_CAUSE: Final = msgspec.json.Decoder(_Cause)


class Observer:
    """Reads committed changes as they come, from the ends of the moment it is made."""

    def __init__(self, config: Config, partitions: int) -> None:
        self._config = config
        self._names = TopicNames.with_prefix(config.topics.prefix)
        self._partitions = partitions
        self._inputs_from = ends_of(config, partitions, self._names.inputs)
        self._consumer = make_consumer(reader_settings(config, committed_only=True))
        assign(self._consumer, ends_of(config, partitions, [self._names.changes]))
        self._seen: list[tuple[float, Message]] = []

    def watch(self, seconds: float) -> int:
        """Notes every change for `seconds`; returns how many."""
        end = time.monotonic() + seconds
        seen = self._seen
        while time.monotonic() < end:
            message = self._consumer.poll(0.1)  # returns with the first record, unlike `consume`
            now = time.time()
            if message is not None and message.error() is None:
                seen.append((now, message))
        return len(seen)

    def latencies(self) -> dict[str, Any]:
        """Milliseconds from the append of the event that caused it to the moment a change was seen.

        `append_s`: append time of each trigger, parallel to `latency_ms`; `customers`: who changed.
        """
        seen: list[tuple[float, Place, str]] = []
        for at, message in self._seen:
            place = _trigger(message)
            if place is not None and _DECODE_CAUSE.decode(message.value() or b"").cause == "behaviour":
                seen.append((at, place, (message.key() or b"").decode()))
        appended = self._append_times({place for _, place, _ in seen})
        found = [(at - appended[place], appended[place], who) for at, place, who in seen if place in appended]
        return {
            "latency_ms": np.array([row[0] for row in found]) * 1e3,
            "append_s": np.array([row[1] for row in found]),
            "customers": [row[2] for row in found],
            "changes": len(self._seen),
        }

    def _append_times(self, places: set[Place]) -> dict[Place, float]:
        """Append time of the input records at `places`, seconds since the epoch."""
        wanted: dict[tuple[str, int], npt.NDArray[np.int64]] = {}
        for topic, number in self._inputs_from:
            offsets = [offset for t, p, offset in places if (t, p) == (topic, number)]
            wanted[topic, number] = np.array(sorted(offsets), dtype=np.int64)
        left = len([place for place in places if place[2] >= self._inputs_from[place[0], place[1]]])
        start: Offsets = {key: int(offsets[0]) for key, offsets in wanted.items() if len(offsets)}
        assign(self._consumer, start)
        found: dict[Place, float] = {}
        deadline = time.monotonic() + _IDLE_S
        while left and time.monotonic() < deadline:
            messages = without_ends(self._consumer.consume(BATCH, 0.2))
            for message in messages:
                place = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
                if place in places:
                    kind, at_ms = message.timestamp()
                    if kind == TIMESTAMP_NOT_AVAILABLE:
                        raise RuntimeError(f"{place} carries no timestamp")
                    found[place] = at_ms / 1e3
                    left -= 1
            if messages:
                deadline = time.monotonic() + _IDLE_S
        return found

    def close(self) -> None:
        """Lets the client go."""
        self._consumer.close()


def _trigger(message: Message) -> Place | None:
    headers: dict[str, bytes] = dict(message.headers() or [])  # type: ignore[arg-type]
    topic = headers.get("segmenter_trigger_topic")
    if topic is None:
        return None
    number, offset = headers["segmenter_trigger_partition"], headers["segmenter_trigger_offset"]
    return topic.decode(), int(number), int(offset)
