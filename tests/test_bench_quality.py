"""The streams of the quality benchmark are what they say, and its measures measure what they say."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from online_model.calibration import calibrate
from online_model.evaluate import Population
from online_model.model import Model
from online_model.panel import CalibrationPolicy
from online_model.plan import FeaturePlan
from tests.bench import _quality_bars as bars
from tests.bench._quality_costs import PUBLISHED, Run, run
from tests.bench._quality_customers import HEAVY, N_PERSONAS, NEWCOMER, PERSONAS, Day
from tests.bench._quality_measures import batch, cost, dead, ids_renamed, partition_cost, renamed
from tests.bench._quality_moves import identical, migrations
from tests.bench._quality_recalibration import recalibrate_at_end
from tests.bench._quality_streams import AT_ONCE, CHANGE_DAY, MIGRATIONS, PLAN, STREAMS, Stream

N = 600
BY_NAME = {stream.name: stream for stream in (*STREAMS, MIGRATIONS, AT_ONCE)}
NAMES = PLAN.columns.name


def days_of(name: str, days: int = 12, seed: int = 1) -> list[Day]:
    """Day 0 and the `days` after it of a small stream."""
    return list(BY_NAME[name].days(N, days, seed))


def column(day: Day, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A feature of all customers in real units."""
    return day.raw[:, NAMES.index(name)]


@pytest.mark.parametrize("stream", BY_NAME.values(), ids=list(BY_NAME))
def test_a_seed_gives_one_stream(stream: Stream) -> None:
    """The same seed gives the same bits, another seed others; customers keep their rows."""
    first, again = days_of(stream.name, 8), days_of(stream.name, 8)
    for a, b in zip(first, again, strict=True):
        for left, right in zip(a, b, strict=True):
            np.testing.assert_array_equal(left, right)
    assert not np.array_equal(first[0].raw, days_of(stream.name, 0, seed=2)[0].raw)
    for before, after in pairwise(first):
        assert len(after.raw) >= len(before.raw)
        stayed = after.migrated_on[: len(before.raw)] < 0
        np.testing.assert_array_equal(after.persona[: len(before.raw)][stayed], before.persona[stayed])


@pytest.mark.parametrize("name", ["stationary", "billing cycles", "growing base"])
def test_personas_are_equally_frequent(name: str) -> None:
    """Each persona is a sixth of the base, within four standard deviations, also of those who join."""
    last = days_of(name)[-1]
    share = np.bincount(last.persona, minlength=N_PERSONAS) / len(last.persona)
    np.testing.assert_allclose(share, 1 / 6, atol=4 * np.sqrt(5 / 36 / len(last.persona)))


def test_features_are_those_of_the_rates() -> None:
    """Medians over thirty days are what the personas use in thirty days."""
    day = days_of("stationary", 1)[-1]
    heavy, rates = day.persona == HEAVY, PERSONAS[HEAVY]
    assert np.median(column(day, "data_mb_30d")[heavy]) == pytest.approx(30 * rates.data_mb, rel=0.3)
    assert np.median(column(day, "mou_30d")[heavy]) == pytest.approx(30 * rates.minutes, rel=0.3)
    assert np.median(column(day, "night_share_28d")[heavy]) == pytest.approx(rates.night, rel=0.2)
    assert np.isnan(column(day, "age")).mean() == pytest.approx(0.05, abs=0.04)
    level = column(day, "line_type=prepaid") + column(day, "line_type=postpaid")
    np.testing.assert_array_equal(level, 1.0)


def test_changes_begin_on_their_day() -> None:
    """Until then a stream is a stationary one; then what it plants is there."""
    jumped = days_of("abrupt shift")
    data = [float(np.median(column(day, "data_mb_30d"))) for day in jumped]
    assert data[CHANGE_DAY - 1] == pytest.approx(data[0], rel=0.1)
    assert data[CHANGE_DAY] == pytest.approx(3 * data[CHANGE_DAY - 1], rel=0.1)
    mixed = days_of("mix shift", 16)
    assert (mixed[CHANGE_DAY - 1].migrated_on < 0).all()
    expected = 1 / 6 + 5 / 6 * (1 - 0.93**8)
    assert (mixed[-1].persona == HEAVY).mean() == pytest.approx(expected, abs=0.07)
    grouped = days_of("new group", 20)
    assert (grouped[CHANGE_DAY - 1].persona < NEWCOMER).all()
    assert (grouped[-1].persona == NEWCOMER).sum() == N // 6


def test_a_dead_feature_dies_with_its_window() -> None:
    """Thirty days after the source fell silent nobody has a message; other use goes on."""
    before, *_, after = days_of("dead feature", CHANGE_DAY + 30)
    assert column(after, "sms_30d").max() == 0.0 < np.median(column(before, "sms_30d"))
    assert np.median(column(after, "mou_30d")) == pytest.approx(np.median(column(before, "mou_30d")), rel=0.1)


def test_silent_customers_become_dormant() -> None:
    """One per cent a day leaves for good: after 35 days those of the first five are silent for 30."""
    last = days_of("silent churn", 35)[-1]
    assert (last.silent_days >= 30).mean() == pytest.approx(0.05, abs=0.03)
    assert column(last, "days_since_last_activity").max() == 35.0


def test_a_growing_base_doubles() -> None:
    """New customers come without history: their rates are over the days observed."""
    last = days_of("growing base", 30)[-1]
    assert len(last.raw) == N
    new = last.observed_days < 30
    assert new.sum() == pytest.approx(N / 2, abs=N / 60)
    assert column(last, "tenure_days")[new].max() <= 30
    ratio = np.median(column(last, "mou_30d")[new]) / np.median(column(last, "mou_30d")[~new])
    assert ratio == pytest.approx(1.0, rel=0.25)


def test_the_sorted_stream_is_sorted() -> None:
    """The base grows in the order of use, and a learner of single points gets it in that order."""
    stream = BY_NAME["sorted"]
    first, *_, last = days_of("sorted", 24)
    assert len(np.unique(first.persona)) == 3
    assert len(np.unique(last.persona)) == 6
    used = column(last, "data_mb_30d")[stream.order(last, np.random.default_rng(1))]
    assert (np.diff(used) >= 0).all()


def test_bills_close_together() -> None:
    """In the stream of billing cycles revenue of postpaid customers changes on three days only."""
    seen = days_of("billing cycles", 30)
    postpaid = column(seen[0], "line_type=postpaid") == 1
    changed = [
        bool((column(a, "revenue_30d") != column(b, "revenue_30d"))[postpaid].any())
        for a, b in pairwise(seen)
    ]
    assert sum(changed) == 3


def test_migrations_happen_at_their_rate() -> None:
    """One per cent of those who did not yet, on each of fifteen days; the others never."""
    last = days_of("migrations", 20)[-1]
    assert (last.migrated_on >= 0).mean() == pytest.approx(1 - 0.99**15, abs=0.06)
    assert set(last.migrated_on.tolist()) - {-1} <= set(range(15))


def test_migrants_at_once_are_like_their_new_persona() -> None:
    """The day after, use of those who became heavy users is that of the other heavy users."""
    *_, last = BY_NAME["migrations at once"].days(N, 16, seed=3)
    heavy, came = last.persona == HEAVY, last.migrated_on >= 0
    data = column(last, "data_mb_30d")
    assert (heavy & came).sum() >= 5
    assert np.median(data[heavy & came]) == pytest.approx(np.median(data[heavy & ~came]), rel=0.5)


def test_costs_are_solved_by_hand() -> None:
    """Two pairs on a line: the batch fit is exact, and a missing value is left out."""
    x = np.array([[0.0, 0.0], [2.0, 0.0], [10.0, 0.0], [12.0, np.nan]])
    half = np.full(2, 0.5)
    best = batch(x, 2, half, np.random.default_rng(1))
    assert sorted(best.centroids[:, 0].tolist()) == [1.0, 11.0]
    assert best.cost == pytest.approx((1 + 1 + 1 + 2) / 4)
    assert cost(x, best.centroids, half) == best.cost
    assert dead(x, np.array([[1.0, 0.0], [11.0, 0.0], [99.0, 0.0]]), half) == 1
    # The segments' own means: one of all three, one of the last; the row without a segment does not count.
    assert partition_cost(x[:3], np.array([0, 0, 5]), half) == pytest.approx(2 / 3)
    assert partition_cost(x[:3], np.array([0, 0, -2]), half) == pytest.approx(1.0)


def test_clusters_are_matched_by_their_members() -> None:
    """Names follow most of the customers; a new cluster gets a name that nobody had."""
    before = np.array([0, 0, 0, 1, 1, 1])
    assert renamed(before, np.array([7, 7, 7, 3, 3, 7])).tolist() == [0, 0, 0, 1, 1, 0]
    assert renamed(before, np.array([7, 7, 7, 3, 3, 9]))[-1] > 1
    assert renamed(before, np.array([1, 1, 1, 0, 0, 0, 0])).tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_a_renamed_segment_is_found() -> None:
    """The same customers under another id; customers who only move rename nothing."""
    assert ids_renamed(["s1", "s1", "s2", "s2"], ["s1", "s1", "s3", "s3"]) == 1
    assert ids_renamed(["s1", "s1", "s2", "s2"], ["s1", "s1", "s1", "s2"]) == 0
    assert ids_renamed(["s1", "s1", None], ["s1", None, None]) == 0


def test_nothing_moves_where_the_model_has_settled() -> None:
    """Identical vectors on which the model was fitted: one segment for ever, and a ratio of one."""
    done = run(BY_NAME["stationary"], 1, N, 3)
    assert done.mean_ratios["ours"] == pytest.approx(1.0, abs=0.01)
    assert done.mean_ratios[PUBLISHED] == pytest.approx(1.0, abs=0.01)
    assert set(done.ratios) == set(bars.READERS)
    assert done.dead == [0, 0, 0]
    moved = identical(1, 2 * N, 2)
    assert moved["published"] <= moved["hysteresis_off"] <= 0.1


def test_migrations_are_counted_from_their_day() -> None:
    """Without waiting for windows nearly all are seen, and never more within ten days than ever."""
    seen = migrations(1, N, 16, at_once=True)
    assert seen["migrations"] == pytest.approx(N * (1 - 0.99**15), rel=0.4)
    assert 0.9 <= seen["published"] <= seen["published_ever"] <= 1.0


def refitted(old: Model, population: Population, plan: FeaturePlan, k: int) -> Model:
    """A stand-in for the recalibration: fitted anew, ids in whatever order comes out."""
    budgets = {name: block.budget for name, block in plan.spec.blocks.items()}
    rng = np.random.default_rng(old.version)
    fit = calibrate(population.raw, plan.columns, budgets, CalibrationPolicy(k=k), rng)
    return dataclasses.replace(
        old,
        version=old.version + 1,
        parent=old.version,
        kind="recalibrated",
        scaler=fit.scaler,
        centroids=fit.centroids,
        reference=fit.reference,
    )


def test_a_recalibration_is_looked_at_from_outside() -> None:
    """A fit to one half of the customers is nearly as good for the other; renamed ids are noticed."""
    found = recalibrate_at_end(BY_NAME["abrupt shift"], 1, 4 * N, CHANGE_DAY, refitted)
    assert 1.0 < found["ratio"] <= 1.03
    assert found["ratio_a_day_later"] <= 1.03
    assert found["ids_renamed"] > 0


def test_bars_say_what_holds() -> None:
    """Sorted stream and abrupt shift count where they should; what is not measured fails nothing."""
    flat = {name: [1.0] * 8 for name in bars.READERS}
    runs = [
        Run("stationary", 1, flat | {"mini_batch": [0.9] * 8}, [0] * 8),
        Run("sorted", 1, flat | {"ours": [1.3] * 8}, [0] * 8),
        Run("abrupt shift", 1, flat | {"ours": [9.0] * 5 + [1.12, 1.0, 1.0]}, [0] * 8),
        Run("new group", 1, flat, [0, 1, 0, 0, 0, 0, 0, 0]),
    ]
    found = bars.cost_bars(runs)
    assert found["ours_after_abrupt_shift"] == {"value": 1.12, "limit": 1.10, "holds": False}
    assert found["published_between_worst_seed"]["value"] == 1.0
    assert found["dead_cluster_days"]["holds"] is False
    assert found["ours_less_than_best_peer"]["holds"] is False
    assert {row["holds"] for row in bars.recalibration_bars({}).values()} == {None}
    assert bars.table(runs)["stationary"]["better_peers"] == ["mini_batch"]


def test_alarms_before_a_change_are_false() -> None:
    """Delay counts from the planted change; without one every alarm is false, in some streams none is."""
    changed = Run("gradual drift", 1, alarms={CHANGE_DAY - 1: "psi", CHANGE_DAY + 4: "psi"})
    found = bars.detection(
        [changed, Run("stationary", 1, alarms={3: "psi"}), Run("sorted", 1, alarms={3: "psi"})]
    )
    assert found["gradual drift"]["delay_days"] == [4]
    assert [found[name]["false_alarm_days"] for name in ("gradual drift", "stationary", "sorted")] == [
        1,
        1,
        0,
    ]
