"""What turns did, added up: a turn adds little to each metric, and telling it costs more than adding it."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.change_batch import Cause, Change, ChangeBatch
from online_model.engine import Step
from online_model.event_view import (
    ACCEPTED,
    DROPPED_CLOSED,
    DROPPED_CONSENT,
    DUPLICATE,
    FUTURE,
    LATE,
    MISROUTED,
)
from online_model.flaps import between_segments, count_moves
from schemas.rejects import Reason

Int64Array = npt.NDArray[np.int64]

_COLUMN: Final = {
    ACCEPTED: 0,
    DUPLICATE: 1,
    LATE: 2,
    FUTURE: 3,
    MISROUTED: 3,
    DROPPED_CLOSED: 4,
    DROPPED_CONSENT: 4,
}
_REJECTED: Final = 3
#: int64[outcomes of the windows, outcomes of the metrics]: 1 where they are the same.
_BY_OUTCOME: Final = np.zeros((len(_COLUMN), 5), np.int64)
_BY_OUTCOME[list(_COLUMN), list(_COLUMN.values())] = 1
#: Labels of change and cause by their codes, causes first.
_CHANGES: Final = [(change.name.lower(), cause.name.lower()) for change in Change for cause in Cause]
#: Rejects that the windows have counted already.
_COUNTED: Final = {Reason.LATE, Reason.FUTURE, Reason.MISROUTED}
#: So many changes are counted at once at most: until then they stay in memory.
MAX_UNCOUNTED: Final = 4096


class TurnTotals:
    """Sums over the `n` steps that were added.

    `rejects` by (topic, reason); `scans`: partitions whose scans ended; `scanned`: customers whom slices
    evaluated.
    """

    def __init__(self) -> None:
        self.n = 0
        self.rejects: Counter[tuple[int, Reason]] = Counter()
        self.scans: list[int] = []
        self.scanned = 0
        self._windows = np.zeros((3, len(_COLUMN)), np.int64)
        self._changes: Counter[tuple[str, str]] = Counter()
        self._flaps = self._other_moves = 0
        self._uncounted: list[tuple[ChangeBatch, int]] = []
        self._n_uncounted = 0

    def add(self, step: Step) -> None:
        """One more step."""
        self.n += 1
        for part in step.partitions:
            self._windows += part.outcomes
            if part.rejects.reasons:
                self.rejects.update(zip(part.rejects.topic.tolist(), part.rejects.reasons, strict=True))
            if part.scanned is not None:
                self.scanned += part.scanned.customers
                if part.scanned.is_last:
                    self.scans.append(part.partition)
            if part.changes is not None:
                self._uncounted.append((part.changes, part.watermark_us))
                self._n_uncounted += part.changes.n
        if self._n_uncounted > MAX_UNCOUNTED:
            self._count()

    @property
    def outcomes(self) -> Int64Array:
        """Records int64[topics, outcomes] in the order of `metric_table.Outcome`."""
        found: Int64Array = self._windows @ _BY_OUTCOME
        for (topic, reason), n in self.rejects.items():
            if reason not in _COUNTED:
                found[topic, _REJECTED] += n
        return found

    @property
    def changes(self) -> Counter[tuple[str, str]]:
        """Changes by (change, cause), for example ("moved", "behaviour")."""
        self._count()
        return self._changes

    @property
    def moves(self) -> tuple[int, int]:
        """Moves between segments: those that were flaps, and the others."""
        self._count()
        return self._flaps, self._other_moves

    def _count(self) -> None:
        """Changes of all partitions and turns at once: a turn has a dozen of each partition."""
        found, self._uncounted, self._n_uncounted = self._uncounted, [], 0
        if not found:
            return
        change, cause, old, new, left = (
            np.concatenate(columns)
            for columns in zip(*((c.change, c.cause, c.old, c.new, c.left) for c, _ in found), strict=True)
        )
        codes = np.bincount(change * np.intp(len(Cause)) + cause, minlength=len(_CHANGES))
        for code in np.flatnonzero(codes).tolist():
            self._changes[_CHANGES[code]] += int(codes[code])
        if moves := int(np.count_nonzero(between_segments(old, new))):
            came_back = bool((new == left).any())
            flaps = sum(count_moves(*one)[0] for one in found) if came_back else 0
            self._flaps += flaps
            self._other_moves += moves - flaps
