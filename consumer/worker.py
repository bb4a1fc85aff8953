"""The loop of one process: events in, segment changes out, one transaction per turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from consumer.clock import Clock
from consumer.committer import Committer
from consumer.config import Config
from consumer.core import Core, Positions
from consumer.errors import StateUnknown, TopicError
from consumer.failpoints import failpoint
from consumer.http import Health
from consumer.input import Input, Ownership
from consumer.memory import give_back
from consumer.metric_table import Stage
from consumer.models.keeper import ModelKeeper
from consumer.models.log import CoordinatorProcess, ModelReader
from consumer.output import Payload, PayloadMaker
from consumer.recorder import Recorder
from consumer.restore import KeptStates, RestoreCancelled, Restorer, Source
from consumer.snapshots import SnapshotWriter
from consumer.topics import MOVE_FIX
from online_model.engine import Step
from online_model.model import Model
from schemas.records import RawRecords

_log = structlog.get_logger("worker")

#: Records are read and decoded in pieces of this size: what a piece becomes (message objects, structs) stays
#: in the second-level cache. Pieces of 10,000 cost twice as much to poll.
POLL_EVENTS: Final = 2500


@dataclass(slots=True)
class Laps:
    """Seconds spent per stage of one turn."""

    seconds: dict[Stage, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def __call__(self, stage: Stage) -> None:
        """The stage has ended."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loop turns with."""

    config: Config
    clock: Clock
    core: Core
    inputs: Input
    committer: Committer
    payloads: PayloadMaker
    models: ModelReader
    coordinator: CoordinatorProcess | None
    keeper: ModelKeeper
    restorer: Restorer
    kept: KeptStates
    snapshots: SnapshotWriter
    recorder: Recorder
    health: Health


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn whose payload is being committed."""

    step: Step
    payload: Payload
    laps: Laps


#: Free memory is given back at least this often: what turns and snapshots need once adds up otherwise.
GIVE_BACK_EVERY_S: Final = 60.0


class Worker:
    """Turns until told to stop. `on_model` hears of versions as they are adopted.

    One turn (`run_once`):

    1. poll records until the next commit is due
    2. act on rebalances until there is none left: drop what was lost, restore what was gained
    3. adopt model versions that have become visible; let a part of a snapshot be copied, if one is due
    4. decode and apply the records, decide changes
    5. wait for the commit of the turn before, and begin that of this one: everything it made visible and
       the input offsets in one transaction
    6. coordinate, unless that is left to other processes: fold completed scans, calibrate when it is time,
       carry out commands
    """

    def __init__(self, parts: Parts, on_model: Callable[[Model], None]) -> None:
        self._parts = parts
        self._on_model = on_model
        self._committing: _Turn | None = None
        self._due_s = time.monotonic() + parts.config.commit.interval_ms / 1000
        self._give_back_s = time.monotonic() + GIVE_BACK_EVERY_S
        self._stopping = False

    @property
    def inputs(self) -> Input:
        """The input it turns on."""
        return self._parts.inputs

    def stop(self) -> None:
        """Ends the loop after the turn under way. Safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Turns until `stop`; everything that was read is committed then."""
        while not self._stopping:
            self.run_once()
        failpoint("shutdown.begin")
        self.finish()

    def run_once(self) -> Step:
        """One turn; returns its step. Its commit is under way until the next turn's or `finish`."""
        p = self._parts
        laps = Laps()
        raw, positions = self._read(laps)
        # A restore polls the group: what it began with may be lost by its end. Until nothing is left to act
        # on, nothing is decided; and nothing polls the group from here to the hand-over.
        while changed := p.inputs.take_changes():
            self.finish()
            self._follow_rebalance(changed)
        for model in p.models.poll():
            self._on_model(model)
        self._snapshot()
        now_us = p.clock.now_us()
        step = p.core.process(raw, positions, now_us, laps)
        live = {
            number: p.core.engine.is_live(state, now_us) for number, state in p.core.engine.partitions.items()
        }
        payload = p.payloads.make(step, live)
        laps(Stage.ENCODE)
        failpoint("payload.after")
        self.finish()
        laps(Stage.COMMIT)
        self._hand_over(step, payload, laps)
        self._coordinate(step)
        return step

    def finish(self) -> None:
        """Waits for the commit under way. Raises what it failed with: then only a restart is safe."""
        turn, self._committing = self._committing, None
        if turn is not None:
            times = self._parts.committer.finish()
            failpoint("record.before")
            self._parts.recorder.record(turn.step, turn.payload, times, turn.laps.seconds)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def _snapshot(self) -> None:
        """Copies a part of a snapshot if one is due.

        Nothing that is in memory may be missing in the last commit: it is waited for, and the records read
        since are applied afterwards.
        """
        p = self._parts
        if p.snapshots.wants_part:
            self.finish()
            begin = time.perf_counter()
            taken = p.snapshots.take_part(p.core.engine.partitions, p.payloads.commits)
            p.recorder.paused_for_snapshot(time.perf_counter() - begin)
            if taken is not None:
                p.recorder.snapshot_taken(taken)

    def _read(self, laps: Laps) -> tuple[RawRecords, Positions]:
        """Polls up to the limit of a commit in pieces; all but the last, which is returned, are offered.

        The commits are an interval apart: what the turn before took after its reading counts.
        """
        p = self._parts
        interval_s = p.config.commit.interval_ms / 1000
        left = p.config.commit.max_events
        timeout_s = min(max(self._due_s - time.monotonic(), 0.0), interval_s)
        while True:
            size = min(POLL_EVENTS, left)
            raw, positions = p.inputs.poll(size, timeout_s)
            laps(Stage.POLL)
            failpoint("poll.after")
            left -= raw.n
            # A short piece means that the client has no more: what there is will not wait for it.
            if raw.n < size or left <= 0:
                self._due_s = time.monotonic() + interval_s
                return raw, positions
            p.core.offer(raw, positions, laps)
            timeout_s = 0.0

    def _follow_rebalance(self, changed: Ownership) -> None:
        p, assigned = self._parts, changed.assigned
        # What is assigned may have been lost and given back at once.
        for partition in changed.dropped | assigned:
            self._give_up(partition)
        p.recorder.rebalanced(changed.kinds, len(p.inputs.owned))
        p.snapshots.follow(p.core.engine.partitions)
        _require_whole(changed, p.core.partition_count)
        if assigned:
            _log.info("partitions assigned", partitions=sorted(assigned))
        offsets: dict[tuple[int, int], int] = {}
        replayed: dict[int, int] = {}
        wanted = sorted(assigned & p.inputs.owned)
        p.restorer.prepare(wanted)
        for done, partition in enumerate(wanted):
            p.health.beat()
            p.health.wait_for({"restore": f"partition {partition} ({done} of {len(assigned)} done)"})
            if self._stopping:
                return
            if not p.inputs.is_wanted(partition):
                continue  # the next round hears of its loss
            try:
                restored = p.restorer.restore(partition)
            except RestoreCancelled:
                _log.info("restore given up", partition=partition)
                continue  # likewise, or the process stops
            p.payloads.commits[partition] = restored.commits
            p.recorder.restored(partition, restored)
            offsets |= restored.offsets
            replayed[partition] = restored.replayed
        failpoint("live.before")
        p.inputs.go_live(offsets)
        failpoint("live.after")
        p.snapshots.follow(p.core.engine.partitions, replayed)
        p.recorder.live()
        give_back()
        _log.info("partitions live", partitions=sorted(p.inputs.live))

    def _give_up(self, partition: int) -> None:
        """Another member may work on the partition now; its state is kept for a quick return."""
        p = self._parts
        state = p.core.engine.partitions.get(partition)
        if state is not None:
            # The commit under way is finished: memory is what it left.
            n = p.payloads.commits[partition]
            p.kept.keep(partition, Source("kept", state, n, state.next_offset.tolist()))
        p.core.drop_partition(partition)
        failpoint("rebalance.dropped")

    def _hand_over(self, step: Step, payload: Payload | None, laps: Laps) -> None:
        """Begins the commit of the turn, which is recorded when it is done."""
        p = self._parts
        if payload is None:
            p.committer.serve()
            p.recorder.record(step, None, None, laps.seconds)
        else:
            failpoint("handover.before")
            p.committer.start(payload)
            failpoint("handover.after")
            self._committing = _Turn(step, payload, laps)

    def _coordinate(self, step: Step) -> None:
        p = self._parts
        p.inputs.hold(
            (number, topic)
            for number, state in p.core.engine.partitions.items()
            for topic in state.intake.waiting
        )
        for part in step.partitions:
            if part.scanned is not None and part.scanned.points is not None:
                p.core.coordinator.learn(part.scanned.points)
        if p.coordinator is not None:
            p.coordinator.poll()
            p.recorder.coordinates = p.coordinator.is_owner
            if p.coordinator.is_owner:
                p.keeper.serve(p.coordinator)
        if p.kept.let_go() or time.monotonic() >= self._give_back_s:
            self._give_back_s = time.monotonic() + GIVE_BACK_EVERY_S
            give_back()
        p.health.beat()


def _require_whole(changed: Ownership, partition_count: int) -> None:
    """Raises `TopicError` if the input topics have grown, `StateUnknown` for a partition without all topics.

    Where only some topics have grown, two members get topics of the same partition: each would work on it,
    and neither would be fenced. It may also be that a broker had not heard of a topic yet.
    """
    if max(changed.assigned, default=0) >= partition_count:
        raise TopicError(
            f"the input topics have grown beyond {partition_count} partitions: the customers of old "
            "partitions now go to other ones",
            MOVE_FIX,
        )
    if changed.split:
        raise StateUnknown(
            f"this process was given some input topics of partition {min(changed.split)} only, another one "
            "perhaps the rest",
            "restart; the topics are checked again. If it stays: all members of the group must use the "
            "assignor 'range'",
        )
