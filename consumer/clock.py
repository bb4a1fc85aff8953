"""Clocks. Everything below the shell gets `now` as an argument; the shell gets it from here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Source of `now` for commits."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...


@dataclass(frozen=True, slots=True)
class WallClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000


class ScaledClock:
    """A clock that starts at `start_us` and runs `speed` times as fast as the machine's.

    For simulated streams: weeks of event time pass in a minute, and `now` stays comparable with them.
    """

    def __init__(
        self, start_us: int, speed: float, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be positive, not {speed}")
        self._start_us = start_us
        self._speed = speed
        self._monotonic_ns = monotonic_ns
        self._origin_ns = monotonic_ns()

    def now_us(self) -> int:
        """Microseconds since the epoch in the scaled time."""
        return self._start_us + int((self._monotonic_ns() - self._origin_ns) * self._speed / 1000)


@dataclass(slots=True)
class FixedClock:
    """A clock that stands still until someone sets it: for tests and replay."""

    value_us: int

    def now_us(self) -> int:
        """The value last set."""
        return self.value_us


class Deadline:
    """A point in time that several blocking calls share.

    One deadline travels through a sequence of calls, each of which gets what is left.
    """

    __slots__ = ("_at_s", "_monotonic")

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._at_s = monotonic() + seconds

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._at_s - self._monotonic())

    @property
    def expired(self) -> bool:
        """True if nothing is left."""
        return self._monotonic() >= self._at_s
