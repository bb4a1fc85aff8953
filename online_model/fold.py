"""What a scan learns: mergeable integer statistics, and folding them into the next model.

Every live customer is counted exactly once per scan, with weight 1. Sums are fixed point (steps of
2^-20), so adding rows or merging statistics in any order or grouping gives the same bits: one
worker and three publish the same model. A fold lets the old centroid decay with a true half-life
in event time and adds the scan's rows.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.model import DORMANT_CODE, N_BINS, N_EDGES, Covers, Model, origin_of
from schemas.kernel import allocating

Float64Array = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]
Int64Array = npt.NDArray[np.int64]

#: Fixed-point steps per scaled unit.
STEPS: Final = float(1 << 20)

# A sum of 2^33 rows at the limit still fits int64; a scaled value beyond 2^10 standard deviations
# is an error upstream, and must not wrap the sums around.
_VALUE_LIMIT: Final = 1024.0
_ERROR_LIMIT: Final = float(1 << 16)

_ROWS, _UNCLASSIFIED, _BEYOND = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class ScanStatistics:
    """Integer statistics of the rows of a scan seen so far; `add_rows` writes into the arrays.

    `counts` int64[k]; `sums`, `present` int64[k, D]: fixed-point sums and number of present
    values; `errors` int64[k]: fixed-point sums of squared distances; `histogram` int64[D, 10] by
    the model's reference edges, `missing`, `clipped` int64[D], all three without the dormant, whom no
    calibration counts either; `totals` int64[3]: rows, unclassified rows, classified rows beyond the
    reference p99 distance. `separation` int64[k, 3]: rows, fixed-point sums of distances and of
    silhouettes (`online_model.separation` counts them). `dormant` int64[1]: how many of the
    unclassified rows are silent customers.
    """

    counts: Int64Array
    sums: Int64Array
    present: Int64Array
    errors: Int64Array
    histogram: Int64Array
    missing: Int64Array
    clipped: Int64Array
    totals: Int64Array
    separation: Int64Array
    dormant: Int64Array

    @property
    def n_rows(self) -> int:
        """All rows, classified or not."""
        return int(self.totals[_ROWS])

    @property
    def n_unclassified(self) -> int:
        """Rows with too little data, or dormant."""
        return int(self.totals[_UNCLASSIFIED])

    @property
    def in_columns(self) -> Int64Array:
        """Rows int64[D] that `histogram`, `missing` and `clipped` were counted over.

        All but the dormant. Workers of before counted these too, in the columns and so here.
        """
        return np.asarray(self.histogram.sum(axis=1) + self.missing)

    @property
    def members(self) -> list[int]:
        """Rows by the centroid they are nearest to, then the dormant, then those with too little data."""
        dormant = int(self.dormant[0])
        return [*self.counts.tolist(), dormant, self.n_unclassified - dormant]

    @property
    def beyond_p99(self) -> int:
        """Classified rows farther from their centroid than the reference p99."""
        return int(self.totals[_BEYOND])


@dataclass(frozen=True, slots=True, eq=False)
class Gauge:
    """What of a model `add_rows` measures rows against; computed once per model.

    `edges` float64[D, 9] scaled; `raw_low`, `raw_high` float64[D]: clip bounds in raw units.
    """

    k: int
    edges: Float64Array
    raw_low: Float64Array
    raw_high: Float64Array
    p99_d2: float


def gauge_of(model: Model) -> Gauge:
    """The gauge of a model."""
    low, high = model.scaler.raw_bounds()
    return Gauge(model.k, model.reference.edges, low, high, model.reference.p99_d2)


def empty(k: int, n_columns: int) -> ScanStatistics:
    """Statistics of no rows."""
    return ScanStatistics(
        counts=np.zeros(k, dtype=np.int64),
        sums=np.zeros((k, n_columns), dtype=np.int64),
        present=np.zeros((k, n_columns), dtype=np.int64),
        errors=np.zeros(k, dtype=np.int64),
        histogram=np.zeros((n_columns, N_BINS), dtype=np.int64),
        missing=np.zeros(n_columns, dtype=np.int64),
        clipped=np.zeros(n_columns, dtype=np.int64),
        totals=np.zeros(3, dtype=np.int64),
        separation=np.zeros((k, 3), dtype=np.int64),
        dormant=np.zeros(1, dtype=np.int64),
    )


@allocating
def _fixed(value: float, limit: float) -> int:
    if value > limit:
        value = limit
    elif value < -limit:
        value = -limit
    return math.floor(value * STEPS + 0.5)


@allocating
def _accumulate_centroids(
    x: Float64Array,
    label: Int16Array,
    d2: Float64Array,
    p99_d2: float,
    cluster: tuple[Int64Array, Int64Array, Int64Array, Int64Array],
    row: tuple[Int64Array, Int64Array],
) -> None:
    counts, sums, present, errors = cluster
    totals, dormant = row
    for i in range(x.shape[0]):
        totals[_ROWS] += 1
        c = label[i]
        if c < 0:
            totals[_UNCLASSIFIED] += 1
            dormant[0] += c == DORMANT_CODE
            continue
        counts[c] += 1
        errors[c] += _fixed(d2[i], _ERROR_LIMIT)
        if d2[i] > p99_d2:
            totals[_BEYOND] += 1
        for j in range(x.shape[1]):
            value = x[i, j]
            if math.isfinite(value):
                sums[c, j] += _fixed(value, _VALUE_LIMIT)
                present[c, j] += 1


@allocating
def _accumulate_columns(
    x: Float64Array,
    raw: Float64Array,
    label: Int16Array,
    edges: Float64Array,
    bounds: tuple[Float64Array, Float64Array],
    column: tuple[Int64Array, Int64Array, Int64Array],
) -> None:
    low, high = bounds
    histogram, missing, clipped = column
    for i in range(x.shape[0]):
        if label[i] == DORMANT_CODE:
            continue
        for j in range(x.shape[1]):
            value = raw[i, j]
            if not math.isfinite(value):
                missing[j] += 1
                continue
            if value < low[j] or value > high[j]:
                clipped[j] += 1
            scaled = x[i, j]
            bin_index = 0
            for e in range(N_EDGES):
                bin_index += edges[j, e] <= scaled
            histogram[j, bin_index] += 1


def add_rows(
    statistics: ScanStatistics,
    gauge: Gauge,
    raw: Float64Array,
    x: Float64Array,
    label: Int16Array,
    d2: Float64Array,
) -> None:
    """Count rows into `statistics` (modified in place), each with weight 1.

    `raw`, `x` float64[n, D]: the same rows before and after scaling, NaN = missing; `label`
    int16[n]: nearest centroid, `DORMANT_CODE` for silent customers, who are counted in `totals` and
    `dormant` only, else negative = unclassified; `d2` float64[n]: squared distance to the centroid.

    Raises:
        ValueError: shapes differ, or a label is beyond the last centroid.
    """
    n, n_columns = x.shape
    if raw.shape != x.shape or label.shape != (n,) or d2.shape != (n,):
        raise ValueError(f"shapes differ: {raw.shape}, {x.shape}, {label.shape}, {d2.shape}")
    if n_columns != statistics.missing.shape[0]:
        raise ValueError(f"rows have {n_columns} columns, the statistics {statistics.missing.shape[0]}")
    if n and int(label.max()) >= statistics.counts.shape[0]:
        raise ValueError(f"label {int(label.max())} is beyond k = {statistics.counts.shape[0]}")
    s = statistics
    cluster = (s.counts, s.sums, s.present, s.errors)
    _accumulate_centroids(x, label, d2, gauge.p99_d2, cluster, (s.totals, s.dormant))
    bounds = (gauge.raw_low, gauge.raw_high)
    _accumulate_columns(x, raw, label, gauge.edges, bounds, (s.histogram, s.missing, s.clipped))


def merge(a: ScanStatistics, b: ScanStatistics) -> ScanStatistics:
    """The statistics of both sets of rows; ValueError if their shapes differ."""
    merged = {}
    for item in dataclasses.fields(ScanStatistics):
        left, right = getattr(a, item.name), getattr(b, item.name)
        if left.shape != right.shape:
            raise ValueError(f"{item.name}: shapes {left.shape} and {right.shape} differ")
        merged[item.name] = left + right
    return ScanStatistics(**merged)


def fold(
    model: Model,
    statistics: ScanStatistics,
    dt_us: int,
    half_life_us: int,
    covers: Covers | None = None,
) -> Model:
    """The next version of `model` after a scan; its scaler, ids, bindings and origin stay.

    Per column, ``c = (w d c_old + sum) / (w d + n)`` with ``d = 2^(-dt / half_life)`` and n the
    rows in which the column is present; ``w = w d + count``. A cluster without rows keeps its
    centre (its weight decays); a coordinate that would not be finite keeps its old value.

    Args:
        model: the version the statistics were counted under.
        statistics: merged over all partitions.
        dt_us: event time since the previous fold, microseconds, >= 0.
        half_life_us: event time after which old rows weigh half, microseconds, > 0.
        covers: what the new version has learnt; the model's own if absent.

    Raises:
        ValueError: negative time, half-life not positive, or statistics of another shape.
    """
    if dt_us < 0 or half_life_us <= 0:
        raise ValueError(f"dt_us {dt_us} must be >= 0 and half_life_us {half_life_us} > 0")
    if statistics.sums.shape != model.centroids.shape:
        raise ValueError(f"statistics are {statistics.sums.shape}, centroids {model.centroids.shape}")
    decayed = model.weights * 2.0 ** (-dt_us / half_life_us)
    total = decayed[:, None] + statistics.present
    moved = decayed[:, None] * model.centroids + statistics.sums / STEPS
    with np.errstate(invalid="ignore", divide="ignore"):
        centroids = moved / total
    keep = ~np.isfinite(centroids) | (statistics.present == 0)
    return dataclasses.replace(
        model,
        version=model.version + 1,
        parent=model.version,
        created_us=model.created_us + dt_us,
        kind="folded",
        centroids=np.where(keep, model.centroids, centroids),
        weights=decayed + statistics.counts,
        covers=covers or model.covers,
        reference=dataclasses.replace(model.reference, origin=origin_of(model)),
        lineage=(),
        transition=None,
        command="",
        observed=None,
    )
