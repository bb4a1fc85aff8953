"""`segmenter features`: what it writes is what the core knows, and what it cannot write it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from consumer.cli import execute
from consumer.exit_codes import ExitCode
from tests.report.conftest import Month
from tests.report.large import multiply
from tests.report.test_sources import SPEC


def arguments(month: Month, out: Path, app: str | None = None, uri: str | None = None) -> list[str]:
    """Command line over the snapshots of the month, or others."""
    config = month.scene.config
    settings = {
        "snapshots.uri": uri or config.snapshots.uri,
        "app.name": app or config.app.name,
    }
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return ["features", "--out", str(out), "--models", str(month.scene.models), *sets]


def table(path: Path) -> pd.DataFrame:
    """By customer."""
    return pd.read_parquet(path).sort_values("customer_id").reset_index(drop=True)


def test_it_writes_what_a_replay_writes_of_the_same_state(
    month: Month, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every live customer of the snapshots once: features, segment, distance and margin bit for bit."""
    expected = month.scene.replay.write_results(tmp_path)
    out = tmp_path / "deep" / "customers.parquet"
    assert execute([*arguments(month, out), "--json"]) == ExitCode.OK
    mine, theirs = table(out), table(tmp_path / "customers.parquet")
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    assert len(mine) > 800
    assert mine["customer_id"].is_unique
    said = json.loads(capsys.readouterr().out)
    assert said["customers"] == expected["customers"] == len(mine)
    assert said["segments"] == expected["segments"]
    assert said["model_version"] == expected["model"]["version"]


def test_features_are_in_real_units_and_as_the_model_sees_them(month: Month, tmp_path: Path) -> None:
    """Ages are years; a scaled column is monotonic in the raw one, and both are missing together."""
    assert execute(arguments(month, tmp_path / "c.parquet")) == ExitCode.OK
    mine = table(tmp_path / "c.parquet")
    assert mine["raw_age"].dropna().between(14, 110).all()
    ordered = mine.sort_values("raw_tenure_days")
    assert np.all(np.diff(ordered["x_tenure_days"]) >= 0)
    assert ordered["x_tenure_days"].nunique() > 50


def test_a_partition_without_a_snapshot_is_named(
    month: Month, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are written."""
    config = multiply(month.scene.config, tmp_path / "some", 300)
    folder = tmp_path / "some" / config.app.name / "partition=1"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    out = tmp_path / "some.parquet"
    assert execute(arguments(month, out, uri=config.snapshots.uri)) == ExitCode.OK
    assert "not in it: partition 1 has no snapshot" in capsys.readouterr().err
    assert 50 < len(table(out)) < 250


def test_a_snapshot_with_other_bytes_is_not_read(
    month: Month, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bit of a value has changed: the file is as long and as readable as before."""
    config = multiply(month.scene.config, tmp_path / "some", 300)
    [path] = (tmp_path / "some" / config.app.name / "partition=1").glob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    out = tmp_path / "some.parquet"
    assert execute(arguments(month, out, uri=config.snapshots.uri)) == ExitCode.OK
    said = capsys.readouterr().err
    assert "its bytes are not those of its checksum" in said
    assert "partition 1 is left out" in said
    assert 50 < len(table(out)) < 250


@pytest.mark.parametrize(
    ("spoilt", "code", "words"),
    [
        ("app", ExitCode.DATA, "there are none"),
        ("out", ExitCode.DATA, "--out customers.parquet"),
        ("spec", ExitCode.DATA, "another specification"),
    ],
)
def test_what_cannot_be_written_is_said_with_its_fix(
    spoilt: str, code: ExitCode, words: str, month: Month, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is left behind."""
    out = tmp_path if spoilt == "out" else tmp_path / "x.parquet"
    line = arguments(month, out, app="nobody" if spoilt == "app" else None)
    if spoilt == "spec":
        (tmp_path / "spec.yaml").write_text(SPEC)
        line += ["--set", f"model.spec={tmp_path / 'spec.yaml'}"]
        words = "the model is of specification"
    assert execute(line) == code
    said = capsys.readouterr().err
    assert words in said
    assert "fix: " in said
    assert not list(tmp_path.glob("*.parquet"))
