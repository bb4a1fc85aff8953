"""Laws of a segment's portrait: typical customer, nearest segment, separation."""

from __future__ import annotations

import numpy as np
import pytest

from online_model.portrait import portraits

ONE = np.ones(1)


def test_portraits_by_hand() -> None:
    """Three centres on a line at 0, 10 and 100; customers of the first at 0, 5 and around 2."""
    x = np.array([0.0, 5.0, *[2.0] * 8, *[10.0] * 10, *[100.0] * 9])[:, None]
    labels = np.array([0] * 10 + [1] * 10 + [2] * 9)
    first, second, third = portraits(x, labels, np.array([[0.0], [10.0], [100.0]]), ONE)
    places = [1.0, 0.0, *[(8 - 2) / 8] * 8]
    assert first.separation == pytest.approx(np.mean(places))
    assert first.border == 0.1
    assert (first.nearest, second.nearest) == (1, 0)
    assert first.medoid is not None
    assert x[first.medoid] == 2.0
    assert (second.separation, second.border) == (1.0, 0.0)
    assert (third.members, third.medoid, third.separation) == (9, None, None)


def test_the_medoid_is_no_outlier_and_has_the_least_sum_of_distances() -> None:
    """Against every pair, in three columns."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=(150, 3)), [[50.0, 50.0, 50.0]]])
    (found,) = portraits(x, np.zeros(len(x), int), np.zeros((1, 3)), np.ones(3) / 3)
    sums = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2)).sum(axis=1)
    assert found.medoid == int(np.argmin(sums))
    assert (found.nearest, found.separation) == (None, None)


def test_the_medoid_of_many_is_almost_the_best() -> None:
    """Candidates near the mean are enough: no more than half a percent above the best."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3000, 2)) * [1.0, 3.0]
    (found,) = portraits(x, np.zeros(len(x), int), np.zeros((1, 2)), np.ones(2) / 2)
    sums = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2)).sum(axis=1)
    assert found.medoid is not None
    assert sums[found.medoid] <= 1.005 * sums.min()


def test_a_gap_in_a_row_is_no_distance() -> None:
    """Missing values count as in the model, and nobody is outside a segment for them."""
    x = np.array([[0.0, np.nan]] * 10 + [[4.0, 4.0]] * 10 + [[9.0, 9.0]])
    labels = np.array([0] * 10 + [1] * 10 + [-1])
    first, second = portraits(x, labels, np.array([[0.0, 0.0], [4.0, 4.0]]), np.array([0.5, 0.5]))
    assert (first.members, second.members) == (10, 10)
    assert first.separation == second.separation == 1.0
