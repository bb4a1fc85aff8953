"""Customers from the newest snapshots, a few thousand rows in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from consumer.report.customers import Customers, Float64Array, Part, Say
from consumer.snapshots import NewestSnapshots, SnapshotStore
from consumer.snapshots.manifest import Manifest
from online_model.active_model import segment_id
from online_model.evaluate import evaluate
from online_model.model import Model
from online_model.movement import fell_silent, last_moves
from online_model.plan import DAY_US, FeaturePlan
from online_model.rows import LIVE
from online_model.scan import KEYS, slice_keys
from online_model.services import services
from online_model.state_columns import RowPart


class SnapshotSource:
    """Reads every partition once. What is left out, or stands in for it, is in `Customers.missing`."""

    def __init__(self, store: SnapshotStore, plan: FeaturePlan, model: Model) -> None:
        self._store = store
        self._plan = plan
        self._model = model

    def read(self, sample: int, days: float, say: Say) -> Customers:
        """About `sample` customers with features, and moves of the last `days` of event time.

        Raises `DataError` if there is no snapshot of this specification.
        """
        newest = NewestSnapshots(self._store, self._plan)
        found = Customers(source=f"snapshots under {self._store.uri}", missing=newest.missing)
        share = min(1.0, sample / max(newest.rows, 1))
        from_us = newest.as_of_us - int(days * DAY_US)
        parts: list[Float64Array] = [np.empty((0, self._plan.columns.n))]
        for step, manifest in enumerate(newest.manifests, 1):
            say(
                f"reading partition {manifest.partition} ({step} of {len(newest.manifests)}): "
                f"{manifest.rows:,} rows"
            )
            parts += self._partition(manifest, newest.parts(manifest), share, from_us, found)
        for problem in found.missing:
            say(problem)
        found.raw = np.concatenate(parts)
        return found

    def _partition(
        self, manifest: Manifest, parts: Iterable[RowPart], share: float, from_us: int, found: Customers
    ) -> list[Float64Array]:
        """Adds a partition to `found`; features of the chosen rows."""
        raw: list[Float64Array] = []
        live_rows = 0
        watermark_us, priors = manifest.watermark_us, self._model.share_priors
        for part in parts:
            hot = part.rows.hot
            live = hot["status"] == LIVE
            segment, since = hot["segment"][live], hot["since"][live]
            live_rows += len(segment)
            numbers, n = np.unique(segment, return_counts=True)
            for number, count in zip(numbers.tolist(), n.tolist(), strict=True):
                found.by_segment[segment_id(number)] += count
            found.moves.update(_by_id(last_moves(part.rows.left[live], segment, since, from_us)))
            found.fell_silent += fell_silent(segment, since, from_us)
            chosen = np.flatnonzero(live & (slice_keys(part.hashes) < max(1, int(KEYS * share))))
            seen = evaluate(part.rows, chosen.astype(np.int32), watermark_us, self._plan, priors)
            raw.append(seen.raw)
            found.services += services(part.rows, chosen.astype(np.int32), self._plan.vocabulary)
            found.segments += [segment_id(number) for number in hot["segment"][chosen].tolist()]
        found.total += live_rows
        if manifest.rows:
            name = f"partition {manifest.partition}"
            found.parts.append(Part(name, live_rows, watermark_us, manifest.created))
        return raw


def _by_id(moves: Counter[tuple[int, int]]) -> Counter[tuple[str, str]]:
    """Moves between numbers as moves between ids."""
    return Counter({(segment_id(a) or "", segment_id(b) or ""): n for (a, b), n in moves.items()})
