"""Laws of erasure on a real Kafka, down to the bytes: in memory, in snapshots, on the broker's disk."""

from __future__ import annotations

import gc
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from consumer import cli
from consumer.brokers import Broker, BrokerOptions, resolve
from consumer.exit_codes import ExitCode
from online_model.model import Model
from schemas.times import parse_time
from tests.customers.left import in_files
from tests.customers.membership import members
from tests.customers.scene import SOMEBODY, Reachable, Scene
from tests.customers.test_campaigns import Engine
from tests.customers.test_inspect import arguments, told
from tests.service.world import PARTITIONS

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

#: A broker that looks every second what is to go, and takes files away a second later.
HASTY = {
    "log.cleaner.backoff.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "500",
    "log.segment.delete.delay.ms": "1000",
}
#: Shorter than the settings below, so that none of them may be missing from a stated time.
BUSY_S = 8.0
STREAMS = {"retention.ms": "9000", "segment.ms": "16000"}
#: The ratio never calls the cleaner: only the lag does.
TABLE = {
    "max.compaction.lag.ms": "12000",
    "delete.retention.ms": "9000",
    "min.cleanable.dirty.ratio": "1.0",
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the broker's log."""
    return tmp_path_factory.mktemp("broker") / "logs"


@pytest.fixture(scope="module")
def hasty(apache_kafka_here: None, logs: Path) -> Iterator[Broker]:
    """An Apache Kafka whose files can be looked into."""
    overrides = HASTY | {"log.dirs": str(logs)}
    with resolve("maven", options=BrokerOptions(heap_mb=512, overrides=tuple(overrides.items()))) as broker:
        yield broker
        gc.collect()  # clients in this process let go of the broker before it ends, or they complain later


@pytest.fixture
def scene(hasty: Broker, logs: Path, calibrated: Model, tmp_path: Path) -> Scene:
    """Nothing applied yet."""
    return Scene.make(hasty, logs, tmp_path, calibrated)


def erase(scene: Scene, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The receipt."""
    receipt: dict[str, Any] = told(capsys, arguments(scene.world, "forget", SOMEBODY, "--yes"))
    return receipt


def check_gone(scene: Scene, service: Reachable) -> None:
    """From what a service can reach, and from the snapshots."""
    assert service.held() == {}
    assert scene.in_snapshots() == {}


def test_no_object_holds_the_erased(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """After a restart not even freed memory; a replay of everything or a rebalance brings nobody back."""
    world, key = scene.world, SOMEBODY.encode()
    with scene.traffic():
        with scene.start("1") as service:
            service.live()
            wait_until(lambda: {"id", "hash"} <= scene.in_snapshots().keys(), "it would be found")
            assert {"id", "hash"} <= {name.rpartition(": ")[2] for name in service.held()}
            said = erase(scene, capsys)
            published = [r.value for r in world.read(world.names.changes) if r.key == key]
            scene.wait_for_snapshots(said["commit"])
            check_gone(scene, service)
            service.end(signal.SIGKILL)
        with scene.start("2") as restarted:
            restarted.live()
            assert restarted.bytes_held() == {}, "asked first: the question has the bytes in it"
            check_gone(scene, restarted)
            restarted.end(signal.SIGKILL)
        shutil.rmtree(world.config.snapshots.uri)
        with scene.start("3") as replayed:
            replayed.live()
            scene.wait_for_snapshots(said["commit"])
            check_gone(scene, replayed)
            with scene.start("4", instance="b") as other:
                other.wait_for("partition restored")
                replayed.end(signal.SIGKILL)
                while other.text.count("partition restored") < PARTITIONS:
                    assert other.process.poll() is None, other.text[-2000:]
                    time.sleep(0.1)
                other.live()
                check_gone(scene, other)
    assert [r.value for r in world.read(world.names.changes) if r.key == key] == published
    assert [r.value for r in world.read(world.names.current) if r.key == key][-1] is None
    assert cli.execute(arguments(world, "inspect", SOMEBODY)) == ExitCode.CONFIG
    assert SOMEBODY not in capsys.readouterr().out
    told_by_logs = {path.name for path in scene.folder.glob("*.log") if key in path.read_bytes()}
    assert not told_by_logs


def test_the_broker_drops_it_when_the_receipt_says(
    scene: Scene, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Every topic, by the time stated for it: no record and no byte in the broker's files; nor elsewhere."""
    world, names = scene.world, scene.world.names
    engine = Engine(world, tmp_path)
    try:
        with scene.traffic(), scene.start("1") as service:
            service.live()
            ends = scene.ends(names.changes, names.current)
            holding = {*names.inputs, names.changes, names.current, names.dlq}
            assert {topic for topic in scene.topics if scene.in_records(topic)} == holding
            assert {topic for topic in scene.topics if scene.in_logs(topic)} == holding, "as they are"
            wait_until(lambda: engine.has_read_to(ends), "the engine has read what is dropped soon")
            assert SOMEBODY in members(engine.database)
            scene.configure([*names.inputs, names.changes, names.dlq], STREAMS)
            scene.configure([names.current], TABLE)
            said = erase(scene, capsys)
            check_times(scene, said)
            assert scene.in_logs() == {}, "Kafka's own topics"
            scene.configure([*names.inputs, names.changes], {"retention.ms": "3600000"})  # a start takes time
            scene.wait_for_snapshots(said["commit"])
            check_gone(scene, service)
            service.end(signal.SIGKILL)
            with scene.start("2") as restarted:
                restarted.live()
                assert restarted.bytes_held() == {}
                check_gone(scene, restarted)
                assert [r for r in world.read(names.current) if r.key == SOMEBODY.encode()] == []
        assert engine.end() == 0
    finally:
        engine.process.kill()
        engine.process.wait(20)
    page = tmp_path / "report.html"
    assert cli.execute(arguments(world, "report", "--out", str(page))) == ExitCode.OK
    assert page.stat().st_size > 0
    # Not what the test asks with, nor what the engine has sent off.
    asked = {"needles.json", "messages.ndjson"}
    files = ((name, data) for name, data in in_files(tmp_path) if name not in asked)
    assert scene.needles.within(files) == {}, "engine, logs, report and its tables"


def check_times(scene: Scene, said: dict[str, Any]) -> None:
    """Waits for the stated time of every topic, and then for a busy machine, and looks."""
    current = scene.world.names.current
    places = {one["place"]: one["gone_by"] for one in said["places"] if one["gone_by"] is not None}
    assert set(places) == {
        *scene.world.names.inputs,
        scene.world.names.changes,
        scene.world.names.dlq,
        current,
        f"{current}: the null record",
    }
    for place, stated in sorted(places.items(), key=lambda item: item[1]):
        topic = place.partition(":")[0]
        time.sleep(max(0.0, cast("int", parse_time(stated)) / 1e6 - time.time()))
        # Until the null record goes its key is there, and so is its value in nobody's record.
        key_stays = place == current
        end = time.monotonic() + BUSY_S
        while left := scene.in_logs(topic) | scene.in_records(topic):
            if key_stays and not [
                r for r in scene.world.read(topic) if r.key == SOMEBODY.encode() and r.value
            ]:
                break
            assert time.monotonic() < end, f"{place} was to be gone by {stated}: {left}"
            time.sleep(0.3)


def wait_until(holds: Any, what: str) -> None:
    """Until something holds."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, f"not so: {what}"
        time.sleep(0.2)
