"""Loads the newest snapshots of several partitions ahead, while others are brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from consumer.snapshots.loader import load
from consumer.snapshots.manifest import Manifest
from consumer.snapshots.store import SnapshotStore
from online_model.partition import PartitionState

#: Reading and copying release the interpreter, and the first touch of memory takes most of the time.
_THREADS: Final = 2

Loaded = tuple[Manifest, PartitionState]


class SnapshotLoader:
    """Snapshots as states, by partition and commit number."""

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
        self._ahead: dict[int, Future[Loaded | None]] = {}

    def begin(self, partitions: Iterable[int]) -> None:
        """Begins to load the newest snapshot of each of `partitions`, in order; drops what was not taken."""
        for future in self._ahead.values():
            future.cancel()
        self._ahead = {p: self._pool.submit(self._newest, p) for p in partitions}

    def take(self, partition: int, number: int) -> Loaded:
        """The snapshot of commit `number`, whose state is the caller's.

        Raises `Damaged`, OSError or ValueError if it cannot be used.
        """
        future = self._ahead.pop(partition, None)
        loaded = None if future is None else future.result()
        if loaded is not None and loaded[0].n == number:
            return loaded
        return self._load(partition, number)

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
        self._pool.shutdown(cancel_futures=True)
