"""The writer keeps what is complete, leaves nothing of what is not, and never fails the loop."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from consumer.snapshots import Identity, SnapshotLoader, SnapshotStore, SnapshotWriter, Taken, writer
from consumer.snapshots import loader as loader_module
from online_model.partition import PartitionState
from online_model.state_columns import PartBuffer
from tests.online_model.test_engine import history
from tests.online_model.test_rebuild import Run
from tests.online_model.tiny import TINY, World

TOPICS = ("usage", "billing", "customer")


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of five rows, and no rest between them."""
    monkeypatch.setattr(writer, "PartBuffer", lambda like: PartBuffer(like, 5))
    monkeypatch.setattr(writer, "CPU_SHARE", float("inf"))


@pytest.fixture
def state() -> PartitionState:
    """A partition with a dozen customers."""
    run = Run(history(1, 200))
    list(run.steps())
    return run.state


def make(store: SnapshotStore) -> tuple[SnapshotWriter, Clock]:
    """A writer of partition 0, due in a second."""
    clock = Clock()
    made = SnapshotWriter(store, Identity("app", 1, TINY.spec.hash, TOPICS, "run"), 1.0, 2, clock)
    made.follow([0])
    clock.now = 2.0
    return made, clock


def turn(made: SnapshotWriter, state: PartitionState, n: int) -> Taken | None:
    """One turn of a loop whose last commit is `n`, with time for the thread."""
    taken = made.take_part({0: state}, {0: n}) if made.wants_part else made.outcome()
    time.sleep(0.02)
    return taken


def take(made: SnapshotWriter, state: PartitionState, n: int) -> Taken:
    """Turns until an attempt has ended."""
    for _ in range(200):
        if (taken := turn(made, state, n)) is not None:
            return taken
    raise AssertionError("no snapshot")


def patient() -> None:
    """Waits for a snapshot."""


def names(folder: Path) -> set[str]:
    """Endings of the files of partition 0."""
    return {path.name.split(".")[-1] for path in folder.glob("app/partition=0/*")}


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path, state: PartitionState) -> None:
    """Rows, ids, tombstones and the commit they follow."""
    store = SnapshotStore(str(tmp_path), "app")
    made, _ = make(store)
    taken = take(made, state, 7)
    made.close()
    assert (taken.problem, taken.n, taken.rows) == ("", 7, state.index.n)
    loader = SnapshotLoader(store, World().engine.empty_state, TINY.spec.hash, TOPICS)
    manifest, again = loader.take(0, 7, patient)
    loader.close()
    assert manifest.first_n == 7
    assert again.index.ids(np.arange(state.index.n)) == state.index.ids(np.arange(state.index.n))
    assert again.erased == state.erased
    for name in set(state.store.rows._fields):
        mine, other = getattr(state.store.rows, name), getattr(again.store.rows, name)
        assert mine[: state.index.n].tobytes() == other[: state.index.n].tobytes(), name


@pytest.mark.parametrize("ahead", [True, False])
def test_a_slow_store_is_waited_for_and_heard_of(
    tmp_path: Path, state: PartitionState, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """The loop shows that it lives meanwhile, and gives up when the partition is not wanted any more."""
    store = SnapshotStore(str(tmp_path), "app")
    made, _ = make(store)
    take(made, state, 7)
    made.close()
    monkeypatch.setattr(loader_module, "_HEARD_EVERY_S", 0.02)
    answers, read = threading.Event(), store.read
    monkeypatch.setattr(store, "read", lambda *place: answers.wait(30) and read(*place))
    loader = SnapshotLoader(store, World().engine.empty_state, TINY.spec.hash, TOPICS)
    heard: list[int] = []

    def unwanted() -> None:
        raise LookupError

    def until_it_answers() -> None:
        heard.append(1)
        if len(heard) == 3:
            answers.set()

    if ahead:
        loader.begin([0])
    with pytest.raises(LookupError):
        loader.take(0, 7, unwanted)
    manifest, _ = loader.take(0, 7, until_it_answers)
    assert manifest.first_n == 7
    assert len(heard) >= 3
    loader.close()


def test_an_empty_partition_has_a_snapshot_too(tmp_path: Path) -> None:
    """Once it is read to its end, also before its first commit; nobody writes the same one again."""
    store = SnapshotStore(str(tmp_path), "app")
    made, clock = make(store)
    nobody = World().engine.partitions[0]
    for topic in range(3):
        for _ in range(5):
            assert turn(made, nobody, 0) is None
            clock.now += 2.0
        assert store.numbers(0) == []
        nobody.intake.mark_end(topic)
    for n in (0, 4):
        taken = take(made, nobody, n)
        assert (taken.problem, taken.n, taken.rows) == ("", n, 0)
        clock.now += 2.0
        assert turn(made, nobody, n) is None
        clock.now += 2.0
    made.close()
    loader = SnapshotLoader(store, World().engine.empty_state, TINY.spec.hash, TOPICS)
    for n in store.numbers(0):
        manifest, again = loader.take(0, n, patient)
        assert (manifest.first_n, again.index.n, again.watermark_us) == (n, 0, nobody.watermark_us)
    loader.close()


def test_a_snapshot_that_was_just_completed_survives_the_end(tmp_path: Path, state: PartitionState) -> None:
    """Closing, or losing the partition, before the loop has heard of it removes nothing."""
    for close in (True, False):
        folder = tmp_path / str(close)
        made, _ = make(SnapshotStore(str(folder), "app"))
        while not list(folder.glob("app/partition=0/n=*.json")):
            if made.wants_part:
                made.take_part({0: state}, {0: 7})
        made.close() if close else made.follow([])
        assert names(folder) == {"json", "parquet"}
        made.close()


def test_one_that_is_under_way_leaves_nothing(tmp_path: Path, state: PartitionState) -> None:
    """Given up in the middle."""
    made, _ = make(SnapshotStore(str(tmp_path), "app"))
    turn(made, state, 7)
    turn(made, state, 7)
    assert names(tmp_path) == {"parquet"}
    made.follow([])
    assert names(tmp_path) == set()
    made.close()


def test_parts_rest_for_their_share_of_the_processor(
    tmp_path: Path, state: PartitionState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a share of one in a hundred the next part comes a hundred times the cost of the last one later."""
    monkeypatch.setattr(writer, "CPU_SHARE", 0.01)
    made, clock = make(SnapshotStore(str(tmp_path), "app"))
    while made._draft is None or made._background.is_busy:
        turn(made, state, 7)
    cost_s = made._draft.cpu_s
    wanted = []
    for wait in (0, 99, 20):  # the rest takes the cost of the thread, which is a little more
        clock.now += wait * cost_s
        wanted.append(made.wants_part)
    assert wanted == [False, False, True]
    made.close()


def test_nothing_new_is_not_written_again(tmp_path: Path, state: PartitionState) -> None:
    """A quiet partition keeps the snapshots it has."""
    made, clock = make(SnapshotStore(str(tmp_path), "app"))
    take(made, state, 7)
    clock.now += 10
    for _ in range(5):
        assert turn(made, state, 7) is None
        clock.now += 10
    assert take(made, state, 8).n == 8
    made.close()


def test_what_no_snapshot_covers_is_timed(tmp_path: Path, state: PartitionState) -> None:
    """From when it became live, until one is complete or nothing is new; a quick return hides nothing."""
    folder = tmp_path / "file"
    folder.write_text("no directory can be made here")
    made, clock = make(SnapshotStore(str(folder), "app"))
    assert made.uncovered_s() == {0: 2.0}
    assert take(made, state, 7).problem
    clock.now = 50.0
    made.follow([])
    assert made.uncovered_s() == {}
    made.follow([0])
    assert made.uncovered_s() == {0: 50.0}
    folder.unlink()
    clock.now = 60.0
    assert not take(made, state, 7).problem
    clock.now = 61.0
    assert made.uncovered_s() == {0: 1.0}, "since it was begun"
    clock.now = 70.0
    assert turn(made, state, 7) is None  # nothing new
    assert made.uncovered_s() == {0: 0.0}
    made.close()


def test_a_full_disk_is_reported_and_tried_again(tmp_path: Path, state: PartitionState) -> None:
    """The attempt fails, the loop goes on, the next one succeeds."""
    store = SnapshotStore(str(tmp_path / "file"), "app")
    (tmp_path / "file").write_text("no directory can be made here")
    made, clock = make(store)
    assert take(made, state, 7).problem
    (tmp_path / "file").unlink()
    clock.now += 10
    assert not take(made, state, 7).problem
    made.close()


def test_the_partition_with_the_longest_replay_comes_first(tmp_path: Path, state: PartitionState) -> None:
    """A process that never lives long does not take the same ones again and again."""
    clock = Clock()
    store = SnapshotStore(str(tmp_path), "app")
    made = SnapshotWriter(store, Identity("app", 3, TINY.spec.hash, TOPICS, "run"), 3.0, 2, clock)
    made.follow([0, 1, 2], {0: 10, 1: 500, 2: 70})
    order: list[int] = []
    while len(order) < 3:
        clock.now += 0.1
        if made.wants_part:
            taken = made.take_part(dict.fromkeys(range(3), state), dict.fromkeys(range(3), 7))
            order += [] if taken is None else [taken.partition]
        time.sleep(0.005)
    made.close()
    assert order == [1, 2, 0]
