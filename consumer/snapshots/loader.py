"""Reads snapshots back into partitions, if all of one is there and right; those of several ahead."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.snapshots.columns import from_table
from consumer.snapshots.manifest import Manifest
from consumer.snapshots.store import SnapshotStore
from online_model.partition import PartitionState
from online_model.state_columns import Extent, finish_load, load_part

#: Reading and copying release the interpreter, and the first touch of memory takes most of the time.
_THREADS: Final = 2
#: Whoever waits for a snapshot hears of it this often, seconds.
_HEARD_EVERY_S: Final = 1.0

Loaded = tuple[Manifest, PartitionState]
_T = TypeVar("_T")


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
            load_part(state, from_table(table, manifest.format, part.low, state.store.rows))
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


class SnapshotLoader:
    """Snapshots as states, by partition and commit number; the newest ones are loaded on threads."""

    def __init__(
        self,
        store: SnapshotStore,
        empty_state: Callable[[int], PartitionState],
        spec_hash: str,
        topics: tuple[str, ...],
    ) -> None:
        self._store = store
        self._empty_state = empty_state
        self._spec_hash = spec_hash
        self._topics = topics
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="load")
        self._now = ThreadPoolExecutor(1, thread_name_prefix="load-now")  # does not wait for those ahead
        self._ahead: dict[int, Future[Loaded | None]] = {}

    def begin(self, partitions: Iterable[int]) -> None:
        """Begins to load the newest snapshot of each of `partitions`, in order; drops what was not taken."""
        for future in self._ahead.values():
            future.cancel()
        self._ahead = {p: self._pool.submit(self._newest, p) for p in partitions}

    def take(self, partition: int, number: int, heard: Callable[[], None]) -> Loaded:
        """The snapshot of commit `number`, whose state is the caller's; a slow store is waited for.

        `heard` is called meanwhile; what it raises ends the wait. Raises `Damaged`, OSError or ValueError if
        the snapshot cannot be used.
        """
        future = self._ahead.pop(partition, None)
        loaded = None if future is None else _wait(future, heard)
        if loaded is not None and loaded[0].n == number:
            return loaded
        return _wait(self._now.submit(self._load, partition, number), heard)

    def _newest(self, partition: int) -> Loaded | None:
        """On a thread: None if there is none that can be used; whoever asks for one hears why."""
        try:
            numbers = self._store.numbers(partition)
            return self._load(partition, numbers[0]) if numbers else None
        except (OSError, ValueError):
            return None

    def _load(self, partition: int, number: int) -> Loaded:
        manifest = self._store.manifest(partition, number)
        state = self._empty_state(partition)
        load(self._store, manifest, state, self._spec_hash, self._topics)
        return manifest, state

    def close(self) -> None:
        """Lets go of what was loaded."""
        self.begin([])
        for pool in (self._pool, self._now):
            pool.shutdown(wait=False, cancel_futures=True)


def _wait(future: Future[_T], heard: Callable[[], None]) -> _T:
    """The result of `future`."""
    while not wait([future], _HEARD_EVERY_S).done:
        heard()
    return future.result()
