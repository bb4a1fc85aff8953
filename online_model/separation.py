"""How well the segments stand apart, from mergeable sums: simplified silhouette, Davies-Bouldin.

Both use distances to centroids in place of distances between customers, so they need no rows: a
worker adds up two numbers per customer. The simplified silhouette is not scikit-learn's (it is higher);
compare it with its own value at calibration only.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from online_model.distance import nearest
from online_model.fold import STEPS, ScanStatistics
from schemas.kernel import allocating

Float64Array = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]
Int64Array = npt.NDArray[np.int64]

# 2^33 rows at the limit still fit int64.
_DISTANCE_LIMIT = 256.0

_ROWS, _DISTANCE, _SILHOUETTE = 0, 1, 2


@allocating
def _add(label: Int16Array, d2: Float64Array, d2_other: Float64Array, separation: Int64Array) -> None:
    for i in range(label.shape[0]):
        c = label[i]
        if c < 0:
            continue
        own, other = math.sqrt(d2[i]), math.sqrt(d2_other[i])
        separation[c, _ROWS] += 1
        separation[c, _DISTANCE] += math.floor(min(own, _DISTANCE_LIMIT) * STEPS + 0.5)
        largest = max(own, other)
        if largest > 0.0 and math.isfinite(other):
            separation[c, _SILHOUETTE] += math.floor((other - own) / largest * STEPS + 0.5)


def add_separation(
    statistics: ScanStatistics, label: Int16Array, d2: Float64Array, d2_other: Float64Array
) -> None:
    """Count rows into `statistics.separation` (modified in place), each with weight 1.

    `label` int16[n]: the own centroid, negative = unclassified; `d2`, `d2_other` float64[n]: squared
    distances to it and to the nearest other one (infinite where there is none).

    Raises:
        ValueError: shapes differ.
    """
    if not label.shape == d2.shape == d2_other.shape:
        raise ValueError(f"shapes differ: {label.shape}, {d2.shape}, {d2_other.shape}")
    _add(label, d2, d2_other, statistics.separation)


def add_calibrated(
    statistics: ScanStatistics, x: Float64Array, label: Int16Array, d2: Float64Array, importance: Float64Array
) -> Float64Array:
    """`add_separation` of the rows a calibration has just counted; returns its centroids float64[k, D].

    They are the means of the rows, which `statistics` has; a column that nobody has is 0 there.
    """
    centroids = statistics.sums / STEPS / np.maximum(statistics.present, 1)
    first, d2_first, _, d2_second = nearest(x, centroids, importance, 0.0)
    add_separation(statistics, label, d2, np.where(first == label, d2_second, d2_first))
    return centroids


def silhouette(statistics: ScanStatistics) -> float | None:
    """Mean of ``(b - a) / max(a, b)``, a and b the distances to the own and the nearest other centroid.

    None without rows, or with a single segment.
    """
    rows = int(statistics.separation[:, _ROWS].sum())
    if rows == 0 or len(statistics.separation) < 2:
        return None
    return float(statistics.separation[:, _SILHOUETTE].sum()) / STEPS / rows


def davies_bouldin(statistics: ScanStatistics, centroids: Float64Array) -> float | None:
    """Mean over segments of the largest ``(s_i + s_j) / |c_i - c_j|``, s the mean distance to the centroid.

    `centroids` float64[k, D] are those the rows were counted under. Segments without rows are left
    out; None with fewer than two, or where two centroids are the same.
    """
    used = np.flatnonzero(statistics.separation[:, _ROWS])
    if len(used) < 2:
        return None
    spread = statistics.separation[used, _DISTANCE] / STEPS / statistics.separation[used, _ROWS]
    apart = gaps(centroids[used])
    if not (apart > 0).all():
        return None
    return float(((spread[:, None] + spread[None, :]) / apart).max(axis=1).mean())


def gaps(centroids: Float64Array) -> Float64Array:
    """Distances between centroids float64[k, k], infinite on the diagonal."""
    apart: Float64Array = np.sqrt(((centroids[:, None, :] - centroids[None, :, :]) ** 2).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    return apart
