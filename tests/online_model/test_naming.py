"""Laws of the names of segments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.columns import Columns, Phrases
from online_model.compile_plan import compile_plan
from online_model.naming import make_names, unique
from online_model.spec import default_spec
from tests.online_model.populations import numeric_columns, with_category
from tests.online_model.test_catalog import profile

LABELLED = replace(
    with_category(numeric_columns("data", "voice", "age"), "line", ("prepaid", "postpaid"), "service"),
    label=("data use", "voice minutes", "age", "line type: prepaid", "line type: postpaid"),
)
WORDED = replace(
    LABELLED,
    phrases=(
        Phrases("heavy data users", "light _"),
        Phrases("_ on the phone"),
        Phrases("older _", "young _"),
        Phrases(),
        Phrases("contract _"),
    ),
)
DEFAULT = compile_plan(default_spec()).columns


def name(columns: Columns, *deviations: float) -> str:
    """The name of a lone segment; levels of the category have shares by the sign of their deviation."""
    mean = [1.0, 1.0, 1.0, *(0.9 if d > 0 else 0.1 for d in deviations[3:])]
    return make_names([profile(list(deviations), mean, columns)], columns)[0]


@pytest.mark.parametrize(
    ("deviations", "expected"),
    [
        ((1.6, 0.9, 0.2, 0.0, 0.0), "Heavy data users on the phone"),
        ((1.6, 0.1, -1.2, 0.0, 0.0), "Young heavy data users"),
        ((1.6, 0.1, -1.2, 1.3, -1.3), "Prepaid heavy data users"),
        ((-1.0, 0.1, 0.0, 1.2, -1.2), "Light prepaid customers"),
        ((0.1, 0.1, 1.5, -1.3, 1.3), "Older contract customers"),
        ((1.6, 0.5, 0.0, 0.0, 0.0), "Heavy data users"),
        ((0.1, 0.5, 0.0, 0.0, 0.0), "Customers on the phone"),
        ((0.1, -0.9, 0.0, 0.0, 0.0), "Low voice minutes"),
        ((0.1, 0.0, 0.0, 0.7, -0.7), "Prepaid customers"),
        ((0.1, 0.0, 0.0, 0.0, 0.0), "Average customers"),
    ],
)
def test_phrases_make_a_name(deviations: tuple[float, ...], expected: str) -> None:
    """A noun and its strongest telling qualifier, a category next to the noun; else labels."""
    assert name(WORDED, *deviations) == expected


@pytest.mark.parametrize(
    ("deviations", "expected"),
    [
        ((1.6, 0.5, 0.0, 0.9, -0.9), "High data use and voice minutes, prepaid"),
        ((-0.5, 0.8, 0.0, -0.7, 0.7), "High voice minutes, low data use, postpaid"),
        ((0.1, -0.2, 0.0, 0.0, 0.0), "Average customers"),
        ((0.0, 0.0, 0.0, 0.6, -0.6), "Prepaid customers"),
    ],
)
def test_labels_do_where_there_are_no_phrases(deviations: tuple[float, ...], expected: str) -> None:
    """Direction and label of the two strongest features, and the category most of them have."""
    assert name(LABELLED, *deviations) == expected


def test_names_are_unique() -> None:
    """Segments that would share a name get more words, then a number."""
    columns = numeric_columns("a", "b", "c")
    same = [profile([1.0, 0.9, 0.8], [1.0] * 3, columns), profile([1.0, 0.9, -0.8], [1.0] * 3, columns)]
    assert make_names(same, columns) == ["High a, b and c", "High a and b, low c"]
    assert make_names([same[0]] * 3, columns) == ["High a, b and c", "High a, b and c 2", "High a, b and c 3"]
    assert unique(["Texters", "Texters"], ["Texters"]) == ["Texters 2", "Texters 3"]


def test_phrases_become_unique_too() -> None:
    """By a further phrase, then by a label, then by a number."""
    young = profile([1.6, 0.0, -1.2, 0.5, -0.5], [1.0, 1.0, 1.0, 0.9, 0.1], WORDED)
    old = profile([1.6, -0.9, -1.2, -0.5, 0.5], [1.0, 1.0, 1.0, 0.1, 0.9], WORDED)
    assert make_names([young, old], WORDED) == [
        "Young prepaid heavy data users",
        "Young contract heavy data users",
    ]
    quiet = profile([1.6, -0.9, -1.2, 0.0, 0.0], [1.0] * 5, WORDED)
    loud = profile([1.6, 0.0, -1.2, 0.0, 0.0], [1.0] * 5, WORDED)
    assert make_names([quiet, loud, loud], WORDED) == [
        "Young heavy data users with low voice minutes",
        "Young heavy data users",
        "Young heavy data users 2",
    ]


@given(st.lists(st.floats(-3, 3), min_size=DEFAULT.n, max_size=DEFAULT.n))
def test_any_profile_has_a_short_name(deviations: list[float]) -> None:
    """Of five words at most where the default specification has phrases for it; no blank is left in it."""
    mean = [0.9 if d > 0 else 0.1 for d in deviations]
    (made,) = make_names([profile(deviations, mean, DEFAULT)], DEFAULT)
    assert make_names([profile(deviations, mean, DEFAULT)], DEFAULT) == [made]
    assert "_" not in made
    assert made[0].isupper()
    phrases = [
        DEFAULT.phrases_of(j).high if deviation > 0 else DEFAULT.phrases_of(j).low
        for j, deviation in enumerate(deviations)
        if abs(deviation) >= 0.4 and not DEFAULT.one_hot[j]
    ]
    assert len(made.split()) <= (5 if any(phrases) else 8)
