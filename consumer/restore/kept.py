"""States that a restore can go on from, and those of partitions given up a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from online_model.partition import PartitionState

#: A member that is back after a rebalance is back within this; memory is not held longer.
KEPT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Source:
    """A state that holds commit `n` in all its rows; offsets before `first` are not needed any more."""

    name: str
    state: PartitionState
    n: int
    first: list[int]


class KeptStates:
    """One state per partition, for `KEPT_S` seconds at most."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._kept: dict[int, tuple[float, Source]] = {}

    def keep(self, partition: int, source: Source) -> None:
        """Keeps a state exactly as commit `source.n` left it."""
        self._kept[partition] = (self._monotonic(), source)

    def has(self, partition: int) -> bool:
        """Whether a state is kept."""
        self.let_go()
        return partition in self._kept

    def take(self, partition: int) -> Source | None:
        """The kept state, which is the caller's now; None without one."""
        self.let_go()
        found = self._kept.pop(partition, None)
        return None if found is None else found[1]

    def let_go(self) -> bool:
        """Drops what has been kept long enough; whether there was anything."""
        now = self._monotonic()
        old = [p for p, (since, _) in self._kept.items() if now - since > KEPT_S]
        for partition in old:
            del self._kept[partition]
        return bool(old)
