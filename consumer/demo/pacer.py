"""How far the simulated clock may go: fast until the model can be made, then steadily to the end."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from consumer.demo.scenario import Timeline

#: Event time the simulator may be ahead of what it has sent in the backfill.
_LEAD_US: Final = 3 * 3_600_000_000
#: The steady part takes at least this long, whatever the backfill left of the time.
_MIN_LIVE_S: Final = 3.0
#: A calibration that has not begun after so long will not begin before more event time has passed.
_PATIENCE_S: Final = 5.0


class Phase(StrEnum):
    """What is happening."""

    BACKFILL = "backfill"
    CALIBRATING = "calibrating"
    LIVE = "live"


class Pacer:
    """Says up to which event time to send. Seconds are of any monotonic clock.

    `end_s`: when the run should be over. `max_backlog`: records sent and not processed that stop the
    simulator, so that the clock is never far ahead of the service.
    """

    def __init__(self, timeline: Timeline, end_s: float, max_backlog: int) -> None:
        self.phase = Phase.BACKFILL
        self.until_us = timeline.start_us
        self._timeline = timeline
        self._end_s = end_s
        self._max_backlog = max_backlog
        self._held_since_s: float | None = None
        self._last_s = 0.0
        self._speed = 0.0

    def advance(self, now_s: float, position_us: int, backlog: int, model: str) -> int:
        """Event time to send up to, from where the simulator is and what the service has not processed.

        `model`: "waiting", "calibrating" or "ready".
        """
        if self.phase is Phase.BACKFILL:
            self._backfill(position_us, backlog)
        if self.phase is Phase.CALIBRATING:
            self._wait(now_s, model)
        elif self.phase is Phase.LIVE:
            self._go_on(now_s, position_us, backlog)
        return self.until_us

    def _backfill(self, position_us: int, backlog: int) -> None:
        end_us = self._timeline.backfill_end_us
        if position_us >= end_us and backlog == 0:
            self.phase = Phase.CALIBRATING
        elif backlog <= self._max_backlog:
            self.until_us = max(self.until_us, min(position_us + _LEAD_US, end_us))

    def _wait(self, now_s: float, model: str) -> None:
        if self._held_since_s is None or model == "calibrating":
            self._held_since_s = now_s
        if model == "ready" or now_s - self._held_since_s > _PATIENCE_S:
            left_s = max(self._end_s - now_s, _MIN_LIVE_S)
            self._speed = (self._timeline.end_us - self.until_us) / left_s
            self._last_s = now_s
            self.phase = Phase.LIVE

    def _go_on(self, now_s: float, position_us: int, backlog: int) -> None:
        # On a busy machine the run takes longer; skipping ahead would end in one great backlog.
        if backlog <= self._max_backlog and self.until_us - position_us <= _LEAD_US:
            step_us = int((now_s - self._last_s) * self._speed)
            self.until_us = min(self.until_us + step_us, self._timeline.end_us)
        self._last_s = now_s
