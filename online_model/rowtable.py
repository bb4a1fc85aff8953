"""Growing arrays by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

_A = TypeVar("_A", bound=np.ndarray[Any, Any])

#: Rows that a new table has room for. The memory is only reserved: pages that no row has touched cost
#: nothing.
RESERVED = 1 << 18

#: Random access to a million rows needs huge pages, but a huge page is taken whole: numpy asks for them for
#: every array of 4 MiB, and the kernel would fill twenty arrays of some thousand rows up with zeros, little
#: by little. Whoever can ask the kernel is told when so many bytes of an array are in use.
HUGE_FROM: Final = 4 << 20

#: Asks for huge pages for an array, or (False) for none.
PageAdvice = Callable[[npt.NDArray[Any], bool], None]


def _leave_to_numpy(_: npt.NDArray[Any], __: bool) -> None:
    pass


_advice: PageAdvice = _leave_to_numpy


def ask_for_pages(advice: PageAdvice) -> None:
    """Has `advice` asked for arrays that are reserved from now on."""
    global _advice  # noqa: PLW0603 - memory is the process's; this package does not know the kernel
    _advice = advice


def reserved(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros of ``(RESERVED, *shape)`` that take no memory until they are written, on small pages."""
    array = np.zeros((RESERVED, *shape), dtype)
    if array.nbytes >= HUGE_FROM:  # smaller ones share their pages with others
        _advice(array, False)
    return array


def use_huge_pages(arrays: Iterable[npt.NDArray[Any]], before: int, rows: int) -> None:
    """Asks for huge pages where `rows` rows take enough; `before`: rows at the call before.

    Looks whenever the rows have doubled.
    """
    if rows.bit_length() == before.bit_length():
        return
    for array in arrays:
        if array.nbytes // len(array) * rows >= HUGE_FROM:
            _advice(array, True)


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
