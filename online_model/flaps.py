"""Flaps: moves straight back to the segment left a moment ago.

A customer who moves from A to B and, within `RETURN_DAYS` of event time, from B to A has flapped; the cause
of either move does not matter. Moves are those between two segments with a centroid. A stay in between that
is none of those (dormant, unclassified, out of all segments) breaks the chain: `since` would tell when the
customer came out of it, not when A was left. What has to be remembered is then a function of the last change
alone, so its record tells it to whoever restores.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.change_batch import ChangeBatch
from online_model.plan import DAY_US
from online_model.rows import SEGMENT_NONE

#: A return after more event days than these is no flap.
RETURN_DAYS: Final = 7

Int16Array = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]


def between_segments(old: Int16Array, new: Int16Array) -> BoolArray:
    """Whether changes from `old` to `new` int16[m] are moves between two segments with a centroid."""
    return np.asarray((old > 0) & (new > 0))


def segment_left(old: Int16Array, new: Int16Array) -> Int16Array:
    """What `Rows.left` holds after changes from `old` to `new` int16[m]."""
    return np.where(between_segments(old, new), old, np.int16(SEGMENT_NONE))


def count_moves(changes: ChangeBatch, watermark_us: int) -> tuple[int, int]:
    """The flaps among the moves of a step that left `watermark_us`, and the other moves."""
    back = changes.new == changes.left
    moves = between_segments(changes.old, changes.new)
    flaps = 0
    if back.any():
        soon = changes.old_since_us >= watermark_us - RETURN_DAYS * DAY_US
        flaps = int(np.count_nonzero(moves & soon & back))
    return flaps, int(np.count_nonzero(moves)) - flaps
