"""Calibration: from the feature table of a population to the first model.

Scaler, k panel on a sample, comparison with other algorithms, then Lloyd's iterations over all
rows with the missing-aware distance that assignment will use. scikit-learn knows no missing
values: for its fits a missing scaled value is 0, the population centre.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from online_model.catalog import Population, make_catalog
from online_model.columns import Columns
from online_model.comparison import compare
from online_model.distance import nearest
from online_model.evaluate import Population as Evaluations
from online_model.fold import STEPS, Gauge, ScanStatistics, add_rows, empty
from online_model.lloyd import lloyd, without_empty
from online_model.model import N_BINS, N_EDGES, Covers, Kind, Model, PanelRow, Quality, Reference
from online_model.panel import (
    CalibrationPolicy,
    Candidate,
    Progress,
    build_panel,
    choose,
    score,
)
from online_model.portrait import with_standings
from online_model.scaler import Scaler, apply, fit_scaler
from online_model.separation import add_calibrated, davies_bouldin, silhouette
from online_model.strategy import StrategyFile, bind

__all__ = [
    "Calibration",
    "CalibrationPolicy",
    "Choice",
    "Identity",
    "Survey",
    "calibrate",
    "conclude",
    "first_model",
    "lloyd",
    "settled",
    "silent",
    "survey",
]

#: Values of a column follow each other closely within this part of its standard deviation, and a heap of them
#: is narrow within that one: seconds to hours of history, as a rate, are less; a day's are not much more.
_CLOSE: Final = 0.01
_NARROW: Final = 0.05
#: The least standard deviation, by the column's median.
_LEAST: Final = 0.05
#: Room below the only heap of a column, by its value.
_ROOM: Final = 0.1

Float64Array = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Result of a calibration over n rows.

    `scaler`; `centroids` float64[k, D] scaled, largest segment first; `labels` int16[n] (-1:
    too little data); `d2` float64[n] squared distances (NaN for -1); `quality`; `reference`.
    """

    scaler: Scaler
    centroids: Float64Array
    labels: Int16Array
    d2: Float64Array
    quality: Quality
    reference: Reference


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """What a model is called and comes from.

    `share_priors` float64[D] as in `Model`; times in microseconds.
    """

    version: int
    created_us: int
    spec_hash: str
    share_priors: Float64Array
    kind: Kind = "calibrated"
    covers: Covers = field(default_factory=Covers)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """A population looked at, before a k is chosen.

    `x` float64[n, D]: `raw` scaled by `scaler`; `sample` float64[m, D]: rows the panel worked on, missing
    values 0; `candidates`: every k tried.
    """

    scaler: Scaler
    raw: Float64Array
    x: Float64Array
    sample: Float64Array
    candidates: list[Candidate]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A k, why, and the clusters of all rows, none of them empty.

    `row`: of the panel, whose k is more than that of the clusters if some of it were dropped;
    `centroids` float64[k, D], `labels` int16[n], `d2` float64[n] as of `lloyd`.
    """

    row: PanelRow
    runner_up: int | None
    explanation: str
    centroids: Float64Array
    labels: Int16Array
    d2: Float64Array

    @classmethod
    def of(
        cls,
        row: PanelRow,
        runner_up: int | None,
        explanation: str,
        fitted: tuple[Float64Array, Int16Array, Float64Array],
    ) -> Self:
        """The choice of `row`, with clusters `fitted` by `lloyd` over all rows.

        A cluster may lose its rows there: of the sample missing values count as the population's centre. It
        is dropped. With another seed it would be a cluster that no panel has judged, most likely of outliers.
        """
        centroids, labels = without_empty(*fitted[:2])
        lost = len(fitted[0]) - len(centroids)
        if lost:
            explanation += (
                f" {lost} of its clusters had no customers when all were counted: k = {len(centroids)}."
            )
        return cls(row, runner_up, explanation, centroids, labels, fitted[2])


def calibrate(
    raw: Float64Array,
    columns: Columns,
    block_budgets: Mapping[str, float],
    policy: CalibrationPolicy,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Calibration:
    """Calibrate on `raw` float64[n, D] (real units, NaN = missing).

    The same rows, policy and generator state give the same result.

    Raises:
        ValueError: too few distinct rows for any allowed k, or as `fit_scaler`.
    """
    report = progress or silent
    seen = survey(raw, columns, block_budgets, policy, rng, report)
    chosen, runner_up, explanation = choose(seen.candidates, policy)
    report(len(seen.candidates), len(seen.candidates) + 2, f"refinement over {len(raw)} rows")
    fitted = lloyd(seen.x, chosen.centers, seen.scaler.importance)
    choice = Choice.of(chosen.row, runner_up.row.k if runner_up else None, explanation, fitted)
    return conclude(seen, choice, rng, report)


def survey(
    raw: Float64Array,
    columns: Columns,
    block_budgets: Mapping[str, float],
    policy: CalibrationPolicy,
    rng: np.random.Generator,
    report: Progress,
) -> Survey:
    """Fits a scaler to `raw` float64[n, D] and judges every k; raises as `calibrate`."""
    scaler = fit_scaler(raw, columns, block_budgets)
    x = apply(scaler, raw)
    sample = np.nan_to_num(_sample(x, policy.sample, rng), nan=0.0)
    return Survey(scaler, raw, x, sample, build_panel(sample, policy.candidates, rng, report))


def conclude(seen: Survey, choice: Choice, rng: np.random.Generator, report: Progress) -> Calibration:
    """Scores the choice, compares it with other algorithms and takes the drift reference."""
    steps, k = len(seen.candidates) + 2, len(choice.centroids)
    report(steps - 1, steps, "comparison with Ward and DBSCAN")
    sample_labels = nearest(seen.sample, choice.centroids, seen.scaler.importance)[0]
    comparison = compare(seen.sample, sample_labels, k, rng)
    scores = score(seen.x, choice.labels, rng)
    quality = Quality(
        k=k,
        inertia=float(choice.d2[choice.labels >= 0].sum()),
        silhouette=_or_zero(scores.silhouette),
        davies_bouldin=_or_zero(scores.davies_bouldin),
        calinski_harabasz=_or_zero(scores.calinski_harabasz),
        stability=choice.row.stability,
        sample_size=scores.sample_size,
        explanation=choice.explanation,
        runner_up=choice.runner_up,
        panel_k=None if choice.row.k == k else choice.row.k,
        panel=_rows(seen.candidates),
        comparison=comparison,
        significance=[float(v) for v in significance(seen.x, choice.labels)],
    )
    reference = make_reference(seen.scaler, seen.raw, seen.x, choice.labels, choice.d2, k)
    report(steps, steps, "done")
    return Calibration(seen.scaler, choice.centroids, choice.labels, choice.d2, quality, reference)


def first_model(
    calibration: Calibration,
    raw: Float64Array,
    columns: Columns,
    identity: Identity,
    strategies: StrategyFile | None = None,
) -> Model:
    """The first model of a calibration over `raw` float64[n, D]: ids s1..sk, names, bindings."""
    ids = [f"s{number}" for number in range(1, len(calibration.centroids) + 1)]
    population = Population(raw, apply(calibration.scaler, raw), calibration.labels)
    segments = with_standings(
        make_catalog(population, columns, calibration.centroids, ids),
        population,
        columns,
        (calibration.centroids, calibration.scaler.importance),
        calibration.quality.significance,
    )
    counts = np.bincount(calibration.labels[calibration.labels >= 0], minlength=len(ids))
    return Model(
        version=identity.version,
        parent=None,
        created_us=identity.created_us,
        kind=identity.kind,
        spec_hash=identity.spec_hash,
        columns=columns.name,
        scaler=calibration.scaler,
        share_priors=identity.share_priors,
        centroids=calibration.centroids,
        weights=counts.astype(np.float64),
        segments=segments,
        next_segment=len(ids) + 1,
        strategies=bind(strategies, segments, columns.name) if strategies is not None else {},
        quality=calibration.quality,
        reference=calibration.reference,
        covers=identity.covers,
    )


def settled(
    population: Evaluations, provisional_days: float, dormant_after_days: float
) -> npt.NDArray[np.bool_]:
    """Which customers bool[n] a calibration rests on.

    Dormant ones have no centroid; those with less history than is called provisional are left out too,
    unless that would leave less than half.
    """
    awake = population.silent_days < dormant_after_days
    old = awake & (population.observed_days >= provisional_days)
    return old if old.sum() * 2 >= awake.sum() else awake


def significance(x: Float64Array, labels: IntArray) -> Float64Array:
    """Share of each column's variance that lies between the clusters (eta squared), float64[D].

    Over the present values of the classified rows; 0 for a constant column.
    """
    result = np.zeros(x.shape[1])
    for j in range(x.shape[1]):
        used = np.isfinite(x[:, j]) & (labels >= 0)
        value, cluster = x[used, j], labels[used]
        if value.size == 0:
            continue
        counts = np.bincount(cluster)
        means = np.bincount(cluster, weights=value) / np.maximum(counts, 1)
        total = float(((value - value.mean()) ** 2).sum())
        between = float((counts * (means - value.mean()) ** 2).sum())
        result[j] = min(between / total, 1.0) if total > 0 else 0.0
    return result


def make_reference(
    scaler: Scaler,
    raw: Float64Array,
    x: Float64Array,
    labels: Int16Array,
    d2: Float64Array,
    k: int,
) -> Reference:
    """The drift reference of n calibration rows, counted by the same kernel as a scan's."""
    classified = labels >= 0
    p99_d2 = float(np.quantile(d2[classified], 0.99)) if classified.any() else 0.0
    edges = np.zeros((x.shape[1], N_EDGES))
    for j in range(x.shape[1]):
        present = x[np.isfinite(raw[:, j]) & np.isfinite(x[:, j]), j]
        if present.size:
            edges[j] = edges_between(np.sort(present))
    low, high = scaler.raw_bounds()
    counted = empty(k, x.shape[1])
    add_rows(counted, Gauge(k, edges, low, high, p99_d2), np.ascontiguousarray(raw), x, labels, d2)
    centroids = add_calibrated(counted, x, labels, d2, scaler.importance)
    return _reference_of(counted, edges, p99_d2, centroids)


def edges_between(values: Float64Array) -> Float64Array:
    """Inner edges float64[9] of ten bins of about equal size; `values` float64[n] ascending, n >= 1.

    An edge is not a value but halfway to the one below: rates of counts are atoms, which move a little
    with every day of history, and an atom on an edge would move between bins as a whole. Partitions are
    read at watermarks of their own, so an atom is a narrow heap of values: no edge lies inside one.
    """
    begins = _heaps(values)
    at = len(values) * np.arange(1, N_BINS) // N_BINS
    first = begins[at]
    # Below the lowest heap there is as much room as to the next one; for a single one there is no measure.
    has_next, one = begins[-1] > begins[0], _ROOM * abs(values[0]) * (values[-1] > values[0])
    room = values[np.argmax(begins > begins[0])] - values[0] if has_next else one
    below = np.where(first > 0, values[first - 1], values[0] - room)
    return np.asarray((below + values[first]) / 2)


def _heaps(values: Float64Array) -> npt.NDArray[np.intp]:
    """Index intp[n] at which what must not be divided begins, for each of `values` float64[n] ascending.

    A heap is as many values as follow each other closely, if they lie within a narrow range; else equal
    values only: those of a continuous column.
    """
    # A column that is one heap has no deviation to speak of.
    deviation = max(float(values.std()), _LEAST * abs(float(values[len(values) // 2])))
    gaps = np.diff(values)
    starts = np.flatnonzero(np.concatenate([[True], gaps > _CLOSE * deviation]))
    n = np.diff(np.append(starts, len(values)))
    width = values[starts + n - 1] - values[starts]
    equal = np.searchsorted(values, values, side="left")
    return np.where(np.repeat(width <= _NARROW * deviation, n), np.repeat(starts, n), equal)


def _reference_of(
    counted: ScanStatistics, edges: Float64Array, p99_d2: float, centroids: Float64Array
) -> Reference:
    classified = max(int(counted.counts.sum()), 1)
    rows = max(counted.n_rows, 1)
    errors = counted.errors / STEPS
    present = np.maximum(counted.histogram.sum(axis=1, keepdims=True), 1)
    return Reference(
        edges=edges,
        bins=counted.histogram / present,
        missing=counted.missing / rows,
        clipped=counted.clipped / rows,
        segment_shares=counted.counts / classified,
        error_mean=float(errors.sum()) / classified,
        error_by_segment=errors / np.maximum(counted.counts, 1),
        p99_d2=p99_d2,
        silhouette=silhouette(counted),
        davies_bouldin=davies_bouldin(counted, centroids),
    )


def _sample(x: Float64Array, size: int, rng: np.random.Generator) -> Float64Array:
    if len(x) <= size:
        return x
    return x[np.sort(rng.choice(len(x), size, replace=False))]


def _rows(candidates: list[Candidate]) -> list[PanelRow]:
    return [candidate.row for candidate in candidates]


def _or_zero(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0


def silent(step: int, of: int, text: str) -> None:
    """Progress for callers that want none."""
