"""The scan: one pass over every customer of a partition, sliced over commits.

Slices are ranges of the customer hash, so they do not depend on the order in which customers
appeared. A scan begins when the watermark crosses a scan boundary, or at once after a promotion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from online_model.fold import ScanStatistics, empty
from schemas.kernel import allocating

#: Slice keys are the upper 16 bits of the customer hash.
KEYS: Final = 1 << 16
_SHIFT: Final = np.uint64(48)

#: A step that reads this many events may scan one more customer.
EVENTS_PER_ROW: Final = 8


def slice_keys(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Slice key 0..65535 of each customer hash."""
    return (hashes >> _SHIFT).astype(np.int64)


def slice_rows(least: int, n_events: int) -> int:
    """Customers of a slice in a step that reads `n_events` of the partition.

    Small in live traffic, where a slice delays the changes of the events beside it; larger in a backlog,
    where a step is long anyway and event time passes fast. It depends on nothing outside the partition:
    one worker and three scan the same.
    """
    return max(least, n_events // EVENTS_PER_ROW)


@allocating
def rows_between(hashes: npt.NDArray[np.uint64], low: int, high: int) -> npt.NDArray[np.int32]:
    """Rows int32[m] whose slice key is in [`low`, `high`), ascending."""
    n = 0
    for row in range(len(hashes)):
        n += int(low <= np.int64(hashes[row] >> _SHIFT) < high)
    rows = np.empty(n, np.int32)
    at = 0
    for row in range(len(hashes)):
        if low <= np.int64(hashes[row] >> _SHIFT) < high:
            rows[at] = row
            at += 1
    return rows


class Progress(NamedTuple):
    """Pass `id` (-1: none yet) is done up to key `cursor`; the flags as in `Scan`."""

    id: int
    cursor: int
    learns: bool
    unseen: bool


@dataclass(slots=True)
class Scan:
    """Progress of one partition's scan.

    `id`: number of the last boundary begun (watermark // interval); `cursor`: keys below it are
    done; `active`: a pass is under way; `learns`: its statistics are complete, so they may be
    folded (a pass that a promotion restarts is not counted twice); `unseen`: the pass is the first
    since the model changed.
    """

    interval_us: int
    id: int = -1
    cursor: int = 0
    active: bool = False
    learns: bool = False
    unseen: bool = False
    statistics: ScanStatistics | None = None

    def begin_if_due(self, watermark_us: int, k: int, n_columns: int) -> None:
        """Begins the pass of the boundary that `watermark_us` has crossed, unless one is under way."""
        due = watermark_us // self.interval_us
        if not self.active and due > self.id:
            self.id = due
            self._start(k, n_columns, learns=True)

    def restart(self, watermark_us: int, k: int, n_columns: int) -> None:
        """Begins a pass under a promoted model; the next boundary's pass learns again."""
        self.id = watermark_us // self.interval_us
        self._start(k, n_columns, learns=False)
        self.unseen = True

    @property
    def progress(self) -> Progress:
        """Where the scan stands."""
        return Progress(self.id, self.cursor, self.active and self.learns, self.unseen)

    def resume(self, at: Progress, k: int, n_columns: int) -> None:
        """Goes on where another process stopped, under the same model.

        The statistics of a pass under way are gone: the rest of it decides as ever and reports nothing.
        """
        self.id, self.cursor, self.unseen = at.id, at.cursor, at.unseen
        if at.cursor < KEYS:
            self._start(k, n_columns, learns=False)
            self.cursor = at.cursor

    def begin_again(self, at: Progress) -> None:
        """As `resume`, under another model: a pass under way begins again, and so does seeing."""
        self.id, self.cursor = (at.id if at.cursor == KEYS else at.id - 1), KEYS
        self.unseen = True

    def model_swapped(self) -> None:
        """The next pass is the first under a folded model; it begins at its boundary as ever."""
        self.unseen = True

    def _start(self, k: int, n_columns: int, learns: bool) -> None:
        self.cursor, self.active, self.learns = 0, True, learns
        self.statistics = empty(k, n_columns)

    def next_slice(self, n_rows: int, rows_per_slice: int) -> tuple[int, int]:
        """Key range [low, high) of about `rows_per_slice` of `n_rows` customers."""
        share = min(1.0, rows_per_slice / max(n_rows, 1))
        return self.cursor, min(KEYS, self.cursor + max(1, int(KEYS * share)))

    def is_unseen(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which customers have not been evaluated since the model changed."""
        if not self.unseen:
            return np.zeros(len(keys), np.bool_)
        return keys >= self.cursor if self.active else np.ones(len(keys), np.bool_)

    def finish_slice(self, high: int) -> bool:
        """Marks keys below `high` done; True if the pass is complete."""
        self.cursor = high
        if high < KEYS:
            return False
        self.active = self.unseen = False
        return True
