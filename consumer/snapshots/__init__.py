"""Snapshots of partitions: written beside the loop, read at a restore."""

from consumer.snapshots.loader import Damaged, SnapshotLoader
from consumer.snapshots.newest import NewestSnapshots
from consumer.snapshots.store import SnapshotStore
from consumer.snapshots.writer import Identity, SnapshotWriter, Taken

__all__ = [
    "Damaged",
    "Identity",
    "NewestSnapshots",
    "SnapshotLoader",
    "SnapshotStore",
    "SnapshotWriter",
    "Taken",
]
