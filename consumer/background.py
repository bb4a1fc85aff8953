"""One call at a time on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, Generic, TypeVar

from consumer.errors import StateUnknown

T = TypeVar("T")

#: A call that lasts longer is not waited for. Commits have a limit of their own, `transaction.CALL_LIMIT_S`:
#: librdkafka 2.15 holds `send_offsets_to_transaction` beyond its timeout after a lost connection.
LIMIT_S: Final = 25.0


class Background(Generic[T]):
    """Runs a call while its owner does something else; the owner asks for the outcome.

    What the call works with belongs to its thread until `result` or `settle` has returned: nothing is
    locked, ownership is handed over. A call that has not ended after `limit_s` is given up: its thread is
    left behind with all that it works with, so the process must end.
    """

    def __init__(self, name: str, limit_s: float = LIMIT_S) -> None:
        self._name = name
        self._limit_s = limit_s
        self._hangs = False
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
            self._hangs = bool(wait([self._call], 0.0 if self._hangs else self._limit_s).not_done)

    def result(self) -> T | None:
        """Waits for the call and takes its outcome: returns or raises what it did; None without a call.

        Raises `StateUnknown` if it hangs.
        """
        self.settle()
        if self._hangs:
            raise StateUnknown(
                f"the {self._name} under way has not ended after {self._limit_s:g} s: the Kafka client hangs",
                "restart; the committed audit log decides",
            )
        call, self._call = self._call, None
        return None if call is None else call.result()

    def close(self) -> None:
        """Waits for the call under way, unless it hangs; its outcome is lost. May be called twice."""
        self.settle()
        self._pool.shutdown(wait=not self._hangs)
