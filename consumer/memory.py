"""Memory that is free inside the process goes back to the operating system.

Restores and clients that come and go leave holes: the C library keeps what every thread once needed, Arrow
what its buffers were. A process that lives for months must not keep the sum of its peaks.

glibc raises two thresholds with the largest block that was ever freed: then every thread's arena keeps up to
64 MiB of free memory at its end, where `malloc_trim` does not look. Arrow's own allocator keeps what threads
have left behind that are gone; `consumer/__init__.py` turns it off before Arrow is loaded.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from online_model.rowtable import use_memory

_libc: Final = ctypes.CDLL(None)
#: glibc's; other C libraries have none.
_trim: Final = getattr(_libc, "malloc_trim", None)
_set_option: Final = getattr(_libc, "mallopt", None) if _trim is not None else None
#: Linux's.
_advise: Final = getattr(_libc, "madvise", None) if hasattr(mmap, "MADV_HUGEPAGE") else None

#: Options of mallopt(3) by their numbers. Blocks from 4 MiB on are mappings of their own and go back at once;
#: an arena keeps at most 8 MiB at its end; there are at most four.
_OPTIONS: Final = {-3: 4 << 20, -1: 8 << 20, -8: 4}


def keep_little() -> None:
    """Sets what the C library and Arrow may keep, and where tables are.

    For the begin of a process, before it has threads.
    """
    use_memory(Mappings())
    pa.set_memory_pool(pa.system_memory_pool())  # also where something had loaded Arrow before
    if _set_option is not None:
        for option, value in _OPTIONS.items():
            _set_option(option, value)


class _Mapping:
    """Zeros in a mapping of their own."""

    #: Pages of this process alone, as Unix has them.
    FLAGS: Final = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)

    def __init__(self, nbytes: int) -> None:
        """Raises OSError where the system has no room for it."""
        self.nbytes = nbytes
        self._pages = mmap.mmap(-1, nbytes, flags=self.FLAGS | getattr(mmap, "MAP_NORESERVE", 0))

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


class Mappings:
    """A mapping of its own for every table (`online_model.rowtable.Memory`).

    The allocator's zeros are fresh pages only where it maps them: whatever the size, it prefers a hole that
    is large enough, and fills it with zeros there and then. A process in which much has come and gone would
    hold every row that is only reserved.
    """

    def reserve(self, nbytes: int) -> npt.NDArray[np.uint8] | None:
        """Zeros; None on a system without private mappings. Raises MemoryError."""
        if not _Mapping.FLAGS:
            return None
        try:
            array = np.asarray(_Mapping(nbytes))
        except OSError as error:
            raise MemoryError(f"no room for {nbytes} bytes: {error}") from error
        self.advise(array, False)
        return array

    def extend(self, array: npt.NDArray[Any], nbytes: int) -> npt.NDArray[np.uint8] | None:
        """Moves the pages if `array` is all of a mapping, and the system can."""
        mapping: object = array.base
        if not isinstance(mapping, _Mapping) or mapping.nbytes != array.nbytes:
            return None
        try:
            mapping.resize(nbytes)
        except OSError:
            return None
        return np.asarray(mapping)

    def advise(self, array: npt.NDArray[Any], huge: bool) -> None:
        """The kernel may refuse: pages are then as they were."""
        begin, page = array.ctypes.data, mmap.PAGESIZE
        first, end = -(-begin // page) * page, (begin + array.nbytes) // page * page
        if _advise is not None and end > first:
            advice = mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE
            _advise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), advice)


def give_back() -> None:
    """Gives free memory back. Takes milliseconds per gigabyte: for moments at which nobody waits."""
    pa.default_memory_pool().release_unused()
    if _trim is not None:
        _trim(0)
