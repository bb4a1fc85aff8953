"""When the keeper recalibrates by itself, and which commands it carries out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumer.child import Answer
from consumer.models import keeper as module
from consumer.models.history import command
from consumer.models.keeper import ModelKeeper
from online_model.drift_rule import Alarm
from online_model.model import Model, Transition
from online_model.model_json import to_json
from online_model.plan import DAY_US
from online_model.segment_history import SegmentHistory
from tests.online_model.streams import T0
from tests.online_model.tiny import model

ACT = Alarm("share", "", "act", "the sizes of the segments have changed")
GAP = Alarm("missing", "age", "watch", "age is missing", withholds=True)


class Coordinator:
    """The newest version and the alarms; `event_time_us` is that of its last scan."""

    def __init__(self, newest: Model) -> None:
        self.model = newest
        self.event_time_us = newest.created_us
        self.alarms: list[Alarm] = []
        self.segments = SegmentHistory()
        self.segments.adopt(newest)

    def adopt(self, adopted: Model) -> None:
        """Goes on from a version."""
        self.model = adopted
        self.segments.adopt(adopted)


@dataclass
class FakeChild:
    """A recalibration that answers when told; `begun` has the causes."""

    begun: list[str] = field(default_factory=list)
    answer: Answer | None = None
    closed: int = 0

    def __call__(self, _: object, task: SimpleNamespace, __: str) -> FakeChild:
        """Begins."""
        self.begun.append(task.cause)
        return self

    def poll(self) -> Answer | None:
        """What it was told."""
        return self.answer

    def close(self) -> None:
        """Ends."""
        self.closed += 1


@dataclass
class Scene:
    """A keeper with what is around it; `at` sets the event time in days after the calibration."""

    keeper: ModelKeeper
    coordinator: Coordinator
    child: FakeChild
    partition: SimpleNamespace

    def at(self, days: float) -> None:
        """Event time."""
        self.partition.watermark_us = int(T0 + days * DAY_US)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Calibrated at T0; recalibrated every 30 days."""
    newest = model(created_us=T0)
    coordinator, child = Coordinator(newest), FakeChild()
    partition = SimpleNamespace(watermark_us=T0)
    core: Any = SimpleNamespace(
        coordinator=coordinator,
        engine=SimpleNamespace(partitions={0: partition}),
        config=SimpleNamespace(model=SimpleNamespace(recalibrate_days=30.0)),
    )
    monkeypatch.setattr(module, "Child", child)
    task = SimpleNamespace(of=lambda _, __, ___, cause: SimpleNamespace(cause=cause))
    monkeypatch.setattr(module, "RecalibrationTask", task)
    calibrator: Any = SimpleNamespace(poll=list, is_running=False)
    keeper = ModelKeeper(core, calibrator, ("usage", "billing", "customer"))
    keeper.adopted(newest)
    return Scene(keeper, coordinator, child, partition)


def test_it_recalibrates_when_its_days_are_over(scene: Scene) -> None:
    """Not before; and what comes to nothing is tried again a day later."""
    scene.at(29.9)
    scene.keeper.poll([])
    assert scene.child.begun == []
    scene.at(30)
    scene.keeper.poll([])
    assert scene.child.begun == ["30 days since the last calibration"]
    scene.child.answer = Answer(problem="no snapshot")
    scene.keeper.poll([])
    scene.at(30.9)
    scene.keeper.poll([])
    assert len(scene.child.begun) == 1
    scene.at(31.1)
    scene.keeper.poll([])
    assert len(scene.child.begun) == 2


def test_drift_that_calls_for_it_comes_first(scene: Scene) -> None:
    """In the words of the alarm; what is only to be looked at starts nothing."""
    scene.at(5)
    scene.coordinator.alarms = [dataclasses.replace(ACT, severity="watch")]
    scene.keeper.poll([])
    assert scene.child.begun == []
    scene.coordinator.alarms = [ACT]
    scene.keeper.poll([])
    assert scene.child.begun == [ACT.text]


def test_a_missing_feature_withholds_all_but_a_person(scene: Scene) -> None:
    """Neither drift nor the schedule may learn the gap; whoever asks for it knows."""
    scene.at(40)
    scene.coordinator.alarms = [ACT, GAP]
    scene.keeper.poll([])
    assert scene.child.begun == []
    scene.keeper.poll([command("recalibrate")])
    assert len(scene.child.begun) == 1
    assert scene.child.begun[0].startswith("asked for by")


def test_what_somebody_took_back_is_left_alone_for_a_day(scene: Scene) -> None:
    """A rollback is one version, however often it is sent, and drift does not undo it at once."""
    scene.at(5)
    record = command("rollback", model())
    outcome = scene.keeper.poll([record, record])
    assert [made.kind for made in outcome.models] == ["restored"]
    assert record in outcome.done
    assert outcome.models[0].command == record.id
    scene.keeper.adopted(outcome.models[0])
    assert scene.keeper.poll([record]).models == []
    scene.coordinator.alarms = [ACT]
    scene.keeper.poll([])
    assert scene.child.begun == []
    scene.at(6.1)
    scene.keeper.poll([])
    assert scene.child.begun == [ACT.text]


def test_a_segment_is_renamed_once(scene: Scene) -> None:
    """However often it is sent; the schedule goes on as before, and so does a recalibration under way."""
    scene.keeper.poll([command("recalibrate")])
    record = command("rename", segment_id="s2", name="Students")
    outcome = scene.keeper.poll([record, record])
    (made,) = outcome.models
    assert (made.kind, made.segments[1].name, made.command) == ("renamed", "Students", record.id)
    assert outcome.done == [record, record]
    scene.keeper.adopted(made)
    assert scene.keeper.poll([record]).models == []
    assert scene.child.closed == 0
    assert scene.keeper.calibrated_us == T0
    refused = command("rename", segment_id="s1", name="students")
    assert (scene.keeper.poll([refused]).models, scene.keeper.poll([refused]).done) == ([], [refused])


def test_a_name_outlives_the_recalibration_that_was_under_way(scene: Scene) -> None:
    """It was begun from the version with the old name."""
    scene.keeper.poll([command("recalibrate")])
    renaming = scene.keeper.poll([command("rename", segment_id="s2", name="Students")]).models[0]
    scene.keeper.adopted(renaming)
    moved = Transition("a test", ["s1", "s2"], ["s1", "s2"], [[1, 0], [0, 1]], 0.0, 1.0, 1.0)
    scene.child.answer = Answer(to_json(model(2, transition=moved)))
    (made,) = scene.keeper.poll([]).models
    assert (made.version, made.kind) == (3, "recalibrated")
    assert [segment.name for segment in made.segments] == ["s1", "Students"]


def test_a_name_outlives_a_rollback(scene: Scene) -> None:
    """Also that of a segment which is gone meanwhile."""
    first = scene.coordinator.model
    named = scene.keeper.poll([command("rename", segment_id="s2", name="Students")]).models[0]
    scene.coordinator.adopt(model(3, ids=("s1", "s3")))
    (made,) = scene.keeper.poll([command("rollback", first)]).models
    assert named.segments[1].name == "Students"
    assert [(s.id, s.name) for s in made.segments] == [("s1", "s1"), ("s2", "Students")]


def test_a_command_that_cannot_be_carried_out_is_done(scene: Scene) -> None:
    """Refused, with a line in the log: it would stand in the way of the others."""
    damaged = cast("Any", command("rollback", note="no model in it"))
    outcome = scene.keeper.poll([damaged])
    assert (outcome.models, outcome.done) == ([], [damaged])


def test_without_partitions_time_is_that_of_the_scans(scene: Scene) -> None:
    """A coordinator that reads no events has the same schedule."""
    scene.keeper._core.engine.partitions.clear()
    scene.coordinator.event_time_us = int(T0 + 29.9 * DAY_US)
    scene.keeper.poll([])
    assert scene.child.begun == []
    scene.coordinator.event_time_us = int(T0 + 30 * DAY_US)
    scene.keeper.poll([])
    assert len(scene.child.begun) == 1


def test_what_another_owner_has_done_is_not_done_again(scene: Scene) -> None:
    """A version of the same command ends the recalibration that had begun for it here; folds do not."""
    record = command("recalibrate")
    scene.keeper.poll([record])
    scene.keeper.adopted(model(2, kind="folded", created_us=T0))
    assert scene.child.closed == 0
    scene.keeper.adopted(model(3, command=record.id, created_us=T0))
    assert scene.child.closed == 1
    scene.child.answer = Answer(problem="too late")
    assert scene.keeper.poll([record]).done == [record]
    assert len(scene.child.begun) == 1


def test_a_command_outlives_a_version_that_came_between(scene: Scene) -> None:
    """Somebody took a version back meanwhile: the recalibration begins again, from what is there now."""
    record = command("recalibrate")
    scene.keeper.poll([record])
    scene.keeper.adopted(model(2, kind="restored", command="other", created_us=T0))
    assert scene.keeper.poll([record]).done == []
    assert len(scene.child.begun) == 2
