"""Segment changes of one partition and step, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Change(IntEnum):
    """What happened to the membership."""

    ASSIGNED = 0
    MOVED = 1
    EXITED = 2
    ERASED = 3  # a tombstone on the current topic and no change event


class Cause(IntEnum):
    """Why. The first five have the codes of `online_model.decision.Cause`."""

    FIRST = 0
    MODEL = 1
    CORRECTION = 2
    BEHAVIOUR = 3
    TIME = 4
    CONSENT = 5
    CLOSED = 6
    ERASURE = 7


#: `ChangeBatch.trigger`: no event of this step led to the change.
NO_TRIGGER = -1


@dataclass(frozen=True, slots=True, eq=False)
class ChangeBatch:
    """`m` changes in the order in which they are published.

    `customer_ids` bytes; `change`, `cause` uint8[m]; `old`, `new` int16[m]: segment numbers
    (0 none, -2 dormant, -3 unclassified); `old_since_us` int64[m]; `left` int16[m]: the segment
    that a move left for `old` (0 none); `seq` int32[m]; `margin` float64[m] (NaN without a
    centroid); `runner_up` int16[m] (0 none); `provisional`, `actionable` bool[m]; `driver`
    int32[m, 3]: columns, -1 none; `before`, `after`, `contribution` float64[m, 3] (NaN unknown);
    `trigger_topic` int16[m], `trigger_offset` int64[m] or `NO_TRIGGER`; `consent` uint8[m];
    `consent_us` int64[m].
    """

    customer_ids: list[bytes]
    change: npt.NDArray[np.uint8]
    cause: npt.NDArray[np.uint8]
    old: npt.NDArray[np.int16]
    new: npt.NDArray[np.int16]
    old_since_us: npt.NDArray[np.int64]
    left: npt.NDArray[np.int16]
    seq: npt.NDArray[np.int32]
    margin: npt.NDArray[np.float64]
    runner_up: npt.NDArray[np.int16]
    provisional: npt.NDArray[np.bool_]
    actionable: npt.NDArray[np.bool_]
    driver: npt.NDArray[np.int32]
    before: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    contribution: npt.NDArray[np.float64]
    trigger_topic: npt.NDArray[np.int16]
    trigger_offset: npt.NDArray[np.int64]
    consent: npt.NDArray[np.uint8]
    consent_us: npt.NDArray[np.int64]

    @property
    def n(self) -> int:
        """Number of changes."""
        return len(self.customer_ids)


def to_bfloat16(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Values rounded to 8 significant bits (0.4 %), two bytes each; NaN stays NaN."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
        np.uint16
    )
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def from_bfloat16(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    """The inverse of `to_bfloat16`."""
    return (values.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
