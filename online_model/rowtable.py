"""Growing arrays by row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

_A = TypeVar("_A", bound=np.ndarray[Any, Any])

#: Rows that a new table has room for. The memory is only reserved: pages that no row has touched cost
#: nothing.
RESERVED = 1 << 18

#: Random access to a million rows needs huge pages, but one is taken whole. For every array of 4 MiB
#: numpy asks for them, and the kernel would fill twenty arrays of some thousand rows up with zeros, little by
#: little. A `Memory` begins with small ones and is told when so many bytes of an array are in use.
HUGE_FROM: Final = 4 << 20

_Bytes = npt.NDArray[np.uint8]


class Memory(Protocol):
    """Where tables are. The process's, so whoever knows the kernel gives it: this package does not."""

    def reserve(self, nbytes: int) -> _Bytes | None:
        """Zeros that take no memory until they are written; None: it has no such memory."""

    def extend(self, array: npt.NDArray[Any], nbytes: int) -> _Bytes | None:
        """The memory of `array` with more zeros behind, `array` must not be used then; None: nobody can."""

    def advise(self, array: npt.NDArray[Any], huge: bool) -> None:
        """Asks for huge pages for `array`, or for none."""


_memory: Memory | None = None


def use_memory(memory: Memory | None) -> None:
    """Tables that are reserved from now on are there; None: where numpy's arrays are."""
    global _memory  # noqa: PLW0603 - memory is the process's
    _memory = memory


def reserved(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros of ``(RESERVED, *shape)`` that take no memory until they are written, on small pages."""
    whole = (RESERVED, *shape)
    nbytes = int(np.prod(whole)) * np.dtype(dtype).itemsize
    pages = _memory.reserve(nbytes) if _memory is not None and nbytes else None
    return np.zeros(whole, dtype) if pages is None else pages.view(dtype).reshape(whole)


def use_huge_pages(arrays: Iterable[npt.NDArray[Any]], before: int, rows: int) -> None:
    """Asks for huge pages where `rows` rows take enough; `before`: rows at the call before.

    Looks whenever the rows have doubled.
    """
    if rows.bit_length() == before.bit_length():
        return
    for array in arrays:
        if _memory is not None and array.nbytes // len(array) * rows >= HUGE_FROM:
            _memory.advise(array, True)


def grow(array: _A, rows: int) -> _A:
    """`array` with room for at least `rows` along its first axis, new rows zero.

    The kernel moves the pages of a large array instead of copying them, so neither a second copy nor a long
    pause is ever needed. Neither `array`, if another one is returned, nor a view of it may be used again.
    Growth is by an eighth.
    """
    if rows <= len(array):
        return array
    shape = (max(rows, len(array) * 9 // 8), *array.shape[1:])
    pages = None
    if _memory is not None and not array.flags.owndata:
        pages = _memory.extend(array, int(np.prod(shape)) * array.itemsize)
    if pages is not None:
        return cast("_A", pages.view(array.dtype).reshape(shape))
    if not array.flags.owndata:
        array = array.copy()
    array.resize(shape, refcheck=False)
    return array
