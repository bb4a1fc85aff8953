"""Rebuilding a partition after an assignment.

The last committed audit record is the truth: it says how far the partition is. From the newest of what is
there and can be trusted the input is applied again up to it, silently:

    kept memory      of a partition that was revoked a moment ago
    a snapshot       complete, undamaged, of this specification and no newer than the audit log
    the whole input  if it is whole, or if there are no snapshots at all; where old changes are gone, segments
                     come from the current topic and what drivers compare with is forgotten
    nothing          if there is no audit record, snapshot, output or committed offset: a fresh partition

Decisions are differences against what was published, so nothing is published twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

import numpy as np
import structlog
from confluent_kafka import Consumer, KafkaException

from consumer.core import Core
from consumer.errors import BrokerUnreachable, SegmenterError, StateUnknown
from consumer.failpoints import failpoint
from consumer.log_reader import LogReader
from consumer.restore.kept import KeptStates, Source
from consumer.restore.published import read_published
from consumer.restore.reapply import Commits, Reapplication
from consumer.restore.tail import Incomplete, Tail, last_audit
from consumer.snapshots import SnapshotLoader, SnapshotStore
from consumer.topics import TopicNames
from online_model.intake import Intake
from online_model.model import Model
from online_model.partition import PartitionState
from online_model.rows import NEVER
from online_model.scan import Progress, Scan
from online_model.state_columns import Extent, finish_load
from schemas.internal import AuditRecord

_log = structlog.get_logger("restore")


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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a restore asks of the process around it.

    `make_reader` is told whether to see committed records only; `has_committed` whether the group has
    ever committed an offset of a partition; `progress` is told (partition, records still to be applied) with
    every chunk that is read, of whatever topic, and while one is waited for, and raises `RestoreCancelled` if
    the partition is not wanted any more; `model`: a version.
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
        self._left = 0
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
        self._left = 0
        try:
            with LogReader(self._around.make_reader, partial(self._heard, partition)) as log:
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
        numbers = self._numbers(partition)
        for number in numbers or []:
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
        if any(low) and (numbers is None or any(numbers)):
            self._refuse_gap(partition, numbers)
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

    def _refuse_gap(self, partition: int, numbers: list[int] | None) -> NoReturn:
        """Raises `StateUnknown`: what snapshots must hold is no longer in the input, and none can be used."""
        found = "cannot be listed" if numbers is None else f"from n={numbers[0]} down cannot be used"
        raise StateUnknown(
            f"partition {partition} cannot be restored: its snapshots {found} (see the warnings before this) "
            "and the input topics no longer go back to the first records",
            "restart when the store of snapshots answers; to accept the gap, move the snapshots of this "
            "partition away from there and restart: 'Recover from lost snapshots' in the runbook",
        )

    def _numbers(self, partition: int) -> list[int] | None:
        """Commits of the snapshots, newest first; None, with a warning, if they cannot be listed."""
        try:
            return self._store.numbers(partition)
        except OSError as error:
            _log.warning("snapshots cannot be listed", uri=self._store.uri, problem=str(error))
            return None

    def _snapshot(self, partition: int, number: int) -> Source | None:
        """The snapshot of commit `number` as a source; None, with a warning, if it cannot be used."""
        try:
            manifest, state = self._loader.take(partition, number, partial(self._heard, partition))
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
        names, partition = self._names, source.state.number
        end = [audit.to_offsets[topic] for topic in names.inputs]
        self._tell(partition, sum(max(last - at, 0) for last, at in zip(end, source.first, strict=True)))
        is_whole = True
        try:
            tail = Tail.read(log, names, partition, source.n)
        except Incomplete as problem:
            if source.name != "input":
                raise
            _log.warning("not everything published is still there", partition=partition, problem=str(problem))
            is_whole = False
            tail = Tail.without_changes(log, names, partition)
        again = Reapplication(self._core, names.inputs, source.state, Commits.of(tail), self._priors)
        again.run(log, source.first, lambda left: self._tell(partition, left))
        failpoint("restore.replayed")
        if not is_whole:
            read_published(log, names, source.state)
        failpoint("restore.published")
        source.state.extents = None

    def _tell(self, partition: int, left: int) -> None:
        """So many records are still to be applied."""
        self._left = left
        self._heard(partition)

    def _heard(self, partition: int) -> None:
        """Something was read or is waited for; as many records are left as before."""
        self._around.progress(partition, self._left)

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
        if audit.scan is None or state.active is None:
            return
        scan, decided = audit.scan, audit.model_version
        before = audit.previous_version if state.active.model.version == decided else decided
        at = Progress(scan.id, scan.hi, scan.learns, scan.unseen)
        self._core.engine.resume(state, at, decided, self._around.model(before))

    def _require_fresh(self, log: LogReader, partition: int) -> None:
        """Without audit there must be no output and no commit either; otherwise something was lost.

        The end of an output topic tells nothing: a process that died in its first transaction has moved it.
        """
        outputs = [
            topic
            for topic in (self._names.current, self._names.changes)
            if log.bounds(topic, partition)[0] > 0 or next(log.all_of(topic, partition), None) is not None
        ]
        snapshots = any(self._numbers(partition) or [])  # number 0 follows no commit
        if outputs or snapshots or self._around.has_committed(partition):
            found = "a snapshot" if snapshots else "committed offsets"
            found = f"records in {outputs[0]}" if outputs else found
            raise StateUnknown(
                f"partition {partition} has {found} but no audit record",
                f"restore {self._names.audit} from a backup, "
                "or start a new group (app.name) with new output topics (topics.prefix)",
            )


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
