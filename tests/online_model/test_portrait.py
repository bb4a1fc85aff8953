"""Laws of a segment's portrait: typical customer, nearest segment, separation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.catalog import Population, make_catalog
from online_model.model import Standing
from online_model.portrait import middle_member, portraits, rounded, typical_columns, with_standings
from online_model.scaler import apply
from tests.online_model.populations import USAGE as COLUMNS
from tests.online_model.populations import calibration, numeric_columns, personas, with_category

IntArray = npt.NDArray[np.integer]

ONE = np.ones(1)
RAW, _ = personas(400)
FITTED = calibration(RAW)
FITTED_X = apply(FITTED.scaler, RAW)
IDS = ["s1", "s2", "s3", "s4", "s5"]


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


def standings_of(rows: IntArray) -> list[Standing]:
    """Of a calibration's segments, with the customers in this order."""
    raw, x, labels = RAW[rows], FITTED_X[rows], FITTED.labels[rows]
    fit = (FITTED.centroids, FITTED.scaler.importance)
    segments = make_catalog(Population(raw, x, labels), COLUMNS, FITTED.centroids, IDS)
    described = with_standings(
        segments, Population(raw, x, labels), COLUMNS, fit, FITTED.quality.significance
    )
    assert [segment.id for segment in described] == IDS
    return [segment.standing or Standing() for segment in described]


def test_a_model_has_the_portraits_of_its_customers() -> None:
    """What the report computes of the same customers; the order they come in does not matter."""
    found = standings_of(np.arange(len(RAW)))
    for standing, portrait in zip(
        found, portraits(FITTED_X, FITTED.labels, FITTED.centroids, FITTED.scaler.importance), strict=True
    ):
        assert portrait.nearest is not None
        assert portrait.medoid is not None
        assert standing.nearest == IDS[portrait.nearest]
        assert (standing.separation, standing.border) == (portrait.separation, portrait.border)
        for name, value in standing.typical.items():
            exact = RAW[portrait.medoid][COLUMNS.name.index(name)]
            assert value == pytest.approx(exact, rel=0.05)
    turned = standings_of(np.random.default_rng(1).permutation(len(RAW)))
    assert [s.nearest for s in turned] == [s.nearest for s in found]
    assert [s.typical for s in turned] == [s.typical for s in found]
    assert [s.separation for s in turned] == pytest.approx([s.separation for s in found])


#: Those of which two digits are a float again: neither the largest, nor smaller than what has all its bits.
ORDINARY = st.floats(1e-300, 1e300).flatmap(lambda size: st.sampled_from([size, -size, 0.0]))


@given(ORDINARY)
def test_a_typical_value_has_two_digits(value: float) -> None:
    """Whatever its size, so it is nobody's own; to say it again changes nothing."""
    told = rounded(value)
    digits = f"{told:e}".split("e")[0].lstrip("-").replace(".", "").rstrip("0")
    assert len(digits) <= 2
    assert rounded(told) == told
    assert told == pytest.approx(value, rel=0.051)


def test_of_few_customers_nothing_is_told() -> None:
    """Nine are a segment without a medoid."""
    rows = np.concatenate([np.flatnonzero(FITTED.labels == 0)[:9], np.flatnonzero(FITTED.labels > 0)])
    few, *others = standings_of(rows)
    assert few == Standing()
    assert all(standing.typical and standing.nearest for standing in others)


def test_a_typical_customer_is_told_by_what_tells_the_segment() -> None:
    """Numbers in the order of columns, at most eight, only those there are; then levels that apply."""
    numbers = numeric_columns(*(f"f{j}" for j in range(12)))
    columns = with_category(numbers, "line", ("prepaid", "postpaid"), "service")
    raw = np.array([*range(12), 0.0, 1.0])
    raw[3] = np.nan
    found = typical_columns(raw, ["line=prepaid", "f9", "f3"], [11, 3, 13, *range(9)], columns)
    assert found == [0, 1, 2, 4, 5, 6, 9, 11, 13]
    assert typical_columns(raw, ["f9"], [], columns) == [9]
