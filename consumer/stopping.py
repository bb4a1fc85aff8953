"""SIGTERM and SIGINT, as a request to finish."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


class StopRequest:
    """Listens from its construction on, in the main thread; elsewhere nothing ever comes."""

    def __init__(self) -> None:
        self._has_come = False
        self._listeners: list[Callable[[], None]] = []
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)

    @property
    def has_come(self) -> bool:
        """Whether there was one."""
        return self._has_come

    def tell(self, stop: Callable[[], None]) -> None:
        """Calls `stop` when a request comes, within the signal handler: it must only set a flag."""
        self._listeners.append(stop)

    def _on_signal(self, _: int, __: FrameType | None) -> None:
        self._has_come = True
        for stop in self._listeners:
            stop()
