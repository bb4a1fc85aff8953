"""Customers from the newest snapshots, a few thousand rows in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.errors import DataError
from consumer.report.customers import Customers, Float64Array, Part, Say
from consumer.snapshots import SnapshotStore
from consumer.snapshots.columns import from_table
from consumer.snapshots.manifest import Manifest
from online_model.active_model import segment_id
from online_model.evaluate import evaluate
from online_model.model import Model
from online_model.movement import fell_silent, last_moves
from online_model.plan import DAY_US, FeaturePlan
from online_model.rows import LIVE, NEVER, Rows, RowStore
from online_model.scan import KEYS, slice_keys
from online_model.services import services
from online_model.state_columns import RowPart

_FIX: Final = (
    "set snapshots.uri and app.name as the service has them; a worker writes its first snapshots within "
    "snapshots.interval_s (segmenter doctor says what it does)"
)


class SnapshotSource:
    """Reads every partition once. Sizes and counts of rows are checked, checksums are not.

    A partition without a usable snapshot is noted in `Customers.missing`; without any there is no report.
    """

    def __init__(self, store: SnapshotStore, plan: FeaturePlan, model: Model) -> None:
        self._store = store
        self._plan = plan
        self._model = model
        self._like = RowStore(plan).rows

    def read(self, sample: int, days: float, say: Say) -> Customers:
        """About `sample` customers with features, and moves of the last `days` of event time.

        Raises `DataError` if there is no snapshot of this specification.
        """
        found = Customers(source=f"snapshots under {self._store.uri}")
        manifests = self._manifests(found)
        rows = sum(manifest.rows for manifest in manifests)
        share = min(1.0, sample / max(rows, 1))
        as_of_us = max((m.watermark_us for m in manifests if m.watermark_us != NEVER), default=NEVER)
        if as_of_us == NEVER:
            lacking = "; ".join(found.missing) or "there are none"
            raise DataError(f"no snapshot under {self._store.uri} can be used: {lacking}", _FIX)
        parts: list[Float64Array] = [np.empty((0, self._plan.columns.n))]
        for step, manifest in enumerate(manifests, 1):
            say(
                f"reading partition {manifest.partition} ({step} of {len(manifests)}): {manifest.rows:,} rows"
            )
            try:
                parts += self._partition(manifest, share, as_of_us - int(days * DAY_US), found)
            except (OSError, pa.ArrowException, ValueError) as error:
                raise DataError(
                    f"snapshot {manifest.file} of partition {manifest.partition} cannot be read: {error}",
                    "run the report again: a newer snapshot may have taken its place meanwhile",
                ) from None
        found.raw = np.concatenate(parts)
        return found

    def _manifests(self, found: Customers) -> list[Manifest]:
        """The newest usable one of each partition."""
        chosen: list[Manifest] = []
        try:
            for partition in self._store.partitions():
                manifest = self._newest(partition, found)
                if manifest is not None:
                    chosen.append(manifest)
        except OSError as error:
            raise DataError(f"snapshots under {self._store.uri} cannot be read: {error}", _FIX) from None
        expected = max((manifest.partition_count for manifest in chosen), default=0)
        folders = {manifest.partition for manifest in chosen} | set(self._store.partitions())
        absent = [partition for partition in range(expected) if partition not in folders]
        found.missing += [f"partition {partition} has no snapshot (it may be empty)" for partition in absent]
        return [manifest for manifest in chosen if manifest.partition_count == expected]

    def _newest(self, partition: int, found: Customers) -> Manifest | None:
        problem = "has no snapshot"
        for number in self._store.numbers(partition):
            try:
                manifest = self._store.manifest(partition, number)
            except (FileNotFoundError, ValueError) as error:  # pruned meanwhile, or damaged
                problem = f"has a manifest n={number} that cannot be read: {error}"
                continue
            if manifest.spec_hash == self._plan.spec.hash:
                return manifest
            problem = "has snapshots of another feature specification only (give its file as model.spec)"
        found.missing.append(f"partition {partition} {problem}")
        return None

    def _partition(
        self, manifest: Manifest, share: float, from_us: int, found: Customers
    ) -> list[Float64Array]:
        """Adds a partition to `found`; features of the chosen rows."""
        raw: list[Float64Array] = []
        live_rows = 0
        watermark_us, priors = manifest.watermark_us, self._model.share_priors
        for part in self._parts(manifest):
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
        name = f"partition {manifest.partition}"
        found.parts.append(Part(name, live_rows, watermark_us, manifest.created))
        return raw

    def _parts(self, manifest: Manifest) -> Iterator[RowPart]:
        """The row groups of a snapshot, one after the other."""
        with self._store.open(manifest.partition, manifest.file) as stream:
            if stream.size() != manifest.bytes:
                raise ValueError(f"it has {stream.size()} bytes, expected {manifest.bytes}")
            file = pq.ParquetFile(stream)
            if file.num_row_groups != len(manifest.parts):
                raise ValueError(f"it has {file.num_row_groups} parts, expected {len(manifest.parts)}")
            for number, part in enumerate(manifest.parts):
                table = file.read_row_group(number, use_threads=False)
                if table.num_rows != part.rows:
                    raise ValueError(f"part {number} has {table.num_rows} rows, expected {part.rows}")
                read = from_table(table, manifest.format, part.low, self._like)
                yield RowPart(read.low, read.ids, read.hashes, Rows._make(read.rows))


def _by_id(moves: Counter[tuple[int, int]]) -> Counter[tuple[str, str]]:
    """Moves between numbers as moves between ids."""
    return Counter({(segment_id(a) or "", segment_id(b) or ""): n for (a, b), n in moves.items()})
