"""Laws of the decision: who moves, why, by what."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.decision import (
    DAY_US,
    Candidates,
    Cause,
    DecisionPolicy,
    Decisions,
    causes,
    decide,
    drivers,
    feature_index,
)
from online_model.model import DORMANT_CODE, NO_SEGMENT, RETIRED_CODE, UNCLASSIFIED_CODE
from tests.online_model.populations import numeric_columns, with_category

Float64Array = npt.NDArray[np.float64]

# Two centroids ten apart: the gain of moving from 0 to 1 at x is (x - 5) / 5, so h = 0.1 is at 5.5.
TWO = np.array([[0.0], [10.0]])
WATERMARK = 100 * DAY_US


def decided(x: Any, current: Any, since_us: int = 0, inactive: float = 0.0, **policy: Any) -> Decisions:
    """Decide one-column rows between `TWO`."""
    rows = np.array(x, dtype=np.float64).reshape(-1, 1)
    m = len(rows)
    candidates = Candidates(
        np.broadcast_to(np.array(current, dtype=np.int16), m).copy(),
        np.full(m, since_us, dtype=np.int64),
        np.full(m, inactive),
    )
    return decide(rows, candidates, TWO, np.ones(1), WATERMARK, DecisionPolicy(**policy))


def test_hysteresis_by_hand() -> None:
    """A customer of 0 moves only beyond 5.5, one of 1 only below 4.5; without hysteresis at 5."""
    x = [5.2, 5.49, 5.51, 9.0]
    assert decided(x, 0).target.tolist() == [0, 0, 1, 1]
    assert decided([4.8, 4.51, 4.49], 1).target.tolist() == [1, 1, 0]
    assert decided([4.99, 5.01], 0, hysteresis=0.0).target.tolist() == [0, 1]


def test_margin_by_hand() -> None:
    """Margin is 0 on the boundary, 0.4 at 3 (3 and 7 away), 1 at or beyond the centroid."""
    np.testing.assert_allclose(decided([5.0, 3.0, 0.0, -4.0], -1).margin, [0.0, 0.4, 1.0, 1.0])


def test_dwell_holds_and_is_bypassed() -> None:
    """Within the minimum dwell nobody moves between segments, but first, retired and returning do."""
    late = WATERMARK - DAY_US + 1
    assert decided(9.0, 0, since_us=late).target.tolist() == [0]
    assert decided(9.0, 0, since_us=late - 1).target.tolist() == [1]
    for code in (NO_SEGMENT, DORMANT_CODE, UNCLASSIFIED_CODE, RETIRED_CODE, 7):
        assert decided(5.1, code, since_us=late).target.tolist() == [1]


def test_dormancy_is_a_rule() -> None:
    """Silent for 30 days is dormant whatever the row; never active is not."""
    assert decided([1.0, np.nan], 0, inactive=30.0).target.tolist() == [DORMANT_CODE] * 2
    assert decided(1.0, 0, inactive=29.9).target.tolist() == [0]
    assert decided(1.0, 0, inactive=np.nan).target.tolist() == [0]


def test_too_little_data_is_unclassified() -> None:
    """A row without enough present importance has no nearest centroid and no margin."""
    result = decided(np.nan, 0)
    assert (result.target[0], result.nearest[0], result.margin[0]) == (UNCLASSIFIED_CODE, -1, 0.0)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.9))
def test_deciding_again_changes_nothing(seed: int, hysteresis: float) -> None:
    """The target is a fixed point; with h = 0 and no dwell it is the nearest; rows are independent."""
    rng = np.random.default_rng(seed)
    x, centroids, importance = rng.normal(size=(80, 4)), rng.normal(size=(5, 4)), np.full(4, 0.25)
    x[::5, 1] = np.nan
    current = rng.integers(-4, 5, 80).astype(np.int16)
    policy = DecisionPolicy(hysteresis=hysteresis, min_dwell_us=0)
    zeros = np.zeros(80, dtype=np.int64)

    def run(now: npt.NDArray[np.int16], order: Any = slice(None)) -> Decisions:
        candidates = Candidates(now[order], zeros[order], np.zeros(80)[order])
        return decide(x[order], candidates, centroids, importance, 0, policy)

    first = run(current)
    np.testing.assert_array_equal(run(first.target).target, first.target)
    order = rng.permutation(80)
    np.testing.assert_array_equal(run(current, order).target, first.target[order])
    assert ((first.target == first.nearest) | (first.target == current)).all()
    if hysteresis == 0:
        np.testing.assert_array_equal(first.target, first.nearest)
    assert ((first.margin >= 0) & (first.margin <= 1)).all()


def test_causes_by_hand() -> None:
    """First; model only if the previous version would not have moved them; then what touched them."""
    current = np.array([NO_SEGMENT, 0, 0, 0, 0, 0], dtype=np.int16)
    touched = np.array([1, 1, 1, 1, 1, 0], dtype=np.bool_)
    corrected = np.array([1, 0, 0, 1, 0, 0], dtype=np.bool_)
    unseen = np.array([1, 1, 1, 0, 0, 0], dtype=np.bool_)
    previous = np.array([1, 0, 1, 0, 0, 0], dtype=np.bool_)
    expected = [Cause.FIRST, Cause.MODEL, Cause.BEHAVIOUR, Cause.CORRECTION, Cause.BEHAVIOUR, Cause.TIME]
    assert causes(current, touched, corrected, unseen, previous).tolist() == expected


COLUMNS = with_category(numeric_columns("a", "b"), "plan", ("s", "m"), "service")


def test_drivers_by_hand() -> None:
    """Shares of the positive contributions, levels as one feature, the leading level as its column."""
    centroids = np.array([[0.0, 0.0, 0.0, 0.0], [2.0, 1.0, -1.0, 1.0]])
    x = np.array([[2.0, 0.0, -1.0, 2.0]])  # contributions 4, -1, 1, 3: a 4, b -1, plan 4
    old, new = np.array([0], dtype=np.int16), np.array([1], dtype=np.int16)
    result = drivers(x, old, new, centroids, feature_index(COLUMNS))
    assert result.column.tolist() == [[0, 3, -1]]
    assert result.contribution.tolist() == [[0.5, 0.5, 0.0]]


def test_first_assignment_compares_with_the_population() -> None:
    """Without an old centroid the population centre stands in; without a new one there are no drivers."""
    centroids = np.array([[2.0, 0.0, 0.0, 0.0]])
    x = np.array([[2.0, 5.0, np.nan, 0.0]] * 2)
    old = np.array([NO_SEGMENT, 0], dtype=np.int16)
    new = np.array([0, DORMANT_CODE], dtype=np.int16)
    result = drivers(x, old, new, centroids, feature_index(COLUMNS), n=2)
    assert result.column.tolist() == [[0, -1], [-1, -1]]
    assert result.contribution.tolist() == [[1.0, 0.0], [0.0, 0.0]]


@given(st.integers(0, 2**32 - 1))
def test_drivers_of_all_features_add_up_to_one(seed: int) -> None:
    """Asked for every feature, the contributions fall and sum to 1 wherever something pulled."""
    rng = np.random.default_rng(seed)
    x, centroids = rng.normal(size=(40, 4)), rng.normal(size=(3, 4))
    old, new = (rng.integers(0, 3, 40).astype(np.int16) for _ in range(2))
    result = drivers(x, old, new, centroids, feature_index(COLUMNS), n=3)
    pulled = result.column[:, 0] >= 0
    np.testing.assert_allclose(result.contribution.sum(axis=1)[pulled], 1.0)
    assert (np.diff(result.contribution, axis=1) <= 0).all()
    assert not pulled[old == new].any()


@pytest.mark.parametrize(
    "policy",
    [{"hysteresis": -0.1}, {"hysteresis": 1.0}, {"min_dwell_us": -1}, {"dormant_after_days": 0.0}],
)
def test_policies_out_of_range_are_refused(policy: dict[str, Any]) -> None:
    """A policy that could never or always move is an error."""
    with pytest.raises(ValueError, match=next(iter(policy))):
        DecisionPolicy(**policy)


def test_candidates_must_match_the_rows() -> None:
    """Arrays of another length are refused."""
    candidates = Candidates(np.zeros(2, np.int16), np.zeros(2, np.int64), np.zeros(2))
    with pytest.raises(ValueError, match="rows of x"):
        decide(np.zeros((1, 1)), candidates, TWO, np.ones(1), 0, DecisionPolicy())
