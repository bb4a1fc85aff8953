"""What was committed of a partition since a certain commit, read from the ends of its topics.

The audit record of a commit counts its changes and dead letters, so the last ones of each topic are found
from its end, however long it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from confluent_kafka import Message

from consumer.log_reader import LogReader
from consumer.output import ORIGIN_OFFSET, ORIGIN_TOPIC
from consumer.topics import TopicNames
from online_model.active_model import segment_number
from online_model.rebuild import Published
from online_model.rows import SEGMENT_NONE
from schemas.batch import StringColumn
from schemas.internal import AuditRecord, from_json
from schemas.outbox import PreviousSegment, Segment, decode_change
from schemas.times import parse_time

#: Offsets looked at first; four times as many when they were not enough. A commit takes two at least.
_FIRST_LOOK: Final = 256


class Incomplete(ValueError):
    """Records that the audit log counts are no longer there."""


def last_audit(log: LogReader, topic: str, partition: int) -> AuditRecord | None:
    """The last committed audit record of `partition`; None if there is none."""
    records = read_back(log, topic, partition, bool)
    return None if not records else from_json(_value(records[-1]), AuditRecord)


def audits_after(log: LogReader, topic: str, partition: int, n: int) -> list[AuditRecord]:
    """The audit records after number `n`, in order; those older than the compaction lag may be missing."""

    def reaches(found: list[Message]) -> bool:
        return bool(found) and from_json(_value(found[0]), AuditRecord).n <= n + 1

    records = (
        from_json(_value(message), AuditRecord) for message in read_back(log, topic, partition, reaches)
    )
    return [record for record in records if record.n > n]


def read_back(
    log: LogReader, topic: str, partition: int, is_enough: Callable[[list[Message]], bool]
) -> list[Message]:
    """The last committed records of a topic: from its end back until `is_enough`, or all there are."""
    low, high = log.bounds(topic, partition)
    look = _FIRST_LOOK
    while True:
        first = max(low, high - look)
        ranges = {(topic, partition): (first, high)}
        found = [message for chunk in log.chunks(ranges) for message in chunk]
        if first == low or is_enough(found):
            return found
        look *= 4


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Commits `audits` in order, what each published, and per input topic the offsets that were refused."""

    audits: list[AuditRecord]
    published: list[Published | None]
    refused: list[list[int]]

    @classmethod
    def read(cls, log: LogReader, names: TopicNames, partition: int, n: int) -> Tail:
        """Everything after commit `n`. Raises `Incomplete` if something of it is no longer there."""
        audits = audits_after(log, names.audit, partition, n)
        numbers = [audit.n for audit in audits]
        if numbers != list(range(n + 1, n + 1 + len(numbers))):
            raise Incomplete(f"{names.audit} [{partition}] lacks commits after {n}")
        changes = _last(log, names.changes, partition, sum(audit.outputs for audit in audits))
        letters = _last(log, names.dlq, partition, sum(audit.rejects for audit in audits))
        published, at = [], 0
        for audit in audits:
            mine = changes[at : at + audit.outputs]
            at += audit.outputs
            published.append(_published(mine) if mine else None)
        return cls(audits, published, refused_offsets(letters, names.inputs))


def refused_offsets(letters: list[Message], inputs: tuple[str, ...]) -> list[list[int]]:
    """Offsets per input topic of dead letters."""
    code = {topic.encode(): number for number, topic in enumerate(inputs)}
    refused: list[list[int]] = [[] for _ in inputs]
    for message in letters:
        headers = dict(message.headers() or [])
        topic, offset = headers.get(ORIGIN_TOPIC), headers.get(ORIGIN_OFFSET)
        if isinstance(topic, bytes) and isinstance(offset, bytes) and topic in code:
            refused[code[topic]].append(int(offset))
    return refused


def _last(log: LogReader, topic: str, partition: int, n: int) -> list[Message]:
    if n == 0:
        return []
    found = read_back(log, topic, partition, lambda messages: len(messages) >= n)
    if len(found) < n:
        raise Incomplete(f"{topic} [{partition}] has {len(found)} of the last {n} records")
    return found[-n:]


def _published(messages: list[Message]) -> Published:
    changes = [decode_change(_value(message)) for message in messages]
    return Published(
        StringColumn.from_bytes([cast("bytes", message.key()) for message in messages]),
        np.array([number_of(change.segment) for change in changes], np.int16),
        np.array([number_of(change.previous_segment) for change in changes], np.int16),
        np.array([change.seq for change in changes], np.int32),
        np.array([parse_time(change.effective_at) or 0 for change in changes], np.int64),
        _flags([change.provisional for change in changes]),
    )


def _flags(values: list[bool]) -> npt.NDArray[np.bool_]:
    return np.array(values, np.bool_)


def number_of(segment: Segment | PreviousSegment | None) -> int:
    """Number of a segment in a change record."""
    return SEGMENT_NONE if segment is None else segment_number(segment.id)


def _value(message: Message) -> bytes:
    return cast("bytes", message.value())
