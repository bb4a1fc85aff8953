"""Growing arrays by row."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_A = TypeVar("_A", bound=np.ndarray[Any, Any])

#: Rows that a new table has room for. The memory is only reserved: pages that no row has touched cost
#: nothing, and numpy asks for huge pages, which random access to a million rows needs.
RESERVED = 1 << 18


def reserved(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros of ``(RESERVED, *shape)`` that take no memory until they are written."""
    return np.zeros((RESERVED, *shape), dtype)


def grow(array: _A, rows: int) -> _A:
    """`array` with room for at least `rows` along its first axis, new rows zero.

    Grows in place by ``realloc``: the kernel moves the pages of a large array instead of copying
    them, so neither a second copy nor a long pause is ever needed. No view of the array may be
    alive. Growth is by an eighth.
    """
    if rows <= len(array):
        return array
    if not array.flags.owndata:
        array = array.copy()
    array.resize((max(rows, len(array) * 9 // 8), *array.shape[1:]), refcheck=False)
    return array
