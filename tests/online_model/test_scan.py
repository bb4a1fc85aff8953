"""Laws of the scan: everybody once per pass, learnt once, whatever the slices."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.active_model import ActiveModel
from online_model.decision import Candidates, decide
from online_model.engine import Pass
from online_model.evaluate import evaluate
from online_model.fold import ScanStatistics, add_rows, empty
from online_model.model import DORMANT_CODE
from online_model.scaler import apply as scale
from online_model.scan import KEYS, Progress, Scan, rows_between, slice_keys, slice_rows
from online_model.separation import add_separation
from tests.online_model.streams import DAY, HOUR, T0
from tests.online_model.tiny import POLICY, TINY, World, model


@given(st.integers(0, 10_000_000), st.integers(1, 10_000))
def test_slices_cover_all_keys_once(n_rows: int, rows_per_slice: int) -> None:
    """The slices of a pass follow each other from 0 to the last key, of about the wanted size."""
    scan, at, steps = Scan(HOUR), 0, 0
    scan.begin_if_due(T0, 2, 3)
    while scan.active:
        low, high = scan.next_slice(n_rows, rows_per_slice)
        assert low == at
        assert low < high <= KEYS
        assert scan.finish_slice(high) == (high == KEYS)
        at, steps = high, steps + 1
    assert at == KEYS
    assert steps <= max(2.1 * n_rows / rows_per_slice, 1) + 1


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.integers(0, KEYS), st.integers(0, KEYS))
def test_rows_of_a_slice_are_those_whose_key_is_in_it(values: list[int], low: int, high: int) -> None:
    """Ascending, the upper key excluded."""
    hashes = np.array(values, np.uint64)
    keys = slice_keys(hashes)
    expected = np.flatnonzero((keys >= low) & (keys < high))
    assert rows_between(hashes, low, high).tolist() == expected.tolist()


def test_a_slice_grows_with_the_events_of_its_step() -> None:
    """Never below the least."""
    assert [slice_rows(1024, n) for n in (0, 8192, 8200, 50_000)] == [1024, 1024, 1025, 6250]


def test_a_pass_begins_at_a_boundary() -> None:
    """Once per interval, not while one is under way; boundaries that were missed are not made up for."""
    scan = Scan(HOUR)
    scan.begin_if_due(T0, 2, 3)
    assert (scan.id, scan.learns) == (T0 // HOUR, True)
    scan.finish_slice(100)
    scan.begin_if_due(T0 + HOUR, 2, 3)
    assert (scan.id, scan.cursor) == (T0 // HOUR, 100)
    scan.finish_slice(KEYS)
    scan.begin_if_due(T0 + HOUR - 1, 2, 3)
    assert not scan.active
    scan.begin_if_due(T0 + 5 * HOUR, 2, 3)
    assert (scan.id, scan.cursor, scan.active) == (T0 // HOUR + 5, 0, True)


@pytest.mark.parametrize("cursor", [0, 100, KEYS])
def test_a_restart_goes_on_where_the_scan_stood(cursor: int) -> None:
    """Nobody is looked at twice for one boundary; what a pass learnt before it broke off is not reported."""
    before, after = Scan(HOUR), Scan(HOUR)
    before.model_swapped()
    before.begin_if_due(T0, 2, 3)
    before.finish_slice(cursor)
    after.resume(before.progress, 2, 3)
    assert after.progress == before.progress._replace(learns=False)
    assert after.active == before.active
    keys = np.array([0, 99, 100, KEYS - 1])
    assert after.is_unseen(keys).tolist() == before.is_unseen(keys).tolist()
    assert after.next_slice(1000, 100) == before.next_slice(1000, 100)
    after.finish_slice(KEYS)
    after.begin_if_due(T0 + HOUR, 2, 3)
    assert (after.id, after.cursor, after.learns) == (T0 // HOUR + 1, 0, True)


def test_a_restart_under_another_model_begins_an_unfinished_pass_again() -> None:
    """Everybody is looked at by the new model, and the pass learns, because it is whole."""
    for cursor, active in ((KEYS, False), (100, True), (0, True)):
        scan = Scan(HOUR)
        scan.begin_again(Progress(T0 // HOUR, cursor, True, False))
        assert scan.is_unseen(np.array([0, KEYS - 1])).all()
        scan.begin_if_due(T0 + HOUR - 1, 2, 3)
        assert (scan.active, scan.learns) == (active, active)


def test_who_is_unseen_after_a_promotion() -> None:
    """Keys that the first pass under the new model has not reached, or all before it begins."""
    scan, keys = Scan(HOUR), np.array([0, 99, 100, KEYS - 1])
    assert not scan.is_unseen(keys).any()
    scan.model_swapped()
    assert scan.is_unseen(keys).all()
    scan.restart(T0, 2, 3)
    assert not scan.learns
    scan.finish_slice(100)
    assert scan.is_unseen(keys).tolist() == [False, False, True, True]
    scan.finish_slice(KEYS)
    assert not scan.is_unseen(keys).any()


def populated(scan_rows: int, n: int = 60) -> World:
    """A world of `n` customers, a few of them silent for long or gone, and no model yet."""
    rng, world = random.Random(4), World(scan_rows=scan_rows)
    events = [
        world.event(f"c{i}", "data", T0 + rng.randrange(20) * HOUR, megabytes=float(rng.randrange(100)))
        for i in range(n)
    ]
    old = [world.event(f"o{i}", "data", T0 - 8 * DAY) for i in range(9)]
    gone = [world.event(f"c{i}", "closed", T0 + 20 * HOUR) for i in range(5)]
    world.tell(old, T0 - 8 * DAY)
    world.tell([*events, *gone], T0 + DAY)
    return world


def scan_to_end(world: World, now: int) -> list[Pass]:
    """Slices of the pass that is under way or due."""
    passes = []
    while (step := world.tell([], now)).scanned is not None:
        passes.append(step.scanned)
    return passes


@pytest.mark.parametrize("scan_rows", [1, 7, 1000])
def test_everybody_is_counted_once_per_pass(scan_rows: int) -> None:
    """Whatever the slices, the statistics of a pass are those of one look at everybody."""
    world = populated(scan_rows)
    world.engine.offer_model(model())
    now = T0 + DAY
    first = scan_to_end(world, now)
    assert sum(part.customers for part in first) == 64
    assert all(part.completed is None for part in first)  # a promotion's pass does not learn
    tick = world.tell([world.event("c9", "voice", now + HOUR)], now + HOUR).scanned
    assert tick is not None
    passes = [tick, *scan_to_end(world, now + HOUR)]
    assert [part.completed is not None for part in passes] == [False] * (len(passes) - 1) + [True]
    assert sum(part.customers for part in passes) == 64
    assert_same(passes[-1].completed, at_one_look(world))


def test_touched_customers_do_not_count_twice() -> None:
    """Events during a pass re-evaluate customers, but only their slice learns from them."""
    world = populated(scan_rows=5)
    world.engine.offer_model(model())
    now = T0 + DAY
    scan_to_end(world, now)
    now += HOUR
    completed = None
    for i in range(100):
        events = [world.event(f"c{10 + (i + j) % 50}", "voice", now) for j in range(6)]
        scanned = world.tell(events, now).scanned
        if scanned is None:
            break
        completed = scanned.completed
    assert completed is not None
    assert completed.n_rows == 64
    assert_same(completed, at_one_look(world))


def test_kept_points_are_those_counted() -> None:
    """A learner without mergeable statistics gets each classified customer of a learning pass once."""
    world = World(keep_points=True)
    world.engine.offer_model(model())
    world.tell([world.event(f"c{i}", "data", T0, megabytes=float(i)) for i in range(8)], T0)
    scanned = world.tell([world.event("c0", "voice", T0 + HOUR)], T0 + HOUR).scanned
    assert scanned is not None
    assert scanned.points is not None
    assert sorted(scanned.points[:, 0]) == [float(i) for i in range(8)]


def at_one_look(world: World) -> ScanStatistics:
    """Statistics of all live customers in one go."""
    state, active = world.engine.partitions[0], ActiveModel.of(model(), TINY.columns)
    rows = state.live_rows(0, KEYS)
    seen = evaluate(state.store.rows, rows, state.watermark_us, TINY, active.model.share_priors)
    x = scale(active.model.scaler, seen.raw)
    hot = state.store.rows.hot[rows]
    current = Candidates(active.codes(hot["segment"]), hot["since"].copy(), seen.silent_days)
    scaler = active.model.scaler
    found = decide(x, current, active.model.centroids, scaler.importance, state.watermark_us, POLICY)
    out = empty(2, TINY.columns.n)
    label = np.where(found.target >= 0, found.nearest, np.int16(-1)).astype(np.int16)
    # The dormant are a number beside the others: nothing else is counted of them.
    awake = found.target != DORMANT_CODE
    add_rows(out, active.gauge, seen.raw[awake], x[awake], label[awake], found.d2[awake])
    add_separation(out, label, found.d2, found.d2_second)
    out.dormant[0] = (~awake).sum()
    assert out.dormant[0] == 9
    out.totals[:2] += out.dormant[0]
    assert sum(out.members) == len(rows)
    return out


def assert_same(a: ScanStatistics | None, b: ScanStatistics) -> None:
    """Equal in every array."""
    assert a is not None
    for item in dataclasses.fields(ScanStatistics):
        np.testing.assert_array_equal(getattr(a, item.name), getattr(b, item.name), err_msg=item.name)


def test_a_promotion_is_not_lost_behind_a_fold() -> None:
    """A fold that comes while a pass keeps its promotion waiting: everybody is still looked at at once."""
    world = populated(scan_rows=5)
    world.engine.offer_model(model())
    now = T0 + DAY
    first = world.tell([], now)
    assert first.scanned is not None
    assert not first.scanned.is_last
    world.engine.offer_model(model(2, high=50.0))
    world.engine.offer_model(model(3, high=50.0, kind="folded"))
    versions = []
    while (step := world.tell([], now)).scanned is not None:
        versions.append((step.model_version, step.scanned.is_last))
    assert [version for version, is_last in versions if is_last] == [1, 3]
    assert step.model_version == 3
