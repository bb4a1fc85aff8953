"""Sequential K-Means on river's `base.Clusterer` contract, vectorised.

`SequentialKMeans` makes the same step as `river.cluster.KMeans` (``c += step * (x - c)`` for the
nearest centre, Euclidean) and gives the same labels and centres for the same points in the same
order. It differs where river loses data silently: it starts from given centres instead of noise,
its features are fixed and ordered, predicting never changes it, and a non-finite value is an
error. `RiverKMeans` offers river's own estimator behind the same `Learner` interface.

The assignment kernels live in `online_model.distance`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from river import base, cluster

from online_model.distance import MIN_PRESENT, assign, distances, nearest
from schemas.kernel import allocating

__all__ = [
    "MIN_PRESENT",
    "Learner",
    "RiverKMeans",
    "SequentialKMeans",
    "assign",
    "distances",
    "nearest",
]

Float64Array = npt.NDArray[np.float64]


class Learner(Protocol):
    """What the scan needs of an incremental clusterer over scaled rows."""

    @property
    def centroids(self) -> Float64Array:
        """Copy of the centres, float64[k, D]."""

    def learn(self, x: Float64Array) -> None:
        """Learn the rows of `x` float64[n, D] in order; ValueError if one is not finite."""


@allocating
def _nearest_center(row: Float64Array, centers: Float64Array) -> int:
    best, best_d2 = 0, np.inf
    for c in range(centers.shape[0]):
        d2 = 0.0
        for j in range(row.shape[0]):
            error = centers[c, j] - row[j]
            d2 += error * error
        if d2 < best_d2:
            best, best_d2 = c, d2
    return best


@allocating
def _learn_rows(x: Float64Array, centers: Float64Array, step: float) -> None:
    """One river step per row, in order; `centers` is modified in place."""
    for i in range(x.shape[0]):
        c = _nearest_center(x[i], centers)
        for j in range(x.shape[1]):
            centers[c, j] += step * (x[i, j] - centers[c, j])


class SequentialKMeans(base.Clusterer):
    """K-Means learning one point at a time, from given centres.

    Args:
        start: start centres, array-like [k, D]; kept, so that `clone()` starts there again.
        features: the D feature names in column order (any hashables).
        step: how far a centre moves towards a point, in (0, 1]; river calls it `halflife`.

    Raises:
        ValueError: centres of the wrong shape or not finite, duplicate names, step out of range.
    """

    def __init__(self, start: npt.ArrayLike, features: Sequence[Hashable], step: float = 0.01) -> None:
        self.start = np.array(start, dtype=np.float64)
        self.features = tuple(features)
        self.step = step
        if self.start.ndim != 2 or self.start.shape[0] < 1:
            raise ValueError(f"start centres have shape {self.start.shape}, expected (k, D)")
        if self.start.shape[1] != len(self.features):
            raise ValueError(
                f"start centres have {self.start.shape[1]} columns, {len(self.features)} features given"
            )
        if len(set(self.features)) != len(self.features):
            raise ValueError("feature names must be unique")
        if not 0 < step <= 1:
            raise ValueError(f"step {step} must be in (0, 1]")
        _require_finite(self.start)
        self._centers = self.start.copy()

    @property
    def centroids(self) -> Float64Array:
        """Copy of the current centres, float64[k, D]."""
        return self._centers.copy()

    @property
    def centers(self) -> dict[int, dict[Hashable, float]]:
        """The current centres in river's form, as a copy."""
        return {c: dict(zip(self.features, row, strict=True)) for c, row in enumerate(self._centers.tolist())}

    def learn_one(self, x: Mapping[Any, float]) -> None:
        """Move the nearest centre towards `x`; ValueError as for `predict_one`."""
        _learn_rows(self._row(x), self._centers, self.step)

    def predict_one(self, x: Mapping[Any, float]) -> int:
        """Index of the nearest centre; nothing is changed.

        Raises:
            ValueError: `x` lacks a feature, has an unknown one, or a value is not finite.
        """
        return int(_nearest_center(self._row(x)[0], self._centers))

    def learn_many(self, X: pd.DataFrame | Float64Array) -> None:
        """Learn the rows in order, exactly as `learn_one` on each; ValueError likewise."""
        _learn_rows(self._matrix(X), self._centers, self.step)

    def learn(self, x: Float64Array) -> None:
        """`Learner` name of `learn_many`."""
        self.learn_many(x)

    def predict_many(self, X: pd.DataFrame | Float64Array) -> Any:
        """Nearest centre per row: a Series on the frame's index, int64[n] for an array."""
        whole = np.full(len(self.features), 1.0 / len(self.features))
        out = nearest(self._matrix(X), self._centers, whole)[0].astype(np.int64)
        return pd.Series(out, index=X.index) if isinstance(X, pd.DataFrame) else out

    def _row(self, x: Mapping[Any, float]) -> Float64Array:
        if len(x) != len(self.features) or any(name not in x for name in self.features):
            raise ValueError(_feature_message(x.keys(), self.features))
        row = [float(x[name]) for name in self.features]
        if not all(map(math.isfinite, row)):
            raise ValueError(f"values must be finite, got {dict(x)}")
        return np.array([row], dtype=np.float64)

    def _matrix(self, X: pd.DataFrame | Float64Array) -> Float64Array:
        if isinstance(X, pd.DataFrame):
            if len(X.columns) != len(self.features) or set(X.columns) != set(self.features):
                raise ValueError(_feature_message(X.columns, self.features))
            X = X[list(self.features)].to_numpy()
        values = np.ascontiguousarray(X, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.features):
            raise ValueError(f"rows have shape {values.shape}, expected (n, {len(self.features)})")
        _require_finite(values)
        return values


class RiverKMeans:
    """`river.cluster.KMeans`, started from given centres, as a `Learner`.

    Args:
        start: start centres, float64[k, D].
        step: river's `halflife`, the constant step.
    """

    def __init__(self, start: Float64Array, step: float = 0.01) -> None:
        _require_finite(start)
        self._n_columns = int(start.shape[1])
        self.model = cluster.KMeans(n_clusters=int(start.shape[0]), halflife=step, seed=0)
        # river draws an unseen dimension from a Gaussian; here none can be unseen.
        self.model.centers = {c: defaultdict(float, enumerate(row)) for c, row in enumerate(start.tolist())}

    @property
    def centroids(self) -> Float64Array:
        """Copy of the centres, float64[k, D]."""
        rows = self.model.centers.values()
        return np.array([[row[j] for j in range(self._n_columns)] for row in rows])

    def learn(self, x: Float64Array) -> None:
        """Learn the rows of `x` float64[n, D] in order; ValueError if one is not finite."""
        if x.ndim != 2 or x.shape[1] != self._n_columns:
            raise ValueError(f"rows have shape {x.shape}, expected (n, {self._n_columns})")
        _require_finite(x)
        for row in x.tolist():
            self.model.learn_one(dict(enumerate(row)))  # type: ignore[no-untyped-call]


def _require_finite(values: Float64Array) -> None:
    finite = np.isfinite(values).all(axis=-1)
    if not finite.all():
        raise ValueError(f"row {int(np.argmin(finite))} has a value that is not finite")


def _feature_message(given: Any, expected: tuple[Hashable, ...]) -> str:
    names = list(given)
    unknown = sorted(str(name) for name in names if name not in expected)
    absent = sorted(str(name) for name in expected if name not in names)
    return f"features do not match: unknown {unknown}, absent {absent}"
