"""How long customers had stayed in the segment that they leave.

A flap is a move back to the segment left within `RETURN_DAYS`. The rows do not hold that segment, so
flaps are not counted; but every flap ends a short stay, so the share of short stays among all moves is
a bound on the flap ratio from above, at no memory. It is loose where customers move on and not back.
"""

from __future__ import annotations

from typing import Final

from online_model.change_batch import Change, ChangeBatch
from online_model.plan import DAY_US

#: Event days within which a return would be a flap.
RETURN_DAYS: Final = 7


def count_stays(changes: ChangeBatch, watermark_us: int) -> tuple[int, int]:
    """Moves between two segments with a centroid that end a short stay, and those that end a long one."""
    moves = (changes.change == Change.MOVED) & (changes.old > 0) & (changes.new > 0)
    short = moves & (watermark_us - changes.old_since_us <= RETURN_DAYS * DAY_US)
    return int(short.sum()), int(moves.sum() - short.sum())
