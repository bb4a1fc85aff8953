"""Where the commands of a page run: a directory, a broker, and addresses and sizes that fit a test.

Blocks are run as they are printed, but for `SUBSTITUTIONS` and the settings of `SETTINGS`, which are all that
is different from what a reader does. The directory has the project's folders, as for who has checked it out.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from consumer.brokers import Broker
from consumer.brokers.local_process import free_port
from tests.guides.markdown import ROOT, Block
from tests.guides.outputs import missing_json, missing_lines

#: What is printed -> what is run, as regular expression and template.
SUBSTITUTIONS: Final = {
    r"\bkafka:9092\b": "{bootstrap}",
    # Names of its own on a broker that others use as well.
    r'(?<![\w.-])(?=(?:telecom\.\w+|segments\.\w+)\.v1["\s])': "{prefix}",
    r"\btopics\.prefix=v2\.": "topics.prefix=v2.{prefix}",
    r"\bsegmenter-v2\b": "{app}-v2",
    r"\bsnapshots/segmenter\b": "snapshots/{app}",
    r"(campaign_engine\.py)": r"\1 --prefix {prefix}",
    # Ports that are free.
    r"\blocalhost:9464\b": "127.0.0.1:{port}",
    r"\blocalhost:9465\b": "127.0.0.1:{second_port}",
    r"\bhttp\.port=9465\b": "http.port={second_port}",
    # Sizes that take seconds.
    r"--partitions 12\b": "--partitions 3",
    r"--partitions 24\b": "--partitions 4",
    r"--customers 10000\b": "--customers 600 --activity 0.25",
}

#: Settings of the service and of the commands, in the environment.
SETTINGS: Final = {
    "SEGMENTER_TOPICS__PREFIX": "{prefix}",
    "SEGMENTER_APP__NAME": "{app}",
    "SEGMENTER_APP__INSTANCE": "a",
    "SEGMENTER_KAFKA__BOOTSTRAP": "{bootstrap}",
    "SEGMENTER_HTTP__HOST": "127.0.0.1",
    "SEGMENTER_HTTP__PORT": "{port}",
    # For some hundreds of customers, and snapshots that need not be waited for.
    "SEGMENTER_MODEL__MIN_CUSTOMERS": "300",
    "SEGMENTER_MODEL__K": "7",
    "SEGMENTER_SNAPSHOTS__INTERVAL_S": "1",
    # Segments are minutes old here; a customer would have to stay for a day.
    "SEGMENTER_DECISION__MIN_DWELL_DAYS": "0",
}

#: Programs that run until they are told to end: started beside, ended by SIGTERM.
_STAYS: Final = re.compile(r"^(segmenter (?:run|coordinate)|python deploy/examples/campaign_engine\.py)\b")
_STARTED: Final = {"segmenter run": "partitions live", "segmenter coordinate": '"serving"'}
_FOLDERS: Final = ("deploy", "online_model", "schemas", "consumer", "tests")


class Stage:
    """Runs the blocks of one page after the other. Use as a context manager: what was started is ended."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        name = f"guide-{uuid.uuid4().hex[:8]}"
        self._names = {
            "bootstrap": broker.bootstrap,
            "prefix": f"{name}.",
            "app": name,
            "port": str(free_port()),
            "second_port": str(free_port()),
        }
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        #: What python blocks share, as the cells of a notebook do.
        self._cells: dict[str, Any] = {}
        #: What the last block has said.
        self.said = ""
        self.begin_page()
        for part in _FOLDERS:
            (folder / part).symlink_to(ROOT / part)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.kill()
            process.wait(20)

    def begin_page(self) -> None:
        """Python blocks know nothing of those of another page."""
        self._cells = {"__name__": "__main__"}

    # -- blocks ----------------------------------------------------------------------------------

    def run(self, block: Block) -> None:
        """Runs `block`, or compares it with what the one before has said. Raises AssertionError."""
        text = self._here(block.text)
        match block.language:
            case "sh":
                self.said = ""
                for commands in _pieces(text):
                    self._shell(block, commands)
            case "python":
                self._python(block, text)
            case "yaml":
                self._file(block, text)
            case "text":
                lacking = missing_lines(block.text, self._there(self.said))
                assert not lacking, f"{block.place}: not said: {lacking}; said: {self.said[-4000:]}"
            case "json":
                lacking = missing_json(block.text, self._there(self.said))
                assert not lacking, f"{block.place}: {lacking}; said: {self.said[-4000:]}"
            case other:
                raise AssertionError(
                    f"{block.place}: a block of {other or 'nothing'} is neither run nor compared"
                )

    def end(self) -> None:
        """Ends what runs, which must end well."""
        for name in list(self._running):
            self._end(name)

    def _shell(self, block: Block, commands: str) -> None:
        stays = _STAYS.match(commands)
        if stays is not None:
            self._start(block, stays[1], commands)
            return
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        self.said += done.stdout + done.stderr
        assert done.returncode == 0, f"{block.place}: {commands} ended with {done.returncode}: {self.said}"

    def _python(self, block: Block, text: str) -> None:
        heard = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(heard):
            exec(compile("\n" * (block.line - 1) + text, block.page, "exec"), self._cells)
        self.said = heard.getvalue()

    def _file(self, block: Block, text: str) -> None:
        """A YAML block is a file of settings; its first line names it. The service must take it."""
        named = re.match(r"# ([\w-]+\.yaml)\b", text)
        assert named is not None, f"{block.place}: its first line does not say the name of the file"
        (self.folder / named[1]).write_text(text)
        self.said = ""
        self._shell(block, f"segmenter config show --config {named[1]}")

    # -- programs that stay ----------------------------------------------------------------------

    def _start(self, block: Block, name: str, command: str) -> None:
        if name in self._running:
            self._end(name)
        log = self._log(name)
        with log.open("wb") as sink:
            line = ["bash", "-euc", f"exec {command}"]
            process = subprocess.Popen(
                line, cwd=self.folder, env=self._environment(), stdout=sink, stderr=subprocess.STDOUT
            )
        self._running[name] = process
        end = time.monotonic() + 120
        while _STARTED.get(name, "") not in log.read_text(errors="replace"):
            assert process.poll() is None, f"{block.place}: {log.read_text(errors='replace')[-3000:]}"
            assert time.monotonic() < end, f"{block.place}: {log.read_text(errors='replace')[-3000:]}"
            time.sleep(0.05)

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(60)
        finally:
            process.kill()
        self.said = self._log(name).read_text(errors="replace")
        assert code == 0, f"{name} ended with {code}: {self.said[-3000:]}"
        assert "Traceback" not in self.said, self.said[-3000:]

    def _log(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-').replace('/', '-')}.log"

    def wait_until_ready(self, timeout_s: float = 120.0) -> None:
        """Until the service has a model and its partitions."""
        end = time.monotonic() + timeout_s
        while not _answers(f"http://127.0.0.1:{self._names['port']}/readyz"):
            assert time.monotonic() < end, self._log("segmenter run").read_text(errors="replace")[-3000:]
            time.sleep(0.1)

    # -- texts -----------------------------------------------------------------------------------

    def _here(self, text: str) -> str:
        for pattern, template in SUBSTITUTIONS.items():
            made = template.format(**self._names)
            text = re.sub(pattern, made, text)
        return text

    def _there(self, said: str) -> str:
        """`said` with what a reader sees in place of what is different here."""
        return said.replace(self._names["prefix"], "").replace(self._names["bootstrap"], "kafka:9092")

    def _environment(self) -> Mapping[str, str]:
        settings = {name: value.format(**self._names) for name, value in SETTINGS.items()}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, **settings, "PATH": path, "PYTHONPATH": str(ROOT)}


def _answers(url: str) -> bool:
    """Whether `url` is there and well."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


def _pieces(text: str) -> Iterator[str]:
    """Commands one after the other, those that stay apart from the others; a command may go over lines."""
    together = ""
    for line in re.split(r"(?<!\\)\n", text):
        if _STAYS.match(line):
            if together.strip():
                yield together
            together = ""
            yield line.partition("#")[0].rstrip()
        else:
            together += line + "\n"
    if together.strip():
        yield together
