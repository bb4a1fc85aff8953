"""The kernel that reads plain `data`, `voice` and `sms` records into columns.

Fields in any order, white space between tokens, each field at most once and none that its type does not
know; what a token may be is in `schemas.tokens`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas import limits, tokens
from schemas.batch import Flag, Float64Array, Int64Array, Kind, UInt8Array
from schemas.kernel import inlined, kernel
from schemas.tokens import Text, Words

_OPEN, _CLOSE, _COLON, _COMMA = ord("{"), ord("}"), ord(":"), ord(",")

# Fields by their bit in the set of fields a record has.
_TYPE, _EVENT_ID, _CUSTOMER_ID, _EVENT_TIME = 1, 2, 4, 8
_MEGABYTES, _SECONDS, _COUNT = 16, 32, 64
_ROAMING, _INTERNATIONAL, _DIRECTION, _TECHNOLOGY = 128, 256, 512, 1024

_COMMON: Final = _TYPE | _EVENT_ID | _CUSTOMER_ID | _EVENT_TIME
_CALLS: Final = _DIRECTION | _INTERNATIONAL | _ROAMING
#: By kind: the fields a record must have, those it may have, and the limits of its measure.
_REQUIRED: Final = np.array([_COMMON | _MEGABYTES, _COMMON | _SECONDS, _COMMON], np.int64)
_ALLOWED: Final = np.array(
    [_REQUIRED[0] | _ROAMING | _TECHNOLOGY, _REQUIRED[1] | _CALLS, _COMMON | _COUNT | _CALLS]
)
_LOWEST: Final = np.array([0.0, 0.0, 1.0])
_HIGHEST: Final = np.array([limits.MEGABYTES, limits.SECONDS, limits.COUNT], np.float64)

_DATA, _VOICE, _SMS = int(Kind.DATA), int(Kind.VOICE), int(Kind.SMS)
_IS_ROAMING, _IS_INTERNATIONAL, _IS_INCOMING = int(Flag.ROAMING), int(Flag.INTERNATIONAL), int(Flag.INCOMING)

# Names and values that are compared.
_W_TYPE = tokens.words("type")
_W_EVENT_ID = tokens.words("event_id")
_W_CUSTOMER_ID = tokens.words("customer_id")
_W_EVENT_TIME = tokens.words("event_time")
_W_MEGABYTES = tokens.words("megabytes")
_W_DURATION_SECONDS = tokens.words("duration_seconds")
_W_COUNT = tokens.words("count")
_W_ROAMING = tokens.words("roaming")
_W_INTERNATIONAL = tokens.words("international")
_W_DIRECTION = tokens.words("direction")
_W_TECHNOLOGY = tokens.words("technology")
_W_DATA = tokens.words("data")
_W_VOICE = tokens.words("voice")
_W_SMS = tokens.words("sms")
_W_OUTGOING = tokens.words("outgoing")
_W_INCOMING = tokens.words("incoming")


class Source(NamedTuple):
    """What the kernel reads: joined records and keys, and words of the technologies, uint64[levels, 2]."""

    text: Text
    ends: Int64Array
    keys: Text
    key_ends: Int64Array
    technologies: npt.NDArray[np.uint64]


class Rows(NamedTuple):
    """Columns by record, `n` of them; without meaning where `taken` is False.

    As in `EventBatch`, and of the event id in the joined records its start and length, int64[n].
    """

    taken: npt.NDArray[np.bool_]
    kind: UInt8Array
    flags: UInt8Array
    category: UInt8Array
    value: Float64Array
    time_us: Int64Array
    id_start: Int64Array
    id_length: Int64Array


@kernel
def scan_records(source: Source, rows: Rows) -> None:
    """Clears `rows.taken` where a record is not plain, fills the other columns where it is."""
    for row in range(len(rows.taken)):
        if rows.taken[row]:
            rows.taken[row] = _scan_record(source, row, rows)


@inlined
def _scan_record(source: Source, row: int, rows: Rows) -> bool:
    text, data, end = source.text, source.text.data, source.ends[row + 1]
    at = tokens.skip(data, source.ends[row], end)
    if not tokens.is_at(data, at, end, _OPEN):
        return False
    seen = 0
    while True:
        name, at = tokens.short_text(text, tokens.skip(data, at + 1, end), end)
        at = tokens.skip(data, at, end)
        field = _field(name)
        if field == 0 or seen & field or not tokens.is_at(data, at, end, _COLON):
            return False
        seen |= field
        at = _scan_value(source, field, tokens.skip(data, at + 1, end), row, rows)
        at = tokens.skip(data, at, end)
        if not tokens.is_at(data, at, end, _COMMA):
            break
    if not tokens.is_at(data, at, end, _CLOSE) or tokens.skip(data, at + 1, end) != end:
        return False
    kind = rows.kind[row]
    if seen & _REQUIRED[kind] != _REQUIRED[kind] or seen & _ALLOWED[kind] != seen:
        return False
    return bool(_LOWEST[kind] <= rows.value[row] <= _HIGHEST[kind])


@inlined
def _field(name: Words) -> int:
    """Bit of the field with this name, 0 for others."""
    field = 0
    if name == _W_EVENT_ID:
        field = _EVENT_ID
    elif name == _W_CUSTOMER_ID:
        field = _CUSTOMER_ID
    elif name == _W_EVENT_TIME:
        field = _EVENT_TIME
    elif name == _W_TYPE:
        field = _TYPE
    elif name == _W_ROAMING:
        field = _ROAMING
    elif name == _W_MEGABYTES:
        field = _MEGABYTES
    elif name == _W_TECHNOLOGY:
        field = _TECHNOLOGY
    elif name == _W_DURATION_SECONDS:
        field = _SECONDS
    elif name == _W_DIRECTION:
        field = _DIRECTION
    elif name == _W_INTERNATIONAL:
        field = _INTERNATIONAL
    elif name == _W_COUNT:
        field = _COUNT
    return field


@inlined
def _scan_value(source: Source, field: int, at: int, row: int, rows: Rows) -> int:
    """Reads the value of `field` into its column; after it, the end of the record if it is not plain."""
    text, data, end = source.text, source.text.data, source.ends[row + 1]
    if field == _EVENT_ID:
        rows.id_start[row], rows.id_length[row], at = tokens.identifier(text, at, end)
    elif field == _CUSTOMER_ID:
        start, length, at = tokens.identifier(text, at, end)
        if not _is_key(source, start, length, row):
            at = end
    elif field == _EVENT_TIME:
        rows.time_us[row], at = tokens.time(data, at, end)
    elif field == _TYPE:
        words, at = tokens.short_text(text, at, end)
        rows.kind[row], at = _kind(words, at, end)
    elif field == _ROAMING or field == _INTERNATIONAL:
        word, at = tokens.literal(text, at, end)
        if word == tokens.TRUE:
            rows.flags[row] |= _IS_ROAMING if field == _ROAMING else _IS_INTERNATIONAL
        elif word != tokens.FALSE:
            at = end
    elif field == _DIRECTION:
        words, at = tokens.short_text(text, at, end)
        if words == _W_INCOMING:
            rows.flags[row] |= _IS_INCOMING
        elif words != _W_OUTGOING:
            at = end
    elif field == _TECHNOLOGY:
        rows.category[row], at = _technology(source, at, end)
    else:
        digits, decimals, at = tokens.number(data, at, end)
        rows.value[row] = tokens.quotient(digits, decimals)
        if field == _COUNT and decimals:
            at = end
    return at


@inlined
def _is_key(source: Source, start: int, length: int, row: int) -> bool:
    """Whether the text at `start` of the records is the key of the row."""
    key = source.key_ends[row]
    is_long = source.key_ends[row + 1] - key == length
    return is_long and tokens.is_equal(source.text, start, source.keys, key, length)


@inlined
def _kind(words: Words, at: int, end: int) -> tuple[int, int]:
    """Kind of a type, and `at`; the `end` where it is none of the three."""
    if words == _W_DATA:
        return _DATA, at
    if words == _W_VOICE:
        return _VOICE, at
    if words == _W_SMS:
        return _SMS, at
    return _DATA, end


@inlined
def _technology(source: Source, at: int, end: int) -> tuple[int, int]:
    """Code of a technology as by `Vocabulary.code`; after it."""
    if not tokens.is_at(source.text.data, at, end, tokens.QUOTE):
        word, at = tokens.literal(source.text, at, end)
        return 0, at if word == tokens.NULL else end
    words, at = tokens.category(source.text, at, end)
    levels = source.technologies
    for level in range(len(levels)):
        if words == (levels[level, 0], levels[level, 1]):
            return level + 1, at
    return len(levels) + 1, at
