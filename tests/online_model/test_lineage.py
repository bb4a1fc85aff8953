"""Laws of naming after a recalibration: who stays who, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.lineage import Matching, Registry, match


def labels(*sizes: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Labels 0, 1, ... of so many customers each."""
    return np.repeat(np.arange(len(sizes)), sizes)


def events(found: Matching) -> list[tuple[str, str, list[str], list[str]]]:
    """Segment, event, from and to."""
    return [(e.segment_id, e.event, e.from_ids, e.to_ids) for e in found.events]


IDS = ["s1", "s2", "s3"]


def test_another_numbering_renames_nobody() -> None:
    """The same clusters in another order keep their ids."""
    old = labels(50, 30, 20)
    found = match(old, (old + 1) % 3, Registry(IDS, 9, 2))
    assert found.ids == ("s3", "s1", "s2")
    assert found.moved_share == 0.0
    assert found.next_segment == 9
    assert [event for _, event, _, _ in events(found)] == ["kept"] * 3


def test_a_replacement_gets_a_new_id() -> None:
    """One cluster's customers are spread over all, and one is drawn from everybody: none is the other."""
    old = np.tile(np.arange(3), 300)
    new = np.where(old == 2, np.arange(900) % 2, old)
    new[np.arange(0, 900, 5)] = 2
    found = match(old, new, Registry(IDS, 4, 7))
    assert found.ids == ("s1", "s2", "s4")
    assert ("s4", "new", [], []) in events(found)
    assert any(e[:2] == ("s3", "retired") for e in events(found))
    assert {event.version for event in found.events} == {7}


def test_a_split() -> None:
    """The larger part keeps the id; the smaller one says where it comes from."""
    old = labels(100, 100)
    new = np.concatenate([np.repeat([0, 2], [70, 30]), np.ones(100, np.int64)])
    found = match(old, new, Registry(IDS[:2], 3, 2))
    assert found.ids == ("s1", "s2", "s3")
    assert events(found)[2] == ("s3", "split", ["s1"], [])
    assert found.moved_share == pytest.approx(0.15)


def test_a_split_in_three_leaves_nobody() -> None:
    """No third is the old segment: three new ids, and the old one names its heirs."""
    found = match(np.zeros(90, np.int64), labels(30, 30, 30), Registry(["s1"], 2, 2))
    assert found.ids == ("s2", "s3", "s4")
    assert [event for _, event, _, _ in events(found)] == ["split"] * 3 + ["retired"]
    assert events(found)[3] == ("s1", "retired", [], ["s2", "s3", "s4"])


def test_a_merger() -> None:
    """The larger segment stays and says whom it took; the smaller one is retired into it."""
    found = match(labels(60, 40, 50), labels(100, 50), Registry(IDS, 4, 2))
    assert found.ids == ("s1", "s3")
    assert events(found) == [
        ("s1", "merged", ["s1", "s2"], []),
        ("s3", "kept", ["s3"], []),
        ("s2", "retired", [], ["s1"]),
    ]


def test_customers_without_a_segment_match_nothing() -> None:
    """Negative labels are neither members nor moves."""
    old = np.array([0, 0, 0, -1, -1, 1, 1])
    new = np.array([1, 1, -1, 1, 0, 0, 0])
    found = match(old, new, Registry(IDS[:2], 3, 2))
    assert found.overlap.tolist() == [[0, 2], [2, 0]]
    assert found.ids == ("s2", "s1")


def test_strangers_do_not_take_over_a_name() -> None:
    """More customers who are in a segment for want of a better than members of it: a new segment."""
    old, new = np.zeros(250, np.int64), labels(100, 150)
    assert match(old, new, Registry(["s1"], 2, 2)).ids == ("s2", "s1")
    found = match(old, new, Registry(["s1"], 2, 2), new == 0)
    assert found.ids == ("s1", "s2")
    assert ("s2", "new", [], []) in events(found)
    assert found.moved_share == pytest.approx(0.6)


def test_labels_of_other_customers_are_refused() -> None:
    """Lengths differ, or a label has no id."""
    with pytest.raises(ValueError, match="3 customers"):
        match(labels(2), labels(3), Registry(IDS, 4, 2))
    with pytest.raises(ValueError, match="beyond 1 segments"):
        match(labels(2, 2), labels(2, 2), Registry(["s1"], 4, 2))


@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 5)), min_size=1, max_size=200))
def test_ids_are_unique_and_survivors_are_most_of_both(pairs: list[tuple[int, int]]) -> None:
    """Whatever the overlap: no id twice, none used again, and a survivor shares most of its customers."""
    old, new = (np.array(side) for side in zip(*pairs, strict=True))
    ids = [f"s{i}" for i in range(1, 7)]
    found = match(old, new, Registry(ids, 7, 2))
    assert len(set(found.ids)) == len(found.ids)
    assert 0.0 <= found.moved_share <= 1.0
    for j, id in enumerate(found.ids):
        i = found.survivor_of[j]
        union = int(((old == i) | (new == j)).sum())
        if i >= 0:
            assert id == ids[i]
            assert int(((old == i) & (new == j)).sum()) * 2 >= union
        else:
            assert int(id[1:]) >= 7
    gone = set(ids) - set(found.ids)
    assert {e.segment_id for e in found.events if e.event == "retired"} == gone
