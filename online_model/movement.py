"""Who went where: counted from the published segment of each customer and the one left for it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from online_model.rows import SEGMENT_DORMANT, SEGMENT_NONE

Int16Array = npt.NDArray[np.int16]
Int64Array = npt.NDArray[np.int64]


def last_moves(
    left: Int16Array, segment: Int16Array, since: Int64Array, from_us: int
) -> Counter[tuple[int, int]]:
    """Customers by (segment left, segment now) whose last change was such a move, at `from_us` or later.

    Numbers of segments int16[n] as rows have them, `since` int64[n] in us. Each customer counts once, however
    often it moved before.
    """
    moved = (left != SEGMENT_NONE) & (since >= from_us)
    pairs, n = np.unique(np.stack([left[moved], segment[moved]]), axis=1, return_counts=True)
    return Counter(
        {(int(a), int(b)): int(count) for (a, b), count in zip(pairs.T.tolist(), n.tolist(), strict=True)}
    )


def fell_silent(segment: Int16Array, since: Int64Array, from_us: int) -> int:
    """Customers who are dormant since `from_us` or later."""
    return int(((segment == SEGMENT_DORMANT) & (since >= from_us)).sum())
