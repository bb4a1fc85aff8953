"""`segmenter coordinate`: the model is made away from the workers, by one process at a time."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from consumer.brokers import Broker
from consumer.exit_codes import ExitCode
from consumer.models.history import History, command, send
from consumer.verify import Rules, Verifier
from consumer.verify.log import KafkaSource
from schemas.internal import COMMAND_KEY, PROPOSAL_KEY
from schemas.times import format_time
from tests.service.conftest import Run, feed, get, load_json, simulation, world_with_model
from tests.service.test_process import Process, wait_until_applied
from tests.service.world import PARTITIONS, Record, World, check_chain

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

#: Settings that all processes of the group share.
SETTINGS: Final[dict[str, Any]] = {
    "model__min_customers": 400,
    "model__k": 5,
    "model__recalibrate_days": "null",
    "model__max_moved": 1.0,
    "snapshots__interval_s": 1,
}

#: A coordinator that has gone without a word is missed after its session (10 s); calibrating may take a
#: minute on a busy machine.
SOON_S: Final = 240.0


class Group:
    """Processes of one group, by name, each with a log of its own."""

    def __init__(self, world: World, folder: Path, stack: ExitStack) -> None:
        self.world, self._folder, self._stack = world, folder, stack

    def start(self, name: str, *line: str) -> Process:
        """Starts `segmenter` with `line` as the instance `name`."""
        world = self.world.with_settings(instance=name)
        log = self._folder / f"{name}-{time.monotonic_ns()}.log"
        return self._stack.enter_context(Process(world, log, line, **SETTINGS))


def port_of(process: Process) -> int:
    """Where it answers."""
    return int(process.wait_for(r'"http_port": ?(\d+)').group(1))


def status(process: Process) -> dict[str, Any]:
    """Its status page."""
    return load_json(get(port_of(process), "/status")[1])


def wait_until(done: Callable[[], bool], *processes: Process, timeout_s: float = SOON_S) -> None:
    """Waits, and shows the ends of the logs if it takes too long."""
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, "\n\n".join(process.text[-2500:] for process in processes)
        for process in processes:
            assert process.process.poll() is None, process.text[-3000:]
        time.sleep(0.1)


def coordinates(process: Process) -> bool:
    """Whether it owns the deltas."""
    return bool(status(process)["coordinating"])


def made(world: World) -> list[Any]:
    """Versions that are no folds; all numbers must be there once."""
    keys = [record.key or b"" for record in world.read(world.names.models)]
    numbers = [int(key) for key in keys if key != PROPOSAL_KEY]
    assert numbers == list(range(1, len(numbers) + 1))
    versions = History.read(world.config).versions
    return [versions[number] for number in sorted(versions) if versions[number].kind != "folded"]


def folds(world: World) -> int:
    """Versions that are folds."""
    return sum(model.kind == "folded" for model in History.read(world.config).versions.values())


def reports(world: World) -> list[Record]:
    """What partitions have reported of their scans."""
    return [record for record in world.read(world.names.deltas) if record.key != COMMAND_KEY]


def move_on(world: World, worker: Process) -> None:
    """An event for each of many customers, two hours on: every partition scans."""
    partitions = status(worker)["partitions"].values()
    at = format_time(max(partition["watermark_us"] for partition in partitions) + 2 * 3_600_000_000)
    customers = sorted({record.json["customer_id"] for record in world.read(world.names.changes)})
    body = {"type": "data", "megabytes": 9.0, "event_time": at}
    world.send(
        [
            (world.names.usage, body | {"event_id": f"on-{customer}", "customer_id": customer})
            for customer in customers[:200]
        ]
    )


def test_the_model_is_made_away_from_the_workers(kafka: Broker, tmp_path: Path) -> None:
    """Calibrated over snapshots, everybody assigned; killed in a recalibration, which is made once."""
    world = World.make(kafka)
    feed(world, simulation())
    with ExitStack() as stack:
        group = Group(world, tmp_path, stack)
        first = group.start("c", "coordinate")
        wait_until(lambda: get(port_of(first), "/readyz")[0] == 200 and coordinates(first), first)
        assert "snapshots" in status(first)["calibration"]["waits_for"]
        worker = group.start("w", "run", "--no-coordinate")
        wait_until(lambda: status(first)["model"] is not None, first, worker)
        wait_until(lambda: get(port_of(worker), "/readyz")[0] == 200, first, worker)
        wait_until_applied(world, worker)

        asked = command("recalibrate")
        send(world.config, asked)
        wait_until(lambda: len(made(world)) == 2, first, worker)
        assert made(world)[1].command == asked.id

        again = command("recalibrate")
        send(world.config, again)
        wait_until(lambda: first.text.count("recalibration begins") == 2, first, worker)
        first.end(signal.SIGKILL)
        before, folded = len(reports(world)), folds(world)
        move_on(world, worker)
        wait_until(lambda: len(reports(world)) == before + PARTITIONS, worker)
        second = group.start("d", "coordinate")
        wait_until(lambda: len(made(world)) == 3, second, worker)
        assert made(world)[2].command == again.id
        assert folds(world) == folded + 1  # the scan that nobody was there for
        wait_until(lambda: status(second)["commands"] == 0, second, worker)
        newest = History.read(world.config).newest.version
        wait_until(lambda: status(worker)["model"]["version"] >= newest, second, worker)
        assert "segmenter_coordinating 1.0" in get(port_of(second), "/metrics")[1]
        assert "segmenter_coordinating 0.0" in get(port_of(worker), "/metrics")[1]
        assert second.end(signal.SIGTERM) == ExitCode.OK, second.text[-3000:]
        assert worker.end(signal.SIGTERM) == ExitCode.OK, worker.text[-3000:]
        for process in (first, second, worker):
            assert "Traceback" not in process.text
    assert [model.kind for model in made(world)] == ["calibrated", "recalibrated", "recalibrated"]
    changes = world.read(world.names.changes)
    check_chain(changes)
    assert Counter(record.json["change"] for record in changes)["assigned"] > 400
    report = Verifier(Rules.of(world.config, PARTITIONS), KafkaSource(world.config)).verify()
    assert (report.kinds, report.unverified) == ({}, [])


def test_it_goes_before_a_worker_that_takes_over_when_it_is_gone(
    run: Run, kafka: Broker, tmp_path: Path
) -> None:
    """Whatever they are called; what the worker was asked for is done by whoever is there."""
    world = world_with_model(run, kafka, simulation())
    with ExitStack() as stack:
        group = Group(world, tmp_path, stack)
        worker = group.start("0", "run")
        wait_until(lambda: coordinates(worker), worker)
        first = group.start("z", "coordinate")
        wait_until(lambda: coordinates(first) and not coordinates(worker), worker, first)
        first.end(signal.SIGKILL)
        wait_until(lambda: coordinates(worker), worker)
        wait_until_applied(world, worker)
        asked = command("recalibrate")
        send(world.config, asked)
        wait_until(lambda: len(made(world)) == 2, worker)
        assert made(world)[1].command == asked.id
        assert worker.end(signal.SIGTERM) == ExitCode.OK


@pytest.mark.parametrize("place", ["publish.before", "publish.produced", "commit.after", "publish.after"])
def test_a_death_in_a_publication_makes_neither_none_nor_two(
    run: Run, kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Before, in and after the transaction: the next process finds the command, or its version."""
    world = world_with_model(run, kafka, simulation(customers=50, days=1))
    with ExitStack() as stack:
        group = Group(world, tmp_path, stack)
        with monkeypatch.context() as armed:
            armed.setenv("SEGMENTER_TEST_FAILPOINTS", f"{place}=kill")
            armed.setenv("SEGMENTER_TEST_FAILPOINTS_LOG", str(tmp_path / "failpoints"))
            first = group.start("c", "coordinate")
            wait_until(lambda: coordinates(first), first)
        asked = command("rollback", run.model)
        send(world.config, asked)
        assert first.process.wait(SOON_S) == -signal.SIGKILL, first.text[-3000:]
        second = group.start("c", "coordinate")
        wait_until(lambda: len(made(world)) == 2, second)
        again = command("rollback", run.model)
        send(world.config, again)
        wait_until(lambda: len(made(world)) == 3, second)
        assert [model.command for model in made(world)[1:]] == [asked.id, again.id]
        assert second.end(signal.SIGTERM) == ExitCode.OK


def test_two_of_one_name_are_told(run: Run, kafka: Broker, tmp_path: Path) -> None:
    """The one that was there ends with the fix; the other one stands by and then coordinates."""
    world = world_with_model(run, kafka, simulation(customers=50, days=1))
    with ExitStack() as stack:
        group = Group(world, tmp_path, stack)
        first = group.start("c", "coordinate")
        wait_until(lambda: coordinates(first), first)
        second = group.start("c", "coordinate")
        assert first.process.wait(SOON_S) == ExitCode.RESTART, first.text[-3000:]
        assert re.search(r"fix: .*app\.instance", first.text)
        assert "Traceback" not in first.text
        wait_until(lambda: coordinates(second), second)
