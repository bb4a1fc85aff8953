"""A long computation in a process of its own: the loop never waits for it.

The child is told its task, says how far it is, and answers once. It ends with its parent.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Generic, TypeVar

from online_model.panel import Progress

Task = TypeVar("Task")

#: Makes an answer of a task; raises ValueError with what is wrong with the task.
Work = Callable[[Task, Progress], bytes]

#: After so long a process that was asked to end is killed.
_STOP_TIMEOUT_S: Final = 5.0


class NotNow(ValueError):
    """Nothing is wrong with the task, but it cannot be done yet; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a task: `value`, or `problem` in words; `is_passing` if it is worth another try."""

    value: bytes = b""
    problem: str = ""
    is_passing: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """Step number `step` of `of` is being done: `text`."""

    step: int
    of: int
    text: str


class Child(Generic[Task]):
    """A process that does `work` on `task`; both must be importable there.

    `name` shows in lists of processes. `reached`: the newest progress, None before the first.
    """

    def __init__(self, work: Work[Task], task: Task, name: str) -> None:
        self._connection, theirs = Pipe()
        command = [sys.executable, "-P", "-m", "consumer.child_process", name, str(theirs.fileno())]
        path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
        self._process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # for `child_process.step_back`
        )
        theirs.close()
        self.reached: Reached | None = None
        # The pipe holds 64 KiB and the child imports for seconds: sending must not stop the loop.
        self._sender = threading.Thread(target=_send, args=(self._connection, (work, task)), daemon=True)
        self._sender.start()

    def poll(self) -> Answer | None:
        """The answer once there is one; does not wait."""
        has_ended = self._process.poll() is not None
        while self._connection.poll():  # also what it sent just before its end
            try:
                said: Answer | Reached = self._connection.recv()
            except (EOFError, OSError):
                has_ended = True
                break
            if isinstance(said, Answer):
                return said
            self.reached = said
        return Answer(problem="its process ended without an answer") if has_ended else None

    def close(self) -> None:
        """Ends the process, whatever it does. Does not wait: giving gigabytes back takes a while."""
        self._process.terminate()
        threading.Thread(target=self._bury, daemon=True).start()

    def _bury(self) -> None:
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._sender.join()
        self._connection.close()


def _send(connection: Connection, task: object) -> None:
    with contextlib.suppress(OSError):  # the child is gone: `Child.poll` notices
        connection.send(task)


def serve(connection: Connection) -> None:
    """The child."""
    with contextlib.suppress(EOFError, OSError):  # the parent is gone: nobody waits
        work, task = connection.recv()
        threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()

        def report(step: int, of: int, text: str) -> None:
            connection.send(Reached(step, of, text))

        try:
            connection.send(Answer(work(task, report)))
        except ValueError as error:
            connection.send(Answer(problem=str(error), is_passing=isinstance(error, NotNow)))


def _end_with_parent(connection: Connection) -> None:
    """Waits for the end of the pipe: nothing more is sent to a child."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)
