"""Laws of the frozen scaler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from online_model.columns import Missing, Transform
from online_model.scaler import apply, fit_scaler, inverse
from tests.online_model.populations import Float64Array, numeric_columns, with_category


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_equal_weights_are_the_standard_score(seed: int, n: int) -> None:
    """One block, budget = number of features, no transform, no clipping: sklearn's StandardScaler."""
    raw = np.random.default_rng(seed).normal(3.0, [1.0, 100.0, 1e-3], size=(n, 3))
    scaler = fit_scaler(raw, numeric_columns("a", "b", "c"), {"all": 3.0})
    np.testing.assert_allclose(apply(scaler, raw), StandardScaler().fit_transform(raw), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scaler.importance, 1 / 3)


def test_signed_log_clip_and_centre_by_hand() -> None:
    """-1, 0, 1 become -ln 2, 0, ln 2 over their standard deviation; symmetric values stay symmetric."""
    raw = np.array([[-1.0], [0.0], [1.0]])
    scaler = fit_scaler(raw, numeric_columns("a", transform=Transform.SIGNED_LOG1P), {"all": 4.0})
    np.testing.assert_allclose(apply(scaler, raw)[:, 0], 2 * np.array([-1, 0, 1]) * np.sqrt(1.5))


def test_clipping_bounds_new_extremes() -> None:
    """A value beyond the calibration's p99.9 counts as p99.9."""
    raw = np.arange(1001.0)[:, None]
    scaler = fit_scaler(raw, numeric_columns("a", clip=True), {"all": 1.0})
    assert (scaler.clip_low[0], scaler.clip_high[0]) == (1.0, 999.0)
    assert apply(scaler, np.array([[1e9]])) == apply(scaler, np.array([[999.0]]))


def test_blocks_get_their_budgets_whatever_their_columns() -> None:
    """The variance of the scaled table adds up to each block's budget, split by weight; levels share one."""
    rng = np.random.default_rng(0)
    columns = with_category(numeric_columns("a", "b"), "contract", ("month", "year", "two"), "service")
    columns = replace(columns, weight=np.array([3.0, 1.0, 1.0, 1.0, 1.0]))
    level = rng.choice(3, p=[0.7, 0.2, 0.1], size=500)
    raw = np.column_stack([rng.normal(size=(500, 2)) * 50, np.eye(3)[level]])
    scaler = fit_scaler(raw, columns, {"all": 8.0, "service": 0.5})
    variance = apply(scaler, raw).var(axis=0)
    np.testing.assert_allclose(variance[:2], [6.0, 2.0])
    assert variance[2:].sum() == pytest.approx(0.5)
    assert len(set(scaler.scale[2:])) == 1
    np.testing.assert_allclose(scaler.importance, variance / 8.5)


def test_missing_values_follow_their_column() -> None:
    """NaN stays NaN (ignore), becomes the scaled zero (zero) or the centre (mean)."""
    raw = np.array([[2.0], [4.0], [np.nan]])
    budgets = {"all": 1.0}
    ignore = fit_scaler(raw, numeric_columns("a", missing=Missing.IGNORE), budgets)
    mean = fit_scaler(raw, numeric_columns("a", missing=Missing.MEAN), budgets)
    zero = fit_scaler(raw, numeric_columns("a", missing=Missing.ZERO), budgets)
    assert np.isnan(apply(ignore, raw)[2, 0])
    assert apply(mean, raw)[2, 0] == 0.0
    assert apply(zero, raw)[2, 0] == apply(zero, np.zeros((1, 1)))[0, 0]
    assert zero.center[0] == 2.0
    assert mean.center[0] == 3.0


def test_constant_and_empty_columns_are_silent() -> None:
    """A constant or never present column scales to 0, even where missing, and has no importance."""
    raw = np.array([[7.0, np.nan, 1.0], [7.0, np.nan, 3.0]])
    scaler = fit_scaler(raw, numeric_columns("a", "b", "c"), {"all": 3.0})
    np.testing.assert_array_equal(apply(scaler, np.array([[9.0, np.nan, 1.0]])), [[0.0, 0.0, -1.0]])
    np.testing.assert_array_equal(scaler.importance, [0.0, 0.0, 1.0])


@given(st.integers(0, 2**32 - 1))
def test_inverse_returns_to_real_units(seed: int) -> None:
    """Scaling and back is the identity inside the clip bounds."""
    raw = np.random.default_rng(seed).lognormal(2, 2, size=(50, 2))
    scaler = fit_scaler(raw, numeric_columns("a", "b", transform=Transform.SIGNED_LOG1P), {"all": 2.0})
    x = apply(scaler, raw)
    np.testing.assert_allclose(inverse(scaler, x), raw, rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(0, 200))
def test_rows_are_scaled_on_their_own(seed: int, n: int, cut: int) -> None:
    """Whatever rows are scaled together, tiles are full or not: the same bits, missing values included."""
    rng = np.random.default_rng(seed)
    raw = rng.lognormal(2, 2, size=(n, 3))
    raw[rng.random((n, 3)) < 0.1] = np.nan
    columns = replace(
        numeric_columns("a", "b", "c", clip=True),
        transform=np.array([Transform.SIGNED_LOG1P, Transform.ARCSINE, Transform.NONE], np.int8),
        missing=np.array([Missing.IGNORE, Missing.ZERO, Missing.MEAN], np.int8),
    )
    scaler = fit_scaler(rng.lognormal(2, 2, size=(50, 3)), columns, {"all": 1.0})
    parts = [apply(scaler, raw[:cut]), apply(scaler, raw[cut:])]
    np.testing.assert_array_equal(apply(scaler, raw), np.concatenate(parts))


def test_a_value_on_the_bound_is_not_clipped() -> None:
    """Raw bounds survive the round trip through log1p: the bound itself lies inside."""
    raw = np.repeat([1.0, 2.0, 3.0], 100)[:, None]
    columns = numeric_columns("a", transform=Transform.SIGNED_LOG1P, clip=True)
    low, high = fit_scaler(raw, columns, {"all": 1.0}).raw_bounds()
    assert low[0] < 1.0 < 3.0 < high[0]


@pytest.mark.parametrize(
    ("raw", "budgets", "message"),
    [
        (np.ones((2, 2)), {"all": 1.0}, "expected"),
        (np.ones((0, 1)), {"all": 1.0}, "expected"),
        (np.array([[np.inf]]), {"all": 1.0}, "infinite"),
        (np.ones((2, 1)), {}, "block 'all' needs a budget"),
        (np.ones((2, 1)), {"all": -1.0}, "block 'all' needs a budget"),
    ],
)
def test_fit_refuses(raw: Float64Array, budgets: dict[str, float], message: str) -> None:
    """Wrong shapes, infinite values and absent budgets are errors that name the place."""
    with pytest.raises(ValueError, match=message):
        fit_scaler(raw, numeric_columns("a"), budgets)


def test_arcsine_is_that_of_the_root_and_comes_back() -> None:
    """Shares 0, 1/4, 1/2, 1 become 0, pi/6, pi/4, pi/2 before scaling; the inverse returns the shares."""
    raw = np.array([[0.0], [0.25], [0.5], [1.0]])
    scaler = fit_scaler(raw, numeric_columns("a", transform=Transform.ARCSINE), {"all": 1.0})
    transformed = apply(scaler, raw)[:, 0] / scaler.scale[0] + scaler.center[0]
    np.testing.assert_allclose(transformed, [0.0, np.pi / 6, np.pi / 4, np.pi / 2], atol=1e-15)
    np.testing.assert_allclose(inverse(scaler, apply(scaler, raw)), raw, atol=1e-12)
