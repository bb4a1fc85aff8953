"""A broker as a local process: its directory, its log, its guardian, its end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from consumer.clock import Deadline
from consumer.errors import BrokerUnreachable

GUARDIAN = Path(__file__).with_name("guardian.py")
STOP_GRACE_S = 5.0
LOG_TAIL_LINES = 12


def free_port() -> int:
    """A TCP port on the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(command: list[str], cpus: str | None) -> list[str]:
    """`command` bound to the processors `cpus`, where `taskset` exists; unchanged for None.

    Raises:
        BrokerUnreachable: pinning was asked for and cannot be done (a benchmark must not go on).
    """
    if cpus is None:
        return command
    taskset = shutil.which("taskset")
    if taskset is None:
        raise BrokerUnreachable(
            f"the broker cannot be pinned to processors {cpus}: `taskset` is missing",
            "install util-linux (taskset), or run without pinning",
        )
    return [taskset, "--cpu-list", cpus, *command]


class LocalProcess:
    """One broker process with a directory of its own under the system's temporary directory.

    `stop` removes the directory; `abandon` stops the process and keeps it, for its log.
    """

    def __init__(self, name: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"segmenter-{name}-"))
        self.log = self.directory / "broker.log"
        self.pid: int | None = None
        self._guardian: subprocess.Popen[str] | None = None

    def start(self, command: list[str]) -> None:
        """Start `command` with its output in `log`; it ends at the latest when this process does."""
        self._guardian = subprocess.Popen(
            [sys.executable, "-S", "-E", str(GUARDIAN), str(self.log), str(STOP_GRACE_S), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            start_new_session=True,  # Ctrl-C on the terminal is for us, not for the broker
        )
        assert self._guardian.stdout is not None
        line = self._guardian.stdout.readline()
        if not line:
            raise BrokerUnreachable(f"{command[0]} could not be started", "run it by hand to see why")
        self.pid = int(line)

    def exit_code(self) -> int | None:
        """Exit code of the process, None while it runs."""
        return None if self._guardian is None else self._guardian.poll()

    def tail(self) -> str:
        """The last lines of the log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def abandon(self) -> None:
        """End the process and keep its directory."""
        guardian, self._guardian = self._guardian, None
        if guardian is None:
            return
        assert guardian.stdin is not None
        assert guardian.stdout is not None
        guardian.stdin.close()
        deadline = Deadline(STOP_GRACE_S + 5)
        try:
            guardian.wait(deadline.remaining_s())
        finally:
            guardian.stdout.close()

    def stop(self) -> None:
        """End the process and remove its directory."""
        self.abandon()
        shutil.rmtree(self.directory, ignore_errors=True)
