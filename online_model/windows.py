"""Applying events to the rows of a partition: ring-buffer windows, lasts, profile, duplicates.

`update` runs over a batch in arrival order. Buckets are event-time days and weeks, accumulators are
integers: inside the window neither order nor grouping of the events changes a bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from online_model.event_view import (
    ACCEPTED,
    BY_CORRECTION,
    BY_EVENT,
    DUPLICATE,
    FUTURE,
    LATE,
    MISROUTED,
    Clock,
    Events,
    Touched,
    touched_buffers,
)
from online_model.id_index import hash_bytes
from online_model.lives import admit, is_duplicate, leave
from online_model.plan import NEGATIVE, NIGHT, WEEKEND, Channels, FeaturePlan, Limits, Measure, Store, Taps
from online_model.rings import advance
from online_model.rows import CLOSED, FORGOTTEN, NEVER, UNBORN, WITHDRAWN, Rows
from schemas.batch import (
    CONSENT_WITHDRAWN,
    NO_DAY,
    Attribute,
    Flag,
    Int32Array,
    Int64Array,
    Kind,
    UInt8Array,
)
from schemas.kernel import AHEAD, inlined, kernel, prefetch

# Plain integers, because numba freezes globals as constants.
_HOUR_US, _DAY_US = 3_600_000_000, 86_400_000_000
_ONE, _AUX = int(Measure.ONE), int(Measure.AUX)
_DAY32, _DAY16, _WEEK32 = int(Store.DAY32), int(Store.DAY16), int(Store.WEEK32)
_PROFILE, _CLOSED_KIND, _FORGET_KIND = int(Kind.PROFILE), int(Kind.CLOSED), int(Kind.FORGET)
_INVOICE = int(Kind.INVOICE)
_CORRECTION = int(Flag.CORRECTION)
_ACTIVATED, _AGE, _INCOME, _GENDER = (
    int(Attribute.ACTIVATED_ON),
    int(Attribute.AGE),
    int(Attribute.INCOME),
    int(Attribute.GENDER),
)
_SERVICES, _CONSENT = int(Attribute.SERVICES), int(Attribute.CONSENT_PROFILING)
_WITHDRAWN_CODE = CONSENT_WITHDRAWN
_MAX16, _MAX32 = np.iinfo(np.int16).max, np.iinfo(np.int32).max

#: How far before the watermark a profile without `activated_on` may begin a life.
PROFILE_REACH_US = 400 * _DAY_US
# A watermark that is not known, far enough from the end of int64 to subtract a horizon from.
_UNKNOWN = NEVER // 2


@inlined
def _add(
    ring: npt.NDArray[np.signedinteger],
    place: tuple[int, int, int],
    sums: npt.NDArray[np.signedinteger],
    at: int,
    amount: int,
    is_max: int,
    limit: int,
) -> bool:
    """Adds to the accumulator at `place` and, where ``at >= 0``, to the kept sum in that column.

    Saturates at the `limit` of the accumulator's type; returns whether it did.
    """
    r = place[0]
    old = int(np.int64(ring[place]))
    new = max(old, amount) if is_max else old + amount
    new = min(max(new, -limit), limit)
    ring[place] = new
    if at >= 0:
        sums[r, at] += new - old
    return bool(abs(new) == limit)


@inlined
def _rings(
    rows: Rows,
    r: int,
    e: int,
    flags: int,
    day: int,
    events: Events,
    taps: Taps,
    channels: Channels,
    limits: Limits,
) -> int:
    """Adds event `e` to the ring channels that it feeds; returns how many saturated."""
    kind = events.kind[e]
    begin, end = taps.start[kind], taps.start[kind + 1]
    if begin == end:
        return 0
    week = day // 7
    advance(rows, r, day, channels, limits)
    days_old = np.int64(rows.hot[r].head_day) - day
    weeks_old = np.int64(rows.hot[r].head_week) - week
    day_slot, week_slot = day & (limits.day_slots - 1), week & (limits.week_slots - 1)
    correction = flags & _CORRECTION
    first, window = channels.first, channels.window
    overflow = 0
    for t in range(begin, end):
        if (flags & taps.mask[t]) != taps.want[t]:
            continue
        if taps.category[t] != 0 and taps.category[t] != events.category[e]:
            continue
        if correction and (taps.measure[t] == _ONE or taps.is_max[t]):
            continue
        amount = 1
        if taps.measure[t] == _AUX:
            amount = int(np.rint(events.aux[e] * taps.scale[t]))
        elif taps.measure[t] != _ONE:
            amount = int(np.rint(events.value[e] * taps.scale[t]))
        store, c, is_max = taps.store[t], taps.target[t], taps.is_max[t]
        daily = store <= _DAY16
        old = days_old if daily else weeks_old
        if old >= (limits.day_slots if daily else limits.week_slots):
            continue
        counted = old < window[first[store] + c]
        if store == _DAY32:
            at = c if counted else -1
            overflow += _add(rows.day32, (r, day_slot, c), rows.sum32, at, amount, is_max, _MAX32)
        elif store == _DAY16:
            at = c if counted else -1
            overflow += _add(rows.day16, (r, day_slot, c), rows.sum16, at, amount, is_max, _MAX16)
        elif store == _WEEK32:
            at = first[1] + c if counted else -1
            overflow += _add(rows.week32, (r, week_slot, c), rows.sum32, at, amount, is_max, _MAX32)
        else:
            at = first[2] - first[1] + c if counted else -1
            overflow += _add(rows.week16, (r, week_slot, c), rows.sum16, at, amount, is_max, _MAX16)
    return overflow


@inlined
def _lasting(rows: Rows, r: int, e: int, flags: int, events: Events, lasts: Taps, lifetimes: Taps) -> None:
    """Last values (the newest event time wins, then the later record) and lifetime sums."""
    kind = events.kind[e]
    time = events.time[e]
    if not flags & _CORRECTION:
        for t in range(lasts.start[kind], lasts.start[kind + 1]):
            g = lasts.target[t]
            if (flags & lasts.mask[t]) == lasts.want[t] and time >= rows.last_time[r, g]:
                if lasts.category[t] != 0 and lasts.category[t] != events.category[e]:
                    continue
                rows.last_time[r, g] = time
                measured = events.aux[e] if lasts.measure[t] == _AUX else events.value[e]
                rows.last_value[r, g] = np.int64(np.rint(measured * lasts.scale[t]))
                rows.last_aux[r, g] = events.aux[e]
    for t in range(lifetimes.start[kind], lifetimes.start[kind + 1]):
        if (flags & lifetimes.mask[t]) != lifetimes.want[t]:
            continue
        if lifetimes.category[t] != 0 and lifetimes.category[t] != events.category[e]:
            continue
        if lifetimes.measure[t] == _ONE:
            continue
        measured = events.aux[e] if lifetimes.measure[t] == _AUX else events.value[e]
        rows.lifetime[r, lifetimes.target[t]] += np.int64(np.rint(measured * lifetimes.scale[t]))


@inlined
def _profile(rows: Rows, r: int, e: int, events: Events) -> None:
    """Attributes the profile carries, each by its own last writer: absent = unchanged, null = cleared."""
    p = events.profile_of[e]
    second = events.time[e] // 1_000_000
    for attribute in range(rows.attribute_time.shape[1]):
        if not (events.present[p] >> attribute) & 1 or second < rows.attribute_time[r, attribute]:
            continue
        rows.attribute_time[r, attribute] = second
        if attribute == _ACTIVATED:
            rows.hot[r].activated_on = events.activated_on[p]
        elif attribute == _AGE:
            rows.hot[r].age = events.age[p]
        elif attribute == _INCOME:
            rows.hot[r].income = events.income[p]
        elif attribute == _SERVICES:
            rows.hot[r].services = events.services[p]
        elif attribute == _CONSENT:
            rows.hot[r].consent = events.consent[p]
        else:
            rows.codes[r, attribute - _GENDER] = events.codes[p, attribute - _GENDER]


@inlined
def _profile_time(e: int, events: Events, watermark: int) -> int:
    """When the life that profile `e` speaks of had begun, as far as the record can be trusted.

    Profiles are never late, so one from a clock that starts in 1970 gets this far. Without
    `activated_on` it would stretch tenure and history by decades: it reaches back
    `PROFILE_REACH_US` from the watermark (`NEVER` halved: not known) at most.
    """
    time, p = int(events.time[e]), events.profile_of[e]
    dated = (events.present[p] >> _ACTIVATED) & 1 and events.activated_on[p] != NO_DAY
    if dated or watermark <= _UNKNOWN:
        return time
    return max(time, watermark - PROFILE_REACH_US)


@inlined
def _apply(
    rows: Rows,
    r: int,
    e: int,
    events: Events,
    watermark: int,
    plan_taps: tuple[Taps, Taps, Taps],
    channels: Channels,
    limits: Limits,
    touched: Touched,
) -> None:
    """Applies one admitted event."""
    kind, time = events.kind[e], int(events.time[e])
    if kind == _CLOSED_KIND or kind == _FORGET_KIND:
        rows.hot[r].cut = time
        leave(rows, r, e, CLOSED if kind == _CLOSED_KIND else FORGOTTEN, touched)
        return
    begun = time
    if kind == _PROFILE:
        begun = _profile_time(e, events, watermark)
    if rows.hot[r].first_event == NEVER or begun < rows.hot[r].first_event:
        rows.hot[r].first_event = begun
    if kind == _PROFILE:
        _profile(rows, r, e, events)
        if rows.hot[r].consent == _WITHDRAWN_CODE:
            leave(rows, r, e, WITHDRAWN, touched)
            return
    flags = int(np.int64(events.flags[e]))
    day = time // _DAY_US
    hour = (time // _HOUR_US) % 24
    if limits.night_from > limits.night_to:
        night = hour >= limits.night_from or hour < limits.night_to
    else:
        night = limits.night_from <= hour < limits.night_to
    if night:
        flags |= NIGHT
    if (day + 3) % 7 >= 5:  # 1970-01-01 was a Thursday
        flags |= WEEKEND
    if kind == _INVOICE and events.value[e] < 0:
        flags |= NEGATIVE
    touched.counts[2] += _rings(rows, r, e, flags, day, events, plan_taps[0], channels, limits)
    _lasting(rows, r, e, flags, events, plan_taps[1], plan_taps[2])
    at = rows.hot[r].touch
    if at < 0:
        at = touched.counts[0]
        touched.counts[0] = at + 1
        rows.hot[r].touch = at
        touched.row[at] = r
        touched.how[at] = 0
    # A credit note takes back what was billed: a correction, though it comes as a negative invoice.
    touched.how[at] |= BY_CORRECTION if flags & (_CORRECTION | NEGATIVE) else BY_EVENT
    touched.trigger[at] = e


@inlined
def _fetch(rows: Rows, r: int, topic: int, time: int, limits: Limits) -> None:
    """Begins to load what an event of row `r` will touch."""
    day = time // _DAY_US & (limits.day_slots - 1)
    seen = topic * rows.seen.strides[1]
    prefetch(rows.hot, r, 0, rows.hot.strides[0])
    prefetch(rows.seen, r, seen, 64)
    prefetch(rows.seen, r, seen + 64, 64)
    prefetch(rows.day32, r, day * rows.day32.strides[1], rows.day32.strides[1])
    prefetch(rows.day16, r, day * rows.day16.strides[1], rows.day16.strides[1])
    prefetch(rows.sum32, r, 0, rows.sum32.strides[0])
    prefetch(rows.sum16, r, 0, rows.sum16.strides[0])
    prefetch(rows.last_time, r, 0, rows.last_time.strides[0])
    prefetch(rows.last_value, r, 0, rows.last_value.strides[0])


@kernel
def _update(
    rows: Rows,
    events: Events,
    index: Int64Array,
    row_of: Int32Array,
    clock: Clock,
    horizon: Int64Array,
    plan_taps: tuple[Taps, Taps, Taps],
    channels: Channels,
    limits: Limits,
    touched: Touched,
    outcome: UInt8Array,
) -> None:
    for i in range(len(index)):
        coming = i + AHEAD
        if coming < len(index) and row_of[coming] >= 0:
            _fetch(rows, row_of[coming], events.topic[index[coming]], events.time[index[coming]], limits)
        e, r = index[i], row_of[i]
        kind, time = events.kind[e], events.time[e]
        if r < 0:
            outcome[i] = MISROUTED
        elif time > clock.latest:
            outcome[i] = FUTURE
        elif time < clock.watermark - horizon[kind]:
            outcome[i] = LATE
        else:
            h = hash_bytes(events.id_data, events.id_ends[e], events.id_ends[e + 1])
            if is_duplicate(rows, r, events.topic[e], h):
                outcome[i] = DUPLICATE
                continue
            unborn = rows.hot[r].status == UNBORN
            outcome[i] = admit(rows, r, e, events)
            if outcome[i] == ACCEPTED:
                touched.counts[3] += unborn
                _apply(rows, r, e, events, clock.watermark, plan_taps, channels, limits, touched)


def update(
    rows: Rows, batch: Events, index: Int64Array, row_of: Int32Array, clock: Clock, plan: FeaturePlan
) -> tuple[UInt8Array, Touched]:
    """Applies the events at `index` int64[m] of `batch`, in that order, to `row_of` int32[m] (rows in place).

    Returns outcome uint8[m] and the touched customers; `rows.touch` of those holds their place until
    the caller resets it to -1. A watermark of `NEVER` makes nothing late.
    """
    outcome = np.empty(len(index), np.uint8)
    touched = touched_buffers(len(index))
    known = Clock(clock.latest, max(clock.watermark, _UNKNOWN))
    taps = (plan.rings, plan.lasts, plan.lifetimes)
    _update(
        rows, batch, index, row_of, known, plan.horizon_us, taps, plan.channels, plan.limits, touched, outcome
    )
    return outcome, touched
