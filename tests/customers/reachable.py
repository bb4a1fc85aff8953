"""`segmenter` that says on SIGUSR2 which bytes its own objects still hold: a program for tests.

    python -m tests.customers.reachable NEEDLES OUT run --set ...

`NEEDLES` is a file of names and bytes in hexadecimal; the answer, how often each is in some object that can
still be reached, is a JSON object in `OUT`. What was freed is not among it, whoever reads the memory may find
it all the same.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from consumer import cli
from tests.customers.left import resident

_LARGE: Final = 1 << 20


def reachable(needles: dict[str, bytes]) -> Counter[str]:
    """By name, in how many objects each needle is; `kind: name` for how they are held."""
    gc.collect()
    found: Counter[str] = Counter()
    own = {id(needles), *map(id, needles.values())}
    seen = own | {id(found), id(own)}
    stack: list[Any] = [frame.f_locals for frame in sys._current_frames().values()]
    stack = [item for local in stack for item in local.values()] + gc.get_objects()
    seen |= {id(stack), id(seen), id(sys._getframe())}
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        data, inside = _opened(item)
        stack.extend(inside)
        for piece in data:
            for name, needle in needles.items():
                if needle in piece:
                    found[f"{type(item).__name__}: {name}"] += 1
    return found


def _opened(item: Any) -> tuple[list[bytes], list[Any]]:
    """Bytes of an object, and the objects in it."""
    data: list[bytes] = []
    inside: list[Any] = []
    if isinstance(item, bytes | bytearray):
        data = [bytes(item)]
    elif isinstance(item, str):
        data = [item.encode("utf-8", "surrogatepass")]
    elif isinstance(item, np.ndarray):
        data, inside = _of_array(np.asarray(item))
    elif isinstance(item, pa.Buffer):
        data = [item.to_pybytes()]
    elif isinstance(item, Message):
        inside = [item.key(), item.value(), item.headers()]
    elif isinstance(item, msgspec.Struct):  # not known to the collector
        inside = [getattr(item, name, None) for name in item.__struct_fields__]
    else:
        inside = gc.get_referents(item)
    return data, inside


def _of_array(array: np.ndarray[Any, Any]) -> tuple[list[bytes], list[Any]]:
    inside: list[Any] = [array.base]
    if array.dtype.hasobject:
        return [], [*inside, *array.ravel().tolist()]
    if array.nbytes < _LARGE:
        return [array.tobytes()], inside
    first, last = np.lib.array_utils.byte_bounds(array)
    return list(resident("self", first, last)), inside


def main(needles: Path, out: Path, arguments: list[str]) -> None:
    """Runs the command; it ends as that does."""

    def answer(*_: object) -> None:
        lines = json.loads(needles.read_text())
        found = reachable({name: bytes.fromhex(value) for name, value in lines.items()})
        temporary = out.with_suffix(".part")
        temporary.write_text(json.dumps(found))
        temporary.rename(out)

    signal.signal(signal.SIGUSR2, answer)
    code = cli.execute(arguments)
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
