"""A long computation in a process of its own: the loop never waits for it.

The child is told its task, says how far it is, and answers once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final, Generic, TypeVar

from online_model.panel import Progress

Task = TypeVar("Task")

#: Makes an answer of a task; raises ValueError with what is wrong with the task.
Work = Callable[[Task, Progress], bytes]

_STOP_TIMEOUT_S: Final = 5.0
#: Priority of the child: a tenth of the processor time that others on its core get while they want it.
_NICE: Final = 10


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

    `reached`: the newest progress, None before the first.
    """

    def __init__(self, work: Work[Task], task: Task, name: str) -> None:
        # spawn: a forked child would inherit the threads' locks of the Kafka clients.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work), name=name, daemon=True)
        self._process.start()
        theirs.close()
        self.reached: Reached | None = None
        # The pipe holds 64 KiB and the child imports for seconds: sending must not stop the loop.
        self._sender = threading.Thread(target=_send, args=(self._connection, task), daemon=True)
        self._sender.start()

    def poll(self) -> Answer | None:
        """The answer once there is one; does not wait."""
        has_ended = not self._process.is_alive()
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
        """Ends the process, whatever it does."""
        self._process.terminate()
        self._process.join(_STOP_TIMEOUT_S)
        self._sender.join(_STOP_TIMEOUT_S)
        self._connection.close()


def _send(connection: Connection, task: object) -> None:
    with contextlib.suppress(OSError):  # the child is gone: `Child.poll` notices
        connection.send(task)


def _serve(connection: Connection, work: Work[Task]) -> None:
    """The child. Whoever shares its cores comes first: it may take longer, they may not."""
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the parent decides
    with contextlib.suppress(EOFError, OSError):  # the parent is gone: nobody waits
        task = connection.recv()

        def report(step: int, of: int, text: str) -> None:
            connection.send(Reached(step, of, text))

        try:
            connection.send(Answer(work(task, report)))
        except ValueError as error:
            connection.send(Answer(problem=str(error), is_passing=isinstance(error, NotNow)))
