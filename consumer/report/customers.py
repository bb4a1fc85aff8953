"""The customers a report is about: all of them counted, a sample of them with features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

#: Customers with features, of more a sample by hash.
SAMPLE: Final = 50_000
#: Progress in words.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """How fresh a part of the data is: `as_of_us` in event time, `written` as its writer noted it."""

    name: str
    customers: int
    as_of_us: int
    written: str


@dataclass(slots=True, eq=False)
class Customers:
    """Counted: `by_segment` (ids, None without a segment), `moves` of the last days, `fell_silent`.

    `raw` float64[m, D], `segments` (m ids or None), `services` (m lists of names, None: unknown; or empty, of
    a table without them): the sample. `total`: live customers. `parts`: where they
    came from; `missing`: parts that could not be read, in words. `source`: in words.
    """

    source: str
    total: int = 0
    by_segment: Counter[str | None] = field(default_factory=Counter)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    fell_silent: int = 0
    raw: Float64Array = field(default_factory=lambda: np.empty((0, 0)))
    segments: list[str | None] = field(default_factory=list)
    services: list[list[str] | None] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def as_of_us(self) -> int:
        """The newest event time of any part."""
        return max(part.as_of_us for part in self.parts)

    @property
    def is_sampled(self) -> bool:
        """Whether features are of fewer than all customers."""
        return len(self.raw) < self.total
