"""What becomes of a customer if nothing happens: which segments, and from when on dormant.

Windows and features are functions of the rows and the watermark, so the future of a silent customer under
a model is computed, not estimated. What it does not know: versions of the model that are still to come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from online_model.active_model import ActiveModel
from online_model.decision import DAY_US, Candidates, DecisionPolicy, decide
from online_model.evaluate import evaluate
from online_model.model import DORMANT_CODE
from online_model.partition import PartitionState
from online_model.rows import NEVER, Rows
from online_model.scaler import apply as scale
from schemas.batch import NO_DAY


@dataclass(frozen=True, slots=True)
class Expected:
    """From the scan boundary `at_us` on the customer is in segment `number`, if nothing happens."""

    at_us: int
    number: int


def last_activity_us(state: PartitionState, row: int) -> int | None:
    """The time that silence is counted from: the last activity, or the begin of the life if that is later.

    None where the specification has no dormancy feature.
    """
    group = state.plan.limits.activity_group
    if group < 0:
        return None
    rows = state.store.rows
    start = int(rows.hot["first_event"][row])
    if rows.hot["activated_on"][row] != NO_DAY:
        start = max(start, int(rows.hot["activated_on"][row]) * DAY_US)
    return max(start, int(rows.last_time[row, group]))


def dormant_from_us(active_us: int, policy: DecisionPolicy) -> int:
    """The first microsecond of a watermark at which a customer last active at `active_us` counts as dormant.

    Silence is compared as a float of days, as `decide` does, so the last bit is settled by trying.
    """

    def is_dormant(watermark_us: int) -> bool:
        return max(watermark_us - active_us, 0) / DAY_US >= policy.dormant_after_days

    at = active_us + math.ceil(policy.dormant_after_days * DAY_US)
    while is_dormant(at - 1):
        at -= 1
    while not is_dormant(at):
        at += 1
    return at


def first_scan_us(at_us: int, interval_us: int) -> int:
    """The first scan boundary not before `at_us`: who is silent is looked at from there on."""
    return -(-at_us // interval_us) * interval_us


def outlook(
    state: PartitionState, row: int, active: ActiveModel, policy: DecisionPolicy, days: float
) -> list[Expected]:
    """The changes of segment of live `row` in the `days` after the watermark, if nothing happens.

    They are found by the pass of their scan boundary: published a little after it where a pass takes several
    commits. The state is left as it is. Ends with dormancy, from which nobody returns in silence.
    """
    interval, model = state.scan.interval_us, active.model
    hot = state.store.rows.hot[row]
    # Of its own: an evaluation moves the rings of the row on to its watermark, and this one goes far ahead.
    copy = Rows._make(array[row : row + 1].copy() for array in state.store.rows)
    which = np.zeros(1, np.int32)
    current = active.codes(np.array([hot["segment"]], np.int16))
    since, watermark = np.array([hot["since"]], np.int64), state.watermark_us
    found: list[Expected] = []
    if watermark == NEVER:
        return found
    boundary = (watermark // interval + 1) * interval
    while boundary <= watermark + days * DAY_US and current[0] != DORMANT_CODE:
        seen = evaluate(copy, which, boundary, state.plan, model.share_priors)
        x = scale(model.scaler, seen.raw)
        made = decide(
            x,
            Candidates(current, since, seen.silent_days),
            model.centroids,
            model.scaler.importance,
            boundary,
            policy,
        )
        if made.moved(current)[0]:
            current, since = made.target.copy(), np.array([boundary], np.int64)
            found.append(Expected(boundary, int(active.numbers_of(current)[0])))
        boundary += interval
    return found
