"""Snapshots of many customers, by writing the rows of a small scene again and again under other hashes."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.config import Config
from consumer.snapshots import SnapshotStore
from consumer.snapshots.manifest import ManifestPart
from online_model.state_columns import PART_ROWS


def multiply(config: Config, folder: Path, customers: int) -> Config:
    """Snapshots of about `customers` in `folder`, of as many partitions as there are; settings for them."""
    made = config.model_copy(
        update={"snapshots": config.snapshots.model_copy(update={"uri": str(folder)})},
    )
    source = SnapshotStore(config.snapshots.uri, config.app.name)
    target = SnapshotStore(str(folder), config.app.name)
    partitions, rng = source.partitions(), np.random.default_rng(1)
    for partition in partitions:
        manifest = source.manifest(partition, source.numbers(partition)[0])
        rows = pq.read_table(pa.BufferReader(source.read(partition, manifest.file)))
        place = rows.column_names.index("customer_hash")
        parts = []
        stream = target.create(partition, manifest.file)
        file = pa.PythonFile(stream, mode="w")
        with pq.ParquetWriter(file, rows.schema, compression="lz4", use_dictionary=False) as writer:
            for low in range(0, customers // len(partitions), PART_ROWS):
                n = min(PART_ROWS, customers // len(partitions) - low)
                hashes = pa.array(rng.integers(0, 2**64, n, np.uint64))
                part = rows.take(pa.array(rng.integers(0, rows.num_rows, n)))
                writer.write_table(part.set_column(place, rows.schema.field(place), hashes), PART_ROWS)
                parts.append(ManifestPart(low, n, manifest.n, manifest.parts[0].to))
        stream.close()
        data = target.read(partition, manifest.file)
        total = sum(part.rows for part in parts)
        target.publish(
            msgspec.structs.replace(
                manifest, rows=total, bytes=data.size, crc32=zlib.crc32(data), parts=parts
            )
        )
    return made
