"""Laws of the nearest-centroid kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.distance import distances, nearest


@given(st.integers(0, 2**32 - 1), st.integers(0, 150), st.integers(1, 12), st.integers(1, 9))
def test_nearest_is_brute_force(seed: int, n: int, k: int, d: int) -> None:
    """Any n, k and D, with and without gaps: labels and distances equal those of a plain loop."""
    rng = np.random.default_rng(seed)
    x, centroids = rng.normal(size=(n, d)), rng.normal(size=(k, d))
    x[rng.random((n, d)) < 0.2] = np.nan
    importance = rng.dirichlet(np.ones(d))
    label, d2, second, d2_second = nearest(x, centroids, importance)
    for i in range(n):
        present = np.isfinite(x[i])
        share = importance[present].sum()
        if not present.all() and share < 0.5:
            assert (label[i], second[i]) == (-1, -1)
            assert np.isnan(d2[i])
            continue
        expected = ((x[i] - centroids)[:, present] ** 2).sum(axis=1) / (1.0 if present.all() else share)
        order = np.argsort(expected, kind="stable")
        assert label[i] == order[0]
        assert d2[i] == pytest.approx(expected[order[0]])
        if k > 1:
            assert second[i] == order[1]
            assert d2_second[i] == pytest.approx(expected[order[1]])
        else:
            assert (second[i], d2_second[i]) == (-1, np.inf)


def test_missing_distance_by_hand() -> None:
    """With three quarters of the importance present, the present part counts for 4/3."""
    x = np.array([[3.0, np.nan], [np.nan, 3.0]])
    label, d2, _, _ = nearest(x, np.array([[0.0, 0.0]]), np.array([0.75, 0.25]))
    assert label.tolist() == [0, -1]
    assert d2[0] == 12.0
    np.testing.assert_array_equal(distances(x, np.zeros((1, 2)), np.array([0.75, 0.25])), [[12.0], [36.0]])


def test_ties_go_to_the_lowest_index() -> None:
    """A row between two equal centroids belongs to the first, the other is second."""
    label, _, second, _ = nearest(np.zeros((1, 1)), np.array([[5.0], [1.0], [-1.0]]), np.ones(1))
    assert (label[0], second[0]) == (1, 2)


@given(st.integers(0, 2**32 - 1))
def test_rows_do_not_see_each_other(seed: int) -> None:
    """Permuting or splitting the rows changes no bit of any row's result."""
    rng = np.random.default_rng(seed)
    x, centroids, importance = rng.normal(size=(130, 5)), rng.normal(size=(6, 5)), np.full(5, 0.2)
    x[::7, 2] = np.nan
    order = rng.permutation(130)
    whole = nearest(x, centroids, importance)
    permuted, tail = nearest(x[order], centroids, importance), nearest(x[41:], centroids, importance)
    for i in range(4):
        np.testing.assert_array_equal(whole[i][order], permuted[i])
        np.testing.assert_array_equal(whole[i][41:], tail[i])
