"""Worker processes that start in a moment: forked from one that has everything imported and compiled.

Each is a process of its own with its own clients: nothing that a client or a thread needs exists before the
fork. Importing and loading the kernels anew would take longer than what is tested.

    parent -> {"id": 1, "program": "worker", "argv": [...], "env": {...}, "log": path}     one line each
    nursery -> {"id": 1, "pid": 17} ... {"pid": 17, "code": -9}
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).parents[2]
_PR_SET_PDEATHSIG: Final = 1


class Child:
    """A worker process. `code` is its exit code once it has ended (negative: the signal), else None."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self.code: int | None = None
        self.ended = threading.Event()

    @property
    def text(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended; its code is on the way
                os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, None if it still runs after `timeout_s`."""
        self.ended.wait(timeout_s)
        return self.code


class Nursery:
    """The client's side. Use as a context manager; whatever still runs is killed at the end."""

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        self._born: dict[int, int] = {}
        self._changed = threading.Condition()
        self._number = 0
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | threads | {"PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it says when it is ready
        self._reader = threading.Thread(target=self._listen, daemon=True, name="nursery")
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            with self._changed:
                if "id" in said:
                    self._born[said["id"]] = said["pid"]
                else:
                    self._end(said["pid"], said["code"])
                self._changed.notify_all()

    def _end(self, pid: int, code: int) -> None:
        child = self._children.get(pid)
        if child is not None:
            child.code = code
            child.ended.set()

    def start(self, argv: list[str], env: dict[str, str], log: Path, program: str = "worker") -> Child:
        """Starts `segmenter`, or the example engine (`program`), with `argv`; its output goes to `log`."""
        assert self._process.stdin is not None
        with self._changed:
            self._number += 1
            number = self._number
            order = {"id": number, "program": program, "argv": argv, "env": env, "log": str(log)}
            log.touch()
            print(json.dumps(order), file=self._process.stdin, flush=True)
            # The child is registered before its end can be read: both happen under the same lock.
            while number not in self._born:
                if not self._changed.wait(30):
                    raise RuntimeError("the nursery does not answer")
            child = Child(self._born.pop(number), log)
            self._children[child.pid] = child
        return child

    def close(self) -> None:
        """Kills the workers that still run."""
        for child in self._children.values():
            if child.code is None:
                child.signal(signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._reader.join(5)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# -- the nursery's own side --------------------------------------------------------------------


def _say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _become(order: dict[str, Any], parent: int) -> int:
    """The forked child: the worker until its end."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return 1
    sink = os.open(order["log"], os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(sink, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(order["env"])
    from tests.chaos import engine, worker

    return {"worker": worker.main, "engine": engine.main}[order["program"]](order["argv"])


def serve() -> None:
    """Forks on request until standard input ends."""
    import consumer.service
    from consumer.config import Config
    from consumer.warmup import warm_up
    from tests.chaos import engine, worker

    warm_up(Config())
    assert consumer.service
    assert worker
    assert engine
    gc.collect()
    gc.freeze()
    _say(ready=True)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    pending = b""
    while True:
        if selector.select(0.01):
            read = os.read(0, 1 << 20)
            if not read:
                return
            pending += read
        while b"\n" in pending:
            line, _, pending = pending.partition(b"\n")
            _fork(json.loads(line))
        _reap()


def _fork(order: dict[str, Any]) -> None:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _become(order, parent)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _say(id=order["id"], pid=pid)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _say(pid=pid, code=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve()
