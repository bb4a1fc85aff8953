"""A first calibration from snapshots sees what workers would see, and begins when they would."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.child import Answer, Child, NotNow
from consumer.config_sources import load_config
from consumer.core import Core
from consumer.models import snapshot_customers as module
from consumer.models.calibrator import Calibrator
from consumer.models.population import Gathering, SnapshotPlace
from consumer.models.readiness import Share
from consumer.models.snapshot_customers import LOOK_AGAIN_S, SnapshotCustomers
from consumer.snapshots import Identity, SnapshotStore, SnapshotWriter, writer
from online_model.model_json import to_json
from online_model.partition import PartitionState
from online_model.plan import DAY_US
from online_model.population import by_hash, by_segment
from online_model.state_columns import PartBuffer
from tests.online_model.test_engine import history, play
from tests.online_model.tiny import TINY, World, model

TOPICS = ("usage", "billing", "customer")
INTERVAL_S = 60


def write(folder: Path, states: dict[int, PartitionState]) -> None:
    """A snapshot of each partition, after commit 5."""
    now = [0.0]
    identity = Identity("app", 2, TINY.spec.hash, TOPICS, "run")
    made = SnapshotWriter(SnapshotStore(str(folder), "app"), identity, 1.0, 2, lambda: now[0])
    made.follow(states)
    now[0], taken, end = 2.0, 0, time.monotonic() + 20
    while taken < len(states):
        assert time.monotonic() < end
        step = made.take_part(states, dict.fromkeys(states, 5)) if made.wants_part else made.outcome()
        taken += step is not None and not step.problem
        time.sleep(0.005)
    made.close()


def test_snapshots_show_what_the_workers_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same customers with the same bits, and the same counts before any row is read."""
    monkeypatch.setattr(writer, "PartBuffer", lambda like: PartBuffer(like, 5))
    monkeypatch.setattr(writer, "CPU_SHARE", float("inf"))
    world, _ = play(history(3), partitions=2)
    states = world.engine.partitions
    write(tmp_path, states)
    place = SnapshotPlace(str(tmp_path), "app", 2, TOPICS)
    assert place.shares(TINY.spec.hash) == {
        number: Share(state.index.n, state.history_us) for number, state in states.items()
    }
    assert place.shares("another") == {}
    seen, compared = Gathering(place, (0, 1), 1_000, by_hash).gather(TINY, lambda *_: None)
    own = world.engine.population(1_000)
    assert len(own.raw) > 3
    for mine, theirs in zip(seen, own, strict=True):
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()
    assert compared.shape == (0, 3)


def test_an_empty_partition_is_none_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a snapshot without rows, which adds nobody; without one nothing is taken for empty."""
    monkeypatch.setattr(writer, "CPU_SHARE", float("inf"))
    world, _ = play(history(3), partitions=1)
    customers, empty = world.engine.partitions[0], World(2).engine.partitions[1]
    for topic in range(3):
        empty.intake.mark_end(topic)
    empty.intake.watermark_us = customers.watermark_us + 365 * DAY_US  # it follows the clock
    states = {0: customers, 1: empty}
    write(tmp_path / "both", states)
    write(tmp_path / "one", {0: customers})
    place = SnapshotPlace(str(tmp_path / "both"), "app", 2, TOPICS)
    assert place.shares(TINY.spec.hash)[1].customers == 0
    alone = Gathering(place, (0,), 1_000, by_segment).gather(TINY, lambda *_: None)
    both = Gathering(place, (0, 1), 1_000, by_segment).gather(TINY, lambda *_: None)
    for mine, theirs in zip((*both[0], both[1]), (*alone[0], alone[1]), strict=True):
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()
    lacks = dataclasses.replace(place, uri=str(tmp_path / "one"))
    assert set(lacks.shares(TINY.spec.hash)) == {0}
    with pytest.raises(NotNow, match="partition 1 has no snapshot"):
        Gathering(lacks, (0, 1), 1_000, by_segment).gather(TINY, lambda *_: None)


@dataclass
class Scene:
    """What the manifests say, and a clock; `begun` has the partitions of the calibrations that began."""

    customers: SnapshotCustomers
    core: Core
    clock_s: list[float]
    shares: dict[int, Share] | OSError = field(default_factory=dict)
    begun: list[tuple[int, ...]] = field(default_factory=list)
    answer: Answer | None = None
    closed: int = 0

    def look(self, after_s: float = LOOK_AGAIN_S) -> str:
        """Looks once, so many seconds later; what is waited for then."""
        self.clock_s[0] += after_s
        assert self.customers.begin() is None
        while self.customers._looking.is_busy:
            time.sleep(0.001)
        self.customers.begin()
        return self.customers.waits_for

    def __call__(self, _: object, task: Any, __: str) -> Scene:
        """The child begins."""
        self.begun.append(task.gathering.partitions)
        return self

    def poll(self) -> Answer | None:
        """What it was told."""
        return self.answer

    def close(self) -> None:
        """Ends."""
        self.closed += 1


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Three partitions; 150 customers and 28 days are needed."""
    needs = {"model.min_customers": 150, "model.min_history_days": 28, "snapshots.interval_s": INTERVAL_S}
    core = Core(load_config(None, {}, needs), 3)

    def shares(_: SnapshotPlace, __: str) -> dict[int, Share]:
        if isinstance(made.shares, OSError):
            raise made.shares
        return made.shares

    monkeypatch.setattr(SnapshotPlace, "shares", shares)
    clock_s = [0.0]
    made = Scene(SnapshotCustomers(core, TOPICS, lambda: clock_s[0]), core, clock_s)
    monkeypatch.setattr(module, "Child", made)
    yield made
    made.customers.close()


def share(customers: int, days: float = 30.0) -> Share:
    """Of one partition."""
    return Share(customers, int(days * DAY_US))


def test_it_waits_for_customers_history_and_every_partition(scene: Scene) -> None:
    """And says what for."""
    assert "none of this application yet" in scene.look()
    scene.shares = {0: share(50, 27.0), 1: share(40, 27.0), 2: share(70, 27.0)}
    assert "160 customers with 27.0 days of history, needs 150 and 28" in scene.look()
    scene.shares = {0: share(40), 1: share(40), 2: share(40)}
    assert "120 customers" in scene.look()
    scene.shares = OSError("no such host")
    assert "no such host" in scene.look()
    assert scene.begun == []
    scene.shares = {0: share(50), 1: share(60), 2: share(70)}
    assert scene.look() == ""
    assert scene.begun == [(0, 1, 2)]


def test_a_partition_that_never_comes_is_empty(scene: Scene) -> None:
    """It may be on its way for two intervals; the others count for it, as with a worker's share."""
    scene.shares = {0: share(90), 2: share(80)}
    assert "first snapshots of partitions [1]" in scene.look()
    assert "first snapshots of partitions [1]" in scene.look(2 * INTERVAL_S - 1)
    assert scene.begun == []
    assert scene.look() == ""
    assert scene.begun == [(0, 2)]


def test_nobody_looks_more_often_than_it_takes(scene: Scene) -> None:
    """Manifests may be in a store far away."""
    scene.look()
    scene.shares = {0: share(50), 1: share(60), 2: share(70)}
    for _ in range(3):
        assert scene.customers.begin() is None
    assert not scene.customers._looking.is_busy
    assert scene.begun == []


def begin(scene: Scene, calibrator: Calibrator, times: int) -> None:
    """Polls until so many calibrations have begun."""
    end = time.monotonic() + 10
    while len(scene.begun) < times:
        assert time.monotonic() < end
        scene.clock_s[0] += LOOK_AGAIN_S
        assert calibrator.poll() == []
        time.sleep(0.001)


def test_a_calibration_is_put_off_or_handed_out(scene: Scene) -> None:
    """What may pass is tried again; the model is handed out once."""
    calibrator = Calibrator(scene.core, scene.customers)
    scene.shares = {0: share(50), 1: share(60), 2: share(70)}
    begin(scene, calibrator, 1)
    scene.answer = Answer(problem="it was pruned", is_passing=True)
    assert (calibrator.poll(), calibrator.is_running) == ([], False)
    scene.answer = None
    begin(scene, calibrator, 2)
    assert (calibrator.poll(), calibrator.is_running) == ([], True)
    scene.answer = Answer(to_json(model()))
    assert [made.version for made in calibrator.poll()] == [1]
    assert (calibrator.poll(), calibrator.is_running, scene.closed) == ([], False, 2)


def test_a_calibration_that_comes_second_is_dropped(scene: Scene) -> None:
    """There is one first version, whoever makes it."""
    calibrator = Calibrator(scene.core, scene.customers)
    scene.shares = {0: share(50), 1: share(60), 2: share(70)}
    begin(scene, calibrator, 1)
    scene.core.coordinator.adopt(model())
    scene.answer = Answer(to_json(model()))
    assert (calibrator.poll(), calibrator.is_running, scene.closed) == ([], False, 1)


def test_a_snapshot_that_is_gone_may_come_again(scene: Scene, tmp_path: Path) -> None:
    """The child says so instead of failing for good."""
    place = SnapshotPlace(str(tmp_path), "app", 1, TOPICS)
    recipe = scene.customers._recipe
    child = Child(module._work, module._Task(recipe, Gathering(place, (0,), 10, by_hash)), "calibration")
    end = time.monotonic() + 60
    while (answer := child.poll()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    child.close()
    assert answer.is_passing
    assert "partition 0 has no snapshot" in answer.problem
