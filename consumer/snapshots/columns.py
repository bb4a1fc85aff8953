"""Parts of a partition as Arrow record batches: small columns by name, large ones as bytes of fixed width.

    customer_id     text, empty where a customer was erased
    customer_hash   unsigned 64 bit; its upper 16 bits are the scan's key
    head_day ...    the small columns of `online_model.rows.HOT` (times in us since the epoch, UTC)
    day32 ...       the large columns of `online_model.rows.Rows`: a customer's numbers one after the other in
                    little-endian bytes. The shape of a customer and the type stand in the field's metadata

Hundreds of narrow columns take several times as long to write and to read.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from online_model.rows import HOT, Rows
from online_model.state_columns import RowPart
from schemas.batch import StringColumn

#: Places in the list of a step, which is over.
_LEFT_OUT: Final = ("touch",)
_HOT: Final = tuple(name for name in HOT.names or () if name not in _LEFT_OUT)


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
        if width:
            kind = pa.binary(width)
            shape = {"dtype": array.dtype.str, "shape": ",".join(map(str, array.shape[1:]))}
            fields.append(pa.field(name, kind, False, shape))
            columns.append(pa.Array.from_buffers(kind, part.n, [None, pa.py_buffer(array)]))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def from_table(table: pa.Table, low: int, like: Rows) -> RowPart:
    """The part in `table`, whose first row is number `low`; `like` says which columns there must be.

    Raises `BadColumns` if a column is missing or of another width.
    """
    n = table.num_rows
    hot = np.empty(n, HOT)
    hot["touch"] = -1
    for name in _HOT:
        hot[name] = _column(table, name).to_numpy(zero_copy_only=False)
    arrays: list[Any] = [hot]
    for name in Rows._fields[1:]:
        mine = getattr(like, name)
        shape, width = mine.shape[1:], mine.itemsize * int(np.prod(mine.shape[1:]))
        if not width:
            arrays.append(np.empty((n, *shape), mine.dtype))
            continue
        column = _column(table, name)
        if column.type != pa.binary(width):
            raise BadColumns(f"column {name} is {column.type}, expected {width} bytes a customer")
        data = np.frombuffer(column.buffers()[1], np.uint8, n * width, column.offset * width)
        arrays.append(data.view(mine.dtype).reshape(n, *shape))
    ids = _column(table, "customer_id").cast(pa.large_string())
    ends = np.frombuffer(ids.buffers()[1], np.int64, n + 1, ids.offset * 8)
    data = np.frombuffer(ids.buffers()[2] or b"", np.uint8)[ends[0] : ends[-1]]
    hashes = _column(table, "customer_hash").to_numpy(zero_copy_only=False).astype(np.uint64)
    # Copies, because kernels are compiled for writable arrays.
    return RowPart(low, StringColumn(data.copy(), ends - ends[0]), hashes, Rows._make(arrays))


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        raise BadColumns(f"column {name} is missing")
    return table.column(name).combine_chunks()
