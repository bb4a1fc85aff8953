"""The catalog topic: what each segment is, in real units, and the strategy bound to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from online_model.catalog import FIXED_SEGMENTS
from online_model.columns import Columns
from online_model.exploration import MIN_GROUP, shown
from online_model.model import Model, Segment, Standing
from online_model.plan import DAY_US
from online_model.segment_history import Descent, SegmentHistory
from online_model.strategy import StrategyFile
from online_model.timeline import event_time_us
from schemas.outbox import CATALOG_TYPE, CloudEvents, Headers, encode_entry, schema_id, subject_headers
from schemas.times import format_time


class Catalog:
    """Entries of all segments there ever were, as `history` knows them."""

    def __init__(self, columns: Columns, strategies: StrategyFile, history: SegmentHistory) -> None:
        self._columns = columns
        self._strategies = {strategy.id: strategy for strategy in strategies.strategies}
        self.history = history

    def entries(self, model: Model) -> list[tuple[bytes, bytes]]:
        """Key and value per segment as of `model`, the newest version; the shape is `CatalogEntry`.

        Those of the version come first, then the two that are rules, then the retired.
        """
        history, population = self.history, _population(model)
        sizes = _sizes(model, history)
        made = []
        for segment in (*model.segments, *FIXED_SEGMENTS):
            descent = history.descents.get(segment.id) or Descent(segment.name, 0)
            entry = self._entry(segment, model, descent)
            entry["customers"], entry["share"] = sizes.get(segment.id, (0, 0.0))
            entry["profile"] = self._profile(segment, population)
            made.append(entry)
        for segment_id, descent in history.descents.items():
            if descent.retired_version is not None:
                made.append(self._entry(Segment(segment_id, descent.name), model, descent))
        return [(entry["segment_id"].encode(), encode_entry(entry)) for entry in made]

    def _entry(self, segment: Segment, model: Model, descent: Descent) -> dict[str, Any]:
        """Everything but size and profile."""
        standing = segment.standing or Standing()
        is_there = descent.retired_version is None
        change = self.history.trend(segment.id) if is_there else None
        return {
            "segment_id": segment.id,
            "name": segment.name,
            "status": "active" if is_there else "retired",
            "model_version": model.version,
            "customers": 0,
            "share": 0.0,
            "profile": [],
            "strategy": self._strategy(model.strategies.get(segment.id, "")) if is_there else None,
            "derived_from": list(descent.derived_from),
            "since_version": descent.since_version,
            "trend": None
            if change is None
            else {
                "direction": change.direction,
                "change": round(change.now - change.before, 6),
                "days": round(change.days, 3),
            },
            "typical_customer": [
                {"feature": name, **self._words(self._columns.name.index(name)), "value": value}
                for name, value in standing.typical.items()
            ],
            "separation": _digits(standing.separation),
            "border_share": _digits(standing.border),
            "nearest": standing.nearest,
            "retired_version": descent.retired_version,
            "successors": list(descent.successors),
        }

    def _strategy(self, strategy_id: str) -> dict[str, Any] | None:
        bound = self._strategies.get(strategy_id)
        if bound is None:
            return None
        body = bound.model_dump(mode="json", exclude={"id", "version", "when"})
        return {"id": bound.id, "version": bound.version, "body": body}

    def _profile(self, segment: Segment, population: list[float | None]) -> list[dict[str, Any]]:
        profile = segment.profile
        if profile is None or profile.size < MIN_GROUP:
            return []
        return [
            {
                "feature": self._columns.name[j],
                **self._words(j),
                "typical": profile.mean[j],
                "population": population[j],
            }
            for j in range(self._columns.n)
        ]

    def _words(self, j: int) -> dict[str, str]:
        return {"label": self._columns.label[j], "unit": self._columns.unit[j]}


class CatalogTopic:
    """Records of the catalog for the versions that are published, when they are due.

    They are due with every version that is not only a scan that was learnt, with the first scan after it,
    because sizes come from scans, and then once in a day of event time. A new owner of the versions begins
    with all of it, which also mends what an older program, or another strategy file, has left there.
    """

    def __init__(self, catalog: Catalog, source: str, run_id: str) -> None:
        self._catalog = catalog
        self._events = CloudEvents(CATALOG_TYPE, source, schema_id("segments.catalog.v1"), run_id)
        self._published: tuple[int, bool] | None = None

    def begin(self) -> None:
        """This process has become the owner: the next version has the catalog beside it."""
        self._published = None

    def records(self, models: Sequence[Model]) -> list[tuple[bytes, bytes, Headers]]:
        """Key, value and headers of what is to be written beside `models`, the newest there are."""
        if not models:
            return []
        newest = models[-1]
        state = event_time_us(newest) // DAY_US, bool(self._catalog.history.members)
        if state == self._published and all(model.kind == "folded" for model in models):
            return []
        self._published = state
        entries = self._catalog.entries(newest)
        headers = self.headers(newest, [key for key, _ in entries])
        return [(*entry, header) for entry, header in zip(entries, headers, strict=True)]

    def headers(self, model: Model, keys: Sequence[bytes]) -> list[Headers]:
        """CloudEvents headers of the entries `keys` of `model`; ids do not depend on who writes them."""
        time = format_time(model.created_us).encode()
        return [
            self._events.headers(subject_headers(key, model.version, model.created_us, time)) for key in keys
        ]


def _sizes(model: Model, history: SegmentHistory) -> dict[str, tuple[int, float]]:
    """Customers and share by segment id: at the newest scan, or, before there is one, of those fitted to.

    Where fewer than ten customers are in segments that are not told, the whole is without them: the
    difference would tell.
    """
    if not history.members:
        fitted = {segment.id: segment.profile for segment in model.segments if segment.profile is not None}
        return {i: (p.size, p.share) if shown(p.size) else (0, 0.0) for i, p in fitted.items()}
    few = sum(n for n in history.members.values() if shown(n) is None)
    whole = sum(history.members.values()) - (few if shown(few) is None else 0)
    return {i: (n, n / max(whole, 1)) if shown(n) else (0, 0.0) for i, n in history.members.items()}


def _population(model: Model) -> list[float | None]:
    """Mean of each column over all segments, weighted by size; None where it is missing everywhere."""
    values: list[float | None] = []
    for j in range(len(model.columns)):
        known = [
            (s.profile.size, mean)
            for s in model.segments
            if s.profile and (mean := s.profile.mean[j]) is not None
        ]
        total = sum(size for size, _ in known)
        values.append(sum(size * mean for size, mean in known) / total if total else None)
    return values


def _digits(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
