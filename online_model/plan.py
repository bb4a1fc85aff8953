"""A compiled feature specification: flat arrays that the window and evaluation kernels run on.

Features that need the same accumulator share it: a *channel* is one accumulator (kinds of events,
condition, measure, bucket width, window), stored as one integer per bucket and customer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from online_model.columns import Columns
from online_model.spec import FeatureSpec
from schemas.batch import Kind, Vocabulary

N_KINDS = len(Kind)

# Condition bits beside schemas.batch.Flag: derived from time and value while the windows are updated.
ROAMING, INTERNATIONAL, INCOMING, CORRECTION = 1, 2, 4, 8
NIGHT, WEEKEND, NEGATIVE = 16, 32, 64

#: Fixed-point steps per unit. Quantities in a bucket are int32 (int16 for counts and days); a
#: lifetime sum is int64 in millionths, so money with six decimals is exact.
BUCKET_SCALE = {
    "megabytes": 1024.0,
    "duration_seconds": 10.0,
    "count": 1.0,
    "amount": 100.0,
    "days_late": 1.0,
}
LIFETIME_SCALE = 1e6

DAY_US = 86_400_000_000
#: How late an event may come that is read by a lifetime sum, by the last bill or by no window at all.
LASTING_DAYS = 90


class Measure(IntEnum):
    """What an event adds to a channel."""

    ONE = 0
    VALUE = 1
    AUX = 2


class Store(IntEnum):
    """Which ring table a channel lives in."""

    DAY32 = 0
    DAY16 = 1
    WEEK32 = 2
    WEEK16 = 3


class Op(IntEnum):
    """How a column is computed from the sums, lasts and attributes of a customer."""

    SUM = 0
    MEAN = 1
    SHARE = 2
    ACTIVE_DAYS = 3
    DAYS_SINCE = 4
    LAST = 5
    LIFETIME = 6
    TENURE_DAYS = 7
    TENURE_MONTHS = 8
    REVENUE = 9
    AGE = 10
    INCOME = 11
    SERVICE_COUNT = 12
    LEVEL = 13
    SERVICE = 14
    MAX = 15


class Taps(NamedTuple):
    """Which events feed which accumulators, grouped by kind: entries of kind q are start[q]:start[q + 1].

    All arrays are int64 of one length except `start` (N_KINDS + 1) and `scale` (float64).
    `target` is the column in the store, the lifetime column or the last group.
    """

    start: npt.NDArray[np.int64]
    store: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    mask: npt.NDArray[np.int64]
    want: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    measure: npt.NDArray[np.int64]
    is_max: npt.NDArray[np.int64]
    scale: npt.NDArray[np.float64]


class Ops(NamedTuple):
    """Programme of the `D` columns: opcode, operands and parameters, one entry per column."""

    code: npt.NDArray[np.int64]
    a: npt.NDArray[np.int64]
    b: npt.NDArray[np.int64]
    window: npt.NDArray[np.int64]  # buckets
    bucket_days: npt.NDArray[np.int64]
    rate: npt.NDArray[np.int64]
    unit: npt.NDArray[np.float64]  # value = accumulator * unit
    shrink: npt.NDArray[np.float64]


class Channels(NamedTuple):
    """Ring channels: sums slot c of store s is column `c - first[s]`; `window` buckets per channel."""

    first: npt.NDArray[np.int64]  # int64[5]
    window: npt.NDArray[np.int64]
    is_max: npt.NDArray[np.int64]


class Limits(NamedTuple):
    """Scalars that the kernels need: ring sizes, lateness horizon per kind (us), clock hours."""

    day_slots: int
    week_slots: int
    night_from: int
    night_to: int
    bill_valid_days: int
    activity_group: int  # last group of the dormancy feature, -1 if none


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """Everything the kernels need to know about a specification."""

    spec: FeatureSpec
    columns: Columns
    vocabulary: Vocabulary
    rings: Taps
    lifetimes: Taps
    lasts: Taps
    ops: Ops
    channels: Channels
    limits: Limits
    horizon_us: npt.NDArray[np.int64]  # per kind: an event older than watermark - horizon is late
    n_lifetime: int
    n_last: int
