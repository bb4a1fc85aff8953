"""Records of one topic and partition, taken in order as the commits that hold them come."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from consumer.verify.expected import parse_body
from consumer.verify.log import Record


class Forward:
    """An iterator that can be asked for everything below an offset."""

    def __init__(self, records: Iterator[Record]) -> None:
        self._records = records
        self._next = next(records, None)

    def below(self, offset: int) -> Iterator[Record]:
        """Takes the records below `offset`."""
        while self._next is not None and self._next.offset < offset:
            record = self._next
            self._next = next(self._records, None)
            yield record


class Change(NamedTuple):
    """A record of the changes topic with its body; `time` is what it says it is effective at."""

    record: Record
    body: dict[str, Any]

    @property
    def time(self) -> str:
        """RFC 3339, so that times compare as texts."""
        return str(self.body.get("effective_at", ""))


class Changes:
    """The changes topic, by the watermark of the commit that must have written a record."""

    def __init__(self, records: Iterator[Record]) -> None:
        self._records = records
        self._waiting: deque[Change] = deque()

    def before(self, time: str | None) -> list[Change]:
        """Takes what is effective before `time` (None: everything)."""
        taken = []
        while self._fill(1) and (time is None or self._waiting[0].time < time):
            taken.append(self._waiting.popleft())
        return taken

    def at(self, time: str) -> list[Change]:
        """The next records that are effective at `time`; they stay."""
        n = 0
        while self._fill(n + 1) and self._waiting[n].time == time:
            n += 1
        return [self._waiting[i] for i in range(n)]

    def take(self, chosen: set[int]) -> None:
        """Removes records by their offsets, which are among the first ones."""
        kept = []
        while chosen:
            change = self._waiting.popleft()
            if change.record.offset in chosen:
                chosen.discard(change.record.offset)
            else:
                kept.append(change)
        self._waiting.extendleft(reversed(kept))

    def _fill(self, n: int) -> bool:
        while len(self._waiting) < n:
            record = next(self._records, None)
            if record is None:
                return False
            self._waiting.append(Change(record, parse_body(record)))
        return True


class Current:
    """The current topic by customer. Compaction may have taken all but the last record of each."""

    def __init__(self, records: Iterator[Record]) -> None:
        self._by_customer: dict[bytes, deque[Record]] = defaultdict(deque)
        self.last: dict[bytes, Record] = {}
        for record in records:
            key = record.key or b""
            self._by_customer[key].append(record)
            self.last[key] = record

    def next(self, customer: bytes) -> Record | None:
        """The customer's next record, which stays."""
        waiting = self._by_customer.get(customer)
        return waiting[0] if waiting else None

    def take(self, customer: bytes) -> None:
        """Removes the customer's next record."""
        self._by_customer[customer].popleft()

    def rest(self) -> list[Record]:
        """Records that nobody asked for."""
        return [record for waiting in self._by_customer.values() for record in waiting]
