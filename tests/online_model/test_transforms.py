"""Laws of the vectorised transforms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.columns import Transform
from online_model.scaler import Scaler, apply

Float64Array = npt.NDArray[np.float64]


def transformed(values: Float64Array, transform: Transform) -> Float64Array:
    """`values` float64[n] through a scaler that does nothing else."""
    one = np.ones(1)
    bounds = np.array([-np.inf]), np.array([np.inf])
    code = np.array([int(transform)], np.int8)
    scaler = Scaler(np.zeros(1), one, *bounds, transform=code, missing=np.zeros(1, np.int8), importance=one)
    return apply(scaler, values[:, None])[:, 0]


def units_apart(found: Float64Array, exact: npt.NDArray[np.longdouble]) -> Float64Array:
    """Distance in units of the last place of `exact`."""
    return np.asarray(np.abs((found - exact) / np.spacing(np.abs(exact).astype(np.float64))), np.float64)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=200))
def test_signed_log1p_is_exact_to_the_last_bit_or_two(values: list[float]) -> None:
    """Against extended precision; odd, and 0 at 0."""
    x = np.array(values)
    wide = x.astype(np.longdouble)
    found = transformed(x, Transform.SIGNED_LOG1P)
    assert (units_apart(found, np.sign(wide) * np.log1p(np.abs(wide))) < 1.0).all()
    np.testing.assert_array_equal(transformed(-x, Transform.SIGNED_LOG1P), -found)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_arcsine_of_the_root_is_exact_to_the_last_bits(values: list[float]) -> None:
    """Against extended precision."""
    x = np.array(values)
    exact = np.arcsin(np.sqrt(x.astype(np.longdouble)))
    assert (units_apart(transformed(x, Transform.ARCSINE), exact) < 3.0).all()


@pytest.mark.parametrize("transform", [Transform.SIGNED_LOG1P, Transform.ARCSINE])
def test_over_the_whole_range(transform: Transform) -> None:
    """Dense and logarithmic grids, the borders of the reductions, rising all the way."""
    borders = [0.0, 5e-324, 0.25, np.nextafter(0.25, 0), 0.5, 1.0, np.sqrt(2) - 1, np.nextafter(1.0, 0)]
    x = np.sort(np.concatenate([np.linspace(0, 1, 20_001), np.logspace(-300, 0, 20_000), borders]))
    exact = x.astype(np.longdouble)
    exact = np.log1p(exact) if transform is Transform.SIGNED_LOG1P else np.arcsin(np.sqrt(exact))
    found = transformed(x, transform)
    assert units_apart(found, exact)[x > 0].max() < 3.0
    assert found[0] == 0.0
    assert (np.diff(found) >= -4 * np.spacing(found[1:])).all()


def test_arcsine_clips_to_shares() -> None:
    """Below 0 is 0 and above 1 is 1."""
    np.testing.assert_array_equal(
        transformed(np.array([-3.0, 7.0]), Transform.ARCSINE),
        transformed(np.array([0.0, 1.0]), Transform.ARCSINE),
    )
