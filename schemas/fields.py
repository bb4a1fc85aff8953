"""Columns of the fields that depend on the event type, filled one type at a time."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from schemas import limits, wire
from schemas.batch import (
    CODED_ATTRIBUTES,
    CONSENT_GIVEN,
    CONSENT_UNKNOWN,
    CONSENT_WITHDRAWN,
    MAX_SERVICES,
    NO_DAY,
    Attribute,
    Flag,
    Float64Array,
    Int32Array,
    Kind,
    ProfileColumns,
    UInt8Array,
    Vocabulary,
    normalise_category,
)
from schemas.times import parse_day
from schemas.wire import AnyEvent, Code

Mask = npt.NDArray[np.bool_]

_CODE: Final = attrgetter("code")
_VALUE: Final = attrgetter("value")
_ROAMING: Final = attrgetter("roaming")
_TECHNOLOGY: Final = attrgetter("technology")
_INTERNATIONAL: Final = attrgetter("international")
_DIRECTION: Final = attrgetter("direction")

_INCOMING: Final = {"outgoing": 0, "incoming": int(Flag.INCOMING)}


def _selector(*codes: Code) -> bytes:
    """Table for `bytes.translate` from struct codes to 1 for `codes` and 0 for others."""
    return bytes(code in codes for code in range(256))


_IS_DATA: Final = _selector(Code.DATA)
_IS_CONTACT: Final = _selector(Code.VOICE, Code.SMS)
#: Types with columns or checks of their own that are a small part of traffic.
_IS_RARE: Final = _selector(
    Code.INVOICE, Code.PAYMENT, Code.TOPUP, Code.PROFILE, Code.CARE_CONTACT, Code.CORRECTION
)

_MEASURE: Final[dict[str, tuple[Kind, Callable[[Any], float | None]]]] = {
    "data": (Kind.DATA, attrgetter("megabytes")),
    "voice": (Kind.VOICE, attrgetter("duration_seconds")),
    "sms": (Kind.SMS, attrgetter("count")),
}

#: Texts remembered per vocabulary field: senders repeat few, but nobody promises that.
_REMEMBERED = 4096

_CONSENT: Final = {None: CONSENT_UNKNOWN, True: CONSENT_GIVEN, False: CONSENT_WITHDRAWN}

_ATTRIBUTES: Final = attrgetter(*(a.name.lower() for a in Attribute))
#: Column of `ProfileColumns.codes` of each attribute that has one.
_CODED: Final = {attribute: column for column, attribute in enumerate(CODED_ATTRIBUTES)}

_is_id = re.compile(limits.ID_PATTERN.removesuffix("$")).fullmatch


class _Codes(dict[Any, int]):
    """Category text to code; remembers a bounded number of texts."""

    def __init__(self, vocabulary: Vocabulary, field: str) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._field = field

    def __missing__(self, text: str | None) -> int:
        code = self._vocabulary.code(self._field, text)
        if len(self) < _REMEMBERED:
            self[text] = code
        return code


class FieldParts:
    """What `FieldColumns.gather` keeps of the events of a batch, in their order.

    Bytes hold one small number per event, or per event of the types in the comment.
    """

    def __init__(self) -> None:
        self.code = bytearray()
        self.value = array("d")
        self.roaming = bytearray()
        self.technology = bytearray()  # data
        self.international = bytearray()  # voice, sms
        self.incoming = bytearray()  # voice, sms
        #: Row and event of the types that are a small part of traffic, by struct code.
        self.rare: list[list[tuple[int, Any]]] = [[] for _ in Code]


@dataclass(frozen=True, slots=True)
class Fields:
    """The columns of `EventBatch` that depend on the type."""

    kind: UInt8Array
    flags: UInt8Array
    category: UInt8Array
    value: Float64Array
    aux: Float64Array

    def where(self, ok: Mask) -> Fields:
        """The columns of the events where `ok`."""
        return Fields(self.kind[ok], self.flags[ok], self.category[ok], self.value[ok], self.aux[ok])


class FieldColumns:
    """Checks and columns of the fields that depend on the type.

    Raises `ValueError` for a vocabulary whose codes do not fit: more than 254 levels, or more than
    `MAX_SERVICES` services.
    """

    def __init__(self, vocabulary: Vocabulary, base_currency: str) -> None:
        for field, levels in vocabulary.levels.items():
            most = MAX_SERVICES if field == "services" else 254
            if len(levels) > most:
                raise ValueError(f"vocabulary: {field} has {len(levels)} levels, at most {most}")
        self._base_currency = base_currency
        self._technology = _Codes(vocabulary, "technology")
        self._channel = _Codes(vocabulary, "channel")
        self._coded = {a: _Codes(vocabulary, a.name.lower()) for a in CODED_ATTRIBUTES}
        services = vocabulary.levels.get("services", ())
        self._service_bits = {level: 1 << bit for bit, level in enumerate(services)}
        self._other_service = 1 << len(services)

    def gather(self, events: list[AnyEvent], parts: FieldParts) -> None:
        """Append to `parts` what the columns need of `events`."""
        code = bytes(map(_CODE, events))
        parts.value.fromlist(list(map(_VALUE, events)))
        parts.roaming += bytes(map(_ROAMING, events))
        sessions = compress(events, code.translate(_IS_DATA))
        parts.technology += bytes(map(self._technology.__getitem__, map(_TECHNOLOGY, sessions)))
        contacts = list(compress(events, code.translate(_IS_CONTACT)))
        parts.international += bytes(map(_INTERNATIONAL, contacts))
        parts.incoming += bytes(map(_INCOMING.__getitem__, map(_DIRECTION, contacts)))
        first = len(parts.code)
        for row in compress(range(len(events)), code.translate(_IS_RARE)):
            parts.rare[code[row]].append((first + row, events[row]))
        parts.code += code

    def columns(self, parts: FieldParts, ok: Mask) -> Fields:
        """Columns of all gathered events.

        Clears `ok` (bool[n], in place) where the contract is broken between the fields of an event;
        the columns have no meaning there.
        """
        code = np.frombuffer(parts.code, np.uint8)
        fields = Fields(
            kind=code.copy(),
            # ROAMING is bit 0, so that the boolean is the flag
            flags=np.array(parts.roaming, np.uint8),
            category=np.zeros(len(code), np.uint8),
            value=np.array(parts.value, np.float64),
            aux=np.zeros(len(code), np.float64),
        )
        if parts.technology:
            fields.category[code == Code.DATA] = np.frombuffer(parts.technology, np.uint8)
        if parts.incoming:
            flags = np.frombuffer(parts.international, np.uint8) * np.uint8(Flag.INTERNATIONAL)
            flags |= np.frombuffer(parts.incoming, np.uint8)
            fields.flags[(code == Code.VOICE) | (code == Code.SMS)] |= flags
        self._billing(parts, fields, ok)
        for row, contact in parts.rare[Code.CARE_CONTACT]:
            fields.category[row] = self._channel[contact.channel]
        for row, correction in parts.rare[Code.CORRECTION]:
            self._correction(row, correction, fields, ok)
        for row, profile in parts.rare[Code.PROFILE]:
            day = profile.activated_on
            if day is not UNSET and day is not None and parse_day(day) is None:
                ok[row] = False
        return fields

    def _billing(self, parts: FieldParts, fields: Fields, ok: Mask) -> None:
        for row, invoice in parts.rare[Code.INVOICE]:
            period = _period(invoice)
            if period is None or invoice.currency != self._base_currency:
                ok[row] = False
            else:
                fields.aux[row] = period
        for row, payment in parts.rare[Code.PAYMENT]:
            fields.aux[row] = payment.days_late
            if payment.currency != self._base_currency:
                ok[row] = False
        for row, topup in parts.rare[Code.TOPUP]:
            if topup.currency != self._base_currency:
                ok[row] = False

    def _correction(self, row: int, correction: wire.Correction, fields: Fields, ok: Mask) -> None:
        if not _is_correction(correction):
            ok[row] = False
            return
        kind, measure = _MEASURE[correction.type_corrected]
        fields.kind[row] = kind
        fields.value[row] = measure(correction)
        fields.flags[row] = _correction_flags(correction, kind)
        if kind is Kind.DATA:
            fields.category[row] = self._technology[correction.technology]

    def profiles(self, parts: FieldParts, ok: Mask) -> ProfileColumns:
        """Columns of the profile events where `ok`, numbered without the other events."""
        rare = [(row, profile) for row, profile in parts.rare[Code.PROFILE] if ok[row]]
        profiles: list[wire.Profile] = [profile for _, profile in rare]
        m = len(profiles)
        if m == 0:
            return _NO_PROFILES
        events = np.cumsum(ok, dtype=np.int32)[[row for row, _ in rare]] - np.int32(1)
        columns = _missing(events)
        for attribute, values in zip(Attribute, zip(*map(_ATTRIBUTES, profiles), strict=True), strict=True):
            if values.count(UNSET) < m:  # most profile events carry few attributes
                carried = np.fromiter((value is not UNSET for value in values), np.uint16, m)
                columns.present[:] |= carried << np.uint16(attribute)
                self._attribute(columns, attribute, [None if v is UNSET else v for v in values])
        return columns

    def _attribute(self, columns: ProfileColumns, attribute: Attribute, values: list[Any]) -> None:
        """Fill the column of `attribute`; None for missing."""
        if attribute in _CODED:
            codes = self._coded[attribute]
            columns.codes[:, _CODED[attribute]] = [codes[value] for value in values]
        elif attribute is Attribute.ACTIVATED_ON:
            days = [None if day is None else parse_day(day) for day in values]
            columns.activated_on[:] = [NO_DAY if day is None else day for day in days]
        elif attribute is Attribute.AGE:
            columns.age[:] = [np.nan if age is None else age for age in values]
        elif attribute is Attribute.INCOME:
            columns.income[:] = [np.nan if income is None else income for income in values]
        elif attribute is Attribute.SERVICES:
            columns.services[:] = [self._services(names or []) for names in values]
        elif attribute is Attribute.CONSENT_PROFILING:
            columns.consent[:] = [_CONSENT[consent] for consent in values]

    def _services(self, names: list[str]) -> int:
        bits = 0
        for name in names:
            bits |= self._service_bits.get(normalise_category(name), self._other_service)
        return bits


def _correction_flags(event: wire.Correction, kind: Kind) -> int:
    if kind is Kind.DATA:  # a data session has no direction
        return Flag.CORRECTION | int(event.roaming)
    international = Flag.INTERNATIONAL if event.international else 0
    return Flag.CORRECTION | int(event.roaming) | international | _INCOMING[event.direction]


def _is_correction(event: wire.Correction) -> bool:
    """Whether the correction carries the measure of its type and no other."""
    carried = [kind for kind, measure in _MEASURE.values() if measure(event) is not None]
    kind, _ = _MEASURE[event.type_corrected]
    return carried == [kind] and bool(_is_id(event.corrects_event_id))


def _period(invoice: wire.Invoice) -> float | None:
    """Billed days, NaN if a bound is not given, None if the dates are wrong."""
    start, end = invoice.period_start, invoice.period_end
    first = parse_day(start) if start is not None else 0
    last = parse_day(end) if end is not None else 0
    if first is None or last is None:
        return None
    if start is None or end is None:
        return np.nan
    return float(last - first) if last > first else None


def _missing(events: Int32Array) -> ProfileColumns:
    """Profiles of `events` (int32[m]) that carry no attribute."""
    m = len(events)
    return ProfileColumns(
        event=events,
        present=np.zeros(m, np.uint16),
        activated_on=np.full(m, NO_DAY, np.int32),
        age=np.full(m, np.nan),
        income=np.full(m, np.nan),
        codes=np.zeros((m, len(_CODED)), np.uint8),
        services=np.zeros(m, np.uint32),
        consent=np.zeros(m, np.uint8),
    )


_NO_PROFILES: Final = _missing(np.empty(0, np.int32))
