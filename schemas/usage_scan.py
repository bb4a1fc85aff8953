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

# Names and values that are looked for.
_L_TYPE = tokens.literal("type")
_L_EVENT_ID = tokens.literal("event_id")
_L_CUSTOMER_ID = tokens.literal("customer_id")
_L_EVENT_TIME = tokens.literal("event_time")
_L_MEGABYTES = tokens.literal("megabytes")
_L_DURATION_SECONDS = tokens.literal("duration_seconds")
_L_COUNT = tokens.literal("count")
_L_ROAMING = tokens.literal("roaming")
_L_INTERNATIONAL = tokens.literal("international")
_L_DIRECTION = tokens.literal("direction")
_L_TECHNOLOGY = tokens.literal("technology")
_L_DATA = tokens.literal("data")
_L_VOICE = tokens.literal("voice")
_L_SMS = tokens.literal("sms")
_L_OUTGOING = tokens.literal("outgoing")
_L_INCOMING = tokens.literal("incoming")


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
    text, end = source.text, source.ends[row + 1]
    at = tokens.skip(text, source.ends[row], end)
    if not tokens.is_at(text, at, end, _OPEN):
        return False
    seen = 0
    while True:
        at = tokens.skip(text, at + 1, end)
        field, length = _field(tokens.ahead(text, at, end))
        at = tokens.skip(text, tokens.after_text(text, at, end, length), end)
        if field == 0 or seen & field or not tokens.is_at(text, at, end, _COLON):
            return False
        seen |= field
        at = _scan_value(source, field, tokens.skip(text, at + 1, end), row, rows)
        at = tokens.skip(text, at, end)
        if not tokens.is_at(text, at, end, _COMMA):
            break
    if not tokens.is_at(text, at, end, _CLOSE) or tokens.skip(text, at + 1, end) != end:
        return False
    kind = rows.kind[row]
    if seen & _REQUIRED[kind] != _REQUIRED[kind] or seen & _ALLOWED[kind] != seen:
        return False
    return bool(_LOWEST[kind] <= rows.value[row] <= _HIGHEST[kind])


@inlined
def _field(name: Words) -> tuple[int, int]:
    """Bit of the field whose name `name` begins with, 0 for others; length of that name."""
    field, length = 0, 0
    if tokens.begins(name, _L_EVENT_ID):
        field, length = _EVENT_ID, _L_EVENT_ID.length
    elif tokens.begins(name, _L_CUSTOMER_ID):
        field, length = _CUSTOMER_ID, _L_CUSTOMER_ID.length
    elif tokens.begins(name, _L_EVENT_TIME):
        field, length = _EVENT_TIME, _L_EVENT_TIME.length
    elif tokens.begins(name, _L_TYPE):
        field, length = _TYPE, _L_TYPE.length
    elif tokens.begins(name, _L_ROAMING):
        field, length = _ROAMING, _L_ROAMING.length
    elif tokens.begins(name, _L_MEGABYTES):
        field, length = _MEGABYTES, _L_MEGABYTES.length
    elif tokens.begins(name, _L_TECHNOLOGY):
        field, length = _TECHNOLOGY, _L_TECHNOLOGY.length
    elif tokens.begins(name, _L_DURATION_SECONDS):
        field, length = _SECONDS, _L_DURATION_SECONDS.length
    elif tokens.begins(name, _L_DIRECTION):
        field, length = _DIRECTION, _L_DIRECTION.length
    elif tokens.begins(name, _L_INTERNATIONAL):
        field, length = _INTERNATIONAL, _L_INTERNATIONAL.length
    elif tokens.begins(name, _L_COUNT):
        field, length = _COUNT, _L_COUNT.length
    return field, length


@inlined
def _scan_value(source: Source, field: int, at: int, row: int, rows: Rows) -> int:
    """Reads the value of `field` into its column; after it, the end of the record if it is not plain."""
    text, end = source.text, source.ends[row + 1]
    if field == _EVENT_ID:
        rows.id_start[row], rows.id_length[row], at = tokens.identifier(text, at, end)
    elif field == _CUSTOMER_ID:
        start, length, at = tokens.identifier(text, at, end)
        if not _is_key(source, start, length, row):
            at = end
    elif field == _EVENT_TIME:
        rows.time_us[row], at = tokens.time(text, at, end)
    elif field == _TYPE:
        rows.kind[row], at = _kind(text, at, end)
    elif field == _ROAMING or field == _INTERNATIONAL:
        flag = _IS_ROAMING if field == _ROAMING else _IS_INTERNATIONAL
        constant, at = tokens.constant(text, at, end)
        if constant == tokens.TRUE:
            rows.flags[row] |= flag
        elif constant != tokens.FALSE:
            at = end
    elif field == _DIRECTION:
        flag, at = _direction(text, at, end)
        rows.flags[row] |= flag
    elif field == _TECHNOLOGY:
        rows.category[row], at = _technology(source, at, end)
    else:
        digits, decimals, at = tokens.number(text, at, end)
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
def _kind(text: Text, at: int, end: int) -> tuple[int, int]:
    """Kind of the type at `at`; after it."""
    found = tokens.ahead(text, at, end)
    if tokens.begins(found, _L_DATA):
        return _DATA, tokens.after_text(text, at, end, _L_DATA.length)
    if tokens.begins(found, _L_VOICE):
        return _VOICE, tokens.after_text(text, at, end, _L_VOICE.length)
    if tokens.begins(found, _L_SMS):
        return _SMS, tokens.after_text(text, at, end, _L_SMS.length)
    return _DATA, end


@inlined
def _direction(text: Text, at: int, end: int) -> tuple[int, int]:
    """Flag of the direction at `at`, 0 for outgoing; after it."""
    found = tokens.ahead(text, at, end)
    if tokens.begins(found, _L_OUTGOING):
        return 0, tokens.after_text(text, at, end, _L_OUTGOING.length)
    if tokens.begins(found, _L_INCOMING):
        return _IS_INCOMING, tokens.after_text(text, at, end, _L_INCOMING.length)
    return 0, end


@inlined
def _technology(source: Source, at: int, end: int) -> tuple[int, int]:
    """Code of a technology as by `Vocabulary.code`; after it."""
    if not tokens.is_at(source.text, at, end, tokens.QUOTE):
        constant, at = tokens.constant(source.text, at, end)
        return 0, at if constant == tokens.NULL else end
    words, at = tokens.category(source.text, at, end)
    levels = source.technologies
    for level in range(len(levels)):
        if words == (levels[level, 0], levels[level, 1]):
            return level + 1, at
    return len(levels) + 1, at
