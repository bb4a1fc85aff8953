"""Cost, agreement and movement of clusterings of the same rows; batch K-Means as the reference."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix

from online_model.distance import distances, nearest
from online_model.lloyd import best_of, lloyd

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]

BATCH_STARTS: Final = 10
#: Two batch fits that agree less than this say nothing about where the clusters are.
AGREEING: Final = 0.9


class Batch(NamedTuple):
    """A batch fit: `centroids` float64[k, D], `labels` int[n] (-1: too little present), mean `cost`."""

    centroids: Float64Array
    labels: IntArray
    cost: float


def batch(x: Float64Array, k: int, importance: Float64Array, rng: np.random.Generator) -> Batch:
    """Batch K-Means on `x` float64[n, D] (NaN = missing): the best of ten starts, then to the end.

    The starts count a missing value as 0, the population centre; the rest leaves it out.
    """
    start, _, _ = best_of(np.nan_to_num(x), k, BATCH_STARTS, rng)
    centroids, labels, d2 = lloyd(x, start, importance)
    return Batch(centroids, labels, float(np.nanmean(d2)))


def cost(x: Float64Array, centroids: Float64Array, importance: Float64Array) -> float:
    """Mean squared distance of the classified rows of `x` float64[n, D] to their nearest centroid."""
    return float(np.nanmean(nearest(x, centroids, importance)[1]))


def dead(x: Float64Array, centroids: Float64Array, importance: Float64Array) -> int:
    """Centroids to which no row is nearest."""
    label = nearest(x, centroids, importance)[0]
    return len(centroids) - np.unique(label[label >= 0]).size


def partition_cost(x: Float64Array, labels: IntArray, importance: Float64Array) -> float:
    """Mean squared distance of the rows with `labels` int[n] >= 0 to the mean of their segment.

    The segments' own means, not the model's centroids: the cost of who is together with whom.
    """
    used = labels >= 0
    rows, (numbers, index) = x[used], np.unique(labels[used], return_inverse=True)
    means = np.stack([_mean(rows[index == c]) for c in range(len(numbers))])
    return float(np.nanmean(distances(rows, means, importance)[np.arange(len(rows)), index]))


def agreement(a: IntArray, b: IntArray) -> float:
    """Adjusted Rand index over the rows that both label (>= 0)."""
    both = (a >= 0) & (b >= 0)
    return float(adjusted_rand_score(a[both], b[both]))


def renamed(before: IntArray, after: IntArray) -> IntArray:
    """`after` int[n] with its clusters named like those of `before` int[m] that they share most rows with.

    Row i is the same customer in both; m <= n. Assigned one to one over the largest total overlap, as a
    careful nightly job would.
    """
    table = contingency_matrix(before, after[: len(before)])
    rows, columns = linear_sum_assignment(-table)
    old, new = np.unique(before), np.unique(after[: len(before)])
    names = dict(zip(new[columns].tolist(), old[rows].tolist(), strict=True))
    unused = 1000  # a cluster without a predecessor has a name that nobody had
    return np.array([names.get(label, unused + label) for label in after.tolist()])


def ids_renamed(before: list[str | None], after: list[str | None]) -> int:
    """Segments that live on under another id: most of the members are the same (Jaccard >= 0.5)."""
    old, new = np.array(before, object), np.array(after, object)
    count = 0
    for old_id in set(before) - {None}:
        for new_id in set(after) - {None, old_id}:
            a, b = old == old_id, new == new_id
            count += int((a & b).sum() >= 0.5 * (a | b).sum())
    return count


def _mean(rows: Float64Array) -> Float64Array:
    present = np.isfinite(rows)
    mean: Float64Array = np.where(present, rows, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    return mean
