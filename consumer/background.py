"""One call at a time on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs a call while its owner does something else; the owner asks for the outcome.

    What the call works with belongs to its thread until `result` or `settle` has returned: nothing is
    locked, ownership is handed over.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._call: Future[T] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the call started last is still running."""
        return self._call is not None and not self._call.done()

    def start(self, call: Callable[[], T]) -> None:
        """Begins `call`. Raises RuntimeError if the outcome of the one before has not been taken."""
        if self._call is not None:
            raise RuntimeError("the outcome of the call before has not been taken")
        self._call = self._pool.submit(call)

    def settle(self) -> None:
        """Waits for the call under way, if any, and leaves its outcome to `result`. Never raises."""
        if self._call is not None:
            wait([self._call])

    def result(self) -> T | None:
        """Waits for the call and takes its outcome: returns or raises what it did; None without a call."""
        call, self._call = self._call, None
        return None if call is None else call.result()

    def close(self) -> None:
        """Waits for the call under way; its outcome is lost. May be called twice."""
        self._pool.shutdown()
