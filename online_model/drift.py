"""Drift of a scan's population against a model's reference, from integer histograms.

No single figure sees everything: PSI misses a far new group, the error ratio misses a dead column
and a shift of the mix, the share distance misses a shift of one column. All are reported; below a
minimum sample each is None, because small windows fake drift. `online_model.drift_rule` says which of
them matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.fold import STEPS, ScanStatistics
from online_model.model import N_BINS, Model, Origin, Reference, origin_of
from online_model.separation import davies_bouldin, gaps, silhouette

Float64Array = npt.NDArray[np.float64]

MIN_SAMPLES: Final = 2000

#: Standard deviations between the 10th and the 90th percentile of a normal.
_OUTER_DECILES: Final = 2.5631


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Drift figures; None where the sample is too small to say.

    `psi` float64[D]: population stability index per column (> 0.25 is commonly called a shift).
    `missing`, `clipped` float64[D]: ratios now minus at calibration; as in `psi`, the dormant are in none
    of them. `share_distance`:
    Jensen-Shannon distance (base 2, 0..1) of the segment shares. `error_ratio`: mean squared
    distance now over at calibration, `error_ratio_by_segment` float64[k] likewise (NaN for a
    segment below the minimum sample). `outlier_ratio`: share beyond the reference p99 distance
    (0.01 without drift). `unclassified_ratio`: share of all rows. `n_rows`: sample size, with the dormant.
    `displacement` float64[k] (NaN as above): how far the customers of a segment have moved from its
    calibrated centroid, over the distance from there to the nearest other one: at 0.5 they are where
    the boundary was. `silhouette`, `davies_bouldin`: as in `online_model.separation`. `means` float64[D]:
    mean scaled value of the classified in standard deviations of the calibration (NaN for a column
    without values, or without a spread there).
    """

    n_rows: int
    psi: Float64Array | None
    missing: Float64Array | None
    clipped: Float64Array | None
    share_distance: float | None
    error_ratio: float | None
    error_ratio_by_segment: Float64Array | None
    outlier_ratio: float | None
    unclassified_ratio: float | None
    displacement: Float64Array | None
    silhouette: float | None
    davies_bouldin: float | None
    means: Float64Array | None


def measure(statistics: ScanStatistics, model: Model, min_samples: int = MIN_SAMPLES) -> Drift:
    """Drift of the rows in `statistics`, counted under `model`, against its calibration.

    Raises:
        ValueError: shapes differ.
    """
    reference = model.reference
    if statistics.histogram.shape != reference.bins.shape:
        raise ValueError(f"histograms {statistics.histogram.shape}, reference {reference.bins.shape}")
    n = statistics.n_rows
    classified = int(statistics.counts.sum())
    if n < max(min_samples, 1) or classified < max(min_samples, 1):
        return Drift(n, *[None] * 12)
    errors = statistics.errors / STEPS
    enough = statistics.counts >= max(min_samples // max(len(errors), 1), 1)
    by_segment = np.where(enough, errors / np.maximum(statistics.counts, 1), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        segment_ratio = by_segment / reference.error_by_segment
    segment_ratio[~np.isfinite(segment_ratio)] = np.nan
    mean = float(errors.sum()) / classified
    in_columns = np.maximum(statistics.in_columns, 1)
    return Drift(
        n_rows=n,
        psi=psi(statistics.histogram, reference.bins),
        missing=statistics.missing / in_columns - reference.missing,
        clipped=statistics.clipped / in_columns - reference.clipped,
        share_distance=share_distance(statistics.counts / classified, reference.segment_shares),
        error_ratio=mean / reference.error_mean if reference.error_mean > 0 else None,
        error_ratio_by_segment=segment_ratio,
        outlier_ratio=statistics.beyond_p99 / classified,
        unclassified_ratio=statistics.n_unclassified / n,
        displacement=displacement(statistics, origin_of(model), enough),
        silhouette=silhouette(statistics),
        davies_bouldin=davies_bouldin(statistics, model.centroids),
        means=means(statistics, reference),
    )


def displacement(
    statistics: ScanStatistics, origin: Origin | None, enough: npt.NDArray[np.bool_]
) -> Float64Array | None:
    """As `Drift.displacement`; None where the origin is not known or has a single segment.

    A column that nobody in the segment has counts as unmoved: the missing ratio tells.
    """
    if origin is None or len(origin.centroids) < 2:
        return None
    now = statistics.sums / STEPS / np.maximum(statistics.present, 1)
    moved = np.where(statistics.present > 0, now - origin.centroids, 0.0)
    nearest_other = gaps(origin.centroids).min(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt((moved**2).sum(axis=1)) / nearest_other
    return np.where(enough & np.isfinite(ratio), ratio, np.nan)


def means(statistics: ScanStatistics, reference: Reference) -> Float64Array:
    """As `Drift.means`; the standard deviation is that of a normal with the reference's outer deciles."""
    present = statistics.present.sum(axis=0)
    mean = statistics.sums.sum(axis=0) / STEPS / np.maximum(present, 1)
    deviation = (reference.edges[:, -1] - reference.edges[:, 0]) / _OUTER_DECILES
    comparable = (present > 0) & (deviation > 0)
    return np.where(comparable, mean / np.where(comparable, deviation, 1.0), np.nan)


def psi(counts: npt.NDArray[np.int64], expected: Float64Array) -> Float64Array:
    """Population stability index float64[D] of `counts` int64[D, bins] against shares `expected`.

    ``sum((p - q) ln(p / q))`` over the bins with ``p = (count + 1/2) / (n + bins / 2)`` and q
    smoothed alike, as if from the same n, so that an empty bin is finite and equal shares give 0.
    A column without any value now or then gives 0: the missing ratio tells.
    """
    n = counts.sum(axis=1, keepdims=True).astype(np.float64)
    p = (counts + 0.5) / (n + N_BINS / 2)
    q = (expected * n + 0.5) / (n + N_BINS / 2)
    value = ((p - q) * np.log(p / q)).sum(axis=1)
    comparable = (n[:, 0] > 0) & (expected.sum(axis=1) > 0)
    return np.where(comparable, value, 0.0)


def share_distance(p: Float64Array, q: Float64Array) -> float:
    """Jensen-Shannon distance, base 2, of two share vectors [k] (each sums to 1); in 0..1."""
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def _relative_entropy(p: Float64Array, q: Float64Array) -> float:
    positive = p > 0
    return float((p[positive] * np.log2(p[positive] / q[positive])).sum())
