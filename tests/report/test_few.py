"""Laws of shares that are not told, by hand and for any table of levels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.report.few import Levels, is_few, share_shown, share_words
from online_model.columns import Columns


def levels_of(table: list[list[int]]) -> Levels:
    """Of one category: per segment, and in the last row outside of all, how many have each level."""
    k, n = len(table) - 1, len(table[0])
    codes = [code for code, row in enumerate(table) for _ in range(sum(row))]
    held = [level for row in table for level, count in enumerate(row) for _ in range(count)]
    raw = np.zeros((len(held), n + 1))
    raw[:, n] = 0.5  # a column that is no level
    raw[np.arange(len(held)), held] = 1.0
    columns: Any = SimpleNamespace(one_hot=np.array([True] * n + [False]), feature=["c"] * n + ["other"])
    chosen = np.array([code if code < k else -1 for code in codes], np.int16)
    return Levels.of(raw, chosen, cast("Columns", columns), k)


@pytest.mark.parametrize(
    ("having", "n", "word"),
    [
        *((0, 50, ""), (10, 50, ""), (40, 50, ""), (50, 50, "")),
        *((1, 50, "<10"), (9, 50, "<10"), (41, 50, "nearly all"), (49, 50, "nearly all")),
        *((3, 3, "<10"), (9, 12, "<10"), (10, 12, "nearly all"), (12, 12, ""), (0, 4, "none")),
    ],
)
def test_a_share_is_told_if_both_sides_are_ten(having: int, n: int, word: str) -> None:
    """Or nobody; a word stands for the others."""
    assert (share_shown(having / n, n) is None) == bool(word)
    assert not word or share_words(having, n) == word
    assert share_shown(None, n) is None


def test_a_level_of_few_takes_its_category_along() -> None:
    """60, 35 and 5 of a hundred: without the third the other two would tell it."""
    made = levels_of([[60, 35, 5], [50, 50, 50], [50, 50, 50], [0, 0, 0]])
    assert made.hidden[0].tolist() == [True, True, True, False]
    assert [made.words(0, j) for j in range(4)] == ["most", "some", "<10", ""]


def test_the_difference_to_everybody_is_not_few_either() -> None:
    """What the other segments leave of the whole is these five: so the smallest of them is hidden, too."""
    made = levels_of([[60, 35, 5], [90, 50, 50], [50, 50, 50], [0, 0, 0]])
    assert made.hidden[:, 0].tolist() == [True, False, True, False]
    # With some outside of all segments nothing can be subtracted.
    made = levels_of([[60, 35, 5], [90, 50, 50], [50, 50, 50], [20, 20, 20]])
    assert made.hidden[:, 0].tolist() == [True, False, False, False]


def test_few_of_everybody_hide_what_they_are_compared_with() -> None:
    """A level that five have at all: deviations from everybody would tell them."""
    made = levels_of([[60, 40, 5], [90, 50, 0], [0, 0, 0]])
    assert made.hidden[:, 2].tolist() == [True, False, True]
    assert made.is_beside_hidden(1, 2)
    assert not made.is_beside_hidden(1, 3)


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from((0, 0, 1, 5, 9, 10, 12, 40)), min_size=n, max_size=n),
            min_size=2,
            max_size=5,
        )
    )
)
def test_nothing_told_is_few(table: list[list[int]]) -> None:
    """Not a share, not what is left of a segment, not what the told segments leave of everybody."""
    if not np.sum(table):
        return
    made, n = levels_of(table), len(table[0])
    having, told = made.having[:, :n], ~made.hidden[:, 0]
    for row in np.flatnonzero(told):
        assert not is_few(having[row]).any()
        assert not is_few(having[row].sum() - having[row]).any()
        assert having[row].sum() >= 10
    if told[-1]:
        rest = having[-1] - having[:-1][told[:-1]].sum(axis=0)
        assert not is_few(rest).any()
        assert not is_few(rest.sum() - rest).any()
