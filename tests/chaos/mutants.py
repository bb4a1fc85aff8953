"""Deliberate bugs, put into a worker on request: a suite that does not notice them proves nothing.

None of this is in the product. A mutant takes a function of it and puts a wrong one in its place.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition
from msgspec import structs

from consumer import service
from consumer.committer import Committer
from consumer.config import Config
from consumer.core import Core, Positions
from consumer.errors import TransactionAborted
from consumer.input import Input
from consumer.kafka_clients import consumer_settings
from consumer.log_reader import LogReader
from consumer.models.log import CoordinatorProcess
from consumer.output import Payload, PayloadMaker
from consumer.restore import Restored, Restorer, Source, reapply, restorer
from consumer.restore.reapply import Commits, Reapplication
from consumer.snapshots import SnapshotStore, loader
from consumer.snapshots.manifest import Manifest
from consumer.transaction import TransactionalOutput
from consumer.worker import Worker
from online_model import rebuild, state_columns
from online_model.engine import Engine, PartitionStep, Pass, Step
from online_model.intake import Release
from online_model.model import Model
from online_model.partition import Applied, PartitionState
from online_model.state_columns import Extent
from schemas.internal import AuditRecord
from schemas.records import RawRecords
from tests.chaos.engine_mutants import ENGINE_MUTANTS
from tests.chaos.patching import patch


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug. `scenario` names the run that must notice it (`tests.chaos.scenarios`)."""

    what: str
    scenario: str
    apply: Callable[[], None]


def _moved_end(by: int) -> None:
    add = PayloadMaker._add

    def wrong(self: PayloadMaker, payload: Payload, step: Step, part: PartitionStep, live: bool) -> None:
        end = np.where(part.end > part.start, part.end + by, part.end)
        add(self, payload, step, dataclasses.replace(part, end=end), live)

    patch(PayloadMaker, "_add", wrong)


def _cached_metadata() -> None:
    fresh = Input.group_metadata
    kept: list[object] = []

    def cached(self: Input) -> object:
        if not kept:
            kept.append(fresh(self))
        return kept[0]

    patch(Input, "group_metadata", cached)


def _no_generation() -> None:
    """Metadata of a consumer that never joined: nobody checks its generation."""
    kept: dict[str, Any] = {}

    def noting(config: Config, group: str | None = None) -> dict[str, Any]:
        kept["group.id"] = consumer_settings(config, group)["group.id"]
        return consumer_settings(config, group)

    def outsider(_: Input) -> object:
        settings = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, **kept}
        return Consumer(settings).consumer_group_metadata()

    patch(service, "consumer_settings", noting)
    patch(Input, "group_metadata", outsider)


def _no_retry() -> None:
    def once(self: Committer, payload: Payload, metadata: object) -> Any:
        try:
            return self._write(payload, metadata)
        except TransactionAborted:
            return None

    patch(Committer, "_commit", once)


def _drops_last() -> None:
    write = Payload.write

    def short(self: Payload, output: Any) -> None:
        for batch in self.batches:
            if "changes" in batch.topic:
                batch.keys, batch.values = batch.keys[:-1], batch.values[:-1]
        write(self, output)

    patch(Payload, "write", short)


def _float_sums() -> None:
    """Window sums with twelve bits of precision: what is added up together decides what is lost."""
    apply = PartitionState.apply

    def rounded(sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        bits = sums.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFF000)
        return bits.view(np.float32).astype(sums.dtype)

    def floats(self: PartitionState, release: Release, latest_us: int, late_us: int) -> Applied:
        applied = apply(self, release, latest_us, late_us)
        for sums in (self.store.rows.sum32, self.store.rows.lifetime):
            sums[applied.touched] = rounded(sums[applied.touched])
        return applied

    patch(PartitionState, "apply", floats)


def _swallows_step() -> None:
    process = Core.process

    def calm(self: Core, raw: RawRecords, positions: Positions, now_us: int, *rest: Any) -> Step:
        try:
            return process(self, raw, positions, now_us, *rest)
        except KafkaException:
            return Step(now_us, [])

    patch(Core, "process", calm)


def _minus_one_is_fresh() -> None:
    restore = Restorer._restore

    def trusting(self: Restorer, log: LogReader, partition: int) -> Restored:
        if self._around.has_committed(partition):
            return restore(self, log, partition)
        state = self._core.engine.add_partition(partition)
        low = [log.bounds(topic, partition)[0] for topic in self._names.inputs]
        state.next_offset[:] = low
        return Restored({(partition, code): offset for code, offset in enumerate(low)}, 0)

    patch(Restorer, "_restore", trusting)


def _wall_clock() -> None:
    apply = PartitionState.apply

    def now(self: PartitionState, release: Release, latest_us: int, late_us: int) -> Applied:
        self.intake.watermark_us += time.time_ns() // 1000 % 1_000_000
        return apply(self, release, latest_us, late_us)

    patch(PartitionState, "apply", now)


def _swap_inside_step() -> None:
    swap, evaluate = Engine._swap_if_possible, Engine._evaluate

    def late(self: Engine, state: PartitionState, *rest: Any) -> Pass | None:
        scanned = evaluate(self, state, *rest)
        swap(self, state)  # after the decisions, before the commit tells by which version they were made
        return scanned

    patch(Engine, "_evaluate", late)
    patch(
        Engine,
        "_swap_if_possible",
        lambda self, state: swap(self, state) if state.active is None else None,
    )


def _keeps_lost() -> None:
    """Partitions that were given up are read and committed on."""

    def keep(self: Input, partitions: list[TopicPartition], kind: str) -> None:
        self._settle()

    patch(Input, "_drop", keep)


def _stable_end() -> None:
    def stable(self: LogReader, topic: str, partition: int) -> tuple[int, int]:
        low, high = self._committed.get_watermark_offsets(TopicPartition(topic, partition), timeout=10.0)
        return int(low), int(high)

    patch(LogReader, "bounds", stable)


def _one_commit_less() -> None:
    make = Reapplication.__init__

    def short(
        self: Reapplication, core: Core, inputs: Any, state: PartitionState, commits: Commits, *rest: Any
    ) -> None:
        less = {name: getattr(commits, name)[:-1] for name in ("n", "to", "watermark_us", "model_version")}
        make(self, core, inputs, state, dataclasses.replace(commits, **less), *rest)

    patch(Reapplication, "__init__", short)


def _forgets_published() -> None:
    patch(restorer, "read_published", lambda *_: None)
    patch(reapply, "publish_again", lambda *_: None)


def _copies_uncommitted() -> None:
    """Copies a part right after a step, whose commit has only begun."""
    hand_over = Worker._hand_over

    def early(self: Worker, step: Step, payload: Any, laps: Any) -> None:
        hand_over(self, step, payload, laps)
        p = self._parts
        if p.snapshots.wants_part:
            commits = {number: n - 1 for number, n in p.payloads.commits.items()}
            p.snapshots.take_part(p.core.engine.partitions, commits)

    patch(Worker, "_hand_over", early)
    patch(Worker, "_snapshot", lambda self: None)


def _one_age_for_all() -> None:
    """Takes the offsets of the newest part for those of all parts."""
    load = state_columns.finish_load

    def newest(state: PartitionState, extents: list[Extent]) -> None:
        last = extents[-1]
        load(state, [Extent(extent.low, last.commit, last.next_offset) for extent in extents])

    patch(loader, "finish_load", newest)


def _mixed_files() -> None:
    """Reads the rows of the older snapshot under the manifest of the newer one, and asks for no checksum."""
    manifest = SnapshotStore.manifest

    def mixed(self: SnapshotStore, partition: int, number: int) -> Manifest:
        mine = manifest(self, partition, number)
        older = manifest(self, partition, self.numbers(partition)[-1])
        if sum(part.rows for part in mine.parts) < older.rows:
            return mine
        parts = [
            structs.replace(part, rows=rows.rows) for part, rows in zip(mine.parts, older.parts, strict=False)
        ]
        return structs.replace(mine, file=older.file, bytes=older.bytes, crc32=older.crc32, parts=parts)

    patch(SnapshotStore, "manifest", mixed)


def _counts_again() -> None:
    restore = Restorer._restore

    def zero(self: Restorer, log: LogReader, partition: int) -> Restored:
        restored = restore(self, log, partition)
        return Restored(restored.offsets, max(restored.commits - 1, 0))

    patch(Restorer, "_restore", zero)


def _published_late() -> None:
    """Keeps the features of a customer as they are a while after the decision."""
    patch(reapply._Group, "takes", lambda self, records: True)


def _left_forgotten() -> None:
    """What is applied again has moved from nowhere."""
    patch(rebuild, "segment_left", lambda previous, segment: np.zeros_like(segment))


def _command_passed_over() -> None:
    """Whatever is published moves on behind commands that are still to be carried out."""
    publish = CoordinatorProcess.publish

    def passing(self: CoordinatorProcess, models: list[Model], proposal: Model | None = None) -> None:
        waiting, self._commands = self._commands, {}
        publish(self, models, proposal)
        self._commands = waiting

    patch(CoordinatorProcess, "publish", passing)


def _kept_is_current() -> None:
    """Takes memory that was kept for what the partition is now, whatever others have done since."""
    bring_up = Restorer._bring_up

    def trusting(self: Restorer, log: LogReader, source: Source, audit: AuditRecord) -> None:
        if source.name != "kept":
            bring_up(self, log, source, audit)

    patch(Restorer, "_bring_up", trusting)


def _keeps_producer() -> None:
    """No new epoch after a step that may have been repeated, or after an error."""
    patch(TransactionalOutput, "_suspect", lambda self, reason: None)
    patch(TransactionalOutput, "_on_error", lambda self, error: None)


MUTANTS: Final[dict[str, Mutant]] = {
    "offset_plus_one": Mutant("commits one offset too many", "kills", lambda: _moved_end(1)),
    "offset_minus_one": Mutant("commits one offset too few", "kills", lambda: _moved_end(-1)),
    "cached_group_metadata": Mutant("asks for the generation once", "join", _cached_metadata),
    "no_generation": Mutant("commits outside of any generation", "zombie", _no_generation),
    "no_payload_retry": Mutant("drops an aborted payload", "abort", _no_retry),
    "drop_last_record": Mutant("does not write the last change", "kills", _drops_last),
    "float_accumulators": Mutant("adds up in floats", "kills", _float_sums),
    "swallowed_step_error": Mutant("goes on after a failed step", "step_error", _swallows_step),
    "minus_one_is_fresh": Mutant("takes a missing offset for a new group", "group_lost", _minus_one_is_fresh),
    "wall_clock": Mutant("has the time of day in the watermark", "kills", _wall_clock),
    "swap_inside_step": Mutant("swaps models inside of a step", "kills", _swap_inside_step),
    "keeps_lost_partitions": Mutant("works on without owning", "join", _keeps_lost),
    "restore_to_stable_end": Mutant("restores to the last stable offset", "open_transaction", _stable_end),
    "replay_one_commit_less": Mutant("replays all but the last commit", "kills", _one_commit_less),
    "published_not_reread": Mutant("does not read published segments back", "kills", _forgets_published),
    "snapshot_uncommitted": Mutant("copies what is not committed", "snapshots", _copies_uncommitted),
    "snapshot_one_age": Mutant(
        "takes all parts of a snapshot for as new as the last", "snapshots", _one_age_for_all
    ),
    "snapshot_mixed_files": Mutant(
        "reads rows of one snapshot under another's manifest", "snapshots", _mixed_files
    ),
    "keeps_producer": Mutant(
        "goes on with a producer whose requests may be under way", "stray_end", _keeps_producer
    ),
    "published_late": Mutant("reads features after later events", "kills", _published_late),
    "left_forgotten": Mutant("replays moves without the segment left", "kills", _left_forgotten),
    "command_passed_over": Mutant(
        "forgets a command with the next publication", "recalibrations", _command_passed_over
    ),
    "kept_is_current": Mutant("replays nothing on kept memory", "comes_back", _kept_is_current),
    "numbering_slips": Mutant("numbers a commit twice after a restart", "kills", _counts_again),
    **{name: Mutant(what, "campaigns", apply) for name, (what, apply) in ENGINE_MUTANTS.items()},
}
