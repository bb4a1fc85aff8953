"""How far the simulated clock may go."""

from __future__ import annotations

from consumer.demo.pacer import Pacer, Phase
from consumer.demo.scenario import DAY_US, Timeline

TIMELINE = Timeline(0, 30 * DAY_US, 42 * DAY_US)


def calibrated(end_s: float = 60.0) -> Pacer:
    """A pacer whose backfill and calibration are over at 20 s."""
    pacer = Pacer(TIMELINE, end_s, max_backlog=100)
    for _ in range(1000):
        pacer.advance(1.0, pacer.until_us, 0, "waiting")
    pacer.advance(20.0, pacer.until_us, 0, "ready")
    return pacer


def test_the_backfill_ends_where_it_should() -> None:
    """However fast the service is, nothing after the backfill is sent before there is a model."""
    pacer = Pacer(TIMELINE, 60.0, max_backlog=100)
    for _ in range(1000):
        until = pacer.advance(1.0, pacer.until_us, 0, "calibrating")
    assert until == TIMELINE.backfill_end_us
    assert pacer.phase is Phase.CALIBRATING


def test_a_backlog_holds_the_simulator() -> None:
    """The clock stays near what the service has processed, in both phases."""
    pacer = Pacer(TIMELINE, 60.0, max_backlog=100)
    first = pacer.advance(0.0, 0, 0, "waiting")
    assert pacer.advance(0.1, first, 101, "waiting") == first
    live = calibrated()
    held = live.advance(25.0, live.until_us, 101, "ready")
    assert held == TIMELINE.backfill_end_us


def test_a_slow_simulator_is_not_left_behind() -> None:
    """Event time does not run ahead of a simulator that cannot keep up."""
    pacer = calibrated()
    ahead = pacer.advance(30.0, pacer.until_us, 0, "ready")
    assert pacer.advance(40.0, TIMELINE.backfill_end_us, 0, "ready") == ahead


def test_the_live_days_fill_the_time_that_is_left() -> None:
    """Halfway between the model and the end, half of the days have passed; at the end, all."""
    pacer = calibrated()
    assert pacer.advance(40.0, pacer.until_us, 0, "ready") == 36 * DAY_US
    assert pacer.advance(60.0, pacer.until_us, 0, "ready") == TIMELINE.end_us
    assert pacer.advance(99.0, pacer.until_us, 0, "ready") == TIMELINE.end_us


def test_a_calibration_that_never_begins_does_not_stop_the_run() -> None:
    """With too little history the days go on after a while, and the verdict says what is missing."""
    pacer = Pacer(TIMELINE, 60.0, max_backlog=100)
    for second in range(60):
        pacer.advance(float(second), pacer.until_us, 0, "waiting")
        for _ in range(200):
            pacer.advance(float(second), pacer.until_us, 0, "waiting")
    assert pacer.until_us > TIMELINE.backfill_end_us
