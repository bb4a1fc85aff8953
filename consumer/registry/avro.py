"""Avro records as the contract's JSON.

A record is read with the schema that its sender wrote it with. Fields have the names of the contract; a
null stands for an absent field, because Avro has no absent ones, and `cleared` lists the attributes of a
profile that are to be cleared. `event_time` and dates may be texts or Avro's logical types.
"""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any, Final

import msgspec
from fastavro import schemaless_reader

from schemas.avro import CLEARED
from schemas.reference import Refusal
from schemas.rejects import Reason
from schemas.times import format_time

#: What fastavro raises for bytes that are no record of the schema.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    StopIteration,
    RecursionError,
    struct.error,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode


def to_json(schema: Any, payload: bytes) -> bytes | Refusal:
    """JSON of the one record in `payload`, written with `schema` (parsed by fastavro)."""
    stream = BytesIO(payload)
    try:
        record = schemaless_reader(stream, schema, None)
    except _UNREADABLE as error:
        return Refusal(Reason.FRAMING, f"not a record of its schema: {type(error).__name__} {error}"[:200])
    if stream.read(1):
        return Refusal(Reason.FRAMING, "bytes are left after the record")
    if not isinstance(record, dict):
        return Refusal(Reason.SCHEMA, "the schema is not that of a record")
    return _contract(record)


def _contract(record: dict[str, Any]) -> bytes | Refusal:
    cleared = record.pop(CLEARED, None) or []
    made: dict[str, Any] = {}
    for name, value in record.items():
        if value is None:
            continue
        plain = _plain(value)
        if isinstance(plain, float) and not math.isfinite(plain):
            return Refusal(Reason.NON_FINITE, f"{name}: not a finite number")
        made[name] = plain
    if not isinstance(cleared, list) or not all(isinstance(name, str) for name in cleared):
        return Refusal(Reason.SCHEMA, f"{CLEARED}: a list of field names is expected")
    made |= dict.fromkeys(cleared)
    try:
        return _encode(made)
    except (TypeError, ValueError, RecursionError) as error:  # a field that the contract does not know
        return Refusal(Reason.SCHEMA, f"a field has no form in JSON: {error}"[:200])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:  # local timestamps: no instant
            return value.isoformat()
        return format_time((value - _EPOCH) // _MICROSECOND)
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


_MICROSECOND: Final = datetime.resolution
