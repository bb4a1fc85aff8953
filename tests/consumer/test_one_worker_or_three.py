"""The same input gives the same model versions, bit for bit, however the partitions are dealt to workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from consumer.config_sources import load_config
from consumer.models import calibrator, recalibration
from consumer.models.calibrator import FirstTask
from consumer.models.recalibration import RecalibrationTask
from consumer.snapshots import SnapshotStore, writer
from online_model.calibration import silent
from online_model.model import Model
from online_model.model_json import from_json
from online_model.recalibration import rebased
from tests.consumer.group import NAMES, PARTITIONS, Commit, Workers, simulated

#: Commits after which the first model is made, and the recalibrated one; the second amid a pass of the scan.
CALIBRATED, RECALIBRATED = 32, 51


@dataclass(slots=True, repr=False)
class Made:
    """The workers with their versions; `apart`: after how many commits partitions had different ones."""

    workers: Workers
    apart: int

    @property
    def versions(self) -> list[bytes]:
        """Version by version."""
        return self.workers.versions

    @property
    def models(self) -> list[Model]:
        """The same, read."""
        return [from_json(version) for version in self.versions]


def run(commits: list[Commit], workers: int, seed: int, folder: Path) -> Made:
    """Calibrated over all customers, folded, recalibrated over snapshots, folded."""
    chosen = {
        "watermark.idle_grace_s": None,
        "scan.interval_s": 14_400,
        "snapshots.uri": str(folder),
        "model.k": "3-5",
        "model.min_customers": 1000,
        "model.min_history_days": 5,
    }
    config = load_config(None, {}, chosen)
    made = Made(Workers(config, workers, seed), 0)
    store = SnapshotStore(str(folder), config.app.name)
    for number, commit in enumerate(commits, 1):
        made.workers.turn(commit)
        owner = made.workers.cores[0]
        if number == CALIBRATED:
            made.workers.snapshot(store)
            assert owner.is_ready_to_calibrate
            first = FirstTask.of(owner, NAMES.inputs)
            made.workers.adopt(from_json(calibrator.work(first, silent)))
        if number == RECALIBRATED:
            made.workers.snapshot(store)
            task = RecalibrationTask.of(owner, NAMES.inputs, made.workers.newest, "a test")
            proposed = from_json(recalibration.work(task, silent))
            made.workers.adopt(rebased(proposed, made.workers.newest, "command"))
        made.apart += len(made.workers.deciding) > 1
    return made


@pytest.fixture(scope="module")
def commits() -> list[Commit]:
    """Twelve days of customers, enough of them for figures of drift."""
    return simulated(customers=2150, days=12)


@pytest.fixture(scope="module")
def made(commits: list[Commit], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """One worker; three; four that share unevenly. Deltas come in another order each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CPU_SHARE", float("inf"))
        return {
            name: run(commits, workers, seed, tmp_path_factory.mktemp(name))
            for name, workers, seed in (("one", 1, 1), ("three", 3, 2), ("four", 4, 3))
        }


def test_the_scene_has_everything(made: dict[str, Made]) -> None:
    """Every kind of version, figures of drift, and passes that end in different steps."""
    models = made["one"].models
    kinds = [model.kind for model in models]
    at = kinds.index("recalibrated")
    assert kinds[0] == "calibrated"
    assert kinds[1:at].count("folded") == at - 1 > 2
    assert kinds[at + 1 :].count("folded") == len(models) - at - 1 > 2
    observed = [model.observed for model in models if model.observed is not None]
    assert any(seen.rows > 2000 for seen in observed)
    assert len({tuple(model.centroids.ravel()) for model in models}) == len(models)
    assert made["one"].apart > 0
    assert len(made["three"].workers.cores) == 3
    assert {len(core.engine.partitions) for core in made["three"].workers.cores} == {PARTITIONS // 3}


@pytest.mark.parametrize("group", ["three", "four"])
def test_workers_do_not_matter(made: dict[str, Made], group: str) -> None:
    """The bytes of every version: calibrated, folded, recalibrated and folded again."""
    one, others = made["one"], made[group]
    assert [m.version for m in one.models] == [m.version for m in others.models]
    different = [a[:80] for a, b in zip(one.versions, others.versions, strict=True) if a != b]
    assert different == []
