"""Batch K-Means: k-means++ starts and Lloyd's iterations with the missing-aware distance.

scikit-learn's K-Means adds its threads' partial sums in the order they finish; here every sum runs
over the rows in order, so the same rows and generator give the same bits on any number of cores.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.cluster import kmeans_plusplus

from online_model.distance import nearest
from schemas.kernel import allocating

Float64Array = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]

_MAX_ITERATIONS: Final = 100


def lloyd(
    x: Float64Array, start: Float64Array, importance: Float64Array, max_changed: int = 0
) -> tuple[Float64Array, Int16Array, Float64Array]:
    """Lloyd's iterations over `x` float64[n, D] (NaN = missing) from `start` float64[k, D].

    Stops when at most `max_changed` rows change cluster. Means are per column over the present
    values; a cluster that loses its rows keeps its centre. Returns centroids float64[k, D] ordered
    by falling size, labels int16[n] (-1: too little present), squared distances float64[n].
    """
    centroids = np.array(start, dtype=np.float64)
    labels = np.full(len(x), -2, dtype=np.int16)
    for _ in range(_MAX_ITERATIONS):
        new_labels = nearest(x, centroids, importance)[0]
        changed = int(np.count_nonzero(new_labels != labels))
        labels = new_labels
        if changed == 0:
            break
        _move_to_means(x, labels, centroids)
        if changed <= max_changed:
            break
    sizes = np.bincount(labels[labels >= 0], minlength=len(centroids))
    centroids = np.ascontiguousarray(centroids[np.argsort(-sizes, kind="stable")])
    labels, d2, _, _ = nearest(x, centroids, importance)
    return centroids, labels, d2


def without_empty(centroids: Float64Array, labels: Int16Array) -> tuple[Float64Array, Int16Array]:
    """`centroids` float64[k, D] that rows are in, in their order, and `labels` int16[n] of those.

    Nobody moves: an empty cluster is nearest to no row. All stay if no row is classified.
    """
    used = np.bincount(labels[labels >= 0], minlength=len(centroids)) > 0
    if used.all() or not used.any():
        return centroids, labels
    place = (np.cumsum(used) - 1).astype(np.int16)
    return np.ascontiguousarray(centroids[used]), np.where(labels >= 0, place[labels], labels)


def best_of(
    x: Float64Array, k: int, starts: int, rng: np.random.Generator
) -> tuple[Float64Array, Int16Array, float]:
    """The cheapest of `starts` runs from k-means++ centres on `x` float64[n, D] (finite, n >= k).

    A run stops when one row in a thousand still changes. Returns centroids float64[k, D], labels
    int16[n] and the inertia.
    """
    whole = np.full(x.shape[1], 1.0 / x.shape[1])
    best: tuple[Float64Array, Int16Array, float] | None = None
    for _ in range(starts):
        start, _ = kmeans_plusplus(x, k, random_state=int(rng.integers(2**31)))
        centroids, labels, d2 = lloyd(x, start, whole, max_changed=len(x) // 1000)
        inertia = float(d2.sum())
        if best is None or inertia < best[2]:
            best = (centroids, labels, inertia)
    if best is None:
        raise ValueError(f"starts {starts} must be >= 1")
    return best


@allocating
def _move_to_means(x: Float64Array, labels: Int16Array, centroids: Float64Array) -> None:
    """Move every centroid to the mean of its rows' present values (in place)."""
    k, n_columns = centroids.shape
    total = np.zeros((k, n_columns))
    count = np.zeros((k, n_columns))
    for i in range(x.shape[0]):
        c = labels[i]
        if c < 0:
            continue
        for j in range(n_columns):
            if np.isfinite(x[i, j]):
                total[c, j] += x[i, j]
                count[c, j] += 1.0
    for c in range(k):
        for j in range(n_columns):
            if count[c, j] > 0.0:
                centroids[c, j] = total[c, j] / count[c, j]
