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
from online_model.state_columns import RowPart

_FIX: Final = (
    "set snapshots.uri and app.name as the service has them; a worker writes its first snapshots within "
    "snapshots.interval_s (segmenter doctor says what it does)"
)


class SnapshotSource:
    """Reads every partition once. Sizes and counts of rows are checked, checksums are not.

    Where the newest one of a partition is damaged, the one before stands in for it, as in a restore. That,
    and a partition without a usable one, is noted in `Customers.missing`; without any there is no report.
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
        usable = self._usable(found)
        rows = sum(manifests[0].rows for manifests in usable)
        share = min(1.0, sample / max(rows, 1))
        # A partition without customers follows the clock, which may be far ahead of the others.
        as_of_us = max((m[0].watermark_us for m in usable if m[0].rows), default=NEVER)
        if as_of_us == NEVER:
            raise self._nothing(found)
        parts: list[Float64Array] = [np.empty((0, self._plan.columns.n))]
        for step, manifests in enumerate(usable, 1):
            partition = manifests[0].partition
            say(f"reading partition {partition} ({step} of {len(usable)}): {manifests[0].rows:,} rows")
            parts += self._readable(manifests, share, as_of_us - int(days * DAY_US), found)
        for problem in found.missing:
            say(problem)
        if not found.parts:
            raise self._nothing(found)
        found.raw = np.concatenate(parts)
        return found

    def _nothing(self, found: Customers) -> DataError:
        lacking = "; ".join(found.missing) or "there are none"
        return DataError(f"no snapshot under {self._store.uri} can be used: {lacking}", _FIX)

    def _readable(
        self, manifests: list[Manifest], share: float, from_us: int, found: Customers
    ) -> list[Float64Array]:
        """The newest of `manifests` that can be read, as in a restore; what was passed over is noted."""
        for manifest in manifests:
            mine = Customers(found.source)
            try:
                raw = self._partition(manifest, share, from_us, mine)
            except (OSError, pa.ArrowException, ValueError) as error:  # pruned meanwhile, or damaged
                name = f"partition {manifest.partition}"
                found.missing.append(f"{name} has a snapshot n={manifest.n} that cannot be read: {error}")
                continue
            found.take(mine)
            if manifest is not manifests[0]:
                found.missing[-1] += f"; the older one n={manifest.n} stands in for it"
            return raw
        found.missing.append(
            f"partition {manifests[0].partition} is left out: none of its snapshots can be read"
        )
        return []

    def _usable(self, found: Customers) -> list[list[Manifest]]:
        """Those of each partition, newest first; at least one each."""
        chosen: list[list[Manifest]] = []
        try:
            for partition in self._store.partitions():
                manifests = self._of_this_specification(partition, found)
                if manifests:
                    chosen.append(manifests)
        except OSError as error:
            raise DataError(f"snapshots under {self._store.uri} cannot be read: {error}", _FIX) from None
        expected = max((manifests[0].partition_count for manifests in chosen), default=0)
        folders = {manifests[0].partition for manifests in chosen} | set(self._store.partitions())
        absent = [partition for partition in range(expected) if partition not in folders]
        found.missing += [f"partition {partition} has no snapshot" for partition in absent]
        return [manifests for manifests in chosen if manifests[0].partition_count == expected]

    def _of_this_specification(self, partition: int, found: Customers) -> list[Manifest]:
        chosen: list[Manifest] = []
        numbers, problems = self._store.numbers(partition), []
        for number in numbers:
            try:
                manifest = self._store.manifest(partition, number)
            except (FileNotFoundError, ValueError) as error:  # pruned meanwhile, or damaged
                if not chosen:
                    problems.append(f"has a manifest n={number} that cannot be read: {error}")
                continue
            if manifest.spec_hash == self._plan.spec.hash:
                chosen.append(manifest)
            elif not chosen:
                problems.append(
                    "has snapshots of another feature specification (give its file as model.spec)"
                )
        if not numbers:
            problems = ["has no snapshot"]
        found.missing += [f"partition {partition} {problem}" for problem in dict.fromkeys(problems)]
        return chosen

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
            found.segments += [segment_id(number) for number in hot["segment"][chosen].tolist()]
        found.total += live_rows
        if manifest.rows:
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
