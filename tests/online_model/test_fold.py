"""Laws of scan statistics and of the fold."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.distance import nearest
from online_model.fold import STEPS, Gauge, ScanStatistics, add_rows, empty, fold, gauge_of, merge
from online_model.model import DORMANT_CODE, Covers, Model
from online_model.scaler import apply
from online_model.separation import add_separation
from tests.online_model.populations import model, personas

Float64Array = npt.NDArray[np.float64]

MODEL = model()
DAY = 86_400_000_000


def scanned(m: Model, raw: Float64Array, rows: npt.NDArray[np.int64]) -> ScanStatistics:
    """Statistics of some rows under a model."""
    statistics = empty(m.k, len(m.columns))
    x = apply(m.scaler, raw[rows])
    label, d2, _, d2_other = nearest(x, m.centroids, m.scaler.importance)
    add_rows(statistics, gauge_of(m), raw[rows], x, label, d2)
    add_separation(statistics, label, d2, d2_other)
    return statistics


def assert_same_bits(a: ScanStatistics, b: ScanStatistics) -> None:
    """Every array equal."""
    for item in fields(ScanStatistics):
        np.testing.assert_array_equal(getattr(a, item.name), getattr(b, item.name))


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 200), max_size=4))
def test_any_grouping_and_order_gives_the_same_bits(seed: int, cuts: list[int]) -> None:
    """Rows in any order, on any number of workers, merged in any order: the same model, bit for bit."""
    raw, _ = personas(200, seed=2)
    raw[::9, 1] = np.nan
    rng = np.random.default_rng(seed)
    parts = np.split(rng.permutation(200), sorted(cuts))
    merged = empty(MODEL.k, 3)
    for part in parts:
        merged = merge(scanned(MODEL, raw, part), merged)
    whole = scanned(MODEL, raw, np.arange(200))
    assert_same_bits(merged, whole)
    a, b = fold(MODEL, merged, DAY, 7 * DAY), fold(MODEL, whole, DAY, 7 * DAY)
    np.testing.assert_array_equal(a.centroids, b.centroids)
    np.testing.assert_array_equal(a.weights, b.weights)


def test_statistics_by_hand() -> None:
    """One row unclassified, one dormant, one missing value, one clipped, one beyond the p99 distance."""
    statistics = empty(2, 2)
    edges = np.tile(np.arange(1.0, 10.0), (2, 1))
    gauge = Gauge(2, edges, np.array([-np.inf, 0.0]), np.array([np.inf, 8.0]), p99_d2=3.0)
    x = np.array([[0.5, 2.0], [1.0, np.nan], [9.5, 8.5], [np.nan, 9.0]])
    labels, d2 = np.array([1, 0, -1, DORMANT_CODE], dtype=np.int16), np.array([4.0, 0.25, np.nan, 9.0])
    add_rows(statistics, gauge, x, x, labels, d2)
    assert statistics.counts.tolist() == [1, 1]
    assert (statistics.sums / STEPS).tolist() == [[1.0, 0.0], [0.5, 2.0]]
    assert statistics.present.tolist() == [[1, 0], [1, 1]]
    assert (statistics.errors / STEPS).tolist() == [0.25, 4.0]
    assert statistics.histogram[0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert statistics.missing.tolist() == [0, 1]
    assert statistics.clipped.tolist() == [0, 1]
    assert statistics.in_columns.tolist() == [3, 3]
    assert (statistics.n_rows, statistics.n_unclassified, statistics.beyond_p99) == (4, 2, 1)
    assert statistics.members == [1, 1, 1, 1]


def test_fold_by_hand() -> None:
    """After one half-life old weight 100 counts 50: (50 * c + sum) / (50 + n)."""
    statistics = empty(MODEL.k, 3)
    statistics.counts[0] = 50
    statistics.present[0] = [50, 0, 50]
    statistics.sums[0] = [int(50 * STEPS), 0, int(-100 * STEPS)]
    before = MODEL.centroids[0]
    weights = np.full(MODEL.k, 100.0)
    after = fold(replace(MODEL, weights=weights), statistics, 7 * DAY, 7 * DAY, Covers(3, 9))
    np.testing.assert_allclose(
        after.centroids[0], [(before[0] + 1) / 2, before[1], (before[2] - 2) / 2], rtol=1e-12
    )
    assert after.weights.tolist() == [100.0] + [50.0] * (MODEL.k - 1)
    assert (after.version, after.parent, after.kind, after.covers) == (2, 1, "folded", Covers(3, 9))
    assert after.segments == MODEL.segments
    assert after.scaler is MODEL.scaler


def test_an_empty_cluster_keeps_its_centre() -> None:
    """A scan without rows moves nothing; even a weight decayed to zero leaves finite centres."""
    for dt in (0, DAY, 100_000 * DAY):
        after = fold(MODEL, empty(MODEL.k, 3), dt, DAY)
        np.testing.assert_array_equal(after.centroids, MODEL.centroids)


def test_weight_is_repetition() -> None:
    """Scanning the same rows twice equals merging the scan with itself."""
    raw, _ = personas(60, seed=3)
    once = scanned(MODEL, raw, np.arange(60))
    assert_same_bits(merge(once, once), scanned(MODEL, raw, np.tile(np.arange(60), 2)))


def test_folds_follow_a_shift() -> None:
    """When everybody doubles their data, folds approach the batch centroids of the new population."""
    raw, _ = personas(1500)
    raw[:, 0] *= 2
    current = MODEL
    for _ in range(20):
        current = fold(current, scanned(current, raw, np.arange(1500)), DAY, DAY)
    x = apply(MODEL.scaler, raw)
    label, _, _, _ = nearest(x, current.centroids, MODEL.scaler.importance)
    means = np.array([x[label == c].mean(axis=0) for c in range(MODEL.k)])
    np.testing.assert_allclose(current.centroids, means, atol=1e-4)


def test_absurd_values_do_not_wrap_around() -> None:
    """A value far beyond any scale is counted at the limit, with its sign."""
    statistics, x = empty(1, 1), np.array([[1e300], [-1e300]])
    gauge = Gauge(1, np.zeros((1, 9)), np.array([-np.inf]), np.array([np.inf]), 1.0)
    add_rows(statistics, gauge, x, x, np.zeros(2, dtype=np.int16), np.array([np.inf, 1e300]))
    assert statistics.sums[0, 0] == 0
    assert statistics.errors[0] > 0


def test_wrong_shapes_and_times_are_errors() -> None:
    """Labels beyond k, other columns, negative time and foreign statistics are refused."""
    gauge, label, d2 = gauge_of(MODEL), np.array([99], dtype=np.int16), np.zeros(1)
    with pytest.raises(ValueError, match="beyond k"):
        add_rows(empty(MODEL.k, 3), gauge, np.zeros((1, 3)), np.zeros((1, 3)), label, d2)
    with pytest.raises(ValueError, match="columns"):
        add_rows(empty(MODEL.k, 2), gauge, np.zeros((1, 3)), np.zeros((1, 3)), label, d2)
    with pytest.raises(ValueError, match="shapes differ"):
        add_rows(empty(MODEL.k, 3), gauge, np.zeros((2, 3)), np.zeros((1, 3)), label, d2)
    with pytest.raises(ValueError, match="dt_us"):
        fold(MODEL, empty(MODEL.k, 3), -1, DAY)
    with pytest.raises(ValueError, match="centroids"):
        fold(MODEL, empty(MODEL.k + 1, 3), 1, DAY)
    with pytest.raises(ValueError, match="counts"):
        merge(empty(2, 3), empty(3, 3))
