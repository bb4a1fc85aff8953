"""What a replay of simulated customers writes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from consumer.errors import DataError
from consumer.simulator import FaultKind, Faults, Simulation, SimulationSettings, write_ndjson
from tests.planted import ALWAYS, FAULTS, MOSTLY, check_refused, fault_of_records
from tests.replay.simulated import Replayed, replay

_SETTINGS = SimulationSettings(customers=400, days=35, seed=11, activity=0.2)
_TOPICS = ("telecom.usage.v1", "telecom.billing.v1", "telecom.customer.v1")
_READY: dict[str, Any] = {"k": 5, "min_customers": 100, "min_history_days": 27.0}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without faults as one file, and a file per topic in a folder beside it."""
    folder = tmp_path_factory.mktemp("events")
    write_ndjson(Simulation(_SETTINGS), folder / "events.ndjson")
    write_ndjson(Simulation(_SETTINGS), folder / "split", split_by_topic=True)
    return folder


@pytest.fixture(scope="module")
def whole(events: Path, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """The plain call: one file, calibrated at its end."""
    return replay(events / "events.ndjson", tmp_path_factory.mktemp("whole"), k=5)


@pytest.fixture(scope="module")
def streamed(events: Path, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """The same, calibrated in the stream."""
    out = tmp_path_factory.mktemp("streamed")
    return replay(events / "events.ndjson", out, calibrate="ready", **_READY)


def test_nothing_is_lost(tmp_path: Path) -> None:
    """Accepted, duplicate, late, rejected and dropped lines add up to the lines written."""
    settings = SimulationSettings(customers=300, days=30, seed=3, activity=0.3, faults=Faults.realistic())
    simulation = Simulation(settings)
    written = write_ndjson(simulation, tmp_path / "events.ndjson")
    done = replay(tmp_path / "events.ndjson", tmp_path / "out", k=5)
    summary = done.summary
    outcomes = ("accepted", "duplicate", "late", "rejected", "dropped")
    assert summary["events"] == written == simulation.truth.sent.total
    assert sum(summary[outcome] for outcome in outcomes) == written
    assert all(summary[outcome] > 0 for outcome in ("accepted", "duplicate", "late", "rejected"))
    rejects = done.lines("rejects.ndjson")
    assert len(rejects) == sum(summary["rejects"].values()) == summary["late"] + summary["rejected"]
    lines = (tmp_path / "events.ndjson").read_bytes().split(b"\n")
    for reject in rejects:
        assert lines[reject["line"] - 1].decode("utf-8", "backslashreplace") == reject["raw"]


def test_each_planted_fault_is_refused_for_its_reason(tmp_path: Path) -> None:
    """Whatever shows in the files of the topics: all of it where that is certain, and nothing else."""
    settings = SimulationSettings(
        customers=250, days=30, seed=12, activity=0.25, closed_share=0.0, faults=FAULTS
    )
    simulation = Simulation(settings)
    written = write_ndjson(simulation, tmp_path / "events", split_by_topic=True)
    done = replay([tmp_path / "events" / f"{topic}.ndjson" for topic in _TOPICS], tmp_path / "out", k=5)
    fault_of = {value: fault for (_, _, value), fault in fault_of_records(settings).items()}
    refused = [(fault_of[r["raw"].encode()], r["reason"]) for r in done.lines("rejects.ndjson")]
    planted = simulation.truth.sent.by_fault
    # A file has neither keys nor partitions.
    check_refused(refused, planted, {*ALWAYS, *MOSTLY} - {FaultKind.KEY_MISMATCH, FaultKind.MISROUTED})
    outcomes = ("accepted", "duplicate", "late", "rejected", "dropped")
    assert sum(done.summary[outcome] for outcome in outcomes) == written == simulation.truth.sent.total
    assert done.summary["rejects"] == Counter(reason for _, reason in refused)
    assert done.summary["duplicate"] == planted["duplicate"] > 50


def test_bad_clocks_do_not_move_the_watermark(tmp_path: Path) -> None:
    """Records from days and years ahead are refused, and the input ends when its events end."""
    faults = Faults(bad_clock=0.02, duplicates=0.01)
    simulation = Simulation(
        SimulationSettings(customers=200, days=30, seed=5, activity=0.3, faults=faults, closed_share=0.0)
    )
    write_ndjson(simulation, tmp_path / "events.ndjson")
    summary = replay(tmp_path / "events.ndjson", tmp_path / "out", k=5).summary
    assert summary["event_time"]["first"].startswith("2026-01-05")
    assert summary["event_time"]["last"].startswith("2026-02-03")
    planted = simulation.truth.sent.by_fault
    ahead = planted["clock_days_ahead"] + planted["clock_years_ahead"]
    assert ahead > 100
    assert summary["rejects"]["future"] >= 0.9 * ahead


def test_every_customer_is_assigned_once(whole: Replayed) -> None:
    """A calibration at the end publishes one first assignment per customer, as a backfill."""
    changes, customers = whole.changes, whole.customers
    assert sorted(change["customer_id"] for change in changes) == customers.index.tolist()
    assert {(c["change"], c["cause"], c["origin"]) for c in changes} == {("assigned", "first", "backfill")}
    assert not any(change["actionable"] for change in changes)
    segments = {change["customer_id"]: change["segment"]["id"] for change in changes}
    assert customers["segment_id"].to_dict() == segments
    assert whole.summary["changes"]["total"] == len(changes)
    assert whole.summary["segments"] == customers["segment_id"].value_counts().to_dict()


def test_results_fit_together(whole: Replayed) -> None:
    """Distances, model, catalog and summary are of the same model."""
    customers = whole.customers
    model = json.loads((whole.folder / "model.json").read_bytes())
    catalog = json.loads((whole.folder / "catalog.json").read_bytes())
    assert {f"raw_{name}" for name in model["columns"]} <= set(customers.columns)
    assert {f"x_{name}" for name in model["columns"]} <= set(customers.columns)
    ids = {segment["id"] for segment in model["segments"]}
    assert {entry["segment_id"] for entry in catalog} == ids | {"dormant", "unclassified"}
    classified = customers["segment_id"].isin(ids)
    assert customers.loc[classified, ["distance", "margin"]].notna().all(axis=None)
    assert customers.loc[~classified, ["distance", "margin"]].isna().all(axis=None)
    assert customers["margin"].dropna().between(0, 1).all()
    assert not list(whole.folder.glob(".*.partial"))


def test_last_change_is_the_segment_in_the_table(streamed: Replayed) -> None:
    """Whoever reads the changes of a stream knows the segment of every customer."""
    known: dict[str, str] = {}
    seq: dict[str, int] = {}
    for change in streamed.changes:
        customer = change["customer_id"]
        previous = change["previous_segment"] and change["previous_segment"]["id"]
        assert previous == known.get(customer)
        assert change["seq"] == seq.get(customer, 0) + 1
        seq[customer] = change["seq"]
        if change["change"] == "exited":
            del known[customer]
        else:
            known[customer] = change["segment"]["id"]
    assert streamed.customers["segment_id"].to_dict() == known
    assert streamed.summary["model"]["kind"] == "folded"


def test_same_input_gives_the_same_bytes(streamed: Replayed, events: Path, tmp_path: Path) -> None:
    """A second replay writes the same changes and the same model."""
    again = replay(events / "events.ndjson", tmp_path, calibrate="ready", **_READY)
    for name in ("changes.ndjson", "model.json", "catalog.json"):
        assert (again.folder / name).read_bytes() == (streamed.folder / name).read_bytes()


def test_files_by_topic_equal_the_single_file(whole: Replayed, events: Path, tmp_path: Path) -> None:
    """Merged by event time, the files of the topics give the customers of the one file."""
    files = [events / "split" / f"{topic}.ndjson" for topic in _TOPICS]
    merged = replay(files, tmp_path, k=5)
    assert merged.summary["accepted"] == whole.summary["accepted"] == whole.summary["events"]
    raw = [name for name in whole.customers if name.startswith("raw_")]
    assert merged.customers[raw].equals(whole.customers[raw])
    assert (merged.customers["segment_id"] == whole.customers["segment_id"]).mean() > 0.995


def test_partitions_change_next_to_nothing(whole: Replayed, events: Path, tmp_path: Path) -> None:
    """Three partitions give the customers of one the same segments."""
    three = replay(events / "events.ndjson", tmp_path, k=5, partitions=3)
    assert three.customers.index.equals(whole.customers.index)
    assert (three.customers["segment_id"] == whole.customers["segment_id"]).mean() > 0.995


def test_too_few_customers_is_one_clear_error(events: Path, tmp_path: Path) -> None:
    """Calibration without customers says what there was and where the refused lines are."""
    path = tmp_path / "two.ndjson"
    first = (events / "events.ndjson").read_bytes().splitlines()[0]
    path.write_bytes(first + b"\n\nnonsense\n")
    with pytest.raises(DataError, match=r"5 segments need as many customers, the events gave 1 .*2 refused"):
        replay(path, tmp_path / "out", k=5)
    rejects = Replayed(tmp_path / "out", {}).lines("rejects.ndjson")
    assert [(r["line"], r["reason"]) for r in rejects] == [(2, "malformed_json"), (3, "malformed_json")]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["rejects.ndjson"]


def test_output_that_cannot_be_written_is_one_clear_error(events: Path, tmp_path: Path) -> None:
    """An output directory that is a file is refused before anything is read."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match="taken cannot be written"):
        replay(events / "events.ndjson", tmp_path / "taken", k=5)
