"""A segment beside the others: how far apart it stands, and who is an example of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.distance import distances
from online_model.exploration import MIN_GROUP

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]

#: Members whose place is no better than this are on the border.
_BORDER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Portrait:
    """Of one segment; None where it has fewer than `MIN_GROUP` members.

    `nearest`: the segment most members would be in without this one. `separation`: mean of
    ``(b - a) / max(a, b)``, a and b the distances to the own and to the nearest other centroid: 0 on the
    border, 1 in the centre; `border`: share of members below 0.1.
    """

    members: int
    nearest: int | None
    separation: float | None
    border: float | None


def portraits(
    x: Float64Array, labels: IntArray, centroids: Float64Array, importance: Float64Array
) -> list[Portrait]:
    """One portrait per centroid of `centroids` float64[k, D].

    `x` float64[n, D] scaled, NaN missing; `labels` int[n], negative = outside every segment; `importance`
    float64[D] as the scaler has it.
    """
    d = np.sqrt(distances(x, centroids, importance))
    found = []
    for code in range(len(centroids)):
        rows = np.flatnonzero(labels == code)
        if rows.size < MIN_GROUP or len(centroids) < 2:
            found.append(Portrait(int(rows.size), None, None, None))
            continue
        others = d[rows].copy()
        own = others[:, code].copy()
        others[:, code] = np.inf
        other = others.min(axis=1)
        largest = np.maximum(own, other)
        place = np.divide(other - own, largest, out=np.zeros(rows.size), where=largest > 0)
        nearest = int(np.bincount(others.argmin(axis=1), minlength=len(centroids)).argmax())
        border = float((place < _BORDER).mean())
        found.append(Portrait(int(rows.size), nearest, float(place.mean()), border))
    return found


def middle_member(x: Float64Array) -> int:
    """Row of the member of `x` float64[m, d] that is nearest to the medians, in standard deviations.

    A missing value counts as two deviations.
    """
    present = np.isfinite(x)
    columns = present.any(axis=0)
    x, present = x[:, columns], present[:, columns]
    spread = np.nanstd(x, axis=0)
    apart = np.abs(x - np.nanmedian(x, axis=0)) / np.where(spread > 0, spread, 1.0)
    return int(np.argmin((np.where(present, apart, 2.0) ** 2).sum(axis=1)))
