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

import numpy.typing as npt
import pyarrow as pa

from online_model.rowtable import ask_for_pages

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
    """Sets what the C library and Arrow may keep, and where huge pages are.

    For the begin of a process, before it has threads.
    """
    if _advise is not None:
        ask_for_pages(advise)
    pa.set_memory_pool(pa.system_memory_pool())  # also where something had loaded Arrow before
    if _set_option is not None:
        for option, value in _OPTIONS.items():
            _set_option(option, value)


def advise(array: npt.NDArray[Any], huge: bool) -> None:
    """Asks the kernel for huge pages for `array`, or for none. It may refuse: pages are then as they were."""
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
