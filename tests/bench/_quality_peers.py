"""The streaming peers behind one interface: they learn the same scaled vectors, customer by customer.

None of them knows missing values: a missing scaled value is 0, the population centre.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from river import cluster
from sklearn.cluster import MiniBatchKMeans

from online_model.kmeans import RiverKMeans

Float64Array = npt.NDArray[np.float64]


class Peer(Protocol):
    """A clusterer that learns rows in order."""

    @property
    def centroids(self) -> Float64Array:
        """Copy of the centres, float64[k, D]."""

    def learn(self, x: Float64Array) -> None:
        """Learns the rows of `x` float64[n, D] (finite) in order."""


class RiverDefault:
    """`river.cluster.KMeans` as its documentation shows it, with the number of clusters given."""

    def __init__(self, k: int, n_columns: int, seed: int) -> None:
        self._n_columns = n_columns
        self._model = cluster.KMeans(n_clusters=k, seed=seed)

    @property
    def centroids(self) -> Float64Array:
        """Copy of the centres, float64[k, D]."""
        rows = self._model.centers.values()
        return np.array([[row[j] for j in range(self._n_columns)] for row in rows])

    def learn(self, x: Float64Array) -> None:
        """Learns the rows of `x` float64[n, D] in order."""
        for row in x.tolist():
            self._model.learn_one(dict(enumerate(row)))  # type: ignore[no-untyped-call]


class MiniBatch:
    """`MiniBatchKMeans.partial_fit` from a start of its own, 1,024 rows at a time (its default)."""

    def __init__(self, k: int, seed: int) -> None:
        self._model = MiniBatchKMeans(k, random_state=seed)

    @property
    def centroids(self) -> Float64Array:
        """Copy of the centres, float64[k, D]."""
        return np.array(self._model.cluster_centers_)

    def learn(self, x: Float64Array) -> None:
        """Learns the rows of `x` float64[n, D] in order."""
        size = int(self._model.batch_size)
        for low in range(0, len(x), size):
            part = x[low : low + size]
            if len(part) >= self._model.n_clusters:  # the first batch must hold a start
                self._model.partial_fit(part)


def make_peers(start: Float64Array, seed: int) -> dict[str, Peer]:
    """The peers by name; `start` float64[k, D] are the calibrated centroids of the warm-started one."""
    k, n_columns = start.shape
    return {
        "river_default": RiverDefault(k, n_columns, seed),
        "river_warm": RiverKMeans(start),
        "mini_batch": MiniBatch(k, seed),
    }
