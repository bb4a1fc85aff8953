"""What a sample of customers looks like: summaries, histograms, rank correlations, a projection to two axes.

Nothing that comes out of here tells of fewer than `MIN_GROUP` customers, except where a caller says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from online_model.columns import Transform

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

#: Smaller groups of customers are not shown.
MIN_GROUP: Final = 10

#: A histogram's outer bins take what is beyond these quantiles.
_TAILS: Final = (0.005, 0.995)
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


def shown(customers: float | None) -> int | None:
    """A number of customers, or None if it tells of fewer than ten but not of nobody."""
    if customers is None or 0 < customers < MIN_GROUP:
        return None
    return round(customers)


@dataclass(frozen=True, slots=True)
class Summary:
    """Of `n` present values: mean, standard deviation and five quantiles (5, 25, 50, 75, 95 %)."""

    n: int
    mean: float
    deviation: float
    quantiles: tuple[float, float, float, float, float]


def summarise(values: Float64Array) -> Summary | None:
    """Summary of the present (finite) of `values` float64[n]; None for fewer than `MIN_GROUP`."""
    present = values[np.isfinite(values)]
    if present.size < MIN_GROUP:
        return None
    p5, q1, median, q3, p95 = (float(q) for q in np.quantile(present, _QUANTILES))
    return Summary(present.size, float(present.mean()), float(present.std()), (p5, q1, median, q3, p95))


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts int64[b] between `edges` float64[b + 1] on the transformed axis, rounded down to `MIN_GROUP`.

    So small bins are empty, and what they held cannot be told from the others and the whole.
    """

    edges: Float64Array
    counts: Int64Array


def on_axis(values: Float64Array, transform: int) -> Float64Array:
    """`values` on the axis that spreads them: signed logarithm, arcsine of the root, or as they are."""
    if transform == Transform.SIGNED_LOG1P:
        return np.asarray(np.sign(values) * np.log1p(np.abs(values)))
    if transform == Transform.ARCSINE:
        return np.asarray(np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0))))
    return values


def histogram(values: Float64Array, transform: int, bins: int = 24) -> Histogram | None:
    """Of the present of `values` float64[n] on the transformed axis; None for fewer than `MIN_GROUP`."""
    present = on_axis(values[np.isfinite(values)], transform)
    if present.size < MIN_GROUP:
        return None
    low, high = (float(q) for q in np.quantile(present, _TAILS))
    if high <= low:  # one value, or nearly so
        low, high = float(present.min()), float(present.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(np.clip(present, low, high), bins, (low, high))
    return Histogram(edges, (counts // MIN_GROUP * MIN_GROUP).astype(np.int64))


def means(values: Float64Array) -> Float64Array:
    """Mean per column float64[D] of the present of `values` float64[n, D]; NaN for fewer than `MIN_GROUP`."""
    present = np.isfinite(values)
    n = present.sum(axis=0)
    total = np.where(present, values, 0.0).sum(axis=0)
    return np.where(n >= MIN_GROUP, total / np.maximum(n, 1), np.nan)


def medians(values: Float64Array) -> Float64Array:
    """As `means`, of the median."""
    return np.array(
        [np.nan if (seen := summarise(column)) is None else seen.quantiles[2] for column in values.T]
    )


def rank_correlation(raw: Float64Array) -> Float64Array:
    """Spearman's correlation float64[D, D] of `raw` float64[n, D] over the rows where both are present.

    NaN where fewer than `MIN_GROUP` are, or one of the two does not vary.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        found = pd.DataFrame(raw).corr(method="spearman", min_periods=MIN_GROUP)
    return np.asarray(found.to_numpy(np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """The two directions float64[2, D] of the largest variance around `center` float64[D].

    `explained`: their shares of the variance.
    """

    center: Float64Array
    axes: Float64Array
    explained: tuple[float, float]

    def of(self, x: Float64Array) -> Float64Array:
        """`x` float64[n, D] on the two axes, float64[n, 2]; a missing value counts as the centre."""
        return np.asarray((np.where(np.isfinite(x), x, self.center) - self.center) @ self.axes.T)


def principal_axes(x: Float64Array) -> Projection:
    """Principal components of scaled rows `x` float64[n, D], NaN counting as the column's mean.

    The sign of an axis makes its largest loading positive. With one column the second axis is zero.
    """
    present = np.isfinite(x)
    center = np.where(present, x, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    moved = np.where(present, x, center) - center
    covariance = moved.T @ moved / max(len(x), 1)
    values, vectors = np.linalg.eigh(covariance)
    axes = np.zeros((2, x.shape[1]))
    explained = [0.0, 0.0]
    total = float(values.sum())
    for place in range(min(2, x.shape[1])):
        axis = vectors[:, -1 - place]
        axes[place] = axis * np.sign(axis[np.argmax(np.abs(axis))])
        explained[place] = float(values[-1 - place]) / total if total > 0 else 0.0
    return Projection(center, axes, (explained[0], explained[1]))


@dataclass(frozen=True, slots=True, eq=False)
class Dots:
    """Means float64[g, 2] of groups of neighbours, and how many customers int64[g] each stands for."""

    at: Float64Array
    customers: Int64Array


def dots(points: Float64Array, least: int = MIN_GROUP) -> Dots:
    """Groups of `least` to 2 `least` - 1 neighbours among `points` float64[n, 2]; none for fewer points.

    Rows with a missing value are left out. Groups come from halving the rows at the median of the wider
    direction, so no dot shows a single customer.
    """
    points = points[np.isfinite(points).all(axis=1)]
    means: list[Float64Array] = []
    sizes: list[int] = []
    waiting = [np.arange(len(points))] if len(points) >= least else []
    spread = points.std(axis=0) if len(points) else np.ones(2)
    spread = np.where(spread > 0, spread, 1.0)
    while waiting:
        rows = waiting.pop()
        if len(rows) < 2 * least:
            means.append(points[rows].mean(axis=0))
            sizes.append(len(rows))
            continue
        wider = int(np.argmax(np.ptp(points[rows], axis=0) / spread))
        order = rows[np.argsort(points[rows, wider], kind="stable")]
        half = len(order) // 2
        waiting += [order[half:], order[:half]]
    return Dots(np.array(means).reshape(-1, 2), np.array(sizes, np.int64))
