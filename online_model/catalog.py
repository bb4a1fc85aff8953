"""The segment catalog: profiles in real units under readable names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.columns import Columns
from online_model.model import DORMANT, UNCLASSIFIED, Profile, Segment
from online_model.naming import make_names

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]

#: The two segments that are rules, not centroids.
FIXED_SEGMENTS: Final = (
    Segment(id=DORMANT, name="Dormant"),
    Segment(id=UNCLASSIFIED, name="Unclassified"),
)

_NOTABLE: Final = 0.4  # standard deviations from the population worth a word


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Customers to describe: `raw`, `x` float64[n, D] before and after scaling, `labels` int[n].

    Negative labels are customers outside every segment; they belong to the population.
    """

    raw: Float64Array
    x: Float64Array
    labels: IntArray


def make_catalog(
    population: Population, columns: Columns, centroids: Float64Array, ids: Sequence[str]
) -> tuple[Segment, ...]:
    """Named and profiled segments in centroid order; ValueError if shapes differ.

    `centroids` float64[k, D]; `ids`: their k segment ids.
    """
    profiles = make_profiles(population, columns, centroids, ids)
    names = make_names(profiles, columns)
    return tuple(
        Segment(id=i, name=name, profile=profile)
        for i, name, profile in zip(ids, names, profiles, strict=True)
    )


def make_profiles(
    population: Population, columns: Columns, centroids: Float64Array, ids: Sequence[str]
) -> list[Profile]:
    """Profile of each of the k segments; an empty segment has null means and no deviation."""
    raw, x, labels = population.raw, population.x, population.labels
    if raw.shape != x.shape or x.shape != (len(labels), columns.n) or len(ids) != len(centroids):
        raise ValueError(f"shapes differ: raw {raw.shape}, x {x.shape}, {columns.n} columns")
    overall = _mean(raw)
    center, spread = _mean(x), _std(x)
    total = max(len(labels), 1)
    profiles = []
    for code in range(len(ids)):
        members = labels == code
        mean = _mean(raw[members])
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = (_mean(x[members]) - center) / spread
            index = mean / overall
        deviation = np.where(np.isfinite(deviation), deviation, 0.0)
        strongest = np.argsort(-np.abs(deviation), kind="stable")
        profiles.append(
            Profile(
                size=int(members.sum()),
                share=float(members.sum() / total),
                mean=_nullable(mean),
                median=_nullable(_median(raw[members])),
                index=_nullable(index),
                deviation=[float(d) for d in deviation],
                significant=[columns.name[j] for j in strongest if abs(deviation[j]) >= _NOTABLE],
                nearest=_nearest(centroids, code, ids),
            )
        )
    return profiles


def _nearest(centroids: Float64Array, code: int, ids: Sequence[str]) -> str | None:
    if len(ids) < 2:
        return None
    d2 = ((centroids - centroids[code]) ** 2).sum(axis=1)
    d2[code] = np.inf
    return ids[int(np.argmin(d2))]


def _mean(values: Float64Array) -> Float64Array:
    """Mean of the present values per column, NaN for none."""
    present = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(present, values, 0.0).sum(axis=0) / present.sum(axis=0))


def _std(values: Float64Array) -> Float64Array:
    with np.errstate(invalid="ignore"):
        return np.sqrt(_mean((values - _mean(values)) ** 2))


def _median(values: Float64Array) -> Float64Array:
    present = [column[np.isfinite(column)] for column in values.T]
    return np.array([np.median(p) if p.size else np.nan for p in present])


def _nullable(values: Float64Array) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
