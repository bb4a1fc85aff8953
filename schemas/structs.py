"""Bytes to columns by way of structs: `StructDecoder` takes any record that fits the contract.

It never handles one event at a time except in C: msgspec decodes records into structs, a few hundred
at a time, and every column is one pass over these structs while they are in the cache. Identifiers,
times, keys and currencies are checked on columns of the whole batch. Why a record does not fit is not
found here.
"""

from __future__ import annotations

import re
from operator import attrgetter, eq
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from schemas import limits, reference
from schemas.batch import EventBatch, Int64Array, StringColumn, Vocabulary
from schemas.fields import FieldColumns, FieldParts
from schemas.records import RawRecords
from schemas.times import NO_TIME, parse_joined
from schemas.wire import DECODER, AnyEvent

Mask = npt.NDArray[np.bool_]

_EVENT_ID: Final = attrgetter("event_id")
_CUSTOMER_ID: Final = attrgetter("customer_id")
_EVENT_TIME: Final = attrgetter("event_time")

_is_id = re.compile(limits.ID_PATTERN.removesuffix("$")).fullmatch
_DELETE: Final = 0x7F

#: A record below this size cannot be nested deeply enough to matter.
_SHALLOW_BYTES: Final = 2 * limits.NESTING

#: Topic of each struct code: usage, billing, customer, and usage for corrections.
_TOPIC: Final = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 0], np.uint8)

#: Records decoded at a time: their structs stay in the cache until every column has read them.
_CHUNK: Final = 512


class _Texts(NamedTuple):
    """The texts of all events, each joined by NUL, which none of them contains."""

    event_id: str
    customer_id: str
    event_time: str


class StructDecoder:
    """Decodes records of contract v1 for one vocabulary and one base currency.

    Holds caches only: the result depends on nothing but the records.
    """

    def __init__(self, vocabulary: Vocabulary, base_currency: str) -> None:
        self._fields = FieldColumns(vocabulary, base_currency)

    def decode(self, records: RawRecords) -> tuple[EventBatch, Int64Array]:
        """Events of `records` in order without those that do not fit, and their rows in `records`.

        Never raises for any bytes. Of a field that occurs twice in an object the last one counts,
        but every occurrence must fit the contract.
        """
        texts, parts, rows = self._gather(records.values)
        keys = records.keys if len(rows) == records.n else [records.keys[row] for row in rows.tolist()]
        n = len(keys)
        time_us = parse_joined(texts.event_time, n)
        ok = time_us != NO_TIME
        event_ids, customer_ids = _identifiers(texts, n, ok)
        _check_keys(texts.customer_id, keys, ok)
        fields = self._fields.columns(parts, ok)
        ok &= _TOPIC[np.frombuffer(parts.code, np.uint8)] == records.topic[rows]
        profiles = self._fields.profiles(parts, ok)
        if not ok.all():
            rows, fields, time_us = rows[ok], fields.where(ok), time_us[ok]
            event_ids, customer_ids = event_ids.where(ok), customer_ids.where(ok)
        batch = EventBatch(
            kind=fields.kind,
            topic=records.topic[rows],
            partition=records.partition[rows],
            offset=records.offset[rows],
            event_time_us=time_us,
            flags=fields.flags,
            category=fields.category,
            value=fields.value,
            aux=fields.aux,
            event_ids=event_ids,
            customer_ids=customer_ids,
            profiles=profiles,
        )
        return batch, rows

    def _gather(self, values: list[bytes | None]) -> tuple[_Texts, FieldParts, Int64Array]:
        """What the columns need of the records that fit a struct, and their rows."""
        parts, refused = FieldParts(), list[int]()
        event_id, customer_id, event_time = list[str](), list[str](), list[str]()
        for start in range(0, len(values), _CHUNK):
            events = _parse(values[start : start + _CHUNK], start, refused)
            if not events:
                continue
            event_id.append("\0".join(map(_EVENT_ID, events)))
            customer_id.append("\0".join(map(_CUSTOMER_ID, events)))
            event_time.append("\0".join(map(_EVENT_TIME, events)))
            self._fields.gather(events, parts)
        texts = _Texts("\0".join(event_id), "\0".join(customer_id), "\0".join(event_time))
        rows = np.arange(len(values), dtype=np.int64)
        return texts, parts, np.delete(rows, refused) if refused else rows


def _parse(values: list[bytes | None], first: int, refused: list[int]) -> list[AnyEvent]:
    """Structs of the records that fit one; the rows of the others, counted from `first`, to `refused`."""
    events: list[AnyEvent] = []
    passed = first - len(refused)
    unread = iter(_without_hostile(values))
    while True:
        try:
            # `extend` keeps what it got before its iterator raised, and the iterator has moved past
            # the record that raised: a bad record costs an exception, not a slower loop for all.
            events.extend(map(DECODER.decode, unread))
            return events
        except (ValueError, TypeError, RecursionError):
            refused.append(passed + len(events) + len(refused))


def _without_hostile(values: list[bytes | None]) -> list[bytes]:
    """`values` with the records emptied that msgspec would take although they are no events.

    msgspec does not look at the encoding of fields it skips, and how deep it may recurse depends on
    the depth of its caller. Texts with NUL are kept out because NUL separates texts when joined.
    """
    records = cast("list[bytes]", values)
    try:
        text = b"".join(records)
    except TypeError:  # a tombstone
        records = [value or b"" for value in values]
        text = b"".join(records)
    hostile: set[int] = set()
    if not text.isascii() and not _is_utf8(b"\n".join(records)):
        hostile.update(row for row, value in enumerate(records) if not _is_utf8(value))
    if len(max(records, key=len)) > _SHALLOW_BYTES:
        hostile.update(
            row
            for row, value in enumerate(records)
            if len(value) > _SHALLOW_BYTES and reference.nesting(value) > limits.NESTING
        )
    if b"\\" in text and b"\\u0000" in text:
        hostile.update(
            row
            for row, value in enumerate(records)
            if row not in hostile and b"\\u0000" in value and _has_nul(value)
        )
    if not hostile:
        return records
    return [b"" if row in hostile else value for row, value in enumerate(records)]


def _has_nul(value: bytes) -> bool:
    """Whether one of the texts that are joined contains NUL: none of them may."""
    try:
        event = DECODER.decode(value)
    except (ValueError, RecursionError):
        return False
    return "\0" in event.event_id + event.customer_id + event.event_time


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _identifiers(texts: _Texts, n: int, ok: Mask) -> tuple[StringColumn, StringColumn]:
    """Columns of the `n` event ids and the customer ids.

    Clears `ok` (bool[n], in place) where one of them is no identifier.
    """
    if n == 0:
        empty = StringColumn.from_bytes([])
        return empty, empty
    text = f"{texts.event_id}\0{texts.customer_id}\0"  # both at once: half the calls
    buffer = np.frombuffer(text.encode(), np.uint8)
    is_end = buffer == 0
    data = buffer[~is_end]
    ends = np.zeros(2 * n + 1, np.int64)
    np.subtract(np.flatnonzero(is_end), np.arange(2 * n), out=ends[1:])
    lengths = ends[1:] - ends[:-1]
    # more than 64 bytes may be 64 characters
    suspect = lengths.min() < 1 or lengths.max() > limits.ID_LENGTH
    if suspect or data.min() < ord(" ") or (data == _DELETE).any():
        valid = np.fromiter(map(bool, map(_is_id, text[:-1].split("\0"))), bool, 2 * n)
        ok &= valid[:n] & valid[n:]
    middle = ends[n]
    return StringColumn(data[:middle], ends[: n + 1]), StringColumn(data[middle:], ends[n:] - middle)


def _check_keys(text: str, keys: list[bytes | None], ok: Mask) -> None:
    """Clear `ok` (bool[n], in place) where a text, joined by NUL in `text`, is not the key."""
    try:
        # as many NUL on both sides and none in a text, so none in a key: equal one by one
        if text.encode() == b"\0".join(cast("list[bytes]", keys)):
            return
    except TypeError:  # a key is missing
        pass
    texts = text.encode().split(b"\0") if keys else []
    ok &= np.fromiter(map(eq, texts, keys), bool, len(keys))
