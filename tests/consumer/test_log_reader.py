"""Reading a part of the log back: what ends it, and how long it is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError
from structlog.testing import capture_logs

from consumer import log_reader
from consumer.clock import Deadline
from consumer.errors import BrokerUnreachable
from consumer.log_reader import LogReader

PLACE = ("audit", 0)


class Message:
    """A record, or the news that the end of what is stable is at `offset`."""

    def __init__(self, offset: int, is_end: bool = False) -> None:
        self._offset, self._is_end = offset, is_end

    def topic(self) -> str:
        """Of the place."""
        return PLACE[0]

    def partition(self) -> int:
        """Of the place."""
        return PLACE[1]

    def offset(self) -> int:
        """Of the record, or the end."""
        return self._offset

    def error(self) -> KafkaError | None:
        """Set for an end."""
        return KafkaError(KafkaError._PARTITION_EOF) if self._is_end else None


class Client:
    """Hands out what is given, a batch per call, each `seconds` after the one before."""

    def __init__(self, batches: list[list[Message]], now: list[float], seconds: float) -> None:
        self.batches, self.now, self.seconds = batches, now, seconds

    def assign(self, _: object) -> None:
        """Reads from there on."""

    def unassign(self) -> None:
        """Reads no more."""

    def list_topics(self, timeout: float) -> None:
        """They are known."""

    def close(self) -> None:
        """Nothing is open."""

    def consume(self, *_: object) -> list[Message]:
        """The next batch."""
        self.now[0] += self.seconds
        return self.batches.pop(0) if self.batches else []


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """`read(batches, end, seconds)`: offsets of the records up to `end`."""
    now = [0.0]
    monkeypatch.setattr(log_reader, "Deadline", lambda limit: Deadline(limit, lambda: now[0]))

    def call(batches: list[list[Message]], end: int, seconds: float = 0.01) -> list[int]:
        made = lambda _: cast("Consumer", Client(batches, now, seconds))  # noqa: E731
        with LogReader(made) as log:
            chunks: Any = log.chunks({PLACE: (0, end)})
            return [message.offset() for chunk in chunks for message in chunk]

    return call


def test_records_are_read_to_the_end(read: Callable[..., list[int]]) -> None:
    """And not beyond."""
    assert read([[Message(0), Message(1)], [Message(2), Message(3)]], end=3) == [0, 1, 2]


@pytest.mark.parametrize("seconds", [0.01, 6.0, 61.0])
def test_the_last_ones_may_be_ends_of_transactions(read: Callable[..., list[int]], seconds: float) -> None:
    """However late the news comes that nothing follows: it is the end, and nothing to warn of or give up."""
    with capture_logs() as logs:
        assert read([[Message(0)], [Message(3, is_end=True)]], end=3, seconds=seconds) == [0]
    assert logs == []


def test_what_does_not_come_is_told_and_given_up(read: Callable[..., list[int]]) -> None:
    """A transaction that somebody left open may be in the way."""
    with capture_logs() as logs, pytest.raises(BrokerUnreachable, match=r"audit \[0\] .* offset 3"):
        read([[Message(0)]], end=3, seconds=6.0)
    assert {entry["event"] for entry in logs} == {"waiting for records"}
