"""Snapshots of every format so far are read as what they were, and the present format has not changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from consumer.snapshots import Damaged, SnapshotLoader, SnapshotStore
from consumer.snapshots.manifest import FORMAT
from online_model.rows import SEGMENT_NONE
from tests.golden import snapshots as golden
from tests.online_model.tiny import TINY, World


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_a_golden_snapshot_is_read_as_it_was_written(number: int) -> None:
    """Features bit by bit, segments, numbering, what was erased; from several parts.

    Format 1 does not say which segment a move left: nobody is known to have moved.
    """
    folder = golden.folder(number)
    expected = json.loads((folder / "expected.json").read_text())
    loader = SnapshotLoader(
        SnapshotStore(str(folder), golden.APP), World().engine.empty_state, TINY.spec.hash, golden.TOPICS
    )
    manifest, state = loader.take(0, golden.COMMIT, lambda: None)
    loader.close()
    state.intake.watermark_us = manifest.watermark_us
    assert len(manifest.parts) > 1
    assert expected["erased"]
    assert any(customer["segment"] > 0 for customer in expected["customers"])
    if number == 1:
        expected["customers"] = [customer | {"left": SEGMENT_NONE} for customer in expected["customers"]]
    else:
        assert any(customer["left"] > 0 for customer in expected["customers"])
    assert golden.content(state) == expected


def test_a_snapshot_without_a_column_of_its_format_is_refused(tmp_path: Path) -> None:
    """Only what the format did not have yet may be missing."""
    shutil.copytree(golden.folder(1) / golden.APP, tmp_path / golden.APP)
    (path,) = tmp_path.glob(f"{golden.APP}/partition=0/n={golden.COMMIT}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT}))
    store = SnapshotStore(str(tmp_path), golden.APP)
    loader = SnapshotLoader(store, World().engine.empty_state, TINY.spec.hash, golden.TOPICS)
    with pytest.raises(Damaged, match="column left is missing"):
        loader.take(0, golden.COMMIT, lambda: None)
    loader.close()


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    """Its columns mean what this program cannot know; the message says what it reads."""
    shutil.copytree(golden.folder(FORMAT) / golden.APP, tmp_path / golden.APP)
    (path,) = tmp_path.glob(f"{golden.APP}/partition=0/n={golden.COMMIT}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    store = SnapshotStore(str(tmp_path), golden.APP)
    with pytest.raises(ValueError, match=f"format {FORMAT + 1} is of a later version; .* up to {FORMAT}"):
        store.manifest(0, golden.COMMIT)


def test_what_is_written_today_has_the_columns_of_its_format(tmp_path: Path) -> None:
    """Names, types, shapes and the manifest's fields: whoever changes one counts `FORMAT` up."""
    golden.write(tmp_path, golden.state_at(golden.COMMIT), golden.COMMIT)
    schemas, manifests = [], []
    for root in (tmp_path, golden.folder(FORMAT)):
        (rows,) = root.glob(f"{golden.APP}/partition=0/*.parquet")
        (manifest,) = root.glob(f"{golden.APP}/partition=0/n={golden.COMMIT}.json")
        schemas.append(pq.read_schema(rows))
        manifests.append(json.loads(manifest.read_text()))
    assert schemas[0].equals(schemas[1], check_metadata=True)
    assert list(manifests[0]) == list(manifests[1])
    assert list(manifests[0]["parts"][0]) == list(manifests[1]["parts"][0])
