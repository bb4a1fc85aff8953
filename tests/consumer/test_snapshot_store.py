"""Snapshot folders that other processes make while somebody looks into them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from consumer.snapshots import SnapshotStore

MAKE_AND_REMOVE = """
import os, sys
while True:
    os.makedirs(sys.argv[1])
    os.removedirs(sys.argv[1])
"""


def test_a_folder_that_comes_and_goes_is_empty(tmp_path: Path) -> None:
    """Arrow lists a folder and then asks whether it exists: made in between, it is an error there."""
    (tmp_path / "kept").touch()
    store = SnapshotStore(str(tmp_path), "app")
    folder = tmp_path / "app" / "partition=0"
    with subprocess.Popen([sys.executable, "-c", MAKE_AND_REMOVE, str(folder)]) as other:
        try:
            found: set[tuple[int, ...]] = set()
            end = time.monotonic() + 2
            while time.monotonic() < end or len(found) < 2:
                assert store.numbers(0) == []
                found.add(tuple(store.partitions()))
        finally:
            other.kill()
    assert found == {(), (0,)}
