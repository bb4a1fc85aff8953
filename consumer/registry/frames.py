"""A frame as Confluent's serializers write it: a magic byte 0, a four-byte schema id, then JSON or Avro.

Which of the two is said by the registry for each id. JSON cannot begin with a byte 0: what does not is plain,
as our own commands send it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from schemas.reference import Refusal
from schemas.rejects import Reason

#: The contract's JSON in a record's value, or why there is none; None is a tombstone and stays one.
Unframe = Callable[[bytes | None], bytes | Refusal | None]

#: Makes the contract's JSON of what is behind a frame.
Reader = Callable[[bytes], bytes | Refusal]

_MAGIC: Final = b"\0"
_HEADER: Final = 5


def unframe(reader_of: Callable[[int], Reader | Refusal], value: bytes | None) -> bytes | Refusal | None:
    """The JSON in `value`, read as `reader_of` says for its schema id. Raises what that raises."""
    if value is None or not value.startswith(_MAGIC):
        return value
    found = split(value)
    if isinstance(found, Refusal):
        return found
    number, payload = found
    reader = reader_of(number)
    return reader if isinstance(reader, Refusal) else reader(payload)


def split(value: bytes) -> tuple[int, bytes] | Refusal:
    """Schema id and payload of a framed value."""
    if len(value) < _HEADER:
        return Refusal(Reason.FRAMING, "the frame is cut off: a schema id of four bytes follows the byte 0")
    return int.from_bytes(value[1:_HEADER], "big"), value[_HEADER:]


def as_json(payload: bytes) -> bytes:
    """The `Reader` of JSON, which is what it is: what is valid is said by the contract."""
    return payload
