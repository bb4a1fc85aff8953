"""Parts of a partition as Arrow record batches: small columns by name, large ones as bytes of fixed width.

    customer_id     text, empty where a customer was erased
    customer_hash   unsigned 64 bit; its upper 16 bits are the scan's key
    head_day ...    the small columns of `online_model.rows.HOT` (times in us since the epoch, UTC)
    left            the segment that a move left for the published one, 0 without; since format 2
    day32 ...       the large columns of `online_model.rows.Rows`: a customer's numbers one after the other in
                    little-endian bytes. The shape of a customer and the type stand in the field's metadata

Hundreds of narrow columns take several times as long to write and to read. What a format lacks is read as if
it had never happened.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from online_model.rows import HOT, SEGMENT_NONE, Rows
from online_model.state_columns import RowPart
from schemas.batch import StringColumn

#: Places in the list of a step, which is over.
_LEFT_OUT: Final = ("touch",)
_HOT: Final = tuple(name for name in HOT.names or () if name not in _LEFT_OUT)
#: Columns that came with a later format than the first, and what their rows held before.
_SINCE: Final = {"left": (2, SEGMENT_NONE)}


class BadColumns(ValueError):
    """What was read is no part of a partition."""


def to_batch(part: RowPart) -> pa.RecordBatch:
    """`part` as a record batch that shares its memory where it can."""
    ids = pa.Array.from_buffers(
        pa.large_string(), part.n, [None, pa.py_buffer(part.ids.ends), pa.py_buffer(part.ids.data)]
    )
    # Nothing is ever null: a level per value would cost as much as the values.
    fields = [
        pa.field("customer_id", pa.large_string(), False),
        pa.field("customer_hash", pa.uint64(), False),
    ]
    columns = [ids, pa.array(part.hashes)]
    for name in _HOT:
        column = pa.array(np.ascontiguousarray(part.rows.hot[name]))
        fields.append(pa.field(name, column.type, False))
        columns.append(column)
    for name in Rows._fields[1:]:
        array = getattr(part.rows, name)
        width = array.itemsize * int(np.prod(array.shape[1:]))
        if array.ndim == 1:
            columns.append(pa.array(array))
            fields.append(pa.field(name, columns[-1].type, False))
        elif width:
            kind = pa.binary(width)
            shape = {"dtype": array.dtype.str, "shape": ",".join(map(str, array.shape[1:]))}
            fields.append(pa.field(name, kind, False, shape))
            columns.append(pa.Array.from_buffers(kind, part.n, [None, pa.py_buffer(array)]))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def from_table(table: pa.Table, version: int, low: int, like: Rows) -> RowPart:
    """The part in `table`, of format `version`, whose first row is number `low`.

    `like` says which columns there must be; those that its format lacks are made up.
    Raises `BadColumns` if a column is missing or of another width.
    """
    n = table.num_rows
    hot = np.empty(n, HOT)
    hot["touch"] = -1
    for name in _HOT:
        hot[name] = _column(table, name).to_numpy(zero_copy_only=False)
    arrays: list[Any] = [hot]
    for name in Rows._fields[1:]:
        since, before = _SINCE.get(name, (0, 0))
        mine = getattr(like, name)
        if version < since:
            arrays.append(np.full((n, *mine.shape[1:]), before, mine.dtype))
        else:
            arrays.append(_read(table, name, mine))
    ids = _column(table, "customer_id").cast(pa.large_string())
    ends = np.frombuffer(ids.buffers()[1], np.int64, n + 1, ids.offset * 8)
    data = np.frombuffer(ids.buffers()[2] or b"", np.uint8)[ends[0] : ends[-1]]
    hashes = _column(table, "customer_hash").to_numpy(zero_copy_only=False).astype(np.uint64)
    # Copies, because kernels are compiled for writable arrays.
    return RowPart(low, StringColumn(data.copy(), ends - ends[0]), hashes, Rows._make(arrays))


def _read(table: pa.Table, name: str, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The column with the type and shape that `like` has."""
    n, shape = table.num_rows, like.shape[1:]
    width = like.itemsize * int(np.prod(shape))
    if not width:
        return np.empty((n, *shape), like.dtype)
    column = _column(table, name)
    expected = pa.binary(width) if shape else pa.from_numpy_dtype(like.dtype)
    if column.type != expected:
        raise BadColumns(f"column {name} is {column.type}, expected {expected}")
    data = np.frombuffer(column.buffers()[1], np.uint8, n * width, column.offset * width)
    return data.view(like.dtype).reshape(n, *shape)


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        raise BadColumns(f"column {name} is missing")
    return table.column(name).combine_chunks()
