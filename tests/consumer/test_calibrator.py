"""The first calibration of a worker that owns some partitions only: on everybody, or on what it has."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from consumer.clock import Deadline
from consumer.config_sources import load_config
from consumer.models import calibrator
from consumer.models.calibrator import FirstTask, Others
from consumer.snapshots import SnapshotStore, writer
from online_model.model import Model
from online_model.model_json import from_json
from tests.consumer.group import NAMES, PARTITIONS, Workers, simulated


class Waits:
    """What the child says while it waits; time passes only by waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.said: list[str] = []
        monkeypatch.setattr(calibrator, "sleep", self.wait)
        monkeypatch.setattr(calibrator, "Deadline", lambda seconds: Deadline(seconds, lambda: self.now_s))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds

    def report(self, _: int, __: int, text: str) -> None:
        """Progress of the child."""
        self.said.append(text)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Workers:
    """Three that have read five days of 150 customers."""
    chosen = {
        "watermark.idle_grace_s": None,
        "snapshots.uri": str(tmp_path_factory.mktemp("snapshots")),
        "snapshots.interval_s": 30,
        "model.k": 2,
        "model.min_customers": 100,
        "model.min_history_days": 3,
    }
    made = Workers(load_config(None, {}, chosen), 3, 1)
    for commit in simulated(customers=150, days=5):
        made.turn(commit)
    return made


def moved(others: Others, folder: Path) -> Others:
    """With the snapshots of `folder`."""
    place = dataclasses.replace(others.gathering.place, uri=str(folder))
    return dataclasses.replace(others, gathering=dataclasses.replace(others.gathering, place=place))


def calibrated(workers: Workers, waits: Waits, folder: Path) -> Model:
    """The model that the first worker makes with the snapshots of `folder`."""
    task = FirstTask.of(workers.cores[0], NAMES.inputs)
    assert task.others is not None
    task = dataclasses.replace(task, others=moved(task.others, folder))
    return from_json(calibrator.work(task, waits.report))


def test_without_snapshots_of_the_others_its_own_customers_do(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After it has waited for as long as two snapshots take; the model says so."""
    waits = Waits(monkeypatch)
    model = calibrated(workers, waits, tmp_path)
    assert 70 <= waits.now_s <= 72
    assert "waiting for snapshots of all partitions: " in waits.said[0]
    assert "Only the customers of one worker were looked at: " in model.quality.explanation
    assert model.weights.sum() < 70


def test_snapshots_of_everybody_are_waited_for(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They come while it waits, and all customers are looked at."""
    monkeypatch.setattr(writer, "CPU_SHARE", float("inf"))
    waits = Waits(monkeypatch)

    def wait(seconds: float) -> None:
        waits.wait(seconds)
        if waits.now_s == 5:
            workers.snapshot(SnapshotStore(str(tmp_path), workers.config.app.name))

    monkeypatch.setattr(calibrator, "sleep", wait)
    model = calibrated(workers, waits, tmp_path)
    assert waits.now_s == 5
    assert "Only" not in model.quality.explanation
    assert model.weights.sum() > 120


def test_snapshots_of_its_own_tell_nothing_of_the_others(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A store that the others do not reach: that two of six partitions were looked at is said."""
    monkeypatch.setattr(writer, "CPU_SHARE", float("inf"))
    workers.snapshot(SnapshotStore(str(tmp_path), workers.config.app.name))
    for partition in set(range(PARTITIONS)) - set(workers.cores[0].engine.partitions):
        shutil.rmtree(next(tmp_path.rglob(f"partition={partition}")))
    waits = Waits(monkeypatch)
    model = calibrated(workers, waits, tmp_path)
    assert 70 <= waits.now_s <= 72
    assert "one worker were looked at: there are no snapshots of others" in model.quality.explanation


@pytest.mark.parametrize(("customers", "days"), [(10_000, 3.0), (100, 9.0)])
def test_snapshots_that_hold_too_little_do_not_count(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, customers: int, days: float
) -> None:
    """Fewer customers or less history than a calibration needs: as if they were not there."""
    monkeypatch.setattr(writer, "CPU_SHARE", float("inf"))
    workers.snapshot(SnapshotStore(str(tmp_path), workers.config.app.name))
    waits = Waits(monkeypatch)
    task = FirstTask.of(workers.cores[0], NAMES.inputs)
    assert task.others is not None
    needs = dataclasses.replace(task.others.needs, customers=customers, history_days=days)
    strict = dataclasses.replace(moved(task.others, tmp_path), needs=needs)
    model = from_json(calibrator.work(dataclasses.replace(task, others=strict), waits.report))
    assert "Only the customers of one worker were looked at: snapshots hold" in model.quality.explanation
    assert f"needs {customers} and {days:g}" in model.quality.explanation


def test_a_partition_that_has_no_snapshot_in_the_end_is_empty(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where snapshots of other workers can be seen, those that are not there will not come."""
    monkeypatch.setattr(writer, "CPU_SHARE", float("inf"))
    workers.snapshot(SnapshotStore(str(tmp_path), workers.config.app.name))
    shutil.rmtree(next(tmp_path.rglob("partition=4")))
    waits = Waits(monkeypatch)
    model = calibrated(workers, waits, tmp_path)
    assert 70 <= waits.now_s <= 72
    assert "partitions [4] have no snapshot" in waits.said[0]
    assert "Only" not in model.quality.explanation
    assert 90 < model.weights.sum() < 150


def test_who_owns_everything_asks_nobody(workers: Workers) -> None:
    """Its memory is newer than any snapshot."""
    alone = Workers(workers.config, 1, 1)
    assert FirstTask.of(alone.cores[0], NAMES.inputs).others is None
