"""What the recorder shows of the coordinator."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import Consumer, TopicPartition
from structlog.testing import capture_logs

from consumer import __version__
from consumer.config_sources import load_config
from consumer.core import Core
from consumer.http import Health
from consumer.input import Input
from consumer.metrics import Metrics
from consumer.model_figures import ModelFigures
from consumer.output import Payload
from consumer.recorder import Recorder
from consumer.turn_totals import MAX_UNCOUNTED, TurnTotals
from online_model.coordinator import Report
from online_model.model import Model
from tests.consumer.test_input import FakeConsumer
from tests.online_model.streams import DAY, T0
from tests.online_model.test_coordinator import statistics
from tests.online_model.test_flaps import LOW, MIDDLE, Scene
from tests.online_model.tiny import model

HOUR_S = 3600
#: A payload: the recorder asks only whether there is one.
SOMETHING = cast("Payload", object())


@pytest.fixture
def recorder() -> Recorder:
    """Of a process without partitions that coordinates; scans are hourly."""
    core = Core(load_config(None, {}, {}), 1)
    metrics = Metrics(("usage", "billing", "customer"), "1.2.3")
    figures = ModelFigures(core, metrics, {}, lambda: False)
    made = Recorder(core, lambda: None, metrics, Health(60.0), {}, figures)
    made.coordinates = True
    return made


def scanned(recorder: Recorder, first: int, n: int) -> None:
    """Scans of 3,000 customers who are all in the first of two segments."""
    coordinator = recorder._core.coordinator
    for scan in range(first, first + n):
        assert coordinator.model is not None
        coordinator.offer(Report(0, scan, coordinator.model.version, statistics(10.0, 3000)))


def value(recorder: Recorder, name: str, **labels: str) -> float | None:
    """Value of a sample."""
    return recorder._metrics.registry.get_sample_value(f"segmenter_{name}", labels)


def adopted(recorder: Recorder, given: Model) -> None:
    """A version becomes visible."""
    recorder._core.coordinator.adopt(given)


def test_an_alarm_is_shown_and_logged_once(recorder: Recorder) -> None:
    """On the metrics, on the status page and in the log, when it comes up; a calibration takes it down."""
    adopted(recorder, model())
    scanned(recorder, 30, 6)
    with capture_logs() as logs:
        recorder.look_around()
        recorder.look_around()
    assert [line["event"] for line in logs if line.get("kind") == "share"] == ["drift"]
    assert value(recorder, "drift_alarm", kind="share", subject="", severity="act") == 1
    assert value(recorder, "drift_samples") == 3000
    assert value(recorder, "segment_displacement_ratio", segment="s1") == pytest.approx(0.1)
    assert value(recorder, "model_age_seconds") == 35 * HOUR_S
    assert recorder.status()["alarms"][0]["severity"] == "act"
    drift = json.loads(json.dumps(recorder.status(), allow_nan=False))["drift"]
    assert drift["samples"] == 3000
    assert drift["segment_share_js_distance"] > 0.1
    assert set(drift["feature_psi"]) == set(model().columns)
    adopted(recorder, model(50))
    recorder.look_around()
    assert value(recorder, "drift_alarm", kind="share", subject="", severity="act") is None
    assert value(recorder, "segment_displacement_ratio", segment="s1") is None
    assert value(recorder, "model_age_seconds") == 0
    assert recorder.status()["alarms"] == []


def test_a_former_owner_shows_no_drift(recorder: Recorder) -> None:
    """Alerts look at the largest of all workers: what it has measured would stay up, and hide the owner's."""
    adopted(recorder, model())
    scanned(recorder, 30, 6)
    recorder.look_around()
    assert value(recorder, "drift_alarm", kind="share", subject="", severity="act") == 1
    recorder.coordinates = False
    recorder.look_around()
    assert value(recorder, "drift_samples") == 0
    assert math.isnan(value(recorder, "segment_share_js_distance") or 0.0)
    assert value(recorder, "drift_alarm", kind="share", subject="", severity="act") is None
    assert recorder.status()["alarms"] == []
    coordinator = recorder._core.coordinator
    assert coordinator.model is not None
    learnt = coordinator.model
    adopted(recorder, dataclasses.replace(learnt, version=learnt.version + 1))  # the new owner's scan
    recorder.coordinates = True
    recorder.look_around()
    assert value(recorder, "drift_samples") == 0, "until it has measured itself"


def test_the_age_of_snapshots_is_shown_until_there_is_one(recorder: Recorder) -> None:
    """Also after a rebalance that took it away for a moment."""
    recorder.uncovered_s = lambda: {0: 100.0}
    before = time.time()
    recorder.look_around()
    shown = value(recorder, "snapshot_timestamp_seconds", partition="0")
    assert shown == pytest.approx(before - 100, abs=5)
    recorder.rebalanced(["assigned"], 1)
    assert value(recorder, "snapshot_timestamp_seconds", partition="0") is None
    recorder.live()
    assert value(recorder, "snapshot_timestamp_seconds", partition="0") == pytest.approx(shown, abs=5)
    assert value(recorder, "rebalances_total", kind="assigned") == 1
    assert value(recorder, "rebalances_total", kind="lost") == 0


def test_without_a_model_there_is_nothing_to_show(recorder: Recorder) -> None:
    """No drift, no age, no alarm."""
    recorder.look_around()
    assert value(recorder, "drift_samples") == 0
    assert recorder.status()["alarms"] == []


def test_flaps_are_counted_apart(recorder: Recorder) -> None:
    """There, and twice back and forth: of three moves two are flaps."""
    scene = Scene()
    for day, megabytes in enumerate([LOW, MIDDLE, LOW, MIDDLE]):
        now = T0 + day * DAY
        step = scene.world.engine.step(scene.world.log.poll([scene.event("c", megabytes, now)]), now)
        recorder.record(step, SOMETHING, None, {})
    recorder.draining()
    assert value(recorder, "segment_moves_total", kind="flap") == 2
    assert value(recorder, "segment_moves_total", kind="other") == 1


def test_counters_follow_the_turns(recorder: Recorder) -> None:
    """The totals hold a turn at once, the counters soon: at the latest after one with nothing to do."""
    scene = Scene()
    engine, log = scene.world.engine, scene.world.log
    events = [scene.event(f"c{n}", LOW, T0 + n) for n in range(5)]
    for event in [*events, events[0]]:
        recorder.record(engine.step(log.poll([event]), T0 + DAY), SOMETHING, None, {})
    told = value(recorder, "events_total", topic="usage", outcome="accepted")
    assert told is not None
    assert told < 5
    assert recorder.totals.tolist() == [[5, 1, 0, 0, 0], [0] * 5, [0] * 5]
    recorder.record(engine.step(log.poll([]), T0 + DAY), None, None, {})
    assert value(recorder, "events_total", topic="usage", outcome="accepted") == 5
    assert value(recorder, "events_total", topic="usage", outcome="duplicate") == 1
    changes = recorder.status()["changes"]
    assert sum(changes.values()) == sum(recorder.changes.values()) > 0
    for name, n in changes.items():
        change, cause = name.split()
        assert value(recorder, "changes_total", change=change, cause=cause) == n


def test_many_changes_are_not_kept_for_long() -> None:
    """They are counted before somebody asks: what waits is bounded, and the sum is that of all."""
    scene, turns = Scene(), TurnTotals()
    engine, log = scene.world.engine, scene.world.log
    published = 0
    for turn in range(3):
        events = [scene.event(f"c{turn}-{n}", LOW, T0 + n) for n in range(3000)]
        step = engine.step(log.poll(events), T0 + DAY)
        published += sum(part.changes.n for part in step.partitions if part.changes is not None)
        turns.add(step)
        assert turns._n_uncounted <= MAX_UNCOUNTED
    assert published == 9000 == turns.changes.total()


def test_the_status_tells_how_far_a_restore_is(recorder: Recorder) -> None:
    """Partition and records left, while one is under way; and what program it is."""
    recorder.restoring(3, 1200)
    assert recorder.status()["restore_remaining"] == {"3": 1200}
    recorder.live()
    assert recorder.status()["restore_remaining"] == {}
    assert recorder.status()["program"] == __version__


def test_the_status_tells_the_lag_of_each_topic(recorder: Recorder) -> None:
    """Under the partition that it is of."""
    recorder._core.engine.add_partition(0)
    lags = {("usage", 0): 5, ("billing", 0): 0, ("usage", 1): 7}
    recorder._inputs = lambda: cast("Input", SimpleNamespace(lag=lambda: lags, owned={0}, is_spare=False))
    recorder.look_around()
    status = recorder.status()
    assert status["partitions"]["0"]["lag"] == {"usage": 5, "billing": 0}
    assert status["lag"] == 12


def test_a_spare_worker_waits_for_no_partition(recorder: Recorder) -> None:
    """Before the answer of the group it does, and after a revocation again; /status says that it is spare."""
    consumer = FakeConsumer()
    inputs = Input(cast("Consumer", consumer), ("usage", "billing", "customer"))
    recorder._inputs = lambda: inputs

    def waiting() -> tuple[bool, bool]:
        recorder.look_around()
        return "assignment" in recorder._health.waiting, recorder.status()["spare"]

    assert waiting() == (True, False)
    consumer.on["on_assign"](consumer, [])
    assert waiting() == (False, True)
    consumer.on["on_revoke"](consumer, [])
    assert waiting() == (True, False)
    places = [TopicPartition(topic, 0) for topic in ("usage", "billing", "customer")]
    consumer.on["on_assign"](consumer, places)
    assert waiting() == (False, False)
    consumer.on["on_lost"](consumer, places)
    assert waiting() == (True, False)
