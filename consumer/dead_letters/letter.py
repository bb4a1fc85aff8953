"""One dead letter: a refused record as it came, why it was refused and where it was read."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final, cast

from confluent_kafka import Message

from consumer.output import MESSAGE, ORIGIN_OFFSET, ORIGIN_PARTITION, ORIGIN_TOPIC, REASON
from schemas.times import format_time

#: Reason of a record on the topic that says none: it was written by somebody else.
NO_REASON: Final = "none given"


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of the dead-letter topic.

    `partition`, `offset`, `time_ms` are those of the letter; `topic`, `origin_partition`, `origin_offset`
    say where the record was refused (empty and -1 where the letter does not tell).
    """

    partition: int
    offset: int
    time_ms: int
    topic: str
    origin_partition: int
    origin_offset: int
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None

    @classmethod
    def of(cls, message: Message) -> Letter:
        """The letter in `message`; never raises, whatever its headers are."""
        headers = dict(cast("list[tuple[str, bytes | None]]", message.headers() or []))
        return cls(
            partition=int(message.partition() or 0),
            offset=int(message.offset() or 0),
            time_ms=int(message.timestamp()[1]),
            topic=_text(headers.get(ORIGIN_TOPIC)),
            origin_partition=_number(headers.get(ORIGIN_PARTITION)),
            origin_offset=_number(headers.get(ORIGIN_OFFSET)),
            reason=_text(headers.get(REASON)) or NO_REASON,
            detail=_text(headers.get(MESSAGE)),
            key=message.key(),
            value=message.value(),
        )

    @property
    def name(self) -> str:
        """Where the letter is: ``partition:offset``, as `dlq show` takes it."""
        return f"{self.partition}:{self.offset}"

    @property
    def time(self) -> str:
        """When it was written, RFC 3339."""
        return format_time(self.time_ms * 1000)

    def document(self) -> dict[str, Any]:
        """For programs: texts as far as they are texts, and the exact bytes in base 64."""
        return {
            "letter": self.name,
            "time": self.time,
            "reason": self.reason,
            "detail": self.detail,
            "topic": self.topic,
            "partition": self.origin_partition,
            "offset": self.origin_offset,
            "key": readable(self.key),
            "value": readable(self.value),
            "key_base64": _exact(self.key),
            "value_base64": _exact(self.value),
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters: all that fit everything that is given.

    `reasons`, `topics` (of origin) empty and `partition`, `offsets` None mean any; `offsets` are the first
    and the last one, of the dead-letter topic.
    """

    reasons: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    partition: int | None = None
    offsets: tuple[int, int] | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether `letter` is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or letter.topic in self.topics)
            and self.partition in (None, letter.partition)
            and (self.offsets is None or self.offsets[0] <= letter.offset <= self.offsets[1])
        )


def readable(data: bytes | None) -> str | None:
    """Bytes as text, odd ones as escapes."""
    return None if data is None else data.decode("utf-8", "backslashreplace")


def _exact(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _text(data: bytes | None) -> str:
    return "" if data is None else data.decode("utf-8", "replace")


def _number(data: bytes | None) -> int:
    return int(data) if data is not None and data.isdigit() else -1
