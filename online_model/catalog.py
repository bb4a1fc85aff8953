"""The segment catalog: profiles in real units, and readable names made from them by rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.columns import Columns
from online_model.model import DORMANT, UNCLASSIFIED, Profile, Segment

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]

#: The two segments that are rules, not centroids.
FIXED_SEGMENTS: Final = (
    Segment(id=DORMANT, name="Dormant"),
    Segment(id=UNCLASSIFIED, name="Unclassified"),
)

_NOTABLE: Final = 0.4  # standard deviations from the population worth a word
_STRONG: Final = 1.5
_TYPICAL_SHARE: Final = 0.5  # a category names a segment when at least half of it has it
_MAX_WORDS: Final = 6


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


def make_names(profiles: Sequence[Profile], columns: Columns) -> list[str]:
    """A readable, unique name per profile, from its strongest deviations; deterministic.

    Two features name a segment, and a category that at least half of it has; more features are
    added while two segments share a name, a number if words run out.
    """
    words = [_words(profile, columns) for profile in profiles]
    names = [_compose(w, 2) for w in words]
    for count in range(3, _MAX_WORDS + 1):
        names = [
            _compose(w, count) if names.count(name) > 1 else name
            for w, name in zip(words, names, strict=True)
        ]
    unique: list[str] = []
    for name in names:
        number, candidate = 2, name
        while candidate in unique:
            candidate, number = f"{name} {number}", number + 1
        unique.append(candidate)
    return unique


@dataclass(frozen=True, slots=True)
class _Words:
    """Words of one segment, strongest first: (direction, label) of numeric features; categories."""

    numeric: list[tuple[str, str]]
    categories: list[str]


def _words(profile: Profile, columns: Columns) -> _Words:
    numeric: list[tuple[str, str]] = []
    categories: list[str] = []
    described: set[str] = set()
    for name in profile.significant:
        j = columns.name.index(name)
        deviation = profile.deviation[j]
        if columns.one_hot[j]:
            share = profile.mean[j] or 0.0
            if deviation > 0 and share >= _TYPICAL_SHARE and columns.feature[j] not in described:
                categories.append(columns.label[j].split(": ")[-1])
                described.add(columns.feature[j])
        else:
            direction = "high" if deviation > 0 else "low"
            strength = "very " if abs(deviation) >= _STRONG else ""
            numeric.append((strength + direction, columns.label[j]))
    return _Words(numeric, categories)


def _compose(words: _Words, count: int) -> str:
    parts: list[str] = []
    previous = ""
    for direction, label in words.numeric[:count]:
        parts.append(label if direction == previous else f"{direction} {label}")
        previous = direction
    category = words.categories[: max(count - 1, 1)]
    if not parts:
        parts = category or ["average use"]
        category = []
    name = ", ".join(parts)
    name = name[0].upper() + name[1:]
    return f"{name} ({', '.join(category)})" if category else name


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
