"""A segment beside the others: its typical customer, and how far apart it stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import structs

from online_model.catalog import Population
from online_model.columns import Columns
from online_model.distance import distances
from online_model.exploration import MIN_GROUP
from online_model.model import Segment, Standing

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]

#: A medoid is looked for among so many members nearest to the mean, and compared with so many.
_CANDIDATES: Final = 200
_COMPARED: Final = 2000
#: A typical customer is one person: its values are told to so many digits.
DIGITS: Final = 2
_TYPICAL: Final = 8
#: Members whose place is no better than this are on the border.
_BORDER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Portrait:
    """Of one segment; None where it has fewer than `MIN_GROUP` members.

    `medoid`: the row of the member with the smallest sum of distances to the others. `nearest`: the segment
    most members would be in without this one. `separation`: mean of ``(b - a) / max(a, b)``, a and b the
    distances to the own and to the nearest other centroid: 0 on the border, 1 in the centre; `border`: share
    of members below 0.1.
    """

    members: int
    medoid: int | None
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
        if rows.size < MIN_GROUP:
            found.append(Portrait(int(rows.size), None, None, None, None))
            continue
        medoid = int(rows[_medoid(x[rows], importance)])
        if len(centroids) < 2:
            found.append(Portrait(int(rows.size), medoid, None, None, None))
            continue
        others = d[rows].copy()
        own = others[:, code].copy()
        others[:, code] = np.inf
        other = others.min(axis=1)
        largest = np.maximum(own, other)
        place = np.divide(other - own, largest, out=np.zeros(rows.size), where=largest > 0)
        nearest = int(np.bincount(others.argmin(axis=1), minlength=len(centroids)).argmax())
        border = float((place < _BORDER).mean())
        found.append(Portrait(int(rows.size), medoid, nearest, float(place.mean()), border))
    return found


def _medoid(x: Float64Array, importance: Float64Array) -> int:
    """Row of the medoid of the members `x` float64[m, D], by the distances of the model.

    Exact for up to 200 members; above, among the 200 nearest to the mean, compared with every so-many-th.
    """
    present = np.isfinite(x)
    mean = np.where(present, x, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    to_mean = distances(x, mean[None, :], importance)[:, 0]
    candidates = np.sort(np.argsort(to_mean, kind="stable")[:_CANDIDATES])
    compared = x[:: max(1, len(x) // _COMPARED)]
    whole = np.where(np.isfinite(x[candidates]), x[candidates], mean)
    return int(candidates[np.argmin(np.sqrt(distances(compared, whole, importance)).sum(axis=0))])


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


def telling(significant: Sequence[str], columns: Columns) -> list[int]:
    """Columns of the names in `significant` (the strongest first); of a category only the first level."""
    seen, found = set[str](), []
    for name in significant:
        j = columns.name.index(name)
        if not columns.one_hot[j] or columns.feature[j] not in seen:
            found.append(j)
        seen.add(columns.feature[j])
    return found


def typical_columns(
    raw: Float64Array, significant: Sequence[str], strongest: Sequence[int], columns: Columns
) -> list[int]:
    """What to say of a medoid `raw` float64[D]: eight numbers it has, then levels of telling categories.

    What is `significant` for its segment comes before the `strongest` columns of all segments.
    """
    own = telling(significant, columns)
    order = [j for j in own if not columns.one_hot[j]] + [j for j in strongest if not columns.one_hot[j]]
    numbers = sorted(list(dict.fromkeys(j for j in order if math.isfinite(raw[j])))[:_TYPICAL])
    features = {columns.feature[j] for j in own}
    levels = [
        j for j in range(columns.n) if columns.one_hot[j] and raw[j] == 1.0 and columns.feature[j] in features
    ]
    return numbers + levels


def with_standings(
    segments: Sequence[Segment],
    population: Population,
    columns: Columns,
    fit: tuple[Float64Array, Float64Array],
    significance: Sequence[float],
) -> tuple[Segment, ...]:
    """`segments`, in centroid order, with their places beside the others and their typical customers.

    `fit`: centroids float64[k, D] and the scaler's importance float64[D]; `significance` float[D] as in
    `Quality`.
    """
    ids = [segment.id for segment in segments]
    strongest = [int(j) for j in np.argsort(-np.array(significance), kind="stable")]
    found = []
    for segment, portrait in zip(segments, portraits(population.x, population.labels, *fit), strict=True):
        typical: dict[str, float] = {}
        if portrait.medoid is not None and segment.profile is not None:
            raw = population.raw[portrait.medoid]
            shown = typical_columns(raw, segment.profile.significant, strongest, columns)
            typical = {columns.name[j]: rounded(float(raw[j])) for j in shown}
        nearest = None if portrait.nearest is None else ids[portrait.nearest]
        standing = Standing(nearest, portrait.separation, portrait.border, typical)
        found.append(structs.replace(segment, standing=standing))
    return tuple(found)


def rounded(value: float) -> float:
    """To `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")
