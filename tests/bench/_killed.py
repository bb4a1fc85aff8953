"""A `segmenter run` that is killed and started again, and what its log and metrics say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from consumer.config import Config

_POLL_S = 0.02


@dataclass(slots=True)
class Start:
    """Seconds of one start, from the kill on; `load_s` and `replay_s` are summed over the partitions.

    `user_s`, `system_s`: processor time of the process until it was live. Much of the system's says that the
    memory was slow to come, little of both that it waited.
    """

    started_s: float
    assigned_s: float
    live_s: float
    restored_s: float
    audit_s: float
    load_s: float
    replay_s: float
    user_s: float
    system_s: float
    sources: dict[str, int] = field(default_factory=dict)


class Worker:
    """The process; its log is read as it grows."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._settings = folder / "settings.yaml"
        self._settings.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        self._folder = folder
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"

    def start(self) -> None:
        """Starts a process."""
        self._number += 1
        self._log = self._folder / f"log-{self._number}"
        command = [sys.executable, "-m", "consumer.cli", "run", "--config", str(self._settings)]
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=sink)

    def kill(self) -> datetime:
        """SIGKILL; the instant of it."""
        assert self._process is not None
        at = datetime.now().astimezone()
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
        return at

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Log lines so far with that event."""
        found = []
        for line in self._log.read_text(errors="replace").splitlines():
            if f'"{event}"' in line:
                body = json.loads(line)
                if body.get("event") == event:
                    found.append(body)
        return found

    def wait_for(self, event: str, timeout_s: float = 600.0) -> dict[str, Any]:
        """The first log line with that event."""
        end = time.monotonic() + timeout_s
        while not (found := self.lines(event)):
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no {event!r}: {self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(_POLL_S)
        return found[0]

    def revive(self) -> Start:
        """Kills the process, starts another one and waits until it is live."""
        killed = self.kill()
        self.start()
        live = _instant(self.wait_for("partitions live"))
        user_s, system_s = self._processor()
        serving, assigned = (_instant(self.wait_for(event)) for event in ("serving", "partitions assigned"))
        restored = self.lines("partition restored")
        sources: dict[str, int] = {}
        for line in restored:
            sources[line["source"]] = sources.get(line["source"], 0) + 1
        phases = (
            sum(line.get(f"{phase}_s", 0.0) for line in restored) for phase in ("audit", "load", "replay")
        )
        audit_s, load_s, replay_s = phases
        return Start(
            started_s=(serving - killed).total_seconds(),
            assigned_s=(assigned - killed).total_seconds(),
            live_s=(live - killed).total_seconds(),
            restored_s=(live - assigned).total_seconds(),
            audit_s=audit_s,
            load_s=load_s,
            replay_s=replay_s,
            user_s=user_s,
            system_s=system_s,
            sources=sources,
        )

    def _processor(self) -> tuple[float, float]:
        """Seconds in the program and in the kernel so far."""
        assert self._process is not None
        stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8")
        ticks = stat.rsplit(")", 1)[1].split()
        per_s = os.sysconf("SC_CLK_TCK")
        return int(ticks[11]) / per_s, int(ticks[12]) / per_s

    def metrics(self) -> dict[str, float]:
        """Values by name, labels in braces."""
        port = self.wait_for("serving")["http_port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        return {
            sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


def _instant(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])
