"""Laws of the stays that moves end."""

from __future__ import annotations

from online_model.decision import DecisionPolicy
from online_model.stays import RETURN_DAYS, count_stays
from tests.online_model.streams import DAY, T0
from tests.online_model.tiny import World, model

NO_DWELL = DecisionPolicy(hysteresis=0.1, min_dwell_us=0, dormant_after_days=30.0, min_present=0.5)


def test_moves_are_counted_by_the_stay_they_end() -> None:
    """First assignments and dormancy are no moves between segments; a week is short, more is long."""
    world = World(policy=NO_DWELL)
    world.engine.offer_model(model())

    def stays(megabytes: float, day: int) -> tuple[int, int]:
        step = world.tell([world.event("c", "data", T0 + day * DAY, megabytes=megabytes)], T0 + day * DAY)
        return (0, 0) if step.changes is None else count_stays(step.changes, step.watermark_us)

    assert stays(1.0, 0) == (0, 0)  # to the first segment
    assert stays(98.0, RETURN_DAYS + 1) == (0, 1)  # to the second, after eight days
    assert stays(0.0, RETURN_DAYS + 9) == (0, 0)
    # Ten days after the large event its window is empty again: back, after more than a week.
    assert stays(1.0, RETURN_DAYS + 12) == (0, 1)
    assert stays(97.0, RETURN_DAYS + 15) == (1, 0)
    assert stays(1.0, RETURN_DAYS + 60) == (0, 1)
