"""Reads a snapshot back into a partition, if all of it is there and right."""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.snapshots.columns import from_table
from consumer.snapshots.manifest import Manifest
from consumer.snapshots.store import SnapshotStore
from online_model.partition import PartitionState
from online_model.state_columns import Extent, finish_load, load_part


class Damaged(ValueError):
    """A snapshot that cannot be used; the message says why."""


def load(
    store: SnapshotStore, manifest: Manifest, state: PartitionState, spec_hash: str, topics: tuple[str, ...]
) -> None:
    """Fills the empty `state` with the rows of a snapshot.

    Raises `Damaged` if bytes, checksum, columns, counts or the specification are not those expected;
    `state` is of no use then.
    """
    if manifest.spec_hash != spec_hash:
        raise Damaged(f"it was made by specification {manifest.spec_hash}, this one is {spec_hash}")
    try:
        data = store.read(manifest.partition, manifest.file)
        if data.size != manifest.bytes or zlib.crc32(data) != manifest.crc32:
            raise Damaged(f"{manifest.file} is not what was written (size or checksum)")
        file = pq.ParquetFile(pa.BufferReader(data))
        if file.num_row_groups != len(manifest.parts):
            raise Damaged(f"{file.num_row_groups} parts, expected {len(manifest.parts)}")
        for number, part in enumerate(manifest.parts):
            table = file.read_row_group(number)
            if table.num_rows != part.rows:
                raise Damaged(f"part {number} has {table.num_rows} rows, expected {part.rows}")
            load_part(state, from_table(table, part.low, state.store.rows))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise Damaged(str(error)) from error
    finish_load(
        state,
        [
            Extent(part.low, part.n, np.array([part.to[topic] for topic in topics], np.int64))
            for part in manifest.parts
        ],
    )
    state.first_watermark_us = manifest.first_watermark_us
    state.erased = {bytes.fromhex(key): cut for key, cut in manifest.erased.items()}
