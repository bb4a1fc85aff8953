"""Laws of the ring buffers and the rows."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.compile_plan import compile_plan
from online_model.event_view import Clock, events_of
from online_model.plan import Channels, FeaturePlan, Limits
from online_model.rings import sum_channels, walk_channel
from online_model.rows import BEFORE_MISSING, NEVER, NO_BUCKET, NO_SECOND, UNBORN, Rows, RowStore
from online_model.rowtable import RESERVED
from online_model.windows import update
from schemas.batch import NO_DAY, Int64Array
from schemas.kernel import kernel
from tests.online_model.streams import DAY, T0, Event, Log, random_event, small_spec

MIXED = compile_plan(
    small_spec(
        """
        {name: a, block: all, aggregate: sum, events: [data], field: megabytes, window_days: 3},
        {name: b, block: all, aggregate: count, events: [data], window_days: 30},
        {name: c, block: all, aggregate: sum, events: [topup], field: amount, window_days: 40, bucket: week},
        {name: d, block: all, aggregate: mean, events: [payment], field: days_late, window_days: 90,
         bucket: week},
        {name: e, block: all, aggregate: max, events: [data], field: megabytes, window_days: 7}
        """
    )
)


@kernel
def both(
    rows: Rows, watermark: int, channels: Channels, limits: Limits, kept: Int64Array, walked: Int64Array
) -> None:
    """Kept sums of row 0 and the same bucket by bucket."""
    sum_channels(rows, 0, (NO_BUCKET, watermark), channels, limits, kept)
    for k in range(len(kept)):
        now = watermark // DAY // 7 if k >= channels.first[2] else watermark // DAY
        walked[k] = walk_channel(rows, 0, k, (NO_BUCKET, now), channels, limits)


def feed(store: RowStore, plan: FeaturePlan, log: Log, events: list[Event]) -> int:
    """Applies events of one customer to row 0; returns how many accumulators saturated."""
    batch = log.poll(events).batch
    which = np.arange(batch.n)
    _, touched = update(
        store.rows, events_of(batch), which, np.zeros(batch.n, np.int32), Clock(T0 * 2, NEVER), plan
    )
    store.rows.hot["touch"][0] = -1
    return int(touched.counts[2])


@given(st.integers(0, 1 << 32))
@settings(max_examples=40)
def test_kept_sums_equal_a_walk_over_the_buckets(seed: int) -> None:
    """After any events and looks, also while the head of the rings is ahead of the watermark."""
    rng = random.Random(seed)
    store, log, now = RowStore(MIXED), Log(MIXED), T0
    store.reserve(1)
    n = len(MIXED.channels.window)
    for step in range(12):
        now += rng.choice([0, DAY // 2, DAY, 5 * DAY, 40 * DAY])
        events = [
            random_event(
                rng,
                rng.choice(["data", "correction", "topup", "payment"]),
                now + int(rng.uniform(-45, 1) * DAY),
                "c",
                step * 100 + i,
            )
            for i in range(rng.randrange(8))
        ]
        feed(store, MIXED, log, events)
        kept, walked = np.zeros(n, np.int64), np.zeros(n, np.int64)
        both(store.rows, now, MIXED.channels, MIXED.limits, kept, walked)
        np.testing.assert_array_equal(kept, walked)


def test_accumulators_saturate_and_say_so() -> None:
    """A bucket that would overflow stays at the limit of its type and is counted."""
    store, log = RowStore(MIXED), Log(MIXED)
    store.reserve(1)
    huge = {"event_id": "e", "customer_id": "c", "us": T0, "type": "data", "megabytes": 9e5}
    assert feed(store, MIXED, log, [huge]) == 0
    assert feed(store, MIXED, log, [{**huge, "event_id": f"e{i}"} for i in range(3)]) > 0
    kept, walked = np.zeros(6, np.int64), np.zeros(6, np.int64)
    both(store.rows, T0, MIXED.channels, MIXED.limits, kept, walked)
    np.testing.assert_array_equal(kept, walked)
    assert kept.max() == np.iinfo(np.int32).max


def test_new_rows_are_blank() -> None:
    """A new row has no history, no attributes and no segment, also beyond the first reservation."""
    store = RowStore(MIXED)
    for n in (3, RESERVED + 2):
        store.reserve(n)
        rows, hot = store.rows, store.rows.hot[n - 1]
        assert (hot["head_day"], hot["head_week"], hot["touch"]) == (NO_BUCKET, NO_BUCKET, -1)
        assert (hot["status"], hot["segment"], hot["seq"], hot["activated_on"]) == (UNBORN, 0, 0, NO_DAY)
        assert hot["first_event"] == hot["cut"] == NEVER
        assert np.isnan(hot["age"])
        assert np.isnan(hot["income"])
        assert (rows.attribute_time[n - 1] == NO_SECOND).all()
        assert (rows.before[n - 1] == BEFORE_MISSING).all()
        assert (rows.last_time[n - 1] == NEVER).all()
        assert not rows.day32[n - 1].any()
        assert not rows.seen[n - 1].any()
    assert store.nbytes == store.n * (store.nbytes // store.n)
