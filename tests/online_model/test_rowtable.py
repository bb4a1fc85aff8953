"""Laws of the growing tables: rows stay, and memory goes with the table."""

from __future__ import annotations

import gc
import mmap
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from consumer.memory import Mappings
from online_model import rowtable
from online_model.rowtable import RESERVED, Memory, grow, reserved, use_memory


@pytest.fixture(autouse=True, params=[Mappings(), None], ids=["of a service", "of numpy"])
def memory(request: pytest.FixtureRequest) -> Iterator[Memory | None]:
    """Where tables are."""
    before = rowtable._memory
    use_memory(request.param)
    yield request.param
    use_memory(before)


def mapping_that_cannot_grow(error: type[Exception]) -> type[mmap.mmap]:
    """As where the system cannot move pages."""

    class Mapping(mmap.mmap):
        def resize(self, newsize: int) -> None:
            raise error(newsize)

    return Mapping


@pytest.mark.parametrize("cannot", [None, OSError, SystemError], ids=["moved", "no room", "no mremap"])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_growing_keeps_what_is_there(
    shape: tuple[int, ...], cannot: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows stay as they were, new rows are zero, and room for fewer rows changes nothing."""
    if cannot is not None:
        monkeypatch.setattr(mmap, "mmap", mapping_that_cannot_grow(cannot))
    grown = reserved(shape, np.int32)
    assert not grown.any()
    before = np.arange(grown.size, dtype=np.int32).reshape(grown.shape)
    grown[...] = before
    for n in (RESERVED + 5, 3 * RESERVED):
        grown = grow(grown, n)
        assert n <= len(grown) <= max(n, 9 * RESERVED // 8)
        np.testing.assert_array_equal(grown[: len(before)], before)
        assert not grown[len(before) :].any()
        assert grow(grown, 7) is grown
        before = grown.copy()


@pytest.mark.parametrize("part", [slice(None, 5), slice(RESERVED - 5, None), slice(None, None, 2)])
def test_a_part_of_a_table_grows_by_itself(part: slice) -> None:
    """The table stays as it is."""
    table = reserved((), np.int64)
    table[:] = range(RESERVED)
    grown = grow(table[part], RESERVED)
    n = len(table[part])
    np.testing.assert_array_equal(grown[:n], table[part])
    assert not grown[n:].any()
    grown[:] = 0
    assert table.tolist() == list(range(RESERVED))


def test_a_table_of_nothing_grows() -> None:
    """Channels of a kind that a specification does not use."""
    assert grow(reserved((16, 0), np.uint16), RESERVED + 1).shape == (RESERVED * 9 // 8, 16, 0)


def test_memory_goes_with_the_last_view(memory: Memory | None) -> None:
    """Neither before nor later."""
    table = reserved((), np.int64)
    mapping, view = weakref.ref(table if memory is None else table.base), table[7:9]
    view[:] = 5
    del table
    gc.collect()
    assert mapping() is not None
    assert view.tolist() == [5, 5]
    del view
    gc.collect()
    assert mapping() is None
