"""Laws of reading in pieces: what a turn polls is applied in it, all of it and once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from consumer.core import Positions
from consumer.errors import StateUnknown, TopicError
from consumer.input import Ownership
from consumer.worker import POLL_EVENTS, Laps, Worker, _require_whole
from schemas.records import RawRecords


def records(first: int, n: int) -> RawRecords:
    """`n` records of one topic from offset `first` on."""
    return RawRecords.of_topic(0, [b"{}"] * n, [b"c"] * n, first_offset=first)


class Source:
    """Inputs with a backlog of `n` records, and a core that notes what it is offered."""

    def __init__(self, n: int) -> None:
        self.left, self.next = n, 0
        self.waits: list[float] = []
        self.offered: list[int] = []

    def poll(self, limit: int, timeout_s: float) -> tuple[RawRecords, Positions]:
        """Up to `limit` records of the backlog."""
        self.waits.append(timeout_s)
        raw = records(self.next, min(limit, self.left))
        self.left, self.next = self.left - raw.n, self.next + raw.n
        return raw, Positions({(0, 0): self.next}, {})

    def offer(self, raw: RawRecords, _: Positions, __: Laps) -> None:
        """Takes a piece in."""
        self.offered += raw.offset.tolist()


@pytest.mark.parametrize("backlog", [0, 5, POLL_EVENTS, POLL_EVENTS + 1, 3 * POLL_EVENTS, 9 * POLL_EVENTS])
def test_every_polled_record_is_offered_or_returned_once(backlog: int) -> None:
    """In order, up to the limit of a commit, and only the first piece of a turn waits."""
    limit = 4 * POLL_EVENTS + 7
    source = Source(backlog)
    config = SimpleNamespace(commit=SimpleNamespace(max_events=limit, interval_ms=100))
    parts: Any = SimpleNamespace(inputs=source, core=source, config=config)
    raw, positions = Worker(parts, lambda _: None)._read(Laps())
    assert [*source.offered, *raw.offset.tolist()] == list(range(min(backlog, limit)))
    assert positions.next_offset == {(0, 0): min(backlog, limit)}
    assert source.waits[0] == pytest.approx(0.1, abs=0.05)
    assert source.waits[1:] == [0.0] * (len(source.waits) - 1)


def test_partitions_that_nobody_or_two_would_own_stop_the_process() -> None:
    """With the way out; whole partitions that were there at the start are fine."""
    _require_whole(Ownership(assigned={0, 3}), 4)
    with pytest.raises(TopicError, match="grown beyond 4 partitions") as grown:
        _require_whole(Ownership(assigned={0, 1, 4}, split={4}), 4)
    assert "app.name" in grown.value.fix
    assert "topics.prefix" in grown.value.fix
    with pytest.raises(StateUnknown, match="some input topics of partition 1 only"):
        _require_whole(Ownership(assigned={0, 1}, split={1}), 4)
