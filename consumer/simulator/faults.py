"""Planting faults: which records, and what happens to their text, envelope and arrival."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from consumer.simulator.population import DAY_US
from consumer.simulator.records import FaultKind, Records, UInt8Array
from consumer.simulator.settings import Faults
from consumer.simulator.traits import IntArray
from schemas.batch import Kind
from schemas.times import format_time

HOUR_US = 3_600_000_000
SECOND_US = 1_000_000
YEAR_US = 365 * DAY_US

#: Field that carries the measure of a type, for the faults that need a number.
_MEASURE: Final = {
    "data": "megabytes",
    "voice": "duration_seconds",
    "sms": "count",
    "invoice": "amount",
    "payment": "amount",
    "topup": "amount",
}
_MALFORMED: Final = (
    FaultKind.BROKEN_JSON,
    FaultKind.MISSING_FIELD,
    FaultKind.WRONG_TYPE,
    FaultKind.NEGATIVE,
    FaultKind.WRONG_CURRENCY,
    FaultKind.UNKNOWN_TYPE,
    FaultKind.EMPTY,
    FaultKind.WRONG_TOPIC,
    FaultKind.KEY_MISMATCH,
)
_CLOCKS: Final = (FaultKind.CLOCK_DAYS_AHEAD, FaultKind.CLOCK_YEARS_AHEAD, FaultKind.CLOCK_1970)

#: Delay of the arrival by fault: from and to, microseconds.
_DELAYS_US: Final = {
    FaultKind.LATE: (1 * HOUR_US, 20 * HOUR_US),
    FaultKind.LATE_DAY: (24 * HOUR_US + SECOND_US, 6 * DAY_US),
    FaultKind.LATE_WEEK: (7 * DAY_US + SECOND_US, 20 * DAY_US),
    FaultKind.OUT_OF_ORDER: (SECOND_US, 300 * SECOND_US),
    FaultKind.DUPLICATE: (SECOND_US // 1000, 600 * SECOND_US),
}
#: Change of the event time by fault: from and to, microseconds.
_SHIFTS_US: Final = {
    FaultKind.LATE_WINDOW: (-120 * DAY_US, -95 * DAY_US),
    FaultKind.CLOCK_DAYS_AHEAD: (1 * DAY_US, 30 * DAY_US),
    FaultKind.CLOCK_YEARS_AHEAD: (1 * YEAR_US, 10 * YEAR_US),
}


def plant(rng: np.random.Generator, records: Records, faults: Faults, end_us: int) -> Records:
    """`records` with faults (changed in place) and the duplicates added.

    Records that would arrive at `end_us` or later keep or regain their punctual arrival.
    """
    records.fault = _draw(rng, records, faults)
    for fault, (least, most) in _DELAYS_US.items():
        if fault is not FaultKind.DUPLICATE:
            rows = np.flatnonzero(records.fault == fault)
            delayed = records.arrival_us[rows] + _milliseconds(rng, least, most, len(rows))
            records.fault[rows[delayed >= end_us]] = FaultKind.NONE
            records.arrival_us[rows] = np.where(delayed < end_us, delayed, records.arrival_us[rows])
    for fault in (*_SHIFTS_US, FaultKind.CLOCK_1970):
        _shift_clocks(rng, records, fault)
    for row in np.flatnonzero(np.isin(records.fault, _MALFORMED)).tolist():
        _corrupt(rng, records, row)
    return _with_duplicates(rng, records, faults.duplicates, end_us)


def _draw(rng: np.random.Generator, records: Records, faults: Faults) -> UInt8Array:
    """uint8[m]: at most one fault per record."""
    kinds = (
        *(FaultKind.LATE, FaultKind.LATE_DAY, FaultKind.LATE_WEEK, FaultKind.LATE_WINDOW),
        *(FaultKind.OUT_OF_ORDER, FaultKind.MISROUTED),
    )
    shares = [
        *(faults.late, faults.late_day, faults.late_week, faults.late_window),
        *(faults.out_of_order, faults.misrouted, faults.bad_clock, faults.malformed),
    ]
    drawn = np.searchsorted(np.cumsum(shares), rng.random(records.n), side="right")
    fault = np.append(np.array(kinds, np.uint8), np.zeros(3, np.uint8))[drawn]
    clocks = np.flatnonzero(drawn == len(kinds))
    fault[clocks] = rng.choice(np.array(_CLOCKS, np.uint8), len(clocks))
    malformed = np.flatnonzero(drawn == len(kinds) + 1)
    fault[malformed] = _kinds_of_malformed(rng, records.kind[malformed])
    return np.asarray(fault, np.uint8)


def _kinds_of_malformed(rng: np.random.Generator, kind: UInt8Array) -> UInt8Array:
    """A way to be malformed per record that its type allows."""
    billing = np.isin(kind, (Kind.INVOICE, Kind.PAYMENT, Kind.TOPUP))
    measured = billing | (kind <= Kind.SMS)
    fault = rng.choice(np.array(_MALFORMED, np.uint8), len(kind))
    # A negative invoice is a credit note, and only billing has a currency.
    fault[(fault == FaultKind.NEGATIVE) & (~measured | billing)] = FaultKind.WRONG_TYPE
    fault[(fault == FaultKind.WRONG_CURRENCY) & ~billing] = FaultKind.MISSING_FIELD
    # Few records are billing records; half of the malformed ones show the wrong currency.
    fault[billing & (rng.random(len(kind)) < 0.5)] = FaultKind.WRONG_CURRENCY
    return fault


def _milliseconds(rng: np.random.Generator, least_us: int, most_us: int, n: int) -> IntArray:
    """Whole milliseconds between two bounds, in microseconds."""
    return np.asarray(rng.integers(least_us // 1000, most_us // 1000, n) * 1000, np.int64)


def _shift_clocks(rng: np.random.Generator, records: Records, fault: FaultKind) -> None:
    """Give the records with `fault` a wrong event time, in the text too."""
    rows = np.flatnonzero(records.fault == fault)
    if fault is FaultKind.CLOCK_1970:
        times = _milliseconds(rng, 0, 30 * DAY_US, len(rows))
    else:
        times = records.event_time_us[rows] + _milliseconds(rng, *_SHIFTS_US[fault], len(rows))
    for row, time_us in zip(rows.tolist(), times.tolist(), strict=True):
        # The text holds the punctual instant exactly once, in `event_time`.
        before = f'"event_time":"{format_time(int(records.event_time_us[row]))}"'
        after = f'"event_time":"{format_time(time_us)}"'
        records.value[row] = records.value[row].replace(before, after)
    records.event_time_us[rows] = times


def _corrupt(rng: np.random.Generator, records: Records, row: int) -> None:
    """Corrupt one record, in place, in the way of its fault."""
    fault = FaultKind(int(records.fault[row]))
    if fault is FaultKind.WRONG_TOPIC:
        records.topic[row] = (records.topic[row] + 1 + rng.integers(2)) % 3
    elif fault is FaultKind.KEY_MISMATCH:
        # -1 is the key of nobody: a customer id that no event carries.
        records.key[row] = -1
    elif fault is FaultKind.EMPTY:
        records.value[row] = ""
    elif fault is FaultKind.BROKEN_JSON:
        text = records.value[row]
        records.value[row] = text[: int(rng.integers(1, len(text)))]
    else:
        event = json.loads(records.value[row])
        _EDITS[fault](event, rng)
        records.value[row] = json.dumps(event, separators=(",", ":"))


def _missing_field(event: dict[str, Any], rng: np.random.Generator) -> None:
    fields = ["event_id", "customer_id", "event_time", "type"]
    if event["type"] in ("data", "voice", "invoice", "payment", "topup"):
        fields.append(_MEASURE[event["type"]])
    del event[fields[rng.integers(len(fields))]]


def _wrong_type(event: dict[str, Any], rng: np.random.Generator) -> None:
    field = _MEASURE.get(event["type"], "event_time")
    event[field] = ["a lot", [1], {"value": 1}, True][rng.integers(4)]


def _negative(event: dict[str, Any], rng: np.random.Generator) -> None:
    event[_MEASURE[event["type"]]] = -int(rng.integers(1, 100))


def _wrong_currency(event: dict[str, Any], rng: np.random.Generator) -> None:
    others = [c for c in ("USD", "GBP", "CHF", "SEK") if c != event["currency"]]
    event["currency"] = others[rng.integers(len(others))]


def _unknown_type(event: dict[str, Any], rng: np.random.Generator) -> None:
    event["type"] = ["mms", "location", "handover", "Data"][rng.integers(4)]


_EDITS: Final[dict[FaultKind, Callable[[dict[str, Any], np.random.Generator], None]]] = {
    FaultKind.MISSING_FIELD: _missing_field,
    FaultKind.WRONG_TYPE: _wrong_type,
    FaultKind.NEGATIVE: _negative,
    FaultKind.WRONG_CURRENCY: _wrong_currency,
    FaultKind.UNKNOWN_TYPE: _unknown_type,
}


def _with_duplicates(rng: np.random.Generator, records: Records, share: float, end_us: int) -> Records:
    """`records` and copies of a share of the faultless ones, which arrive after the original."""
    if share == 0:
        return records
    copied = (records.fault == FaultKind.NONE) & (rng.random(records.n) < share)
    copies = records.take(np.flatnonzero(copied))
    copies.arrival_us += _milliseconds(rng, *_DELAYS_US[FaultKind.DUPLICATE], copies.n)
    copies.fault[:] = FaultKind.DUPLICATE
    return Records.concatenate([records, copies.take(copies.arrival_us < end_us)])
