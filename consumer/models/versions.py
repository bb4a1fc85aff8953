"""Records of the models topic as versions: a few of them whole, of the others what the history needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import structs

from consumer.change_records import MODELS_KEPT
from online_model.model_head import Head, Version, read_head
from online_model.model_json import from_json


class Versions:
    """Records, oldest first; each is old when `MODELS_KEPT` newer ones are there.

    Scans that were learnt are then heads, except for those `wanted` (numbers): there may be tens of
    thousands, each of half a millisecond and of a hundred kilobytes as a model.
    """

    def __init__(self, wanted: Iterable[int] = ()) -> None:
        self._wanted = frozenset(wanted)
        self._waiting: deque[bytes] = deque()
        self._last: Head | None = None

    def add(self, value: bytes) -> list[bytes]:
        """Takes the next record in; those that are old now."""
        self._waiting.append(value)
        return [self._waiting.popleft() for _ in range(len(self._waiting) - MODELS_KEPT)]

    def rest(self) -> list[bytes]:
        """The newest ones, all of which are wanted whole."""
        waiting, self._waiting = self._waiting, deque()
        return list(waiting)

    def old(self, value: bytes) -> Version:
        """The version of an old record. Raises `ModelError`."""
        head, last = read_head(value), self._last
        if head.kind != "folded" or head.version in self._wanted:
            return from_json(value)
        if last is not None and (head.segments, head.strategies) == (last.segments, last.strategies):
            head = structs.replace(
                head, segments=last.segments, strategies=last.strategies
            )  # one copy of them
        self._last = head
        return head
