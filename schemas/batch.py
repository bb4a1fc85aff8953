"""The columnar batch: what the hot path passes around instead of event objects.

An `EventBatch` is a set of parallel arrays of length ``n``. It has no ``__iter__`` and no row
accessor on purpose: a loop over events in Python costs more than everything else together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum, IntFlag
from typing import Any, Final

import numpy as np
import numpy.typing as npt


class Topic(IntEnum):
    """Input topics of contract v1; the value is the code in `EventBatch.topic`."""

    USAGE = 0
    BILLING = 1
    CUSTOMER = 2


class Kind(IntEnum):
    """Event types of contract v1; the value is the code in `EventBatch.kind`.

    A ``correction`` has the kind of the event it corrects and `Flag.CORRECTION`.
    """

    DATA = 0
    VOICE = 1
    SMS = 2
    INVOICE = 3
    PAYMENT = 4
    TOPUP = 5
    PROFILE = 6
    CARE_CONTACT = 7
    CLOSED = 8
    FORGET = 9


class Flag(IntFlag):
    """Bits of `EventBatch.flags`."""

    ROAMING = 1
    INTERNATIONAL = 2
    INCOMING = 4
    CORRECTION = 8


class Attribute(IntEnum):
    """Profile attributes; the value is the bit number in `ProfileColumns.present`."""

    ACTIVATED_ON = 0
    AGE = 1
    INCOME = 2
    GENDER = 3
    REGION = 4
    PLAN = 5
    CONTRACT = 6
    LINE_TYPE = 7
    PAYMENT_METHOD = 8
    SERVICES = 9
    CONSENT_PROFILING = 10


#: Profile attributes with a category code, in the order of the columns of `ProfileColumns.codes`.
CODED_ATTRIBUTES: Final = (
    Attribute.GENDER,
    Attribute.REGION,
    Attribute.PLAN,
    Attribute.CONTRACT,
    Attribute.LINE_TYPE,
    Attribute.PAYMENT_METHOD,
)

#: `ProfileColumns.activated_on` where the attribute is absent or null.
NO_DAY: Final = np.iinfo(np.int32).min

#: `ProfileColumns.consent` codes.
CONSENT_UNKNOWN, CONSENT_GIVEN, CONSENT_WITHDRAWN = 0, 1, 2

#: Levels of the field ``services``: a bit each in a uint32, and one bit for all others.
MAX_SERVICES: Final = 31

IntArray = npt.NDArray[np.signedinteger]
Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
UInt8Array = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]


def normalise_category(text: str) -> str:
    """Category text as it is compared: trimmed, case-folded, blanks and underscores as one dash."""
    return "-".join(text.casefold().replace("_", " ").replace("-", " ").split())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Known category levels per field, so that text becomes a small code while decoding.

    Fields: ``technology`` (data), ``channel`` (care contacts), the coded profile attributes in
    lower case (``gender``, ``region``, ...) and ``services`` (at most `MAX_SERVICES`).
    Code 0 means missing, ``1 + i`` is level ``i``, ``1 + len(levels)`` is any other value. Services
    are bits: bit ``i`` is level ``i``, bit ``len(levels)`` stands for all others together.
    Levels are held in the form of `normalise_category`.
    """

    levels: dict[str, tuple[str, ...]]

    def code(self, field: str, value: str | None) -> int:
        """Code of `value` in `field` (0 for None)."""
        if value is None:
            return 0
        levels = self.levels.get(field, ())
        value = normalise_category(value)
        return 1 + (levels.index(value) if value in levels else len(levels))


@dataclass(frozen=True, slots=True)
class StringColumn:
    """`n` byte strings in one buffer: string ``i`` is ``data[ends[i] : ends[i + 1]]``.

    `data` uint8[total], `ends` int64[n + 1] starting with 0 (same layout as an Arrow string array).
    """

    data: UInt8Array
    ends: Int64Array

    @classmethod
    def from_bytes(cls, strings: Sequence[bytes]) -> StringColumn:
        """Column of `strings`, in order."""
        ends = np.zeros(len(strings) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, strings), np.int64, len(strings)), out=ends[1:])
        # writable like any other column: numba compiles kernels a second time for read-only arrays
        return cls(np.frombuffer(bytearray().join(strings), np.uint8), ends)

    @classmethod
    def concat(cls, parts: Sequence[StringColumn]) -> StringColumn:
        """The strings of `parts` one after the other."""
        starts = np.cumsum([0, *(len(part.data) for part in parts)])
        ends = [part.ends[1:] + start for part, start in zip(parts, starts, strict=False)]
        data = np.concatenate([np.empty(0, np.uint8), *(part.data for part in parts)])
        return cls(data, np.concatenate([np.zeros(1, np.int64), *ends]))

    def to_bytes(self) -> list[bytes]:
        """The strings as Python objects: for tests and rare records, not for the hot path."""
        data = self.data.tobytes()
        return [data[a:b] for a, b in zip(self.ends[:-1], self.ends[1:], strict=True)]

    def where(self, ok: npt.NDArray[np.bool_]) -> StringColumn:
        """Column of the strings where `ok` (bool[n]), in order."""
        lengths = self.ends[1:] - self.ends[:-1]
        ends = np.zeros(np.count_nonzero(ok) + 1, np.int64)
        np.cumsum(lengths[ok], out=ends[1:])
        return StringColumn(self.data[np.repeat(ok, lengths)], ends)

    def take(self, rows: IntArray) -> StringColumn:
        """Column of the strings at `rows`, in that order."""
        lengths = (self.ends[1:] - self.ends[:-1])[rows]
        ends = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        within = np.arange(ends[-1], dtype=np.int64) - np.repeat(ends[:-1], lengths)
        return StringColumn(self.data[np.repeat(self.ends[:-1][rows], lengths) + within], ends)


@dataclass(frozen=True, slots=True)
class ProfileColumns:
    """Profile events of a batch, `m` rows in batch order.

    `event` int32[m]: index into the batch. `present` uint16[m]: bit per `Attribute` that the record
    carries; a carried null has the bit set and the missing value below. Missing values:
    `activated_on` int32[m] days since 1970-01-01 (`NO_DAY`), `age` and `income` float64[m] (NaN),
    `codes` uint8[m, 6] in the order of `CODED_ATTRIBUTES` (0), `services` uint32[m] (0),
    `consent` uint8[m] (`CONSENT_UNKNOWN`).
    """

    event: Int32Array
    present: npt.NDArray[np.uint16]
    activated_on: Int32Array
    age: Float64Array
    income: Float64Array
    codes: UInt8Array
    services: npt.NDArray[np.uint32]
    consent: UInt8Array

    def moved(self, by: int) -> ProfileColumns:
        """The same profiles in a batch that has `by` events before them."""
        return replace(self, event=self.event + np.int32(by))


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Decoded events in arrival order, `n` of them.

    `kind`, `topic`, `flags`, `category` uint8[n]; `partition` int32[n]; `offset` int64[n];
    `event_time_us` int64[n] microseconds since the epoch, UTC; `value` float64[n]: megabytes,
    seconds, count or amount (signed difference for a correction; 1 for a care contact, else 0);
    `aux` float64[n]: billed period in days (invoice, NaN if unknown) or days late (payment), else 0;
    `category`: code of `technology` (data) or `channel` (care contact), else 0.
    """

    kind: UInt8Array
    topic: UInt8Array
    partition: Int32Array
    offset: Int64Array
    event_time_us: Int64Array
    flags: UInt8Array
    category: UInt8Array
    value: Float64Array
    aux: Float64Array
    event_ids: StringColumn
    customer_ids: StringColumn
    profiles: ProfileColumns

    @property
    def n(self) -> int:
        """Number of events."""
        return len(self.kind)

    @classmethod
    def concat(cls, parts: Sequence[EventBatch]) -> EventBatch:
        """The events of `parts`, at least one, one after the other."""
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(part.n for part in parts)])
        profiles = [
            part.profiles.moved(int(start))
            for part, start in zip(parts, starts, strict=False)
            if len(part.profiles.event)
        ]
        joined: dict[str, Any] = {
            "event_ids": StringColumn.concat([part.event_ids for part in parts]),
            "customer_ids": StringColumn.concat([part.customer_ids for part in parts]),
            "profiles": _concat(profiles) if profiles else parts[0].profiles,
        }
        for name in (field.name for field in fields(cls) if field.name not in joined):
            joined[name] = np.concatenate([getattr(part, name) for part in parts])
        return cls(**joined)


def _concat(parts: Sequence[ProfileColumns]) -> ProfileColumns:
    return ProfileColumns(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(ProfileColumns))
    )
