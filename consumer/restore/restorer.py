"""Rebuilding a partition after an assignment.

The last committed audit record is the truth: it says how far the partition is. From the newest of what is
there and can be trusted the input is applied again up to it, silently:

    kept memory      of a partition that was revoked a moment ago
    a snapshot       complete, undamaged, of this specification and no newer than the audit log
    the whole input  otherwise; where old changes are gone, segments come from the current topic and what
                     drivers compare with is forgotten
    nothing          if there is no audit record, snapshot, output or committed offset: a fresh partition

Decisions are differences against what was published, so nothing is published twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

import numpy as np
import structlog
from confluent_kafka import Consumer, KafkaException, Message

from consumer.core import Core
from consumer.errors import BrokerUnreachable, SegmenterError, StateUnknown
from consumer.failpoints import failpoint
from consumer.log_reader import LogReader
from consumer.restore.kept import KeptStates, Source
from consumer.restore.reapply import Commits, Reapplication
from consumer.restore.tail import Incomplete, Tail, audits_after, last_audit, number_of, refused_offsets
from consumer.snapshots import SnapshotLoader, SnapshotStore
from consumer.topics import TopicNames
from online_model.active_model import ActiveModel
from online_model.flaps import segment_left
from online_model.intake import Intake
from online_model.model import Model
from online_model.partition import PartitionState
from online_model.rows import NEVER, SEGMENT_NONE
from online_model.scan import Progress, Scan
from online_model.state_columns import Extent, finish_load
from schemas.batch import StringColumn
from schemas.internal import AuditRecord
from schemas.outbox import Change, decode_change, decode_current
from schemas.times import parse_time

_log = structlog.get_logger("restore")

#: Keys looked up at once.
_BLOCK: Final = 50_000


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a partition goes on: next offset per input topic, and the number of its last audit record.

    `source`: fresh, kept, snapshot or input; `replayed`: input records applied again on it; `seconds` per
    phase: audit, load, replay.
    """

    offsets: dict[tuple[int, int], int]
    commits: int
    source: str = "fresh"
    replayed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class RestoreCancelled(Exception):
    """The partition is not wanted any more."""


class _Published(NamedTuple):
    """What is known of a customer from the output; `current`: from the current topic."""

    seq: int
    segment: int
    previous: int
    since_us: int
    provisional: bool
    effective_us: int
    current: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a restore asks of the process around it.

    `make_reader` is told whether to see committed records only; `has_committed` whether the group has
    ever committed an offset of a partition; `progress` is told (partition, records still to be applied) now
    and then, and raises `RestoreCancelled` if the partition is not wanted any more; `model`: a version.
    """

    make_reader: Callable[[bool], Consumer]
    has_committed: Callable[[int], bool]
    progress: Callable[[int, int], None]
    model: Callable[[int], Model | None]


class Restorer:
    """Restores one partition at a time with readers of its own, which belong to no group."""

    def __init__(
        self, core: Core, names: TopicNames, store: SnapshotStore, kept: KeptStates, around: Surroundings
    ) -> None:
        self._core = core
        self._names = names
        self._store = store
        self._kept = kept
        self._around = around
        engine = core.engine
        self._loader = SnapshotLoader(store, engine.empty_state, core.plan.spec.hash, names.inputs)

    def prepare(self, partitions: list[int]) -> None:
        """These will be restored, in this order: their snapshots are loaded ahead."""
        self._loader.begin(partition for partition in partitions if not self._kept.has(partition))

    def close(self) -> None:
        """Ends the threads that load."""
        self._loader.close()

    def restore(self, partition: int) -> Restored:
        """Adds `partition` to the engine in the state its last commit left.

        Raises `StateUnknown`, `BrokerUnreachable` or `RestoreCancelled`; the partition must then not be
        worked on, and is not in the engine.
        """
        try:
            with LogReader(self._around.make_reader) as log:
                return self._restore(log, partition)
        except KafkaException as exception:
            self._core.engine.drop_partition(partition)
            raise BrokerUnreachable(
                f"restoring partition {partition} failed: {exception.args[0].str()}",
                "check the brokers; the process starts again from the same commit",
            ) from exception
        except (SegmenterError, RestoreCancelled):
            self._core.engine.drop_partition(partition)
            raise

    def _restore(self, log: LogReader, partition: int) -> Restored:
        failpoint("restore.begin")
        watch = _Watch()
        low = [log.bounds(topic, partition)[0] for topic in self._names.inputs]
        audit = last_audit(log, self._names.audit, partition)
        watch("audit")
        if audit is None:
            self._require_fresh(log, partition)
            self._core.engine.add_partition(partition).next_offset[:] = low
            return Restored({(partition, code): offset for code, offset in enumerate(low)}, 0)
        failpoint("restore.audit")
        for source in self._sources(partition, audit, low):
            watch("load")
            failpoint("restore.loaded")
            try:
                self._bring_up(log, source, audit)
            except Incomplete as problem:
                _log.warning(
                    "not restored from it", source=source.name, partition=partition, problem=str(problem)
                )
                continue
            watch("replay")
            self._go_on(source.state, audit)
            end = [audit.to_offsets[topic] for topic in self._names.inputs]
            offsets = {(partition, code): offset for code, offset in enumerate(end)}
            replayed = sum(max(last - at, 0) for last, at in zip(end, source.first, strict=True))
            return Restored(offsets, audit.n, source.name, replayed, watch.seconds)
        raise StateUnknown(  # pragma: no cover - the whole input is always a source
            f"partition {partition} cannot be restored", "see the warnings before this"
        )

    # -- sources -------------------------------------------------------------------------------

    def _sources(self, partition: int, audit: AuditRecord, low: list[int]) -> Iterator[Source]:
        """What can be brought up to the last commit, best first."""
        kept = self._kept.take(partition)
        if kept is not None and kept.n <= audit.n and self._reaches(kept.first, audit, low):
            kept.state.intake = _intake_at(kept.state.watermark_us)
            kept.state.scan = Scan(kept.state.scan.interval_us)
            finish_load(kept.state, [Extent(0, kept.n, kept.state.next_offset.copy())])
            self._core.engine.add_partition(partition, kept.state)
            yield kept
        too_old = None
        for number in self._numbers(partition):
            if number == 0:  # of before the first commit, and empty: the whole input is as good
                continue
            if number > audit.n:
                _log.warning("snapshot is newer than the audit log", partition=partition, n=number)
                continue
            source = self._snapshot(partition, number)
            if source is None:
                continue
            if not self._reaches(source.first, audit, low):
                too_old = too_old or number
                continue
            yield source
        if too_old is not None:
            raise StateUnknown(
                f"partition {partition} cannot be restored: records after its snapshot n={too_old} "
                "are no longer in the input topics",
                "give them a retention far above snapshots.interval_s; to accept the gap, move the snapshots "
                f"of this partition away from {self._store.uri} and restart",
            )
        for topic, first in zip(self._names.inputs, low, strict=True):
            if audit.from_offsets[topic] < first:
                _log.warning(
                    "input no longer reaches back to the last commit", topic=topic, partition=partition
                )
        yield Source("input", self._core.engine.add_partition(partition), 0, low)

    def _reaches(self, first: list[int], audit: AuditRecord, low: list[int]) -> bool:
        """Whether the inputs still hold everything from `first` up to the last commit."""
        end = [audit.to_offsets[topic] for topic in self._names.inputs]
        return all(a >= b or a >= c for a, b, c in zip(first, low, end, strict=True))

    def _numbers(self, partition: int) -> list[int]:
        try:
            return self._store.numbers(partition)
        except OSError as error:
            _log.warning("snapshots cannot be listed", uri=self._store.uri, problem=str(error))
            return []

    def _snapshot(self, partition: int, number: int) -> Source | None:
        """The snapshot of commit `number` as a source; None, with a warning, if it cannot be used."""
        try:
            manifest, state = self._loader.take(partition, number)
        except (OSError, ValueError) as problem:
            _log.warning("snapshot passed over", partition=partition, n=number, problem=str(problem))
            return None
        if manifest.partition_count != self._core.partition_count:
            raise StateUnknown(
                f"snapshot n={number} of partition {partition} was made with {manifest.partition_count} "
                f"partitions, the topics have {self._core.partition_count}: customers are elsewhere now",
                "start a new group (app.name) with new output topics (topics.prefix) and backfill",
            )
        self._core.engine.add_partition(partition, state)
        state.intake = _intake_at(manifest.watermark_us)
        _log.info("snapshot loaded", partition=partition, n=number, customers=manifest.rows)
        return Source("snapshot", state, manifest.first_n, manifest.first_offsets(self._names.inputs))

    # -- bringing up to date -------------------------------------------------------------------

    def _bring_up(self, log: LogReader, source: Source, audit: AuditRecord) -> None:
        """Applies what was committed after the source's commit."""
        names, partition, inputs = self._names, source.state.number, self._names.inputs
        is_whole = True
        try:
            commits = Commits.of(Tail.read(log, names, partition, source.n), inputs)
        except Incomplete as problem:
            if source.name != "input":
                raise
            _log.warning("not everything published is still there", partition=partition, problem=str(problem))
            is_whole = False
            refused = refused_offsets(list(log.all_of(names.dlq, partition)), inputs)
            commits = Commits.without_changes(audits_after(log, names.audit, partition, 0), inputs, refused)
        again = Reapplication(self._core, inputs, source.state, commits, self._priors)
        again.run(log, source.first, lambda left: self._around.progress(partition, left))
        failpoint("restore.replayed")
        if not is_whole:
            self._read_published(log, source.state)
        failpoint("restore.published")
        source.state.extents = None

    def _priors(self, version: int) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
        model = self._around.model(version)
        return None if model is None else model.share_priors

    def _go_on(self, state: PartitionState, audit: AuditRecord) -> None:
        """Takes up what a decision rests on besides the rows: offsets, watermark, frontiers, scan, models."""
        inputs = self._names.inputs
        state.next_offset[:] = [audit.to_offsets[topic] for topic in inputs]
        state.intake.watermark_us = audit.watermark_us
        for topic, frontier in zip(inputs, state.intake.frontiers, strict=True):
            newest, applied = audit.frontiers[topic]
            frontier.resume((NEVER if newest is None else newest, NEVER if applied is None else applied))
        active, scan = state.active, audit.scan
        if scan is None or active is None:
            return
        at = Progress(scan.id, scan.hi, scan.learns, scan.unseen)
        if active.model.version == audit.model_version:
            state.scan.resume(at, active.model.k, self._core.plan.columns.n)
            previous = self._around.model(audit.previous_version)
            if previous is not None:
                state.previous = ActiveModel.of(previous, self._core.plan.columns)
        elif not active.model.is_new_fit:
            # A model promoted since then starts a pass of its own.
            state.scan.begin_again(at)

    def _require_fresh(self, log: LogReader, partition: int) -> None:
        """Without audit there must be no output and no commit either; otherwise something was lost.

        The end of an output topic tells nothing: a process that died in its first transaction has moved it.
        """
        outputs = [
            topic
            for topic in (self._names.current, self._names.changes)
            if log.bounds(topic, partition)[0] > 0 or next(log.all_of(topic, partition), None) is not None
        ]
        snapshots = any(self._numbers(partition))  # number 0 follows no commit
        if outputs or snapshots or self._around.has_committed(partition):
            found = "a snapshot" if snapshots else "committed offsets"
            found = f"records in {outputs[0]}" if outputs else found
            raise StateUnknown(
                f"partition {partition} has {found} but no audit record",
                f"restore {self._names.audit} from a backup, "
                "or start a new group (app.name) with new output topics (topics.prefix)",
            )

    # -- published segments --------------------------------------------------------------------

    def _read_published(self, log: LogReader, state: PartitionState) -> None:
        """The published segment of every customer, and `seq` also of those that have left.

        An erased customer's numbering starts again, so what was published before the erasure counts
        nothing.
        """
        latest: dict[bytes, _Published] = {}
        for message in log.all_of(self._names.changes, state.number):
            change = decode_change(_value(message))
            latest[_key(message)] = _published(change, change.effective_at, current=False)
        for message in log.all_of(self._names.current, state.number):
            key = _key(message)
            if message.value() is None:
                gone = latest.get(key)
                if gone is not None and (gone.current or gone.segment != SEGMENT_NONE):
                    del latest[key]  # erased: an exit would be the last change
                continue
            record = decode_current(_value(message))
            known = latest.get(key)
            if known is None or known.seq <= record.seq:
                latest[key] = _published(record, record.since, current=True)
        kept = [key for key, item in latest.items() if not state.is_erased(key, item.effective_us)]
        for first in range(0, len(kept), _BLOCK):
            keys = kept[first : first + _BLOCK]
            _place(state, keys, [latest[key] for key in keys])


class _Watch:
    """Seconds per phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, phase: str) -> None:
        """The phase has ended."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def _intake_at(watermark_us: int) -> Intake:
    """Nothing waits, and the watermark stands there."""
    intake = Intake()
    intake.watermark_us = watermark_us
    return intake


def _published(record: Change, since: str, *, current: bool) -> _Published:
    return _Published(
        record.seq,
        number_of(record.segment),
        number_of(record.previous_segment),
        parse_time(since) or 0,
        record.provisional,
        parse_time(record.effective_at) or 0,
        current,
    )


def _place(state: PartitionState, keys: list[bytes], items: list[_Published]) -> None:
    """Writes what was published into the rows; exits keep their number for the next life."""
    known = state.index.n
    rows = state.index.rows_of(StringColumn.from_bytes(keys), np.arange(len(keys), dtype=np.int64))
    state.store.reserve(state.index.n)
    if state.index.n > known:
        _log.warning(
            "customers with a segment but without input", partition=state.number, n=state.index.n - known
        )
    ours = np.flatnonzero(rows >= 0)  # below: of another partition count
    hot, at = state.store.rows.hot, rows[ours]
    segment = np.array([item.segment for item in items], np.int16)[ours]
    previous = np.array([item.previous for item in items], np.int16)[ours]
    hot["seq"][at] = np.array([item.seq for item in items], np.int32)[ours]
    hot["segment"][at] = segment
    state.store.rows.left[at] = segment_left(previous, segment)
    hot["since"][at] = np.array([item.since_us for item in items], np.int64)[ours]
    hot["provisional"][at] = np.array([item.provisional for item in items], np.uint8)[ours]


def _key(message: Message) -> bytes:
    return cast("bytes", message.key())


def _value(message: Message) -> bytes:
    return cast("bytes", message.value())
