"""Growing arrays by row."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

import numpy as np
import numpy.typing as npt

_A = TypeVar("_A", bound=np.ndarray[Any, Any])

#: Rows that a new table has room for. The memory is only reserved: pages that no row has touched cost
#: nothing.
RESERVED = 1 << 18

#: Random access to a million rows needs huge pages, but one is taken whole. Every array of 4 MiB asks for
#: them, as those of numpy do, and the kernel would fill twenty arrays of some thousand rows up with zeros,
#: little by little: whoever can ask the kernel is told when so many bytes of an array are in use.
HUGE_FROM: Final = 4 << 20

#: Asks for huge pages for an array, or (False) for none.
PageAdvice = Callable[[npt.NDArray[Any], bool], None]


def _leave_it(_: npt.NDArray[Any], __: bool) -> None:
    pass


_advice: PageAdvice = _leave_it


def ask_for_pages(advice: PageAdvice) -> None:
    """Has `advice` asked for arrays that are reserved from now on."""
    global _advice  # noqa: PLW0603 - memory is the process's; this package does not know the kernel
    _advice = advice


class _Mapping:
    """Zeros in a mapping of their own, which take no memory until they are written.

    The allocator's zeros are fresh pages only where it maps them: whatever the size, it prefers a hole that
    is large enough, and fills it with zeros there and then. A process in which much has come and gone would
    hold every row that is only reserved.
    """

    #: Pages of this process alone; without it (Windows) numpy's zeros must do.
    FLAGS: Final = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)

    def __init__(self, nbytes: int) -> None:
        """Raises OSError where the system has no room for it."""
        self.nbytes = nbytes
        self._pages = mmap.mmap(-1, nbytes, flags=self.FLAGS | getattr(mmap, "MAP_NORESERVE", 0))
        if nbytes >= HUGE_FROM and hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel without them
                self._pages.madvise(mmap.MADV_HUGEPAGE)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """What numpy makes an array of, which keeps the mapping alive."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        return {"version": 3, "data": (address, False), "shape": (self.nbytes,), "typestr": "|u1"}

    def resize(self, nbytes: int) -> None:
        """Zeros follow, and arrays of before must not be used any more. OSError: nothing has happened."""
        try:
            self._pages.resize(nbytes)  # mremap(2): the kernel moves pages instead of copying them
        except (SystemError, ValueError) as error:  # only Linux has it
            raise OSError(str(error)) from error
        self.nbytes = nbytes


def _array(mapping: _Mapping, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.asarray(mapping).view(dtype).reshape(shape)


def reserved(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros of ``(RESERVED, *shape)`` that take no memory until they are written, on small pages.

    Raises MemoryError.
    """
    whole = (RESERVED, *shape)
    nbytes = int(np.prod(whole)) * np.dtype(dtype).itemsize
    if not nbytes or not _Mapping.FLAGS:
        return np.zeros(whole, dtype)
    try:
        array = _array(_Mapping(nbytes), whole, dtype)
    except OSError as error:
        raise MemoryError(f"no room for {nbytes} bytes") from error
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

    The kernel moves the pages of a large array instead of copying them, so neither a second copy nor a long
    pause is ever needed. Neither `array`, if another one is returned, nor a view of it may be used again.
    Growth is by an eighth.
    """
    if rows <= len(array):
        return array
    shape = (max(rows, len(array) * 9 // 8), *array.shape[1:])
    mapping: object = array.base
    if isinstance(mapping, _Mapping) and mapping.nbytes == array.nbytes:
        with suppress(OSError):
            mapping.resize(int(np.prod(shape)) * array.itemsize)
            return cast("_A", _array(mapping, shape, array.dtype))
    if not array.flags.owndata:
        array = array.copy()
    array.resize(shape, refcheck=False)
    return array
