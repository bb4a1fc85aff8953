"""The id index against a dictionary, and Kafka's hash of keys."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.id_index import MISROUTED, IdIndex, murmur2
from online_model.rowtable import RESERVED
from tests.online_model.streams import ids_of, partition_of

IDS = st.binary(min_size=1, max_size=70) | st.sampled_from(
    [b"a", b"a\0", b"\0", b"\0\0", b"a" * 64, b"a" * 63]
)


def rows_of(index: IdIndex, names: list[bytes]) -> list[int]:
    """Rows of `names`."""
    rows: list[int] = index.rows_of(ids_of(*names), np.arange(len(names))).tolist()
    return rows


@given(st.lists(st.lists(IDS, max_size=30), max_size=6))
@settings(max_examples=60)
def test_rows_are_those_of_a_dictionary(batches: list[list[bytes]]) -> None:
    """Rows are numbered by first appearance; any bytes are an id of their own."""
    index, expected = IdIndex(), dict[bytes, int]()
    for names in batches:
        rows = rows_of(index, names)
        assert rows == [expected.setdefault(name, len(expected)) for name in names]
    assert index.n == len(expected)
    assert index.ids(np.arange(index.n)) == list(expected)


def test_rows_survive_growth() -> None:
    """Rehashing and growing tables beyond the reserved rows move no customer."""
    rng = random.Random(3)
    names = [b"%d-%d" % (i, rng.getrandbits(40)) for i in range(RESERVED + 1000)]
    index = IdIndex()
    for at in range(0, len(names), 50_000):
        part = names[at : at + 50_000]
        assert rows_of(index, part) == list(range(at, at + len(part)))
    some = rng.sample(range(len(names)), 5000)
    assert rows_of(index, [names[i] for i in some]) == some
    assert index.ids(np.array(some)) == [names[i] for i in some]
    assert index.nbytes / index.n < 64


def test_positions_pick_events() -> None:
    """Only the events at the given positions get rows, in the order of the positions."""
    index = IdIndex()
    assert index.rows_of(ids_of(b"x", b"y", b"x", b"z"), np.array([3, 0, 2])).tolist() == [0, 1, 1]
    assert index.n == 2


def test_an_erased_id_is_gone() -> None:
    """Its bytes are overwritten, its row stays taken, and the same id starts anew, also after a rehash."""
    index = IdIndex()
    rows_of(index, [b"ann", b"bob", b"eve"])
    index.erase(1)
    assert index.ids(np.arange(3)) == [b"ann", b"", b"eve"]
    assert index._table[index._table == 1].tolist() == [1], "the slot of the row has no bits of the hash"
    assert index.hashes[1] == 0
    assert rows_of(index, [b"bob", b"ann", b"eve"]) == [3, 0, 2]
    rows_of(index, [b"%d" % i for i in range(10_000)])
    assert rows_of(index, [b"bob", b"ann", b"eve"]) == [3, 0, 2]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafka(key: str, expected: int) -> None:
    """Vectors of Kafka's own tests (UtilsTest.testMurmur2)."""
    data = np.frombuffer(key.encode(), np.uint8)
    assert np.uint32(murmur2(data, 0, len(data))).astype(np.int32) == expected


@given(st.lists(st.text("abcxyz019", min_size=1, max_size=12), max_size=40), st.integers(1, 12))
def test_misrouted_ids_get_no_row(names: list[str], partitions: int) -> None:
    """On partition 0 exactly the ids that hash to it have rows; the others are told every time."""
    index = IdIndex(0, partitions)
    for _ in range(2):
        rows = rows_of(index, [name.encode() for name in names])
        for name, row in zip(names, rows, strict=True):
            assert (row == MISROUTED) == (partition_of(name, partitions) != 0)
    assert index.n == len({name for name in names if partition_of(name, partitions) == 0})
