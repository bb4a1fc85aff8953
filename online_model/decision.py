"""Which customers change segment, why, and by what.

The rule is a constant shift of the boundary between two centroids: with h = 0.1 a customer must be
a tenth of the way beyond the middle. There are no hidden counters: every input is the row, the
published segment with its `since`, and the watermark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.columns import Columns
from online_model.distance import MIN_PRESENT, nearest
from online_model.model import DORMANT_CODE, NO_SEGMENT, UNCLASSIFIED_CODE
from schemas.kernel import allocating

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]

DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """When a customer moves.

    `hysteresis` h >= 0: move when ``(d_old^2 - d_new^2) / |c_old - c_new|^2 > h`` (0 is the plain
    boundary, 1 the new centroid itself). `min_dwell_us`: not before this long in the old segment.
    `dormant_after_days`: silent at least this long is the dormant segment. `min_present`: share of
    the importance that must be present to be classified.
    """

    hysteresis: float = 0.1
    min_dwell_us: int = DAY_US
    dormant_after_days: float = 30.0
    min_present: float = MIN_PRESENT

    def __post_init__(self) -> None:
        if not 0 <= self.hysteresis < 1:
            raise ValueError(f"hysteresis {self.hysteresis} must be in [0, 1)")
        if self.min_dwell_us < 0 or not self.dormant_after_days > 0:
            raise ValueError("min_dwell_us must be >= 0 and dormant_after_days > 0")
        if not 0 <= self.min_present <= 1:
            raise ValueError(f"min_present {self.min_present} must be in [0, 1]")


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The customers to decide on, as arrays of length m.

    `current` int16: published segment code (`NO_SEGMENT`, `DORMANT_CODE`, ... or a centroid).
    `since_us` int64: when they entered it. `inactive_days` float64: days since the last activity,
    NaN for none ever.
    """

    current: Int16Array
    since_us: Int64Array
    inactive_days: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """Outcome per customer, arrays of length m.

    `target` int16: segment code after the decision; `nearest`, `runner_up` int16: the two nearest
    centroids of the row (-1 unclassified), `d2`, `d2_second` float64 squared distances to them;
    `margin` float64 in 0..1: 0 on the boundary to the runner-up, 1 at the own centroid.
    """

    target: Int16Array
    nearest: Int16Array
    d2: Float64Array
    runner_up: Int16Array
    d2_second: Float64Array
    margin: Float64Array

    def moved(self, current: Int16Array) -> BoolArray:
        """Whether the target differs from `current` int16[m]."""
        return np.asarray(self.target != current)


@allocating
def _gain(row: Float64Array, old: Float64Array, new: Float64Array) -> float:
    """``(d_old^2 - d_new^2) / |c_old - c_new|^2`` over the present columns; 0 for equal centroids.

    The rescaling for missing columns cancels.
    """
    gain, apart = 0.0, 0.0
    for j in range(row.shape[0]):
        if math.isfinite(row[j]):
            e_old = row[j] - old[j]
            e_new = row[j] - new[j]
            gain += e_old * e_old - e_new * e_new
            apart += (old[j] - new[j]) ** 2
    return gain / apart if apart > 0.0 else 0.0


@allocating
def _is_whole(row: Float64Array) -> bool:
    """Whether no column is missing; a sum of integers, which the compiler vectorises."""
    missing = 0
    for j in range(row.shape[0]):
        missing += not math.isfinite(row[j])
    return missing == 0


@allocating
def _squared_gaps(centroids: Float64Array) -> Float64Array:
    """Squared distances between all centroids, float64[k, k]."""
    k = centroids.shape[0]
    gaps = np.zeros((k, k))
    for a in range(k):
        for b in range(k):
            for j in range(centroids.shape[1]):
                gaps[a, b] += (centroids[a, j] - centroids[b, j]) ** 2
    return gaps


@allocating
def _decide(
    x: Float64Array,
    centroids: Float64Array,
    found: tuple[Int16Array, Float64Array, Int16Array, Float64Array],
    candidates: tuple[Int16Array, Int64Array, Float64Array],
    limits: tuple[float, int, float],
    outputs: tuple[Int16Array, Float64Array],
) -> None:
    current, since_us, inactive_days = candidates
    hysteresis, dwelt_before_us, dormant_after = limits
    target, margin = outputs
    best, d2, second, d2_second = found
    gaps = _squared_gaps(centroids)
    for i in range(x.shape[0]):
        b, old = best[i], current[i]
        margin[i] = 1.0
        if b < 0:
            margin[i] = 0.0
        elif second[i] >= 0:
            gap = gaps[second[i], b]
            if gap > 0.0 and _is_whole(x[i]):  # the distances are at hand
                gain = (d2_second[i] - d2[i]) / gap
            else:
                gain = _gain(x[i], centroids[second[i]], centroids[b])
            margin[i] = min(max(gain, 0.0), 1.0)
        if inactive_days[i] >= dormant_after:
            target[i] = DORMANT_CODE
        elif b < 0:
            target[i] = UNCLASSIFIED_CODE
        elif old < 0 or old >= centroids.shape[0] or old == b:
            target[i] = b
        elif since_us[i] > dwelt_before_us:
            target[i] = old
        else:
            target[i] = b if _gain(x[i], centroids[old], centroids[b]) > hysteresis else old


def decide(
    x: Float64Array,
    candidates: Candidates,
    centroids: Float64Array,
    importance: Float64Array,
    watermark_us: int,
    policy: DecisionPolicy,
) -> Decisions:
    """Decide the segment of every row `x` float64[m, D] (scaled, NaN = missing).

    In order: silent long enough is dormant (on return the nearest segment at once); too little
    present is unclassified; no segment, a special or a retired one gives the nearest; otherwise
    the customer moves to the nearest when hysteresis and dwell (``since <= watermark - dwell``)
    allow. `centroids` float64[k, D], `importance` float64[D] sums to 1.

    Raises:
        ValueError: shapes differ.
    """
    m = x.shape[0]
    c = candidates
    if not c.current.shape == c.since_us.shape == c.inactive_days.shape == (m,):
        raise ValueError(f"candidates must have the {m} rows of x")
    rows = np.ascontiguousarray(x, dtype=np.float64)
    found = nearest(rows, centroids, importance, policy.min_present)
    target, margin = np.empty(m, dtype=np.int16), np.empty(m)
    limits = (policy.hysteresis, watermark_us - policy.min_dwell_us, policy.dormant_after_days)
    inputs = (c.current, c.since_us, c.inactive_days)
    _decide(rows, centroids, found, inputs, limits, (target, margin))
    return Decisions(target, *found, margin)


class Cause(IntEnum):
    """Why a customer's segment changed, as far as the model side can tell."""

    FIRST = 0
    MODEL = 1
    CORRECTION = 2
    BEHAVIOUR = 3
    TIME = 4


def causes(
    current: Int16Array,
    touched: BoolArray,
    corrected_only: BoolArray,
    unseen: BoolArray,
    previous_moved: BoolArray,
) -> UInt8Array:
    """`Cause` uint8[m] of changed customers; all arguments have length m.

    `touched`: an event came since the last evaluation; `corrected_only`: and all of them were
    corrections; `unseen`: not yet evaluated under this model version; `previous_moved`: the
    previous version on the same features would have moved them (read where `unseen` only).
    """
    return np.select(
        [
            current == NO_SEGMENT,
            unseen & ~previous_moved,
            touched & corrected_only,
            touched,
        ],
        [Cause.FIRST, Cause.MODEL, Cause.CORRECTION, Cause.BEHAVIOUR],
        Cause.TIME,
    ).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Drivers:
    """The strongest features behind changes.

    `column` int32[m, n]: the leading column of the feature, -1 where there are fewer;
    `contribution` float64[m, n]: the feature's share of all positive contributions, falling.
    """

    column: npt.NDArray[np.int32]
    contribution: Float64Array


def feature_index(columns: Columns) -> npt.NDArray[np.int32]:
    """Number of the feature of each column, int32[D], in order of first appearance."""
    order = {name: number for number, name in enumerate(dict.fromkeys(columns.feature))}
    return np.array([order[name] for name in columns.feature], dtype=np.int32)


@allocating
def _drivers(
    x: Float64Array,
    old: Float64Array,
    new: Float64Array,
    feature: npt.NDArray[np.int32],
    column: npt.NDArray[np.int32],
    contribution: Float64Array,
) -> None:
    n_features = int(feature.max()) + 1 if feature.shape[0] else 0
    total = np.empty(n_features)
    lead = np.empty(n_features, dtype=np.int32)
    lead_value = np.empty(n_features)
    for i in range(x.shape[0]):
        total[:] = 0.0
        lead[:] = -1
        for j in range(x.shape[1]):
            if not math.isfinite(x[i, j]):
                continue
            value = (x[i, j] - old[i, j]) ** 2 - (x[i, j] - new[i, j]) ** 2
            f = feature[j]
            if lead[f] < 0 or value > lead_value[f]:
                lead[f] = j
                lead_value[f] = value
            total[f] += value
        positive = 0.0
        for f in range(n_features):
            positive += max(total[f], 0.0)
        for rank in range(column.shape[1]):
            best = -1
            for f in range(n_features):
                if total[f] > 0.0 and (best < 0 or total[f] > total[best]):
                    best = f
            if best < 0:
                break
            column[i, rank] = lead[best]
            contribution[i, rank] = total[best] / positive
            total[best] = 0.0


def drivers(
    x: Float64Array,
    old: Int16Array,
    new: Int16Array,
    centroids: Float64Array,
    feature: npt.NDArray[np.int32],
    n: int = 3,
) -> Drivers:
    """Features that pulled each row from segment `old` to `new` (codes int16[m]).

    A column contributes ``(x - c_old)^2 - (x - c_new)^2``, so the contributions add up to what the
    decision compared; the levels of a one-hot feature add up to one feature (`feature` int32[D]
    from `feature_index`). An old code without a centroid (first assignment, return from dormancy)
    takes the population centre, 0, instead: how far row and segment deviate together. A new code
    without a centroid has no drivers.
    """
    k, m = centroids.shape[0], x.shape[0]
    column = np.full((m, n), -1, dtype=np.int32)
    contribution = np.zeros((m, n))
    has_old, has_new = (old >= 0) & (old < k), (new >= 0) & (new < k)
    before = np.where(has_old[:, None], centroids[np.where(has_old, old, 0)], 0.0)
    after = np.where(has_new[:, None], centroids[np.where(has_new, new, 0)], before)
    _drivers(np.ascontiguousarray(x, dtype=np.float64), before, after, feature, column, contribution)
    return Drivers(column, contribution)
