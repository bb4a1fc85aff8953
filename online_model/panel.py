"""The k panel: quality of every candidate k on one sample, and the choice among them.

Inertia is not comparable across k; silhouette alone likes a single outlier cluster. So a k must
first be stable under resampling and leave no tiny segment; the scores only rank what remains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_score,
)

from online_model.distance import nearest
from online_model.lloyd import best_of
from online_model.model import PanelRow

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]

#: Called with (step, number of steps, what is being done).
Progress = Callable[[int, int, str], None]

SCORE_ROWS: Final = 3000  # silhouette is quadratic in rows
_BASE_STARTS: Final = 10
_RESAMPLES: Final = 5
_RESAMPLE_STARTS: Final = 3
_RESAMPLE_ROWS: Final = 5000


@dataclass(frozen=True, slots=True)
class CalibrationPolicy:
    """How a calibration chooses.

    `k` fixes the number of segments, else it is chosen in `k_min..k_max`. `stability`: bootstrap
    ARI a k should reach; `min_share`: share its smallest segment should have; `sample`: rows the
    panel works on; `seed`: for callers that make the generator from it.
    """

    k_min: int = 5
    k_max: int = 10
    k: int | None = None
    min_share: float = 0.02
    stability: float = 0.8
    sample: int = 20_000
    seed: int = 20_240_101

    def __post_init__(self) -> None:
        if not 2 <= self.k_min <= self.k_max:
            raise ValueError(f"k_min {self.k_min} and k_max {self.k_max}: need 2 <= k_min <= k_max")
        if self.k is not None and self.k < 1:
            raise ValueError(f"k {self.k} must be >= 1")
        if not (0 <= self.min_share < 1 and 0 <= self.stability <= 1 and self.sample >= 100):
            raise ValueError("need 0 <= min_share < 1, 0 <= stability <= 1, sample >= 100")

    @property
    def candidates(self) -> range:
        """The k to try."""
        return range(self.k_min, self.k_max + 1) if self.k is None else range(self.k, self.k + 1)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of an assignment on `sample_size` rows; NaN where there are fewer than two clusters."""

    silhouette: float
    davies_bouldin: float
    calinski_harabasz: float
    sample_size: int


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A candidate k with its centres float64[k, D] fitted on the sample."""

    row: PanelRow
    centers: Float64Array


def score(x: Float64Array, labels: IntArray, rng: np.random.Generator) -> Scores:
    """Silhouette, Davies-Bouldin and Calinski-Harabasz of any assignment.

    `x` float64[n, D] scaled, NaN counts as 0 (the population centre); `labels` int[n], negative =
    left out. At most 3,000 rows are used, drawn by `rng`.
    """
    rows = np.flatnonzero(labels >= 0)
    if rows.size > SCORE_ROWS:
        rows = np.sort(rng.choice(rows, SCORE_ROWS, replace=False))
    points, used = np.nan_to_num(x[rows], nan=0.0), labels[rows]
    n_clusters = np.unique(used).size
    if n_clusters < 2 or n_clusters >= rows.size:
        return Scores(math.nan, math.nan, math.nan, int(rows.size))
    return Scores(
        silhouette=float(silhouette_score(points, used)),
        davies_bouldin=float(davies_bouldin_score(points, used)),
        calinski_harabasz=float(calinski_harabasz_score(points, used)),
        sample_size=int(rows.size),
    )


def build_panel(
    sample: Float64Array,
    candidates: Sequence[int],
    rng: np.random.Generator,
    progress: Progress,
) -> list[Candidate]:
    """Fit and judge every k on `sample` float64[n, D] (finite).

    Raises:
        ValueError: the sample has fewer distinct rows than every candidate.
    """
    distinct = int(np.unique(sample, axis=0).shape[0])
    possible = [k for k in candidates if k <= distinct]
    if not possible:
        raise ValueError(f"k = {min(candidates)} segments need as many distinct rows, there are {distinct}")
    result = []
    for step, k in enumerate(possible):
        progress(step, len(possible), f"k = {k}")
        result.append(_candidate(sample, k, rng))
    return result


def _candidate(sample: Float64Array, k: int, rng: np.random.Generator) -> Candidate:
    centers, labels, inertia = best_of(sample, k, _BASE_STARTS, rng)
    scores = score(sample, labels, rng)
    row = PanelRow(
        k=k,
        inertia=inertia,
        silhouette=_or_zero(scores.silhouette),
        davies_bouldin=_or_zero(scores.davies_bouldin),
        calinski_harabasz=_or_zero(scores.calinski_harabasz),
        stability=_stability(sample, labels, k, rng),
        smallest_share=float(np.bincount(labels, minlength=k).min() / len(labels)),
    )
    return Candidate(row, centers)


def _stability(sample: Float64Array, labels: IntArray, k: int, rng: np.random.Generator) -> float:
    """Mean ARI between `labels` and those of fits to bootstrap resamples, on the whole sample."""
    if k == 1:
        return 1.0
    whole = np.full(sample.shape[1], 1.0 / sample.shape[1])
    size = max(min(sample.shape[0], _RESAMPLE_ROWS), k)
    agreement = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(0, sample.shape[0], size)
        centers, _, _ = best_of(sample[drawn], k, _RESAMPLE_STARTS, rng)
        agreement.append(adjusted_rand_score(labels, nearest(sample, centers, whole)[0]))
    return float(np.mean(agreement))


def choose(
    candidates: Sequence[Candidate], policy: CalibrationPolicy
) -> tuple[Candidate, Candidate | None, str]:
    """The chosen candidate, the runner-up and one sentence on why.

    Among the stable with no tiny segment: best silhouette (to 0.01), then Davies-Bouldin, then
    Calinski-Harabasz. Without any stable one, the most stable.
    """
    large = [c for c in candidates if c.row.smallest_share >= policy.min_share]
    pool = large or list(candidates)
    stable = [c for c in pool if _is_stable(c, policy)]
    ranked = sorted(stable, key=_rank) if stable else sorted(pool, key=lambda c: (-c.row.stability, _rank(c)))
    chosen, rest = ranked[0], ranked[1:]
    row = chosen.row
    facts = (
        f"stability {row.stability:.2f}, silhouette {row.silhouette:.3f}, "
        f"smallest segment {row.smallest_share:.1%}"
    )
    tiny = f"a segment below {100 * policy.min_share:g}%"
    # Who was passed over for a tiny segment is not among those that the sentence is about.
    others = f" without {tiny}" if any(_is_stable(c, policy) for c in candidates if c not in pool) else ""
    if policy.k is not None:
        reason = f"k = {row.k} was given"
    elif len(stable) == 1:
        reason = f"k = {row.k} is the only stable candidate{others}"
    elif stable:
        reason = _by_scores(row, [c.row for c in stable], f"the {len(stable)} stable candidates{others}")
    else:
        most = [c.row for c in pool if c.row.stability == row.stability]
        reason = f"no k{others} reached a stability of {policy.stability:.2f}; k = {row.k} is the most stable"
        if len(most) > 1:
            reason += f" with {_named(row, most)}; {_by_scores(row, most, 'these')}"
    reason += f" ({facts})"
    if not large:
        reason += f"; every k had {tiny}"
    if rest:
        reason += f"; runner-up k = {rest[0].row.k}"
    return chosen, rest[0] if rest else None, reason + "."


def _is_stable(candidate: Candidate, policy: CalibrationPolicy) -> bool:
    return candidate.row.stability >= policy.stability


def _by_scores(row: PanelRow, among: Sequence[PanelRow], of: str) -> str:
    """By which score `row` is the first of `among`, in the order of `_rank`; `of`: what they are called."""
    ties = [other for other in among if round(other.silhouette, 2) == round(row.silhouette, 2)]
    if len(ties) == 1:
        return f"k = {row.k} has the best silhouette of {of}"
    rest = [other for other in ties if other.k != row.k]
    like = ", ".join(f"k = {other.k} ({other.silhouette:.3f})" for other in rest)
    reason = f"k = {row.k} has, like {like}, the best silhouette of {of} when rounded to 0.01, "
    told = ", ".join(f"k = {other.k}: {other.davies_bouldin:.3f}" for other in rest)
    reason += f"and the lowest Davies-Bouldin index of these ({row.davies_bouldin:.3f}; {told})"
    if any(other.davies_bouldin == row.davies_bouldin for other in rest):
        reason += ", where that is the same the higher Calinski-Harabasz index or else fewer segments"
    return reason


def _named(row: PanelRow, rows: Sequence[PanelRow]) -> str:
    """Those of `rows` that are not `row`."""
    return ", ".join(f"k = {other.k}" for other in rows if other.k != row.k)


def _rank(candidate: Candidate) -> tuple[float, float, float, int]:
    row = candidate.row
    return (-round(row.silhouette, 2), row.davies_bouldin, -row.calinski_harabasz, row.k)


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
