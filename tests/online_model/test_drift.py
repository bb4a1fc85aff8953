"""Laws of the drift figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from online_model.distance import nearest
from online_model.drift import Drift, measure, psi, share_distance
from online_model.fold import STEPS, add_rows, empty, fold, gauge_of
from online_model.model import DORMANT_CODE
from online_model.scaler import apply
from online_model.separation import add_separation
from tests.online_model.populations import Float64Array, model, personas
from tests.online_model.tiny import model as tiny_model

MODEL = model(3000)


def drift_of(raw: Float64Array, min_samples: int = 2000) -> Drift:
    """Drift of a population against the model's own."""
    statistics = empty(MODEL.k, 3)
    x = apply(MODEL.scaler, raw)
    label, d2, _, d2_other = nearest(x, MODEL.centroids, MODEL.scaler.importance)
    add_rows(statistics, gauge_of(MODEL), raw, x, label, d2)
    add_separation(statistics, label, d2, d2_other)
    return measure(statistics, MODEL, min_samples)


def test_the_calibration_population_has_not_drifted() -> None:
    """Against itself everything is at rest: PSI and distances 0, ratios 1, one in a hundred beyond p99."""
    drift = drift_of(personas(3000)[0])
    assert drift.psi is not None
    assert drift.error_ratio_by_segment is not None
    assert drift.missing is not None
    assert drift.clipped is not None
    np.testing.assert_allclose(drift.psi, 0.0, atol=1e-12)
    np.testing.assert_allclose(drift.missing, 0.0, atol=1e-12)
    np.testing.assert_allclose(drift.clipped, 0.0, atol=1e-12)
    np.testing.assert_allclose(drift.error_ratio_by_segment, 1.0)
    assert drift.share_distance == pytest.approx(0.0, abs=1e-7)
    assert drift.error_ratio == pytest.approx(1.0)
    assert drift.outlier_ratio == pytest.approx(0.01, abs=0.001)


def test_each_kind_of_drift_shows_where_it_should() -> None:
    """A shifted column, a dead column, another mix and a far group each move their figure."""
    raw, persona = personas(3000)
    shifted = raw * [2.0, 1.0, 1.0]
    psi_shifted = drift_of(shifted).psi
    assert psi_shifted is not None
    assert psi_shifted[0] > 0.25
    assert psi_shifted[1:].max() < 1e-9
    dead = raw.copy()
    dead[:, 1] = np.nan
    missing = drift_of(dead).missing
    assert missing is not None
    assert missing.tolist() == [0.0, 1.0, 0.0]
    mix = np.concatenate([raw[persona == 0]] * 5)
    assert (drift_of(mix).share_distance or 0) > 0.4
    far = np.concatenate([raw, np.tile([1.0, 1.0, 5e4], (600, 1))])
    far_drift = drift_of(far)
    assert (far_drift.error_ratio or 0) > 1.5
    assert (far_drift.outlier_ratio or 0) > 0.1


def test_displacement_by_hand() -> None:
    """Half the way to the nearest other centroid is 0.5, whatever has been folded in between.

    Segments at 0 and 100: the customers of the first are now at 50. The second has too few to say.
    """
    statistics = empty(2, 3)
    statistics.counts[:] = [4000, 10]
    statistics.present[:] = [[4000, 0, 4000], [10, 10, 10]]
    statistics.sums[0, 0] = int(4000 * 50 * STEPS)
    statistics.totals[0] = 4010
    calibrated = tiny_model()
    folded = fold(calibrated, statistics, 1, 10**12)
    for current in (calibrated, folded):
        moved = measure(statistics, current).displacement
        assert moved is not None
        assert moved[0] == pytest.approx(0.5)
        assert np.isnan(moved[1])


def test_means_are_in_deviations_of_the_calibration() -> None:
    """A column that everybody doubles moves by log 2 over its deviation; the others do not move."""
    raw, _ = personas(3000)
    before, after = drift_of(raw).means, drift_of(raw * [2.0, 1.0, 1.0]).means
    assert before is not None
    assert after is not None
    # The deviation is that of a normal with the same outer deciles; here it is a fifth off.
    deviation = np.std(np.log1p(raw[:, 0]))
    np.testing.assert_allclose((after - before)[0], np.log(2) / deviation, rtol=0.25)
    np.testing.assert_allclose((after - before)[1:], 0.0, atol=1e-6)
    gone = raw.copy()
    gone[:, 1] = np.nan
    absent = drift_of(gone).means
    assert absent is not None
    assert np.isnan(absent).tolist() == [False, True, False]


def test_a_report_that_counts_the_dormant_in_its_columns_is_measured_as_it_was() -> None:
    """Workers of before count the dormant, here a quarter without the second column, in it and its ratio."""
    raw, _ = personas(3000)
    silent = raw[:1000].copy()
    silent[:, 1] = np.nan
    x, statistics = apply(MODEL.scaler, np.concatenate([raw, silent])), empty(MODEL.k, 3)
    label, d2 = nearest(x, MODEL.centroids, MODEL.scaler.importance)[:2]
    label[3000:] = -1
    add_rows(statistics, gauge_of(MODEL), np.concatenate([raw, silent]), x, label, d2)
    statistics.dormant[0] = 1000
    former = measure(statistics, MODEL)
    assert former.missing is not None
    assert former.missing.tolist() == [0.0, 0.25, 0.0]
    label[3000:] = DORMANT_CODE
    statistics = empty(MODEL.k, 3)
    add_rows(statistics, gauge_of(MODEL), np.concatenate([raw, silent]), x, label, d2)
    now = measure(statistics, MODEL)
    assert now.missing is not None
    assert now.missing.tolist() == [0.0, 0.0, 0.0]
    assert (now.n_rows, now.unclassified_ratio) == (former.n_rows, former.unclassified_ratio) == (4000, 0.25)


def test_small_samples_say_nothing() -> None:
    """Below the minimum every figure is None; the minimum can be set."""
    raw, _ = personas(500)
    drift = drift_of(raw)
    assert (drift.n_rows, drift.psi, drift.error_ratio, drift.share_distance) == (500, None, None, None)
    assert drift_of(raw, min_samples=100).psi is not None
    assert drift_of(raw[:0], min_samples=0).psi is None


def test_psi_by_hand() -> None:
    """Halves 50:50 to 90:10 of very many give (0.4) ln(1.8) + (-0.4) ln(0.2)."""
    counts = np.zeros((1, 10), dtype=np.int64)
    counts[0, :2] = [900_000_000, 100_000_000]
    expected = np.zeros((1, 10))
    expected[0, :2] = 0.5
    assert psi(counts, expected)[0] == pytest.approx(0.4 * np.log(1.8) - 0.4 * np.log(0.2), rel=1e-6)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=8), st.integers(0, 1000))
def test_share_distance_is_scipys(counts: list[int], seed: int) -> None:
    """Symmetric, 0 for equal shares, 1 for disjoint ones, and scipy's value in base 2."""
    p = (np.array(counts) + 1e-3) / (np.array(counts) + 1e-3).sum()
    q = np.random.default_rng(seed).dirichlet(np.ones(len(p)))
    assert share_distance(p, q) == pytest.approx(jensenshannon(p, q, 2), abs=1e-6)
    assert share_distance(p, q) == share_distance(q, p)
    assert share_distance(p, p) == 0.0
    assert share_distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


def test_foreign_statistics_are_refused() -> None:
    """Statistics of other columns cannot be measured."""
    with pytest.raises(ValueError, match="histograms"):
        measure(empty(MODEL.k, 2), MODEL)
