"""The newest snapshot of each partition, read from outside of the service, a few thousand rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from consumer.errors import DataError
from consumer.snapshots.columns import from_table
from consumer.snapshots.manifest import Manifest
from consumer.snapshots.store import SnapshotStore
from online_model.plan import FeaturePlan
from online_model.rows import NEVER, Rows, RowStore
from online_model.state_columns import RowPart

_FIX: Final = (
    "set snapshots.uri and app.name as the service has them; a worker writes its first snapshots within "
    "snapshots.interval_s (segmenter doctor says what it does)"
)


class NewestSnapshots:
    """`manifests` of the specification, one per partition that has any, all of one number of partitions.

    `missing`: partitions without, in words. Sizes and counts of rows are checked, checksums are not: they
    would cost reading all bytes twice. Raises `DataError` if there is no snapshot that can be used.
    """

    def __init__(self, store: SnapshotStore, plan: FeaturePlan) -> None:
        self._store = store
        self._spec_hash = plan.spec.hash
        self._like = RowStore(plan).rows
        self.missing: list[str] = []
        self.manifests = self._find()
        if self.as_of_us == NEVER:
            lacking = "; ".join(self.missing) or "there are none"
            raise DataError(f"no snapshot under {store.uri} can be used: {lacking}", _FIX)

    @property
    def as_of_us(self) -> int:
        """The newest watermark of any partition."""
        return max((m.watermark_us for m in self.manifests if m.watermark_us != NEVER), default=NEVER)

    @property
    def rows(self) -> int:
        """Rows of all snapshots, those of customers who are gone included."""
        return sum(manifest.rows for manifest in self.manifests)

    def _find(self) -> list[Manifest]:
        chosen: list[Manifest] = []
        try:
            folders = self._store.partitions()
            for partition in folders:
                manifest = self._newest(partition)
                if manifest is not None:
                    chosen.append(manifest)
        except OSError as error:
            raise DataError(f"snapshots under {self._store.uri} cannot be read: {error}", _FIX) from None
        expected = max((manifest.partition_count for manifest in chosen), default=0)
        absent = [partition for partition in range(expected) if partition not in folders]
        self.missing += [f"partition {partition} has no snapshot (it may be empty)" for partition in absent]
        return [manifest for manifest in chosen if manifest.partition_count == expected]

    def _newest(self, partition: int) -> Manifest | None:
        problem = "has no snapshot"
        for number in self._store.numbers(partition):
            try:
                manifest = self._store.manifest(partition, number)
            except (FileNotFoundError, ValueError) as error:  # pruned meanwhile, or damaged
                problem = f"has a manifest n={number} that cannot be read: {error}"
                continue
            if manifest.spec_hash == self._spec_hash:
                return manifest
            problem = "has snapshots of another feature specification only (give its file as model.spec)"
        self.missing.append(f"partition {partition} {problem}")
        return None

    def parts(self, manifest: Manifest) -> Iterator[RowPart]:
        """The row groups of a snapshot, one after the other. Raises `DataError`."""
        try:
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
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DataError(
                f"snapshot {manifest.file} of partition {manifest.partition} cannot be read: {error}",
                "run the command again: a newer snapshot may have taken its place meanwhile",
            ) from None
