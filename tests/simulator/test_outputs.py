"""NDJSON files and the truth beside them."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from consumer.simulator import Faults, Migration, Simulation, SimulationSettings, Truth, write_ndjson

SETTINGS = SimulationSettings(
    customers=40, days=6, faults=Faults.realistic(), migration=Migration(0.3, 2), closed_share=0.1
)


def test_a_file_holds_the_records_in_order(tmp_path: Path) -> None:
    """One line per record, malformed ones included, the same bytes in a file and a stream."""
    values = [value for chunk in Simulation(SETTINGS).chunks() for value in chunk.value]
    path = tmp_path / "new" / "events.ndjson"
    calls: list[tuple[int, int]] = []
    n = write_ndjson(Simulation(SETTINGS), path, progress=lambda *call: calls.append(call))
    assert path.read_bytes() == b"".join(value + b"\n" for value in values)
    assert n == len(values) == calls[-1][0]
    assert calls[-1][1] == SETTINGS.end_us
    assert [end for _, end in calls] == sorted(end for _, end in calls)
    stream = io.BytesIO()
    write_ndjson(Simulation(SETTINGS), stream)
    assert stream.getvalue() == path.read_bytes()


def test_split_files_hold_the_same_records(tmp_path: Path) -> None:
    """A file per topic, together all records."""
    simulation = Simulation(SETTINGS)
    n = write_ndjson(simulation, tmp_path, split_by_topic=True)
    counts = {path.stem: len(path.read_bytes().splitlines()) for path in tmp_path.glob("*.ndjson")}
    assert counts == simulation.truth.sent.by_topic
    assert sum(counts.values()) == n
    with pytest.raises(ValueError, match="directory"):
        write_ndjson(simulation, io.BytesIO(), split_by_topic=True)


@pytest.mark.parametrize("name", ["truth.json", "truth.parquet"])
def test_the_truth_survives_writing(tmp_path: Path, name: str) -> None:
    """What is read is what was written, times and counters included."""
    simulation = Simulation(SETTINGS)
    write_ndjson(simulation, io.BytesIO())
    simulation.truth.write(tmp_path / name)
    back = Truth.read(tmp_path / name)
    assert back.sent == simulation.truth.sent
    assert back.sent.total > 0
    pd.testing.assert_frame_equal(back.customers, simulation.truth.customers)
    assert back.customers["migrated_at"].notna().any()
