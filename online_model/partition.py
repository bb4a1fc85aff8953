"""One partition's customers: applying what was read, and which of them to look at.

`PartitionState` holds the state and delegates: the arithmetic is in `windows`, `evaluate` and
`decision`. What it deliberately does not know: Kafka, clocks, other partitions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from online_model.active_model import ActiveModel
from online_model.event_view import FUTURE, LATE, MISROUTED, N_OUTCOMES, Clock, Touched, events_of
from online_model.id_index import IdIndex
from online_model.intake import N_TOPICS, Chunk, Intake, Release
from online_model.plan import FeaturePlan
from online_model.rows import FORGOTTEN, LIVE, NEVER, SEGMENT_NONE, RowStore
from online_model.scan import Scan, rows_between, slice_keys
from online_model.windows import update
from schemas.batch import EventBatch, Int32Array, Int64Array, UInt8Array
from schemas.rejects import Reason, Rejects

_REASONS = {MISROUTED: Reason.MISROUTED, LATE: Reason.LATE, FUTURE: Reason.FUTURE}
_DETAILS = {
    Reason.MISROUTED: "the key does not hash (murmur2) to this partition: "
    "set the producer's partitioner to murmur2_random",
    Reason.LATE: "event_time is older than the window of its features",
    Reason.FUTURE: "event_time is ahead of the clock or of its neighbours: check the clock of the source",
}

#: In the first step, before there is a watermark, an event may be this much older than the others.
FIRST_REACH_US = 3650 * 86_400_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Exits:
    """Customers that left in a step: `row` int32[m], `status` uint8[m] after it, trigger topic and offset."""

    row: Int32Array
    status: UInt8Array
    topic: npt.NDArray[np.int16]
    offset: Int64Array


@dataclass(slots=True, eq=False)
class Applied:
    """What the events of a step did to a partition.

    `outcomes` int64[3, 7] by topic and outcome; `rejects` of decoding and of the windows; `touched`
    rows int32[m] with `how` bits and the topic and offset of their last event; `exits`.
    """

    outcomes: Int64Array = field(default_factory=lambda: np.zeros((N_TOPICS, N_OUTCOMES), np.int64))
    rejects: list[Rejects] = field(default_factory=list)
    touched: Int32Array = field(default_factory=lambda: np.empty(0, np.int32))
    how: UInt8Array = field(default_factory=lambda: np.empty(0, np.uint8))
    topic: npt.NDArray[np.int16] = field(default_factory=lambda: np.empty(0, np.int16))
    offset: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    exits: list[Exits] = field(default_factory=list)
    overflows: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Extents:
    """How far rows were brought by what they were restored from.

    Rows from `lows[i]` on, int64[m], hold commit `commits[i]`, int64[m], and all before it: the events
    before `next_offset[i]`, int64[m, 3] by topic.
    """

    lows: Int64Array
    commits: Int64Array
    next_offset: Int64Array

    def lacking(self, batch: EventBatch, events: Int64Array, row_of: Int32Array) -> npt.NDArray[np.bool_]:
        """Which of `events` are not in their rows yet (misrouted ones count as lacking)."""
        at = np.searchsorted(self.lows, row_of, side="right") - 1
        before = batch.offset[events] < self.next_offset[at, batch.topic[events]]
        return ~before | (row_of < 0)

    def of_erased(self, batch: EventBatch, events: Int64Array, index: IdIndex) -> npt.NDArray[np.bool_]:
        """Which of `events` are before the offsets of the last part and of an id that no row has.

        All other ids of that time have a row, so these had been erased when their row was copied. A new row
        would begin a life where the event's time is after the cut, and the erasure, at the cut, not end it.
        """
        last = len(self.lows) - 2  # behind it are the rows that come after the parts
        if last < 0:
            return np.zeros(len(events), np.bool_)
        gone: npt.NDArray[np.bool_] = batch.offset[events] < self.next_offset[last, batch.topic[events]]
        if gone.any():
            gone[gone] = index.find(batch.customer_ids.take(events[gone])) < 0
        return gone

    def commit_of(self, rows: Int32Array) -> Int64Array:
        """The commit int64[n] that each of `rows` holds."""
        return self.commits[np.searchsorted(self.lows, rows, side="right") - 1]


class PartitionState:
    """State of partition `number`; `next_offset` int64[3] per topic is what has been applied."""

    def __init__(self, number: int, partition_count: int, plan: FeaturePlan, scan_interval_us: int) -> None:
        self.number = number
        self.plan = plan
        self.index = IdIndex(number, partition_count)
        self.store = RowStore(plan)
        self.intake = Intake()
        self.scan = Scan(scan_interval_us)
        #: What its customers are decided by, and what they were decided by before. Each partition changes
        #: over by itself: when it does must not depend on what else its worker has to do.
        self.active: ActiveModel | None = None
        self.previous: ActiveModel | None = None
        self.next_offset = np.zeros(N_TOPICS, np.int64)
        #: Rows that have had a life. Refused events make rows too, but not again in a replay without them.
        self.born = 0
        #: Event time of the first step that applied events: history is counted from it.
        self.first_watermark_us = NEVER
        #: Keyed hash of an erased id to the time of erasure: its older events must not bring it back.
        self.erased: dict[bytes, int] = {}
        #: While a restored partition is brought up to date: what its rows hold already.
        self.extents: Extents | None = None

    @property
    def watermark_us(self) -> int:
        """Event time up to which the partition is complete."""
        return self.intake.watermark_us

    @property
    def versions(self) -> tuple[int, int]:
        """Numbers of the version that decides and of the one before; 0 while there is none."""
        active, previous = self.active, self.previous
        return active.model.version if active else 0, previous.model.version if previous else 0

    @property
    def history_us(self) -> int:
        """Event time between the first event applied and the watermark."""
        return 0 if self.first_watermark_us == NEVER else self.watermark_us - self.first_watermark_us

    @property
    def nbytes(self) -> int:
        """Bytes of the state."""
        return self.index.nbytes + self.store.nbytes

    def apply(self, release: Release, latest_us: int, late_before_us: int) -> Applied:
        """Applies released chunks; `late_before_us` is the watermark at the start of the step."""
        applied = Applied()
        if self.first_watermark_us == NEVER:
            self.first_watermark_us = self._first_time(release)
            if late_before_us == NEVER and self.first_watermark_us != NEVER:
                # No watermark yet: only what is far older than nearly everything else has a bad clock.
                late_before_us = self.first_watermark_us - FIRST_REACH_US
        for chunk, events in release.bad_clock:
            self._refuse(applied, chunk, events, Reason.FUTURE)
        touched: list[tuple[Int32Array, UInt8Array, npt.NDArray[np.int16], Int64Array]] = []
        for batch, chunks in _by_batch(release.chunks):
            events = (
                np.concatenate([chunk.events for chunk in chunks]) if len(chunks) > 1 else chunks[0].events
            )
            for chunk in chunks:
                if chunk.rejects.n:
                    applied.rejects.append(chunk.rejects)
            if len(events):
                touched.append(
                    self._apply_events(applied, batch, chunks, events, Clock(latest_us, late_before_us))
                )
        for topic, offset in release.next_offset.items():
            self.next_offset[topic] = offset
        self._merge_touched(applied, touched)
        return applied

    def _apply_events(
        self, applied: Applied, batch: EventBatch, chunks: list[Chunk], events: Int64Array, clock: Clock
    ) -> tuple[Int32Array, UInt8Array, npt.NDArray[np.int16], Int64Array]:
        known = self.index.n
        if self.extents is not None:
            events = events[~self.extents.of_erased(batch, events, self.index)]
        row_of = self.index.rows_of(batch.customer_ids, events)
        self.store.reserve(self.index.n)
        if self.erased and self.index.n > known:
            self._bury_again(known)
        if self.extents is not None:
            lacking = self.extents.lacking(batch, events, row_of)
            events, row_of = events[lacking], row_of[lacking]
        outcome, touched = update(self.store.rows, events_of(batch), events, row_of, clock, self.plan)
        code = batch.topic[events].astype(np.int64) * N_OUTCOMES + outcome
        applied.outcomes += np.bincount(code, minlength=N_TOPICS * N_OUTCOMES).reshape(N_TOPICS, N_OUTCOMES)
        applied.overflows += int(touched.counts[2])
        self.born += int(touched.counts[3])
        for bad, reason in _REASONS.items():
            if (outcome == bad).any():
                for chunk in chunks:
                    wrong = np.intersect1d(chunk.events, events[outcome == bad], assume_unique=True)
                    if len(wrong):
                        applied.rejects.append(_rejects_of(chunk, wrong, reason))
        if touched.counts[1]:
            self._note_exits(applied, batch, int(touched.counts[1]), touched)
        n = int(touched.counts[0])
        rows, trigger = touched.row[:n].copy(), touched.trigger[:n]
        self.store.rows.hot["touch"][rows] = -1
        return rows, touched.how[:n].copy(), batch.topic[trigger].astype(np.int16), batch.offset[trigger]

    def _first_time(self, release: Release) -> int:
        """About where history begins: not the very first time, which may be a bad clock's."""
        times = [chunk.batch.event_time_us[chunk.events] for chunk in release.chunks if len(chunk.events)]
        return int(np.quantile(np.concatenate(times), 0.05, method="higher")) if times else NEVER

    def _refuse(self, applied: Applied, chunk: Chunk, events: Int64Array, reason: Reason) -> None:
        topics = chunk.batch.topic[events].astype(np.int64)
        np.add.at(applied.outcomes[:, FUTURE], topics, 1)
        applied.rejects.append(_rejects_of(chunk, events, reason))

    def _note_exits(self, applied: Applied, batch: EventBatch, n: int, touched: Touched) -> None:
        row, status, trigger = touched.exit_row[:n], touched.exit_status[:n], touched.exit_trigger[:n]
        applied.exits.append(
            Exits(
                row.copy(), status.copy(), batch.topic[trigger].astype(np.int16), batch.offset[trigger].copy()
            )
        )

    def _merge_touched(
        self,
        applied: Applied,
        parts: list[tuple[Int32Array, UInt8Array, npt.NDArray[np.int16], Int64Array]],
    ) -> None:
        """One entry per customer: the last part that touched it tells the trigger."""
        if not parts:
            return
        rows = np.concatenate([part[0] for part in parts])
        how = np.concatenate([part[1] for part in parts])
        if len(parts) > 1:
            # np.unique keeps the first of equals: reversed, that is the last.
            unique, last = np.unique(rows[::-1], return_index=True)
            merged = np.zeros(len(unique), np.uint8)
            np.bitwise_or.at(merged, np.searchsorted(unique, rows), how)
            keep = len(rows) - 1 - last
            rows, how = unique, merged
        else:
            keep = np.arange(len(rows))
        applied.topic = np.concatenate([part[2] for part in parts])[keep]
        applied.offset = np.concatenate([part[3] for part in parts])[keep]
        live = self.store.rows.hot["status"][rows] == LIVE
        applied.touched, applied.how = rows[live], how[live]
        applied.topic, applied.offset = applied.topic[live], applied.offset[live]

    def leave_segment(self, rows: Int32Array | int) -> None:
        """The customers of `rows` are in no segment any more, as of the watermark."""
        hot = self.store.rows.hot
        hot["segment"][rows] = SEGMENT_NONE
        hot["since"][rows] = self.watermark_us
        hot["provisional"][rows] = 0
        self.store.rows.left[rows] = SEGMENT_NONE

    def bury(self, row: int) -> None:
        """Erases the id of a forgotten customer; only a keyed hash and the time stay."""
        if self.store.rows.hot["status"][row] == FORGOTTEN:
            key = self._tombstone(self.index.ids(np.array([row]))[0])
            # A replay meets an erasure again that a later one has overtaken.
            self.erased[key] = max(int(self.store.rows.hot["cut"][row]), self.erased.get(key, NEVER))
            self.index.erase(row)
            self.store.rows.seen[row] = 0

    def is_erased(self, customer: bytes, time_us: int) -> bool:
        """Whether what happened to `customer` at `time_us` is of a life that was erased."""
        cut = self.erased.get(self._tombstone(customer)) if self.erased else None
        return cut is not None and time_us <= cut

    def _bury_again(self, first: int) -> None:
        """New rows whose id was erased keep the cut, so that only newer events start a life."""
        for row, customer in enumerate(self.index.ids(np.arange(first, self.index.n)), first):
            cut = self.erased.get(self._tombstone(customer))
            if cut is not None:
                self.store.rows.hot["cut"][row] = cut

    def _tombstone(self, customer: bytes) -> bytes:
        return tombstone(customer, self.plan.spec.name)

    def live_rows(self, low: int, high: int) -> Int32Array:
        """Live rows whose slice key is in [low, high)."""
        rows = rows_between(self.index.hashes[: self.index.n], low, high)
        live: Int32Array = rows[self.store.rows.hot["status"][rows] == LIVE]
        return live

    def keys_of(self, rows: Int32Array) -> Int64Array:
        """Slice keys of `rows`."""
        return slice_keys(self.index.hashes[rows])


def tombstone(customer: bytes, spec_name: str) -> bytes:
    """What is kept of an erased id: a hash keyed by the name of the specification, 16 bytes."""
    return hashlib.blake2b(customer, digest_size=16, key=spec_name.encode()).digest()


def _by_batch(chunks: list[Chunk]) -> list[tuple[EventBatch, list[Chunk]]]:
    """Runs of chunks of one batch, in order.

    The order is that of the release: by topic, then by offset, however the records were polled. A replay
    that knows only which offsets a commit held comes to the same state.
    """
    runs: list[tuple[EventBatch, list[Chunk]]] = []
    for chunk in chunks:
        if not runs or runs[-1][0] is not chunk.batch:
            runs.append((chunk.batch, []))
        runs[-1][1].append(chunk)
    return runs


def _rejects_of(chunk: Chunk, events: Int64Array, reason: Reason) -> Rejects:
    """Rejects with the bytes of the events at positions `events` of the chunk's batch."""
    batch, raw = chunk.batch, chunk.raw
    topic, partition = batch.topic[events[0]], batch.partition[events[0]]
    rows = np.flatnonzero((raw.topic == topic) & (raw.partition == partition))
    at = rows[np.searchsorted(raw.offset[rows], batch.offset[events])]
    picked = raw.take(at.tolist())
    return Rejects.of(picked, [reason] * picked.n, [_DETAILS[reason]] * picked.n)
