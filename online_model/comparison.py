"""K-Means beside hierarchical (Ward) and density-based (DBSCAN) clustering on the same rows."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.cluster import DBSCAN, AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from online_model.model import ComparisonRow
from online_model.panel import SCORE_ROWS, score

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]

_MAX_MIN_SAMPLES: Final = 50


def compare(
    x: Float64Array, kmeans_labels: IntArray, k: int, rng: np.random.Generator
) -> list[ComparisonRow]:
    """Compare on at most 3,000 rows of `x` float64[n, D] (finite) that K-Means labelled.

    Ward gets the same k. DBSCAN's `eps` is the knee of the sorted distances to the
    `min_samples`-th neighbour, `min_samples` = 2 D (at most 50). Scores leave out noise.
    """
    n = x.shape[0]
    rows = np.arange(n) if n <= SCORE_ROWS else np.sort(rng.choice(n, SCORE_ROWS, replace=False))
    points, base = x[rows], kmeans_labels[rows]
    result = [_row("k-means", points, base, base, rng)]
    if 2 <= k < len(points):
        ward = AgglomerativeClustering(n_clusters=k, linkage="ward").fit_predict(points)
        result.append(_row("ward", points, ward, base, rng))
    min_samples = max(2, min(2 * x.shape[1], _MAX_MIN_SAMPLES, len(points) - 1))
    eps = knee_eps(points, min_samples)
    density = DBSCAN(eps=eps, min_samples=min_samples).fit_predict(points)
    note = f"eps {eps:.3f} (knee), min_samples {min_samples}"
    result.append(_row("dbscan", points, density, base, rng, note))
    return result


def knee_eps(x: Float64Array, min_samples: int) -> float:
    """Distance at the knee of the sorted distances to the `min_samples`-th neighbour (itself first).

    The knee is the point farthest below the chord from the first to the last distance.
    """
    neighbours = NearestNeighbors(n_neighbors=min(min_samples, len(x))).fit(x)
    distance = np.sort(neighbours.kneighbors(x)[0][:, -1])
    chord = np.linspace(distance[0], distance[-1], len(distance))
    knee = float(distance[int(np.argmax(chord - distance))])
    return knee if knee > 0 else float(np.finfo(np.float64).eps)


def _row(
    algorithm: str,
    x: Float64Array,
    labels: IntArray,
    base: IntArray,
    rng: np.random.Generator,
    note: str = "",
) -> ComparisonRow:
    scores = score(x, labels, rng)
    clustered = labels >= 0
    return ComparisonRow(
        algorithm=algorithm,
        sample_size=len(labels),
        n_clusters=int(np.unique(labels[clustered]).size),
        noise_share=float(1 - clustered.mean()),
        silhouette=_or_none(scores.silhouette),
        davies_bouldin=_or_none(scores.davies_bouldin),
        ari_to_kmeans=float(adjusted_rand_score(base, labels)),
        note=note,
    )


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
