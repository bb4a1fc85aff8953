"""How kernels are compiled, here and in `online_model`.

Kernels take bundles of arrays and allocate nothing, so they are compiled without numba's reference
counting: with it, every call that passes a bundle of thirty arrays counts each of them up and down,
which made the windows four times slower. `inlined` marks what one kernel calls per row.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import __version__ as numba_version
from numba import config, njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_F = TypeVar("_F", bound=Callable[..., Any])

_njit: Any = njit
_function_of: Any = cgutils.get_or_insert_function

_HERE: Final = Path(__file__).parent

#: Packages with kernels, side by side in the file system.
_PACKAGES: Final = ("schemas", "online_model")


def _version() -> str:
    """A name per version of the sources of all `_PACKAGES`.

    numba checks only the file of the outermost kernel, so after a change to one that is inlined into it the
    compiled code of before would run on.
    """
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for source in sorted((_HERE.parent / package).glob("*.py")):
            digest.update(source.read_bytes())
    return f"kernels-{digest.hexdigest()[:16]}"


def _lend(compiled: Path, directory: Path) -> None:
    """Links the files of `compiled` into `directory`, where numba may write: it reads nowhere else.

    So an image brings its kernels along and runs on a read-only file system. A link that numba wants to
    write is replaced by a file.
    """
    for file in sorted(compiled.glob("*/*.nb[ci]")):
        link = directory / file.parent.name / file.name
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
        except FileExistsError:
            continue
        except OSError:  # numba looks for another directory
            return


def _cache_directory(chosen: str) -> Path:
    """Where compiled kernels are kept: under `chosen` if that is not empty, else beside the sources.

    Where the directory cannot be written, numba looks for another.
    """
    version = _version()
    beside = _HERE / "__pycache__" / version
    if not chosen:
        return beside
    directory = Path(chosen).absolute() / version
    _lend(beside, directory)
    return directory


_config: Any = config
_config.CACHE_DIR = str(_cache_directory(_config.CACHE_DIR))  # NUMBA_CACHE_DIR is respected


def are_compiled() -> bool:
    """Whether `note_compiled` was called for these sources, this processor and this numba."""
    places = (Path(_config.CACHE_DIR), _cache_directory(""))
    return any((place / _mark()).exists() for place in places)


def note_compiled() -> None:
    """All kernels are on disk. Raises OSError where that cannot be noted."""
    Path(_config.CACHE_DIR).mkdir(parents=True, exist_ok=True)
    (Path(_config.CACHE_DIR) / _mark()).touch()


def _mark() -> str:
    """A name for what numba asks before it takes a kernel from disk; a touched source counts as a new one."""
    touched = [
        source.stat().st_mtime_ns
        for package in _PACKAGES
        for source in sorted((_HERE.parent / package).glob("*.py"))
    ]
    processor = cpu_target.target_context.codegen().magic_tuple()
    asked = repr((touched, processor, sys.implementation.cache_tag, numba_version))
    return f"complete-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"


#: The GIL released, and divisions as numpy makes them: Python's check for a zero at each of them is a branch
#: that keeps loops from being vectorised. Divisors are guarded where they can be zero.
_COMPILED: Final[dict[str, Any]] = {"cache": True, "nogil": True, "error_model": "numpy"}


def kernel(function: _F) -> _F:
    """Compiles `function` without reference counts, cached on disk, the GIL released."""
    return cast(_F, _njit(_nrt=False, **_COMPILED)(function))


def inlined(function: _F) -> _F:
    """The same, always inlined into the kernels that call it."""
    return cast(_F, _njit(_nrt=False, forceinline=True, **_COMPILED)(function))


def allocating(function: _F) -> _F:
    """Compiles `function` with reference counts: for code that makes arrays."""
    return cast(_F, _njit(**_COMPILED)(function))


#: Rows between `prefetch` and use: about what a load from memory takes.
AHEAD = 8


@intrinsic
def _prefetch_instruction(_: Any, address: Any) -> Any:
    """The processor's instruction for it; harmless for any address."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        instruction = _function_of(builder.module, kind, "llvm.prefetch.p0")
        # for writing, to be kept in all caches, data
        builder.call(instruction, [builder.inttoptr(arguments[0], byte), number(1), number(3), number(1)])

    return types.void(types.uintp), generate


_prefetch: Any = _prefetch_instruction


@inlined
def prefetch(array: Any, row: Any, offset: int, size: int) -> None:
    """Begins to load `size` bytes (at most a cache line) from `offset` into `row` of `array` on.

    To be called `AHEAD` rows before their use: the rows of different customers are far apart, and a
    kernel waits for memory most of its time (update 0.38 -> 0.18 us per event, evaluate 0.34 -> 0.19 per
    row, find 0.14 -> 0.05 per id). What begins in one line often ends in the next: numpy's arrays begin 16
    bytes into one.
    """
    first = np.uintp(array.ctypes.data + row * array.strides[0] + offset)
    _prefetch(first)
    _prefetch(first + np.uintp(size - 1))
