"""Reading parts of the log back, outside of any group: streams of committed records with a known end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.clock import Deadline
from consumer.errors import BrokerUnreachable, StateUnknown

_log = structlog.get_logger("restore")

#: Without a record for so long a reading is given up: longer than any transaction may stay open.
STALL_S: Final = 60.0
#: After so long without a record the log says what is waited for.
_WARN_S: Final = 5.0
_CHUNK: Final = 20_000
#: A reading waits this long for its next chunk to fill, also for the last one.
_WAIT_S: Final = 0.03
_METADATA_TIMEOUT_S: Final = 10.0

#: A part of the log: (topic, partition) to the offsets [first, end).
Ranges = dict[tuple[str, int], tuple[int, int]]


class LogReader:
    """Two consumers without a group. Use as a context manager.

    `make_reader` is told whether to see committed records only. Ends are asked of the one that sees
    all: the markers of a commit are written after it is confirmed, so the end of what is committed
    may come too early. Methods raise `BrokerUnreachable` or `StateUnknown`, and what `heard` raises, which
    is called with every chunk and while one is waited for: whoever reads for long must show that they live.
    """

    def __init__(
        self, make_reader: Callable[[bool], Consumer], heard: Callable[[], None] = lambda: None
    ) -> None:
        self._heard = heard
        self._committed = make_reader(True)
        self._knows_topics = False
        self._all = make_reader(False)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset and end of the log as it is now."""
        place = TopicPartition(topic, partition)
        try:
            low, high = self._all.get_watermark_offsets(place, timeout=_METADATA_TIMEOUT_S)
        except KafkaException as exception:
            raise BrokerUnreachable(
                f"the end of {topic} [{partition}] is not known: {exception.args[0].str()}",
                "check the brokers; the process starts again from the same commit",
            ) from exception
        return int(low), int(high)

    def all_of(self, topic: str, partition: int) -> Iterator[Message]:
        """Every committed record up to the end of the log at the call."""
        ranges = {(topic, partition): self.bounds(topic, partition)}
        return (message for chunk in self.chunks(ranges) for message in chunk)

    def chunks(self, ranges: Ranges) -> Iterator[list[Message]]:
        """Committed records of all `ranges`, in the order of each; chunks are never empty."""
        position = {place: first for place, (first, _) in ranges.items()}
        waiting = {place for place, (first, end) in ranges.items() if first < end}
        if not waiting:
            return
        self._learn_topics()
        self._committed.assign([TopicPartition(*place, position[place]) for place in sorted(waiting)])
        stall, warn = Deadline(STALL_S), Deadline(_WARN_S)
        while waiting:
            chunk = []
            for message in self._committed.consume(_CHUNK, _WAIT_S):
                place = (message.topic() or "", int(message.partition() or 0))
                offset = int(message.offset() or 0)
                if place not in waiting:
                    continue
                end = ranges[place][1]
                if self._is_record(message) and offset < end:
                    chunk.append(message)
                    offset += 1
                position[place] = max(position[place], offset)
                if position[place] >= end:
                    waiting.discard(place)
            self._heard()
            if chunk:
                yield chunk
                stall, warn = Deadline(STALL_S), Deadline(_WARN_S)
            elif not waiting:  # what came last were ends of transactions, perhaps after a long wait
                break
            elif stall.expired:
                topic, partition = min(waiting)
                raise BrokerUnreachable(
                    f"{topic} [{partition}] could not be read to offset {ranges[topic, partition][1]}",
                    "check the brokers; an open transaction may hold the topic back until it times out",
                )
            elif warn.expired:
                warn = Deadline(_WARN_S)
                topic, partition = min(waiting)
                _log.warning(
                    "waiting for records",
                    topic=topic,
                    partition=partition,
                    position=position[topic, partition],
                    end=ranges[topic, partition][1],
                    hint="the broker is slow, or a transaction that a dead process left open must time out",
                )
        self._committed.unassign()

    def _learn_topics(self) -> None:
        """Asks for the leaders at once: a running client looks for those of a new topic only every second."""
        if self._knows_topics:
            return
        try:
            self._committed.list_topics(timeout=_METADATA_TIMEOUT_S)
        except KafkaException as exception:
            raise BrokerUnreachable(
                f"the topics are not known: {exception.args[0].str()}",
                "check the brokers; the process starts again from the same commit",
            ) from exception
        self._knows_topics = True

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise StateUnknown(
                f"{message.topic()} lost records while it was read back",
                "restart; raise the topic's retention if this comes again",
            )
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._committed.close()
        self._all.close()
