"""What commands make of snapshots that are removed or damaged while they look."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.config import Config
from consumer.customer import receipt
from consumer.customer.erasure import Effect, Request
from consumer.dead_letters.erased import Erased
from consumer.snapshots import SnapshotStore
from consumer.snapshots.manifest import FORMAT, Manifest, ManifestPart
from online_model.partition import tombstone

GONE = b"c-gone"
SPEC = "telecom"
REQUEST = Request("e", 0, "customer", 0, 0, 10, 0, 0)


def manifest(partition: int, number: int) -> Manifest:
    """A snapshot of commit `number` that remembers one customer of its partition as erased at 7 us."""
    return Manifest(
        format=FORMAT,
        version="1",
        app="app",
        partition=partition,
        partition_count=2,
        spec_hash="",
        n=number,
        file=f"n={number}.parquet",
        bytes=0,
        crc32=0,
        rows=0,
        parts=[ManifestPart(0, 0, number, {})],
        first_watermark_us=0,
        watermark_us=0,
        erased={tombstone(GONE + str(partition).encode(), SPEC).hex(): 7},
        created="",
    )


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Two partitions with snapshots of commits 8 and 12."""
    made = Config.model_validate({"app": {"name": "app"}, "snapshots": {"uri": str(tmp_path)}})
    store = SnapshotStore(made.snapshots.uri, "app")
    for partition in range(2):
        for number in (8, 12):
            store.create(partition, f"n={number}.parquet").close()
            store.publish(manifest(partition, number))
    return made


def covered(config: Config) -> list[bool]:
    """Whether the erased customer of each partition counts as erased."""
    erased = Erased.of(config, SPEC)
    return [erased.covers(GONE + str(partition).encode(), 7) for partition in range(2)]


def test_a_damaged_snapshot_hides_no_erasure(config: Config) -> None:
    """Neither of its own partition, which has an older one, nor of the others."""
    assert covered(config) == [True, True]
    folder = Path(config.snapshots.uri) / "app" / "partition=0"
    (folder / "n=12.json").write_text("{")
    assert covered(config) == [True, True]
    (folder / "n=8.json").write_text("{")
    assert covered(config) == [False, True]


def test_a_snapshot_removed_while_a_receipt_is_written_is_gone(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is there and damaged is not known to be without the customer."""
    [place] = receipt._snapshots(config, REQUEST, Effect(10, 0))
    assert (place["state"], place["detail"][:4]) == ("kept", "n=8:")
    look = SnapshotStore.manifest

    def too_late(store: SnapshotStore, partition: int, number: int) -> Manifest:
        if number == 8:
            store.delete(partition, "n=8.json")
        return look(store, partition, number)

    with monkeypatch.context() as patch:
        patch.setattr(SnapshotStore, "manifest", too_late)
        [place] = receipt._snapshots(config, REQUEST, Effect(10, 0))
    assert place["state"] == "erased"
    (Path(config.snapshots.uri) / "app" / "partition=0" / "n=12.json").write_text("{")
    [place] = receipt._snapshots(config, REQUEST, Effect(10, 0))
    assert place["state"] == "unknown"
