"""The lives of a customer: what starts one, what ends it, and what it lets in.

`closed`, `forget` and withdrawn consent end a life and leave a tombstone: the row with its status and
the time of the cut. Events up to the cut belong to the old life; a newer one starts the next. Consent that
returns cuts just before its own time, so what happened without it is dropped, also after the return.
"""

from __future__ import annotations

import numpy as np

from online_model.event_view import (
    ACCEPTED,
    DROPPED_CLOSED,
    DROPPED_CONSENT,
    Events,
    Touched,
)
from online_model.rows import (
    BEFORE_MISSING,
    DUPLICATE_HORIZON,
    LIVE,
    NEVER,
    NO_BUCKET,
    NO_SECOND,
    UNBORN,
    WITHDRAWN,
    Rows,
)
from schemas.batch import CONSENT_UNKNOWN, CONSENT_WITHDRAWN, NO_DAY, Attribute, Kind, Topic
from schemas.kernel import inlined

# Plain integers, because numba freezes globals as constants.
_PROFILE, _CLOSED_KIND, _FORGET_KIND = int(Kind.PROFILE), int(Kind.CLOSED), int(Kind.FORGET)
_USAGE, _BILLING = int(Topic.USAGE), int(Topic.BILLING)
_CONSENT = int(Attribute.CONSENT_PROFILING)
_WITHDRAWN_CODE = CONSENT_WITHDRAWN


@inlined
def start_life(rows: Rows, r: int) -> None:
    """Empties everything that belongs to one life of a customer; duplicates and publication stay."""
    rows.hot[r].head_day = NO_BUCKET
    rows.hot[r].head_week = NO_BUCKET
    rows.day32[r] = 0
    rows.day16[r] = 0
    rows.week32[r] = 0
    rows.week16[r] = 0
    rows.sum32[r] = 0
    rows.sum16[r] = 0
    rows.last_time[r] = NEVER
    rows.last_value[r] = 0
    rows.last_aux[r] = 0
    rows.lifetime[r] = 0
    rows.hot[r].first_event = NEVER
    rows.hot[r].activated_on = NO_DAY
    rows.hot[r].age = np.nan
    rows.hot[r].income = np.nan
    rows.codes[r] = 0
    rows.hot[r].services = 0
    rows.before[r] = BEFORE_MISSING
    consent_time = rows.attribute_time[r, _CONSENT]
    rows.attribute_time[r] = NO_SECOND
    rows.attribute_time[r, _CONSENT] = consent_time


@inlined
def leave(rows: Rows, r: int, e: int, status: int, touched: Touched) -> None:
    """Ends the life of row `r`: state dropped, a tombstone with the cut stays."""
    start_life(rows, r)
    rows.hot[r].status = status
    n = touched.counts[1]
    touched.exit_row[n] = r
    touched.exit_status[n] = status
    touched.exit_trigger[n] = e
    touched.counts[1] = n + 1


@inlined
def is_duplicate(rows: Rows, r: int, topic: int, h: np.uint64) -> bool:
    """Whether the topic's last event ids of row `r` hold `h`; remembers it otherwise."""
    for j in range(DUPLICATE_HORIZON):
        if rows.seen[r, topic, j] == h:
            return True
    hot = rows.hot[r]
    if topic == _USAGE:
        at = hot.seen_usage
        hot.seen_usage = (at + 1) % DUPLICATE_HORIZON
    elif topic == _BILLING:
        at = hot.seen_billing
        hot.seen_billing = (at + 1) % DUPLICATE_HORIZON
    else:
        at = hot.seen_customer
        hot.seen_customer = (at + 1) % DUPLICATE_HORIZON
    rows.seen[r, topic, at] = h
    return False


@inlined
def admit(rows: Rows, r: int, e: int, events: Events) -> int:
    """Whether the customer's status lets event `e` in; a newer event starts a new life.

    An event that is dropped must not make a customer: a row without a life is never evaluated.
    """
    status = rows.hot[r].status
    if events.time[e] <= rows.hot[r].cut:
        return DROPPED_CLOSED
    if status == LIVE:
        return ACCEPTED
    if status == WITHDRAWN:
        kind = events.kind[e]
        if kind == _CLOSED_KIND or kind == _FORGET_KIND:
            return ACCEPTED
        if kind != _PROFILE:
            return DROPPED_CONSENT
        p = events.profile_of[e]
        second = events.time[e] // 1_000_000
        if not (events.present[p] >> _CONSENT) & 1 or second < rows.attribute_time[r, _CONSENT]:
            return DROPPED_CONSENT
        if events.consent[p] == _WITHDRAWN_CODE:
            # Said again, later: a return from before it that is still to come is none.
            rows.attribute_time[r, _CONSENT] = second
            return DROPPED_CONSENT
        # What happened before the return is of the time without consent, whenever it is read.
        rows.hot[r].cut = events.time[e] - 1
    elif status != UNBORN:
        # What was said about consent ended with the life that it was said in.
        rows.hot[r].consent = CONSENT_UNKNOWN
        rows.attribute_time[r, _CONSENT] = NO_SECOND
    rows.hot[r].status = LIVE
    return ACCEPTED
