"""Everything a report says, computed once from customers and versions of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from consumer.report.customers import Customers
from consumer.report.few import Levels
from consumer.report.words import Units
from online_model.calibration import significance
from online_model.catalog import FIXED_SEGMENTS, Population, make_profiles
from online_model.columns import Columns
from online_model.exploration import (
    MIN_GROUP,
    Dots,
    Projection,
    dots,
    means,
    medians,
    principal_axes,
    rank_correlation,
    shown,
)
from online_model.model import Model, Profile
from online_model.model_head import Version
from online_model.panel import Scores, score
from online_model.portrait import Portrait, portraits
from online_model.scaler import apply
from online_model.strategy import Strategy, StrategyError, StrategyFile
from online_model.timeline import DriftSight, Shares, Trend, daily_shares, drift_of, shares_over_time, trend

Float64Array = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]

#: Scores are of so few rows that a seed matters; it is always the same.
_SEED: Final = 0
#: Dots of a scatter, all segments together.
_DOTS: Final = 1500
_FIXED: Final = {segment.id: segment.name for segment in FIXED_SEGMENTS}
#: Rows that correlations are ranked over.
_CORRELATED: Final = 5000


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """About the segments of the newest of `models`.

    `x` float64[m, D], `codes` int16[m]: the sample scaled, and its segments as centroid indices (negative:
    none). `profiles`, `portraits`: per centroid, of the sample. `history`: shares for figures, `daily`: for
    trends. `now`: scores of at most 3,000 of the sample. `means`, `medians` float64[D]: of the whole sample.
    `levels`: who has which level of a category, and what is told of it.
    `significance` float64[D]: share of its variance between segments. `correlation` float64[D, D]: by ranks,
    of at most 5,000 of it.
    """

    models: Sequence[Version]
    proposal: Model | None
    customers: Customers
    units: Units
    strategies: StrategyFile
    days: float
    x: Float64Array
    codes: Int16Array
    profiles: list[Profile]
    portraits: list[Portrait]
    history: list[Shares]
    daily: list[Shares]
    drift: DriftSight
    now: Scores
    projection: Projection
    significance: Float64Array
    means: Float64Array
    medians: Float64Array
    correlation: Float64Array
    levels: Levels

    @property
    def model(self) -> Model:
        """The newest version."""
        return _whole(self.models[-1])

    @property
    def columns(self) -> Columns:
        """Those of the specification."""
        return self.units.columns

    @property
    def ids(self) -> list[str]:
        """Ids of the segments in centroid order."""
        return [segment.id for segment in self.model.segments]

    def name(self, segment_id: str | None) -> str:
        """Name of a segment of any version, of the fixed ones too; the id of one that nobody knows."""
        if segment_id is None:
            return "No segment yet"
        if segment_id in _FIXED:
            return _FIXED[segment_id]
        for model in reversed(self.models):
            for segment in model.segments:
                if segment.id == segment_id:
                    return segment.name
        return segment_id

    def size(self, segment_id: str | None) -> int | None:
        """Customers in a segment now; None for one to nine."""
        return shown(self.customers.by_segment.get(segment_id, 0))

    def share(self, segment_id: str | None) -> float | None:
        """Share of all customers; None where the size is not shown."""
        size = self.size(segment_id)
        return None if size is None else size / max(self.total, 1)

    @property
    def total(self) -> int:
        """Customers. Segments too small to be shown are left out if they would be told by the difference."""
        few = sum(n for n in self.customers.by_segment.values() if shown(n) is None)
        return self.customers.total - (few if shown(few) is None else 0)

    @property
    def moved(self) -> int:
        """Moves of the last days; those too few to be shown are left out as in `total`."""
        few = sum(n for n in self.customers.moves.values() if shown(n) is None)
        return sum(self.customers.moves.values()) - (few if shown(few) is None else 0)

    def shares_at(self, point: Shares) -> dict[str, float]:
        """Shares at a version, among the segments that were large enough to be shown, and are now."""
        large = self._large(point).customers
        return {segment_id: n / sum(large.values()) for segment_id, n in large.items()}

    def _large(self, point: Shares) -> Shares:
        kept = {i: n for i, n in point.customers.items() if shown(n) and self.size(i) is not None}
        return replace(point, customers=kept)

    def is_described(self, code: int) -> bool:
        """Whether enough customers of a segment are known to say what they are like."""
        return self.portraits[code].members >= MIN_GROUP

    def trend(self, segment_id: str) -> Trend | None:
        """Over the days of the report, among the segments that are shown; None for one that is not."""
        return trend([self._large(point) for point in self.daily], segment_id, self.days)

    def strategy(self, segment_id: str) -> Strategy | None:
        """The strategy bound to a segment; None if there is none, or the file does not have it."""
        try:
            return self.strategies.get(self.model.strategies.get(segment_id, ""))
        except StrategyError:
            return None

    def dots_of(self, points: Float64Array) -> list[Dots]:
        """Per segment, dots of ten customers at least, from one point float64[m, 2] per customer."""
        least = max(10, -(-len(points) // _DOTS))
        return [
            dots(points[self.codes == code], least if self.portraits[code].members >= least else 10)
            for code in range(self.model.k)
        ]

    @property
    def telling(self) -> list[int]:
        """Columns by falling significance; of a category with two levels only one, which tells the other."""
        order = [int(j) for j in np.argsort(-self.significance, kind="stable")]
        features = self.columns.feature
        pairs = {f for f in features if features.count(f) == 2}
        seen: set[str] = set()
        found = []
        for j in order:
            if features[j] not in seen:
                found.append(j)
            if features[j] in pairs:
                seen.add(features[j])
        return found

    @property
    def strongest(self) -> list[int]:
        """Numeric columns by falling significance."""
        order = np.argsort(-self.significance, kind="stable")
        return [int(j) for j in order if not self.columns.one_hot[j]]


def _whole(newest: Version) -> Model:
    assert isinstance(newest, Model), "of scans long ago only heads are kept"
    return newest


def find(
    models: Sequence[Version],
    proposal: Model | None,
    customers: Customers,
    units: Units,
    strategies: StrategyFile,
    days: float,
) -> Findings:
    """Computes what the report says. `models`: at least one, oldest first; `days`: of moves and trends."""
    model, columns = _whole(models[-1]), units.columns
    places = {segment.id: code for code, segment in enumerate(model.segments)}
    codes = np.array([places.get(segment or "", -1) for segment in customers.segments], np.int16)
    x = apply(model.scaler, np.ascontiguousarray(customers.raw))
    importance = model.scaler.importance
    ids = [segment.id for segment in model.segments]
    return Findings(
        models=models,
        proposal=proposal,
        customers=customers,
        units=units,
        strategies=strategies,
        days=days,
        x=x,
        codes=codes,
        profiles=make_profiles(Population(customers.raw, x, codes), columns, model.centroids, ids),
        portraits=portraits(x, codes, model.centroids, importance),
        history=shares_over_time(models),
        daily=daily_shares(models),
        drift=drift_of(models),
        now=score(x, codes, np.random.default_rng(_SEED)),
        projection=principal_axes(x),
        significance=significance(x, codes),
        means=means(customers.raw),
        medians=medians(customers.raw),
        correlation=rank_correlation(customers.raw[:: max(1, -(-len(customers.raw) // _CORRELATED))]),
        levels=Levels.of(customers.raw, codes, columns, model.k),
    )
