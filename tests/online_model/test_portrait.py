"""Laws of a segment's portrait: nearest segment, separation, an example."""

from __future__ import annotations

import numpy as np
import pytest

from online_model.portrait import middle_member, portraits

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
    assert (second.separation, second.border) == (1.0, 0.0)
    assert (third.members, third.nearest, third.separation) == (9, None, None)


def test_one_segment_has_no_neighbour() -> None:
    """It is not apart from anything."""
    (found,) = portraits(np.zeros((20, 1)), np.zeros(20, int), np.zeros((1, 1)), ONE)
    assert (found.members, found.nearest, found.separation, found.border) == (20, None, None, None)


def test_the_example_is_in_the_middle_of_every_column() -> None:
    """By hand: medians 3 and 30. In units of each column's own spread, whatever these are."""
    x = np.array([[1.0, 30.0], [2.0, 10.0], [3.0, 50.0], [3.2, 31.0], [5.0, 20.0]])
    assert middle_member(x) == 3
    assert middle_member(x * [1.0, 1e6]) == middle_member(x + np.array([7.0, -2.0])) == 3


def test_the_example_is_of_whoever_tells_most() -> None:
    """A missing value is no middle; a column that nobody has, or that does not vary, says nothing."""
    x = np.array([[5.0, np.nan], [5.0, 1.0], [5.0, 2.0], [5.0, 9.0]])
    assert middle_member(x) == 2
    assert middle_member(np.column_stack([x, np.full(4, np.nan)])) == 2


def test_a_gap_in_a_row_is_no_distance() -> None:
    """Missing values count as in the model, and nobody is outside a segment for them."""
    x = np.array([[0.0, np.nan]] * 10 + [[4.0, 4.0]] * 10 + [[9.0, 9.0]])
    labels = np.array([0] * 10 + [1] * 10 + [-1])
    first, second = portraits(x, labels, np.array([[0.0, 0.0], [4.0, 4.0]]), np.array([0.5, 0.5]))
    assert (first.members, second.members) == (10, 10)
    assert first.separation == second.separation == 1.0
