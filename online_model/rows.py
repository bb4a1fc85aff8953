"""The columns of one partition's customers: windows, profile, duplicates, published segment.

One row per customer; `Rows` is the bundle of arrays that the kernels work on, `RowStore` owns and
grows them. Everything the windows hold is an integer, so the same events give the same bits
however they were grouped.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from online_model.plan import FeaturePlan, Store
from online_model.rowtable import grow, reserved, use_huge_pages
from schemas.batch import CODED_ATTRIBUTES, NO_DAY, Attribute, Topic

#: Time of something that has not happened.
NEVER = np.iinfo(np.int64).min
#: Bucket number of a ring that holds nothing yet.
NO_BUCKET = np.iinfo(np.int32).min
#: Event-id hashes remembered per customer and topic.
DUPLICATE_HORIZON = 16

# `Rows.status`
LIVE, CLOSED, WITHDRAWN, FORGOTTEN, UNBORN = 0, 1, 2, 3, 4

# Codes of `Rows.segment`; a model segment is the number in its stable id (1, 2, ...).
SEGMENT_NONE, SEGMENT_DORMANT, SEGMENT_UNCLASSIFIED = 0, -2, -3

IntArray = npt.NDArray[np.integer]


#: The small columns of a customer side by side: one cache line serves an event, where as many arrays
#: would cost a cache miss each (update of random customers: 1.1 us in separate arrays, a third less here).
#: It is full: what only a move reads is elsewhere (`Rows.left`).
HOT = np.dtype(
    [
        ("head_day", np.int32),  # newest day bucket in the rings
        ("head_week", np.int32),
        ("touch", np.int32),  # place in the current step's touched list, -1 if untouched
        ("seq", np.int32),  # published change number
        ("first_event", np.int64),  # us, of this life
        ("cut", np.int64),  # us, events up to here are of an earlier life
        ("since", np.int64),  # us, published
        ("activated_on", np.int32),  # days since 1970
        ("age", np.float32),
        ("income", np.float32),
        ("services", np.uint32),
        ("segment", np.int16),  # published segment
        ("status", np.uint8),
        ("consent", np.uint8),
        ("provisional", np.uint8),  # published flag
        ("seen_usage", np.uint8),  # next place in `seen` per topic
        ("seen_billing", np.uint8),
        ("seen_customer", np.uint8),
    ]
)


class Rows(NamedTuple):
    """Arrays by row `n`; S day or week slots, C channels, G last groups, L lifetime sums, F columns."""

    hot: npt.NDArray[np.void]  # [n] of HOT
    day32: npt.NDArray[np.int32]  # [n, S, C] slot = day & (S - 1)
    day16: npt.NDArray[np.int16]
    week32: npt.NDArray[np.int32]
    week16: npt.NDArray[np.int16]
    last_time: npt.NDArray[np.int64]  # [n, G] us
    last_value: npt.NDArray[np.int64]  # [n, G] millionths
    last_aux: npt.NDArray[np.float32]  # [n, G]
    lifetime: npt.NDArray[np.int64]  # [n, L] millionths
    seen: npt.NDArray[np.uint64]  # [n, 3, 16] event-id hashes per topic
    codes: npt.NDArray[np.uint8]  # [n, 6]
    attribute_time: npt.NDArray[np.int32]  # [n, 11] s of the last writer of each profile attribute
    before: npt.NDArray[np.uint16]  # [n, F] features when the segment was published, as bfloat16
    sum32: npt.NDArray[np.int64]  # [n, C] window sums up to the head, of the day32 then the week32 channels
    sum16: npt.NDArray[np.int32]  # [n, C] the same for the day16 and week16 channels
    left: npt.NDArray[np.int16]  # [n] segment that a move left for the published one, `SEGMENT_NONE` without


#: Second of something that has not happened, in `Rows.attribute_time`.
NO_SECOND = np.iinfo(np.int32).min
#: bfloat16 of NaN, in `Rows.before`.
BEFORE_MISSING = 0x7FC0

#: A new row where it is not zero.
_FILL: dict[str, Any] = {
    "hot": np.array(
        [(NO_BUCKET, NO_BUCKET, -1, 0, NEVER, NEVER, 0, NO_DAY, np.nan, np.nan, 0, 0, UNBORN, 0, 0, 0, 0, 0)],
        HOT,
    ),
    "last_time": NEVER,
    "attribute_time": NO_SECOND,
    "before": BEFORE_MISSING,
}


class RowStore:
    """Owner of `rows`, of which the first `n` are in use."""

    def __init__(self, plan: FeaturePlan) -> None:
        first = plan.channels.first
        counts = [int(first[store + 1] - first[store]) for store in Store]
        days, weeks = plan.limits.day_slots, plan.limits.week_slots
        shapes: dict[str, tuple[int, ...]] = {
            "day32": (days, counts[Store.DAY32]),
            "day16": (days, counts[Store.DAY16]),
            "week32": (weeks, counts[Store.WEEK32]),
            "week16": (weeks, counts[Store.WEEK16]),
            "sum32": (counts[Store.DAY32] + counts[Store.WEEK32],),
            "sum16": (counts[Store.DAY16] + counts[Store.WEEK16],),
            "last_time": (plan.n_last,),
            "last_value": (plan.n_last,),
            "last_aux": (plan.n_last,),
            "lifetime": (plan.n_lifetime,),
            "seen": (len(Topic), DUPLICATE_HORIZON),
            "codes": (len(CODED_ATTRIBUTES),),
            "attribute_time": (len(Attribute),),
            "before": (plan.columns.n,),
        }
        # The annotations of `Rows` are the one place that says which type a column has.
        types = {name: get_args(get_args(hint)[1])[0] for name, hint in get_type_hints(Rows).items()}
        types["hot"] = HOT
        self.rows = Rows._make(reserved(shapes.get(name, ()), types[name]) for name in Rows._fields)
        self.n = 0

    @property
    def nbytes(self) -> int:
        """Bytes that the rows in use take."""
        return sum(array.nbytes // len(array) for array in self.rows) * self.n

    def load(self, rows: Rows) -> None:
        """Appends rows."""
        n = self.n + len(rows.hot)
        self._grow(n)
        for name in Rows._fields:
            getattr(self.rows, name)[self.n : n] = getattr(rows, name)
        self.n = n

    def reserve(self, n: int) -> None:
        """Rows up to `n` in use. No view of any array of `self.rows` may be alive."""
        if n <= self.n:
            return
        self._grow(n)
        for name, value in _FILL.items():
            getattr(self.rows, name)[self.n : n] = value
        self.n = n

    def _grow(self, n: int) -> None:
        self.rows = Rows._make(grow(array, n) for array in self.rows)
        use_huge_pages(self.rows, self.n, n)
