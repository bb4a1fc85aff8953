"""What the window kernels read and write beside the rows: events, clock, outcomes, touched customers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.batch import EventBatch, Int32Array, Int64Array, UInt8Array

# Outcome of one event.
ACCEPTED, DUPLICATE, LATE, FUTURE, MISROUTED, DROPPED_CLOSED, DROPPED_CONSENT = range(7)
N_OUTCOMES = 7

# Bits of `Touched.how`.
BY_EVENT, BY_CORRECTION = 1, 2


class Events(NamedTuple):
    """The arrays of an `EventBatch` that the kernel reads; `profile_of` int32[n] or [0] without profiles."""

    kind: UInt8Array
    topic: UInt8Array
    time: Int64Array
    flags: UInt8Array
    category: UInt8Array
    value: npt.NDArray[np.float64]
    aux: npt.NDArray[np.float64]
    id_data: UInt8Array
    id_ends: Int64Array
    profile_of: Int32Array
    present: npt.NDArray[np.uint16]
    activated_on: Int32Array
    age: npt.NDArray[np.float64]
    income: npt.NDArray[np.float64]
    codes: UInt8Array
    services: npt.NDArray[np.uint32]
    consent: UInt8Array


def events_of(batch: EventBatch) -> Events:
    """Kernel view of `batch`."""
    p = batch.profiles
    profile_of = np.full(batch.n if len(p.event) else 0, -1, np.int32)
    profile_of[p.event] = np.arange(len(p.event), dtype=np.int32)
    return Events(
        batch.kind, batch.topic, batch.event_time_us, batch.flags, batch.category, batch.value, batch.aux,
        batch.event_ids.data, batch.event_ids.ends, profile_of,
        p.present, p.activated_on, p.age, p.income, p.codes, p.services, p.consent,
    )  # fmt: skip


class Clock(NamedTuple):
    """Times fixed for a step, us: events after `latest` are from the future; `watermark` at its start."""

    latest: int
    watermark: int


class Touched(NamedTuple):
    """What a step's events did, in buffers filled up to the counts.

    `row`, `how` (bits), `trigger` (last event) of touched customers, `counts[0]` of them; `exit_row`,
    `exit_status` (status after), `exit_trigger` of customers that left, `counts[1]` of them;
    `counts[2]`: accumulators that saturated; `counts[3]`: rows that began their first life.
    """

    row: Int32Array
    how: UInt8Array
    trigger: Int64Array
    exit_row: Int32Array
    exit_status: UInt8Array
    exit_trigger: Int64Array
    counts: Int64Array


def touched_buffers(n: int) -> Touched:
    """Buffers for a step of at most `n` events."""
    return Touched(
        np.empty(n, np.int32), np.zeros(n, np.uint8), np.empty(n, np.int64),
        np.empty(n, np.int32), np.empty(n, np.uint8), np.empty(n, np.int64), np.zeros(4, np.int64),
    )  # fmt: skip
