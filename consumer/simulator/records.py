"""Records on their way out: parallel columns, one row per record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from consumer.simulator.traits import IntArray, ObjectArray

UInt8Array = npt.NDArray[np.uint8]

#: Names of the input topics of contract v1, by the code in `schemas.batch.Topic`.
TOPICS: Final = ("telecom.usage.v1", "telecom.billing.v1", "telecom.customer.v1")

#: Topic code by `schemas.batch.Kind`.
TOPIC_OF_KIND: Final = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2], np.uint8)


class FaultKind(IntEnum):
    """What was planted on a record."""

    NONE = 0
    DUPLICATE = 1
    LATE = 2
    LATE_DAY = 3
    LATE_WEEK = 4
    LATE_WINDOW = 5
    OUT_OF_ORDER = 6
    CLOCK_DAYS_AHEAD = 7
    CLOCK_YEARS_AHEAD = 8
    CLOCK_1970 = 9
    BROKEN_JSON = 10
    MISSING_FIELD = 11
    WRONG_TYPE = 12
    NEGATIVE = 13
    WRONG_CURRENCY = 14
    UNKNOWN_TYPE = 15
    EMPTY = 16
    WRONG_TOPIC = 17
    KEY_MISMATCH = 18
    MISROUTED = 19

    @property
    def needs_kafka(self) -> bool:
        """Whether the fault is in the envelope, so that the JSON text alone is a valid record."""
        return self >= FaultKind.WRONG_TOPIC


@dataclass(slots=True)
class Records:
    """`m` records in no particular order.

    `customer` int64[m] row in the population; `kind` uint8[m] (`schemas.batch.Kind`);
    `event_time_us`, `arrival_us` int64[m]; `topic` uint8[m]; `key` int64[m] row of the customer
    whose id is the key; `fault` uint8[m] (`FaultKind`); `value` object[m] JSON text.
    """

    customer: IntArray
    kind: UInt8Array
    event_time_us: IntArray
    arrival_us: IntArray
    topic: UInt8Array
    key: IntArray
    fault: UInt8Array
    value: ObjectArray

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.customer)

    @classmethod
    def punctual(
        cls, customer: IntArray, kind: UInt8Array, event_time_us: IntArray, value: list[str]
    ) -> Records:
        """Records without faults that arrive when they happen."""
        column = np.empty(len(value), object)
        column[:] = value
        return cls(
            customer=customer,
            kind=kind,
            event_time_us=event_time_us,
            arrival_us=event_time_us.copy(),
            topic=TOPIC_OF_KIND[kind],
            key=customer.copy(),
            fault=np.zeros(len(value), np.uint8),
            value=column,
        )

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Records:
        """The records at `rows` (indices or a mask)."""
        return Records(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[Records]) -> Records:
        """All records of `parts` (at least one), in order."""
        return Records(
            **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Records)}
        )
