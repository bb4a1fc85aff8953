"""The catalog topic: what each segment is, in real units, and the strategy bound to it."""

from __future__ import annotations

from typing import Any

from online_model.columns import Columns
from online_model.model import DORMANT, UNCLASSIFIED, Model, Segment
from online_model.strategy import StrategyFile
from schemas.outbox import CATALOG_TYPE, CloudEvents, Headers, encode_entry, schema_id, subject_headers
from schemas.times import format_time

_FIXED = (
    Segment(DORMANT, "Dormant"),
    Segment(UNCLASSIFIED, "Unclassified"),
)


def catalog_entries(model: Model, columns: Columns, strategies: StrategyFile) -> list[tuple[bytes, bytes]]:
    """Key and value per segment of `model`, the fixed ones included; the shape is `CatalogEntry`."""
    bodies = {strategy.id: strategy for strategy in strategies.strategies}
    population = _population(model)
    entries = []
    for segment in (*model.segments, *_FIXED):
        bound = bodies.get(model.strategies.get(segment.id, ""))
        entry = _entry(segment, model, columns, population)
        if bound is not None:
            body = bound.model_dump(mode="json", exclude={"id", "version", "when"})
            entry["strategy"] = {"id": bound.id, "version": bound.version, "body": body}
        entries.append((segment.id.encode(), encode_entry(entry)))
    return entries


def catalog_headers(model: Model, keys: list[bytes], source: str, run_id: str) -> list[Headers]:
    """CloudEvents headers of the entries of `model` with `keys`; ids do not depend on who writes them."""
    events = CloudEvents(CATALOG_TYPE, source, schema_id("segments.catalog.v1"), run_id)
    time = format_time(model.created_us).encode()
    return [events.headers(subject_headers(key, model.version, model.created_us, time)) for key in keys]


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


def _entry(
    segment: Segment, model: Model, columns: Columns, population: list[float | None]
) -> dict[str, Any]:
    profile = segment.profile
    lines = []
    if profile is not None:
        lines = [
            {
                "feature": columns.name[j],
                "label": columns.label[j],
                "unit": columns.unit[j],
                "typical": profile.mean[j],
                "population": population[j],
            }
            for j in range(columns.n)
        ]
    return {
        "segment_id": segment.id,
        "name": segment.name,
        "status": "active",
        "model_version": model.version,
        "customers": profile.size if profile else 0,
        "share": profile.share if profile else 0.0,
        "profile": lines,
        "strategy": None,
        "derived_from": [],
        "since_version": model.version if model.kind == "calibrated" else 1,
    }
