"""The real process: killed in the middle, stopped by SIGTERM, started with a wrong configuration."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pytest
import structlog
from confluent_kafka import TopicPartition

from consumer.brokers import Broker
from consumer.cli import execute
from consumer.exit_codes import ExitCode
from consumer.kafka_clients import (
    make_admin,
    make_consumer,
    reader_settings,
)
from tests.service.conftest import Run, get, load_json, simulation, world_with_model
from tests.service.world import PARTITIONS, World, check_chain

pytestmark = pytest.mark.kafka


def arguments(world: World, command: Sequence[str] = ("run",), **settings: object) -> list[str]:
    """Command line of `segmenter run`, or another command, on the world's topics."""
    config = world.config
    chosen = {
        "kafka.bootstrap": config.kafka.bootstrap,
        "topics.prefix": config.topics.prefix,
        "app.name": config.app.name,
        "app.instance": config.app.instance,
        "snapshots.uri": config.snapshots.uri,
        "http.host": "127.0.0.1",
        "http.port": 0,
        "watermark.idle_grace_s": "null",
    } | {name.replace("__", "."): value for name, value in settings.items()}
    return [*command, *(part for name, value in chosen.items() for part in ("--set", f"{name}={value}"))]


class Process:
    """A `segmenter run`, or `command`, its log in a file; killed at the end if it still runs."""

    def __init__(
        self, world: World, log: Path, command: Sequence[str] = ("run",), **settings: object
    ) -> None:
        self._log = log
        line = [sys.executable, "-m", "consumer.cli", *arguments(world, command, **settings)]
        with log.open("wb") as sink:
            self.process = subprocess.Popen(line, stdout=sink, stderr=subprocess.STDOUT)

    @property
    def text(self) -> str:
        """The log so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, condition: str, timeout_s: float = 120.0) -> re.Match[str]:
        """Waits until the log matches."""
        end = time.monotonic() + timeout_s
        while True:
            found = re.search(condition, self.text)
            if found:
                return found
            assert time.monotonic() < end, self.text[-3000:]
            assert self.process.poll() is None, self.text[-3000:]
            time.sleep(0.02)

    def end(self, number: signal.Signals, timeout_s: float = 20.0) -> int:
        """Sends a signal and waits for the exit code."""
        os.kill(self.process.pid, number)
        return self.process.wait(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)


def end_of(world: World, topic: str) -> int:
    """Offsets in all partitions of a topic, committed or not."""
    watcher = make_consumer(reader_settings(world.config, committed_only=False))
    try:
        marks = [
            watcher.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in range(PARTITIONS)
        ]
        return sum(high for _, high in marks)
    finally:
        watcher.close()


def wait_until_applied(world: World, process: Process, timeout_s: float = 120.0) -> None:
    """Waits until the group has committed the end of every input."""
    end = time.monotonic() + timeout_s
    ends = world.ends()
    while world.committed() != ends:
        assert time.monotonic() < end, process.text[-3000:]
        assert process.process.poll() is None, process.text[-3000:]
        time.sleep(0.3)


@pytest.fixture
def world(run: Run, kafka: Broker) -> World:
    """The month of the run again, on fresh topics, with the model from the start."""
    return world_with_model(run, kafka, simulation())


def test_a_killed_process_leaves_neither_gap_nor_double(world: World, tmp_path: Path) -> None:
    """Kill -9 twice in the middle, then the rest: every change once, every record accounted for.

    The third process is stopped by SIGTERM: exit code 0, and its last turn is committed.
    """
    small: dict[str, Any] = {"commit__max_events": 100, "commit__interval_ms": 5}
    for number in range(2):
        before = end_of(world, world.names.audit)
        with Process(world, tmp_path / f"{number}.log", **small) as process:
            process.wait_for("partitions live")
            end = time.monotonic() + 120
            while end_of(world, world.names.audit) < before + 100:
                assert time.monotonic() < end, process.text[-3000:]
                assert process.process.poll() is None, process.text[-3000:]
            assert process.end(signal.SIGKILL) == -signal.SIGKILL
    assert world.committed() != world.ends()
    with Process(world, tmp_path / "last.log") as process:
        wait_until_applied(world, process)
        started = time.monotonic()
        assert process.end(signal.SIGTERM) == ExitCode.OK, process.text[-3000:]
        assert time.monotonic() - started < 10
        assert "Traceback" not in process.text
    changes = world.read(world.names.changes)
    check_chain(changes)
    assert len({r.headers["ce_id"] for r in changes}) == len(changes) > 400
    audits = world.audits()
    for partition in range(PARTITIONS):
        mine = [a for a in audits if a.partition == partition]
        assert [a.n for a in mine] == list(range(1, len(mine) + 1))
        assert all(after.from_offsets == before.to_offsets for before, after in pairwise(mine))
        assert mine[0].from_offsets == dict.fromkeys(world.names.inputs, 0)
    assert len({a.run_id for a in audits}) == 3
    assert sum(a.outputs for a in audits) == len(changes)
    assert sum(a.rejects for a in audits) == len(world.read(world.names.dlq))
    assert world.committed() == world.ends()


def test_ready_and_alive_over_http(run: Run, tmp_path: Path) -> None:
    """A process with a model becomes ready by itself; /status and /metrics answer; SIGTERM ends it with 0."""
    with Process(run.world, tmp_path / "log") as process:
        port = int(process.wait_for(r'"http_port": ?(\d+)').group(1))
        process.wait_for("partitions live")
        end = time.monotonic() + 60
        while get(port, "/readyz")[0] != 200:
            assert time.monotonic() < end, get(port, "/readyz")
            time.sleep(0.1)
        assert get(port, "/livez")[0] == 200
        assert load_json(get(port, "/status")[1])["model"]["k"] == 5
        assert "segmenter_events_total" in get(port, "/metrics")[1]
        assert process.end(signal.SIGTERM) == ExitCode.OK


@pytest.fixture
def _own_process_state() -> Iterator[None]:
    """`run` takes over logging and signals; give them back."""
    import logging

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_own_process_state")
class TestWrongConfiguration:
    """Each mistake is one message with its fix, the documented exit code, and no traceback."""

    def fail(
        self, capfd: pytest.CaptureFixture[str], command: list[str], code: ExitCode, *words: str
    ) -> None:
        """Runs the command line and checks how it fails."""
        got = execute(command)
        captured = capfd.readouterr()
        assert got == code, captured.err
        assert captured.out == ""
        assert captured.err.count("error: ") == 1, captured.err
        assert "fix: " in captured.err
        assert "Traceback" not in captured.err
        assert [word for word in words if word not in captured.err] == []

    def test_unknown_key(self, capfd: pytest.CaptureFixture[str], run: Run) -> None:
        """A misspelt setting is named, with the likely one."""
        command = arguments(run.world, model__min_custmers=5)
        self.fail(capfd, command, ExitCode.CONFIG, "model.min_customers")

    def test_unreachable_broker(self, capfd: pytest.CaptureFixture[str], run: Run) -> None:
        """Nobody answers at the address."""
        command = arguments(run.world, kafka__bootstrap="127.0.0.1:1")
        self.fail(capfd, command, ExitCode.BROKER, "kafka.bootstrap")

    def test_missing_topics(self, capfd: pytest.CaptureFixture[str], run: Run) -> None:
        """Topics that do not exist are named, with the command that makes them."""
        command = arguments(run.world, topics__prefix="nobody.")
        self.fail(capfd, command, ExitCode.TOPICS, "nobody.telecom.usage.v1", "topics create")

    def test_partition_counts_that_differ(self, capfd: pytest.CaptureFixture[str], kafka: Broker) -> None:
        """Inputs that are not co-partitioned are refused before anything is read."""
        from confluent_kafka.cimpl import NewPartitions

        world = World.make(kafka)
        grown = NewPartitions(world.names.billing, PARTITIONS + 1)
        admin = make_admin(world.config)  # kept: its futures end with it
        for done in admin.create_partitions([grown]).values():
            done.result(20)
        end = time.monotonic() + 20
        while len(admin.list_topics(timeout=10).topics[world.names.billing].partitions) == PARTITIONS:
            assert time.monotonic() < end
        self.fail(capfd, arguments(world), ExitCode.TOPICS, world.names.billing)

    def test_bad_specification(self, capfd: pytest.CaptureFixture[str], run: Run, tmp_path: Path) -> None:
        """A specification file with a mistake names the file and the place."""
        path = tmp_path / "spec.yaml"
        path.write_text("name: x\nfeatures: [{name: a, from: nowhere}]\n")
        self.fail(capfd, arguments(run.world, model__spec=path), ExitCode.DATA, str(path))

    def test_another_specification_than_the_models(
        self, capfd: pytest.CaptureFixture[str], run: Run, tmp_path: Path
    ) -> None:
        """A model of another specification stops the process instead of naming wrong features."""
        from importlib.resources import files

        default = files("online_model").joinpath("default_spec.yaml").read_text()
        path = tmp_path / "spec.yaml"
        path.write_text(default.replace("provisional_days: 14", "provisional_days: 15"))
        self.fail(capfd, arguments(run.world, model__spec=path), ExitCode.DATA, "specification")
