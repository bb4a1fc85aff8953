"""Laws of clocks and deadlines."""

from __future__ import annotations

import pytest

from consumer.clock import Deadline, FixedClock, ScaledClock, WallClock
from tests.consumer.fake_producer import FakeTime


def test_a_scaled_clock_runs_at_its_speed_from_its_start() -> None:
    """An hour in a second is speed 3600."""
    now_ns = 5_000_000_000
    clock = ScaledClock(1_000_000, 3600.0, lambda: now_ns)
    assert clock.now_us() == 1_000_000
    now_ns += 1_000_000_000
    assert clock.now_us() == 1_000_000 + 3600 * 1_000_000


def test_a_clock_cannot_stand_or_run_backwards() -> None:
    """Speed is positive."""
    with pytest.raises(ValueError, match="positive"):
        ScaledClock(0, 0.0)


def test_a_fixed_clock_says_what_it_was_told() -> None:
    """Replay decides what time it is."""
    clock = FixedClock(7)
    clock.value_us = 9
    assert clock.now_us() == 9
    assert WallClock().now_us() > 1_700_000_000_000_000


def test_a_deadline_is_shared_and_never_negative() -> None:
    """What one call used is missing to the next."""
    time = FakeTime()
    deadline = Deadline(2.0, time)
    time.now_s += 1.5
    assert deadline.remaining_s() == pytest.approx(0.5)
    assert not deadline.expired
    time.now_s += 1.0
    assert deadline.remaining_s() == 0.0
    assert deadline.expired
