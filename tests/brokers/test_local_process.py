"""Local broker processes end with their owner, and a failed start leaves its log."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consumer.brokers import BrokerOptions, embedded, maven, resolve
from consumer.brokers.local_process import LocalProcess
from consumer.clock import Deadline
from consumer.errors import BrokerUnreachable

OWNER = """
import sys, time
from consumer.brokers import resolve
broker = resolve("embedded")
print(broker.pid, flush=True)
time.sleep(300)
"""


def runs(pid: int) -> bool:
    """True while the process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(pid: int, seconds: float = 60.0) -> bool:
    """True if the process ends in time."""
    deadline = Deadline(seconds)
    while runs(pid) and not deadline.expired:
        time.sleep(0.02)
    return not runs(pid)


def test_a_broker_does_not_outlive_a_killed_owner() -> None:
    """SIGKILL to the process that started the broker ends the broker too."""
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert runs(pid)
        owner.send_signal(signal.SIGKILL)
    assert ends(pid)


def test_stop_ends_the_process_and_removes_its_data() -> None:
    """After `stop` (twice is harmless) neither the process nor its directory is there."""
    broker = resolve("embedded")
    assert broker.pid is not None
    directory = Path(f"/proc/{broker.pid}/cwd").resolve() if sys.platform == "linux" else None
    broker.stop()
    broker.stop()
    assert ends(broker.pid)
    assert directory is None or not directory.exists()


def test_a_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace comes SIGKILL."""
    monkeypatch.setattr("consumer.brokers.local_process.STOP_GRACE_S", 0.3)
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    stubborn = f"{ignore}; print('up', flush=True); time.sleep(300)"
    process = LocalProcess("stubborn")
    process.start([sys.executable, "-c", stubborn])
    deadline = Deadline(60)
    while "up" not in process.tail():
        assert not deadline.expired
        time.sleep(0.02)
    assert process.exit_code() is None
    process.stop()
    assert process.pid is not None
    assert ends(process.pid)


@pytest.mark.kafka
@pytest.mark.usefixtures("kafka")
def test_a_kafka_that_cannot_start_leaves_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error shows the end of the log and names the file, which is kept."""
    options = BrokerOptions(overrides=(("process.roles", "nonsense"),))
    monkeypatch.setattr(maven, "class_path", lambda timeout_s: "/nowhere.jar")
    with pytest.raises(BrokerUnreachable, match="did not start") as error:
        maven.start(options)
    log = Path(re.sub(r"^read the whole log: ", "", error.value.fix))
    try:
        assert "StorageTool" in log.read_text(encoding="utf-8")
        assert "StorageTool" in error.value.problem
    finally:
        shutil.rmtree(log.parent)


def test_an_embedded_broker_that_dies_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A start that fails does not wait for its deadline."""
    program = tmp_path / "noida-db"
    program.write_text("#!/bin/sh\necho cannot bind\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "executable", lambda: program)
    deadline = Deadline(60)
    with pytest.raises(BrokerUnreachable, match="cannot bind") as error:
        embedded.start(BrokerOptions(start_timeout_s=250))
    assert not deadline.expired
    shutil.rmtree(Path(re.sub(r"^read the whole log: ", "", error.value.fix)).parent)
