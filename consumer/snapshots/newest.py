"""The newest usable snapshot of each partition, read from outside of the service in small parts."""

from __future__ import annotations

import zlib
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
_BLOCK: Final = 1 << 22


class NewestSnapshots:
    """`manifests` of the specification, one per partition that has a usable one, of one number of partitions.

    Where the newest one of a partition is damaged, the one before stands in for it, as in a restore. That,
    and a partition without a usable one, is in `missing`, in words. All bytes are read once for it, to hold
    them against their checksum: what is read later is what was written. Raises `DataError` if none is usable.
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
        """The newest watermark of any partition with customers; one without follows the clock."""
        return max((m.watermark_us for m in self.manifests if m.rows), default=NEVER)

    @property
    def rows(self) -> int:
        """Rows of all snapshots, those of customers who are gone included."""
        return sum(manifest.rows for manifest in self.manifests)

    def parts(self, manifest: Manifest) -> Iterator[RowPart]:
        """The row groups of a snapshot, one after the other. Raises `DataError`."""
        try:
            with self._store.open(manifest.partition, manifest.file) as stream:
                file = pq.ParquetFile(stream)
                for number, part in enumerate(manifest.parts):
                    table = file.read_row_group(number, use_threads=False)
                    read = from_table(table, manifest.format, part.low, self._like)
                    yield RowPart(read.low, read.ids, read.hashes, Rows._make(read.rows))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DataError(
                f"snapshot {manifest.file} of partition {manifest.partition} cannot be read: {error}",
                "run the command again: a newer snapshot may have taken its place meanwhile",
            ) from None

    def _find(self) -> list[Manifest]:
        try:
            folders = self._store.partitions()
            chosen = [found for partition in folders if (found := self._of_this_specification(partition))]
        except OSError as error:
            raise DataError(f"snapshots under {self._store.uri} cannot be read: {error}", _FIX) from None
        expected = max((manifests[0].partition_count for manifests in chosen), default=0)
        absent = [partition for partition in range(expected) if partition not in folders]
        self.missing += [f"partition {partition} has no snapshot" for partition in absent]
        usable = [self._whole(mine) for mine in chosen if mine[0].partition_count == expected]
        return [manifest for manifest in usable if manifest is not None]

    def _of_this_specification(self, partition: int) -> list[Manifest]:
        """Newest first."""
        chosen: list[Manifest] = []
        numbers, problems = self._store.numbers(partition), []
        for number in numbers:
            try:
                manifest = self._store.manifest(partition, number)
            except (FileNotFoundError, ValueError) as error:  # pruned meanwhile, or damaged
                if not chosen:
                    problems.append(f"has a manifest n={number} that cannot be read: {error}")
                continue
            if manifest.spec_hash == self._spec_hash:
                chosen.append(manifest)
            elif not chosen:
                problems.append(
                    "has snapshots of another feature specification (give its file as model.spec)"
                )
        if not numbers:
            problems = ["has no snapshot"]
        self.missing += [f"partition {partition} {problem}" for problem in dict.fromkeys(problems)]
        return chosen

    def _whole(self, manifests: list[Manifest]) -> Manifest | None:
        """The newest whose bytes are those that were written; what was passed over is noted."""
        for manifest in manifests:
            try:
                self._check(manifest)
            except (OSError, pa.ArrowException, ValueError) as error:  # pruned meanwhile, or damaged
                name = f"partition {manifest.partition}"
                self.missing.append(f"{name} has a snapshot n={manifest.n} that cannot be read: {error}")
                continue
            if manifest is not manifests[0]:
                self.missing[-1] += f"; the older one n={manifest.n} stands in for it"
            return manifest
        self.missing.append(
            f"partition {manifests[0].partition} is left out: none of its snapshots can be read"
        )
        return None

    def _check(self, manifest: Manifest) -> None:
        with self._store.open(manifest.partition, manifest.file) as stream:
            if stream.size() != manifest.bytes:
                raise ValueError(f"it has {stream.size()} bytes, expected {manifest.bytes}")
            crc32 = 0
            while block := stream.read(_BLOCK):
                crc32 = zlib.crc32(block, crc32)
            if crc32 != manifest.crc32:
                raise ValueError("its bytes are not those of its checksum")
            stream.seek(0)
            groups = pq.ParquetFile(stream).metadata
        rows = [groups.row_group(number).num_rows for number in range(groups.num_row_groups)]
        if rows != [part.rows for part in manifest.parts]:
            raise ValueError(f"it has parts of {rows} rows, not those of its manifest")
