"""Reserved arrays take memory where rows are, and ask for huge pages when there are many, not before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from consumer.memory import Mappings
from online_model import rowtable
from online_model.id_index import IdIndex
from online_model.rowtable import HUGE_FROM, reserved, use_huge_pages, use_memory
from schemas.batch import StringColumn

WIDTH = 1 << 10
MANY = HUGE_FROM // WIDTH


def mapping(array: npt.NDArray[Any]) -> dict[str, str]:
    """What Linux says of the memory in the middle of `array`."""
    address, found = array.ctypes.data + array.nbytes // 2, False
    facts: dict[str, str] = {}
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            first, end = (int(part, 16) for part in name.split("-"))
            found = first <= address < end
        elif found:
            facts[name[:-1]] = rest.strip()
    return facts


def wants_huge(array: npt.NDArray[Any]) -> bool:
    """Whether the kernel was asked for huge pages, and not told otherwise."""
    flags = mapping(array)["VmFlags"].split()
    return "hg" in flags and "nh" not in flags


@pytest.fixture(autouse=True)
def asked() -> Iterator[None]:
    """The kernel is asked, as in a service."""
    before = rowtable._memory
    use_memory(Mappings())
    yield
    use_memory(before)


@pytest.fixture
def table() -> npt.NDArray[Any]:
    """Room for many rows of a KiB."""
    return reserved((WIDTH,), np.uint8)


FEW_ROWS = """
import numpy as np
from consumer.memory import keep_little
from online_model.rowtable import RESERVED, reserved
from tests.consumer.test_pages import WIDTH, mapping, wants_huge

keep_little()
table = reserved((WIDTH,), np.uint8)
assert not wants_huge(table)
table[:: RESERVED // 64] = 1
print(mapping(table)["Rss"].split()[0])
"""


#: What restores leave behind: blocks that are free between such that are not, up to the size of a table.
HOLES = """
import numpy as np
from consumer.memory import give_back, keep_little
from online_model.rowtable import reserved
from tests.consumer.test_memory import resident_mb

keep_little()
blocks = [np.ones(3 << 17) for _ in range(100)]
rest = [bytes(3000) for _ in range(100)]
del blocks
give_back()
before = resident_mb()
tables = [reserved((16,), np.uint16), reserved((), np.int64), reserved((64,), np.uint8)]
print(resident_mb() - before)
"""


def told(program: str) -> float:
    """The number that a process says which begins as a service does."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_few_rows_take_few_pages() -> None:
    """A row here and there is a small page each; nothing fills the rest up."""
    assert told(FEW_ROWS) <= 2 * 64 * 4


def test_rows_that_are_only_reserved_take_nothing() -> None:
    """Also in a process whose memory has holes: the allocator would take these, and fill them with zeros."""
    assert told(HOLES) < 1.0


@pytest.mark.parametrize(
    ("before", "rows", "expected"),
    [(0, MANY - 1, False), (0, MANY, True), (MANY // 2, MANY, True), (MANY, 2 * MANY - 1, False)],
)
def test_many_rows_ask_for_huge_pages(
    table: npt.NDArray[Any], before: int, rows: int, expected: bool
) -> None:
    """Once they take enough, at the latest when they have doubled since; no call for every new row."""
    use_huge_pages([table], before, rows)
    assert wants_huge(table) == expected


def test_the_index_asks_for_itself() -> None:
    """Ids come a few at a time."""
    index, step = IdIndex(), 1 << 16
    index._arena = reserved((64,), np.uint8).reshape(-1)
    for first in range(0, 1 << 18, step):
        ids = [b"customer-%020d" % n for n in range(first, first + step)]
        index.rows_of(StringColumn.from_bytes(ids), np.arange(step))
    assert wants_huge(index._arena)
    assert index.find(StringColumn.from_bytes([b"customer-%020d" % 77])).tolist() == [77]
