"""The ring buffers of a row: moving them on, and their window sums.

A ring holds the last S buckets up to the head, the newest bucket the row has seen. Beside it stand the
sums over each channel's window ending at the head, so that a feature costs one cache line and not S.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from online_model.plan import Channels, Limits
from online_model.rows import NO_BUCKET, Rows
from schemas.kernel import inlined

_DAY_US = 86_400_000_000


@inlined
def _shift(
    ring: npt.NDArray[np.integer],
    sums: npt.NDArray[np.integer],
    r: int,
    at: int,
    span: tuple[int, int, int],
    window: npt.NDArray[np.int64],
) -> None:
    """Moves one ring from head ``span[0]`` to ``span[1]``.

    Its sums start at column `at`, its windows at ``span[2]``.
    """
    old, new, first = span
    slots = ring.shape[1]
    if new - old >= slots:
        for slot in range(slots):
            for c in range(ring.shape[2]):
                ring[r, slot, c] = 0
        for c in range(ring.shape[2]):
            sums[r, at + c] = 0
        return
    for bucket in range(old + 1, new + 1):
        for c in range(ring.shape[2]):
            # The bucket that leaves the window is still in the ring: S is larger than any window.
            sums[r, at + c] -= ring[r, (bucket - window[first + c]) & (slots - 1), c]
            ring[r, bucket & (slots - 1), c] = 0


@inlined
def advance(rows: Rows, r: int, day: int, channels: Channels, limits: Limits) -> None:
    """Moves the heads of row `r` up to `day` and its week if they are older."""
    first, window = channels.first, channels.window
    head = int(np.int64(rows.hot[r].head_day))
    if day > head:
        rows.hot[r].head_day = day
        if head != NO_BUCKET:
            _shift(rows.day32, rows.sum32, r, 0, (head, day, first[0]), window)
            _shift(rows.day16, rows.sum16, r, 0, (head, day, first[1]), window)
    head = int(np.int64(rows.hot[r].head_week))
    if day // 7 > head:
        rows.hot[r].head_week = day // 7
        if head != NO_BUCKET:
            _shift(rows.week32, rows.sum32, r, first[1], (head, day // 7, first[2]), window)
            _shift(rows.week16, rows.sum16, r, first[2] - first[1], (head, day // 7, first[3]), window)


@inlined
def _walk(ring: npt.NDArray[np.integer], r: int, c: int, oldest: int, newest: int, is_max: int) -> int:
    """Sum or maximum of channel `c` over the buckets `oldest` to `newest`, all of which the ring holds."""
    total = 0
    for bucket in range(oldest, newest + 1):
        value = int(np.int64(ring[r, bucket & (ring.shape[1] - 1), c]))
        total = max(total, value) if is_max else total + value
    return total


@inlined
def first_bucket(span: tuple[int, int], window: int, kept: int) -> int:
    """Oldest bucket of a window ending at ``span[1]`` that counts (``span[0]`` on), of those `kept` on."""
    return max(span[1] - window + 1, span[0], kept)


@inlined
def walk_channel(
    rows: Rows, r: int, k: int, span: tuple[int, int], channels: Channels, limits: Limits
) -> int:
    """Sum or maximum of channel `k` over its window ending at bucket ``span[1]``, bucket by bucket.

    Buckets before ``span[0]`` do not count.
    """
    first, is_max = channels.first, channels.is_max[k]
    weekly = k >= first[2]
    head = int(np.int64(rows.hot[r].head_week if weekly else rows.hot[r].head_day))
    if head == NO_BUCKET:
        return 0
    slots = limits.week_slots if weekly else limits.day_slots
    oldest, newest = first_bucket(span, int(channels.window[k]), head - slots + 1), min(span[1], head)
    if k < first[1]:
        return _walk(rows.day32, r, k, oldest, newest, is_max)
    if not weekly:
        return _walk(rows.day16, r, k - first[1], oldest, newest, is_max)
    if k < first[3]:
        return _walk(rows.week32, r, k - first[2], oldest, newest, is_max)
    return _walk(rows.week16, r, k - first[3], oldest, newest, is_max)


@inlined
def sum_channels(
    rows: Rows, r: int, span: tuple[int, int], channels: Channels, limits: Limits, sums: npt.NDArray[np.int64]
) -> None:
    """Window sums or maxima of every channel of row `r` at the watermark ``span[1]`` into `sums`.

    Buckets before that of day ``span[0]`` do not count. Moves the heads to the watermark.
    """
    first, since = channels.first, span[0]
    today = span[1] // _DAY_US
    week = today // 7
    advance(rows, r, today, channels, limits)
    days_ahead = np.int64(rows.hot[r].head_day) > today
    weeks_ahead = np.int64(rows.hot[r].head_week) > week
    # Before the longest window nothing is cut off. One question for all channels: it is asked for everybody.
    late = since > today - max(limits.day_slots, 7 * limits.week_slots)
    n_day32, n_day16 = first[1], first[2] - first[1]
    for k in range(first[1]):
        sums[k] = rows.sum32[r, k]
    for k in range(n_day16):
        sums[first[1] + k] = rows.sum16[r, k]
    for k in range(first[3] - first[2]):
        sums[first[2] + k] = rows.sum32[r, n_day32 + k]
    for k in range(first[4] - first[3]):
        sums[first[3] + k] = rows.sum16[r, n_day16 + k]
    for k in range(first[4]):
        weekly = k >= first[2]
        # The kept sums are of whole windows up to the head: where that is ahead of the watermark, or not all
        # of the window counts, it is walked.
        if channels.is_max[k] or late or (weeks_ahead if weekly else days_ahead):
            span_k = (since // 7, week) if weekly else (since, today)
            sums[k] = walk_channel(rows, r, k, span_k, channels, limits)


@inlined
def active_buckets(
    rows: Rows, r: int, k: int, span: tuple[int, int], channels: Channels, limits: Limits
) -> int:
    """Buckets of the window of channel `k`, ending at the watermark ``span[1]``, in which it is not zero.

    Buckets before that of day ``span[0]`` do not count.
    """
    first = channels.first
    weekly = k >= first[2]
    today = span[1] // _DAY_US
    span_k = (span[0] // 7, today // 7) if weekly else (span[0], today)
    head = int(np.int64(rows.hot[r].head_week if weekly else rows.hot[r].head_day))
    slots = limits.week_slots if weekly else limits.day_slots
    active = 0
    if head == NO_BUCKET:
        return 0
    oldest, newest = first_bucket(span_k, int(channels.window[k]), head - slots + 1), min(span_k[1], head)
    for bucket in range(oldest, newest + 1):
        slot = bucket & (slots - 1)
        if k < first[1]:
            active += rows.day32[r, slot, k] != 0
        elif k < first[2]:
            active += rows.day16[r, slot, k - first[1]] != 0
        elif k < first[3]:
            active += rows.week32[r, slot, k - first[2]] != 0
        else:
            active += rows.week16[r, slot, k - first[3]] != 0
    return active
