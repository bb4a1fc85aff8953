"""Memory that is free inside the process goes back to the operating system.

Restores and clients that come and go leave holes: the C library keeps what every thread once needed, Arrow
what its buffers were. A process that lives for months must not keep the sum of its peaks.
"""

from __future__ import annotations

import ctypes
from typing import Final

import pyarrow as pa

#: glibc's; other C libraries have none.
_trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Gives free memory back. Takes milliseconds per gigabyte: for moments at which nobody waits."""
    pa.default_memory_pool().release_unused()
    if _trim is not None:
        _trim(0)
