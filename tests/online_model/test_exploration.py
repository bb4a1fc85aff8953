"""Laws of summaries, histograms, correlations and projections: small groups never show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.columns import Transform
from online_model.exploration import (
    MIN_GROUP,
    dots,
    histogram,
    means,
    medians,
    on_axis,
    principal_axes,
    rank_correlation,
    summarise,
)


def test_a_summary_by_hand() -> None:
    """0 to 100: the quantiles are the numbers themselves, what is missing does not count."""
    seen = summarise(np.array([*range(101), np.nan, np.inf]))
    assert seen is not None
    assert (seen.n, seen.mean) == (101, 50.0)
    assert seen.quantiles == (5.0, 25.0, 50.0, 75.0, 95.0)
    assert seen.deviation == pytest.approx(np.sqrt((101**2 - 1) / 12))


def test_nine_customers_are_not_summarised() -> None:
    """Nor is a column of nine present values, however many are missing."""
    nine = np.array([*range(9), *[np.nan] * 50])
    assert summarise(nine) is None
    assert histogram(nine, Transform.NONE) is None
    assert np.isnan(means(nine[:, None])).all()
    assert np.isnan(medians(nine[:, None])).all()
    assert np.isnan(rank_correlation(np.stack([nine, nine], axis=1))).all()


def test_means_and_medians_by_hand() -> None:
    """Of ten values."""
    values = np.array([[float(v)] for v in (0, 0, 0, 0, 0, 0, 1, 1, 1, 7)])
    assert (means(values)[0], medians(values)[0]) == (1.0, 0.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=MIN_GROUP, max_size=300), st.sampled_from(list(Transform)))
def test_a_histogram_counts_in_tens(values: list[float], transform: Transform) -> None:
    """So no bin tells of fewer than ten, nor does the difference to the whole; none is invented."""
    found = histogram(np.array(values), transform)
    assert found is not None
    assert (found.counts % MIN_GROUP == 0).all()
    assert found.counts.sum() <= len(values)
    assert found.counts.sum() > len(values) - MIN_GROUP * len(found.counts)
    assert (np.diff(found.edges) > 0).all()


def test_a_histogram_by_hand() -> None:
    """Two heaps at 0 and 1 fall into the outer bins."""
    found = histogram(np.array([0.0] * 30 + [1.0] * 25), Transform.NONE, bins=4)
    assert found is not None
    assert found.counts.tolist() == [30, 0, 0, 20]


def test_axes_spread_what_is_small() -> None:
    """The transforms are those of the model."""
    assert on_axis(np.array([-np.expm1(2.0), 0.0]), Transform.SIGNED_LOG1P) == pytest.approx([-2.0, 0.0])
    assert on_axis(np.array([0.0, 0.5, 2.0]), Transform.ARCSINE) == pytest.approx([0, np.pi / 4, np.pi / 2])
    assert on_axis(np.array([3.0]), Transform.NONE) == [3.0]


def test_ranks_do_not_mind_the_scale() -> None:
    """A monotone relation is 1, a falling one -1, a constant is not known."""
    x = np.arange(1.0, 31.0)
    found = rank_correlation(np.stack([x, np.exp(x), -x, np.ones(30)], axis=1))
    assert found[0, 1] == pytest.approx(1.0)
    assert found[0, 2] == pytest.approx(-1.0)
    assert np.isnan(found[0, 3])


def test_principal_axes_by_hand() -> None:
    """Points on a line in two columns: one direction holds everything; what is missing is the centre."""
    t = np.linspace(-1, 1, 21)
    x = np.stack([3 * t + 5, 4 * t], axis=1)
    found = principal_axes(x)
    assert found.explained == pytest.approx((1.0, 0.0))
    assert found.axes[0] == pytest.approx([0.6, 0.8])
    assert found.of(x)[:, 0] == pytest.approx(5 * t)
    assert found.of(np.array([[np.nan, np.nan]])) == pytest.approx(np.zeros((1, 2)))


def test_one_column_has_one_direction() -> None:
    """The second axis is nothing."""
    found = principal_axes(np.arange(10.0)[:, None])
    assert found.explained == (1.0, 0.0)
    assert (found.axes[1] == 0).all()


@given(st.integers(0, 400), st.integers(MIN_GROUP, 40), st.integers(0, 3))
def test_a_dot_is_a_group(n: int, least: int, seed: int) -> None:
    """Each stands for `least` customers or more, all of them together for everybody."""
    points = np.random.default_rng(seed).normal(size=(n, 2)).round(1)
    found = dots(points, least)
    if n < least:
        assert len(found.at) == 0
        return
    assert (found.customers >= least).all()
    assert (found.customers < 2 * least).all()
    assert found.customers.sum() == n
    whole = (found.at * found.customers[:, None]).sum(axis=0) / n
    assert whole == pytest.approx(points.mean(axis=0), abs=1e-9)


def test_dots_leave_out_who_has_no_place() -> None:
    """A missing value is nowhere."""
    points = np.array([[float(i), np.nan if i % 2 else 0.0] for i in range(40)])
    assert dots(points).customers.tolist() == [10, 10]
