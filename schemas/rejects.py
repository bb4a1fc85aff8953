"""Records that do not become events. Bad input is data here, never an exception."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from schemas.batch import Int32Array, Int64Array, UInt8Array
from schemas.records import RawRecords


class Reason(StrEnum):
    """Why a record was refused; the value goes into the dead-letter headers and metric labels.

    A record with several faults has one reason, the first that applies in this order.
    The last three are found after decoding.
    """

    FRAMING = "framing"
    MALFORMED_JSON = "malformed_json"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_TOPIC = "wrong_topic"
    SCHEMA = "schema"
    NON_FINITE = "non_finite"
    OUT_OF_RANGE = "out_of_range"
    BAD_TIME = "bad_time"
    CURRENCY = "currency"
    MISSING_KEY = "missing_key"
    KEY_MISMATCH = "key_mismatch"
    MISROUTED = "misrouted"
    LATE = "late"
    FUTURE = "future"


@dataclass(frozen=True, slots=True)
class Rejects:
    """`n` refused records: where they were read, why they were refused, and their bytes.

    `topic` uint8[n], `partition` int32[n], `offset` int64[n]; `reasons`, `details` (one line for a
    person: the field and its problem), `keys` and `values` are lists of length `n`.
    """

    topic: UInt8Array
    partition: Int32Array
    offset: Int64Array
    reasons: list[Reason]
    details: list[str]
    keys: list[bytes | None]
    values: list[bytes | None]

    @property
    def n(self) -> int:
        """Number of refused records."""
        return len(self.reasons)

    @classmethod
    def of(cls, records: RawRecords, reasons: Sequence[Reason], details: Sequence[str]) -> Rejects:
        """All of `records`, refused for `reasons` (one each)."""
        if not records.n == len(reasons) == len(details):
            raise ValueError("one reason and one detail per record")
        return cls(
            records.topic,
            records.partition,
            records.offset,
            list(reasons),
            list(details),
            records.keys,
            records.values,
        )

    @classmethod
    def empty(cls) -> Rejects:
        """No rejects."""
        return cls(np.empty(0, np.uint8), np.empty(0, np.int32), np.empty(0, np.int64), [], [], [], [])

    @classmethod
    def concat(cls, parts: Sequence[Rejects]) -> Rejects:
        """The rejects of `parts` one after the other."""
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([part.topic for part in parts]),
            np.concatenate([part.partition for part in parts]),
            np.concatenate([part.offset for part in parts]),
            [reason for part in parts for reason in part.reasons],
            [detail for part in parts for detail in part.details],
            [key for part in parts for key in part.keys],
            [value for part in parts for value in part.values],
        )

    def take(self, rows: npt.NDArray[np.intp]) -> Rejects:
        """The rejects at positions `rows`, in that order."""
        if not self.n:
            return self
        return Rejects(
            self.topic[rows],
            self.partition[rows],
            self.offset[rows],
            [self.reasons[i] for i in rows],
            [self.details[i] for i in rows],
            [self.keys[i] for i in rows],
            [self.values[i] for i in rows],
        )

    def in_order(self) -> Rejects:
        """By topic and offset: those of one partition, however its records were polled."""
        return self.take(np.lexsort((self.offset, self.topic)))

    def count_by_reason(self) -> dict[Reason, int]:
        """Number of records per reason, only reasons that occur, in the order of `Reason`."""
        counts = Counter(self.reasons)
        return {reason: counts[reason] for reason in Reason if counts[reason]}
