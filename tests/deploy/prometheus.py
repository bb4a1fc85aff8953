"""A real Prometheus that scrapes workers once a second, with rules whose times are divided."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import yaml

from deploy.monitoring.rules import JOB, render
from deploy.monitoring.thresholds import Thresholds

BINARY: Final = shutil.which("prometheus")
#: Half an hour becomes half a minute.
HASTE: Final = 60


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Prometheus:
    """Use as a context manager; `watch` says whom to scrape."""

    def __init__(
        self, folder: Path, haste: int = HASTE, thresholds: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._targets = folder / "targets.json"
        self._port = free_port()
        self.watch([])
        (folder / "rules.yaml").write_text(
            render(_changed(Thresholds.load(haste=haste), thresholds or {}), 1), encoding="utf-8"
        )
        content = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {
                    "job_name": JOB,
                    "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}],
                }
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, ports: Sequence[int]) -> None:
        """Scrapes workers of this machine from now on."""
        content = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(content), encoding="utf-8")
        fresh.rename(self._targets)

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The instant vector of `expr`. Raises RuntimeError with what Prometheus says against it."""
        where = f"http://127.0.0.1:{self._port}/api/v1/query?" + urllib.parse.urlencode({"query": expr})
        try:
            with urllib.request.urlopen(where, timeout=20) as answer:
                body = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is still starting
                raise
            raise RuntimeError(f"{expr}: {error.read().decode()}") from None
        found: list[dict[str, Any]] = body["data"]["result"]
        return found

    def value(self, expr: str) -> float | None:
        """The only value of `expr`, or None."""
        found = self.query(expr)
        return float(found[0]["value"][1]) if found else None

    def alerts(self, state: str = "firing") -> set[tuple[str, str]]:
        """Names and severities of the alerts that are up."""
        found = self.query(f'ALERTS{{alertstate="{state}"}}')
        return {(row["metric"]["alertname"], row["metric"]["severity"]) for row in found}

    def wait_for(self, expr: str, timeout_s: float, wanted: float | None = None) -> list[dict[str, Any]]:
        """Until `expr` has a value (`wanted`, if told). Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        while True:
            found = self.query(expr)
            if found and (wanted is None or float(found[0]["value"][1]) == wanted):
                return found
            if time.monotonic() > end:
                raise TimeoutError(f"{expr} is {found} after {timeout_s:g} s")
            time.sleep(0.25)

    def __enter__(self) -> Self:
        assert BINARY is not None
        with (self._folder / "log").open("wb") as sink:
            self._process = subprocess.Popen(
                [
                    BINARY,
                    "--config.file=prometheus.yaml",
                    "--storage.tsdb.path=data",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                cwd=self._folder,
                stdout=subprocess.DEVNULL,
                stderr=sink,
            )
        end = time.monotonic() + 60
        while True:
            try:
                self.query("vector(1)")
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self._folder / "log").read_text(encoding="utf-8")[-2000:]) from None
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


def _changed(t: Thresholds, changes: Mapping[str, Mapping[str, float]]) -> Thresholds:
    lines = {name: t[name].model_copy(update=dict(update)) for name, update in changes.items()}
    return Thresholds(t.lines | lines, t.haste)
