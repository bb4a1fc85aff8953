"""An object in a child interpreter that is bound to one core, with everything it starts.

The binding is inherited, so that it holds before the child imports anything: the threads of
librdkafka and of numeric libraries are on that core too.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self


class RemoteError(Exception):
    """The child failed; the text is its traceback."""


def say(text: str) -> None:
    """Progress, on stderr: stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def two_cores() -> tuple[int, int]:
    """The core for what is measured and the core for everything else (one and the same if there is one)."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        target = make(*arguments)
        pipe.send((None, None))
        while (request := pipe.recv()) is not None:
            method, values = request
            pipe.send((getattr(target, method)(*values), None))
        target.close()
        pipe.send((None, None))
    except EOFError:  # the parent is gone
        return
    except BaseException:
        pipe.send((None, traceback.format_exc()))
        raise


class Remote:
    """`make(*arguments)` in a child bound to `core`; its methods are called from here.

    `make` must be importable by name and its object must have a `close` method.
    """

    def __init__(self, core: int, make: Callable[..., Any], *arguments: Any) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=False)
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            self._process.start()
        finally:
            os.sched_setaffinity(0, before)
        theirs.close()
        try:
            self.result()
        except BaseException:
            self.kill()
            raise

    def send(self, method: str, *values: Any) -> None:
        """Starts a call; `result` waits for it."""
        self._pipe.send((method, values))

    def result(self, timeout_s: float = 3600.0) -> Any:
        """Result of the call under way. Raises `RemoteError` if it failed or takes too long."""
        try:
            if not self._pipe.poll(timeout_s):
                raise RemoteError(f"no answer within {timeout_s:.0f} s")
            value, error = self._pipe.recv()
        except EOFError:
            raise RemoteError(f"the child ended with code {self._process.exitcode}") from None
        if error is not None:
            raise RemoteError(error)
        return value

    def call(self, method: str, *values: Any) -> Any:
        """Calls and waits."""
        self.send(method, *values)
        return self.result()

    @property
    def is_busy(self) -> bool:
        """Whether the call under way has not answered yet."""
        return not self._pipe.poll(0)

    def kill(self) -> None:
        """Ends the child at once."""
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._pipe.send(None)
            self.result(60.0)
            self._process.join(60.0)
        if self._process.is_alive():
            self.kill()
