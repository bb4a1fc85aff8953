"""The product under a script: an input that ends its polls where the script says, a clock that stands,
models that come at a commit.

The loop, the restore, the output and the transactions are the product's. One turn takes the next commit's
records of every partition; until all of them have arrived it takes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from consumer import service
from consumer.clock import FixedClock
from consumer.core import Positions
from consumer.input import N_TOPICS, Input
from consumer.kafka_clients import make_consumer, reader_settings
from consumer.log_reader import LogReader
from consumer.models.log import ModelReader
from consumer.restore import Restored, Restorer
from online_model.engine import Engine, Step
from online_model.model import Model
from online_model.model_head import Version
from online_model.poll import Poll
from schemas.internal import AuditRecord, from_json
from schemas.records import RawRecords
from tests.chaos.patching import patch
from tests.chaos.script import Script

_FETCH: Final = 2500


class Progress:
    """Commits per live partition of this process: restored, and then counted as they are taken."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.commits: dict[int, int] = {}

    @property
    def turn(self) -> int | None:
        """The commit that all partitions have reached, None before the first restore."""
        return min(self.commits.values()) if self.commits else None


class ScriptedInput(Input):
    """Hands out the records of one commit at a time, in the order of partition, topic and offset."""

    progress: Progress
    _waiting: RawRecords = RawRecords.of_topic(0, [], [])

    def go_live(self, offsets: dict[tuple[int, int], int]) -> None:
        """As the real one; what was read before a rebalance is read again."""
        self._waiting = RawRecords.of_topic(0, [], [])
        super().go_live(offsets)

    def _drop(self, partitions: list[Any], kind: str) -> None:
        super()._drop(partitions, kind)
        for number in set(self.progress.commits) - self._owned:
            del self.progress.commits[number]

    def hold(self, waiting: Any) -> None:
        """Nothing: how far a poll reads is the script's business."""

    def poll(self, limit: int, timeout_s: float) -> tuple[RawRecords, Positions]:
        """The next commit's records, or nothing after a while."""
        nothing = RawRecords.of_topic(0, [], []), Positions({}, {})
        due = time.monotonic() + timeout_s  # a commit is not earlier, as with the real one
        end = due + 0.05
        while True:
            raw, _ = super().poll(_FETCH, max(min(0.01, end - time.monotonic()), 0.0))
            if self._changed:
                return nothing  # of the old assignment; all of it is restored and read again
            if raw.n:
                self._waiting = RawRecords.concat([self._waiting, raw])
            if self._next and time.monotonic() >= due and (block := self._next_block()) is not None:
                return block
            if time.monotonic() >= end:
                return nothing

    def _next_block(self) -> tuple[RawRecords, Positions] | None:
        script, commits = self.progress.script, self.progress.commits
        open_ones = {p for p, _ in self._next if commits[p] < script.n_commits}
        if not open_ones:
            return None
        cut = {(p, t): script.cuts[p][t][commits[p] + 1] for p in open_ones for t in range(N_TOPICS)}
        if any(self._next[place] < offset for place, offset in cut.items()):
            return None
        waiting = self._waiting
        code = waiting.partition.astype(np.int64) * N_TOPICS + waiting.topic
        limits = np.zeros(len(script.cuts) * N_TOPICS, np.int64)
        for (p, t), offset in cut.items():
            limits[p * N_TOPICS + t] = offset
        taken = waiting.offset < limits[code]
        order = np.lexsort((waiting.offset, code))
        block = waiting.take(order[taken[order]].tolist())
        self._waiting = waiting.take(np.flatnonzero(~taken).tolist())
        for p in open_ones:
            commits[p] += 1
        ends = script.ends
        return block, Positions(cut, {(p, t): offset == ends[p][t] for (p, t), offset in cut.items()})


class ScriptedModels(ModelReader):
    """Shows a version when the commit has come that is the first under it."""

    progress: Progress
    _hidden: list[Model]

    def read_to_end(self) -> Iterator[Version]:
        """Versions adopted by the commits that are in the audit log, or have been taken since."""
        read = [version for version in super().read_to_end() if isinstance(version, Model)]
        self._hidden = [*getattr(self, "_hidden", []), *read]
        turn = self.progress.turn
        return iter(self._show(self._committed() if turn is None else turn))

    def poll(self) -> list[Model]:
        """Versions that the commit just taken is the first under."""
        self._hidden += super().poll()
        turn = self.progress.turn
        return [] if turn is None else self._show(turn)

    def _show(self, turn: int) -> list[Model]:
        adopted = self.progress.script.adopted
        shown = [model for model in self._hidden if adopted[model.version - 1] < max(turn, 1)]
        self._hidden = [model for model in self._hidden if model not in shown]
        return shown

    def _committed(self) -> int:
        """Commits of the audit log."""
        topic = self._topic.replace("segmenter.models", "segmenter.audit")
        commits = []
        with LogReader(lambda only: make_consumer(reader_settings(self._config, only))) as log:
            for partition in range(len(self.progress.script.cuts)):
                values = [m.value() or b"" for m in log.all_of(topic, partition)]
                commits.append(from_json(values[-1], AuditRecord).n if values else 0)
        return min(commits)


def follow(script: Script) -> None:
    """Puts the script into this process."""
    progress = Progress(script)
    ScriptedInput.progress = ScriptedModels.progress = progress
    restore = Restorer.restore

    def restoring(self: Restorer, partition: int) -> Restored:
        restored = restore(self, partition)
        progress.commits[partition] = restored.commits
        return restored

    step = Engine.step

    def only_commits(self: Engine, poll: Poll, now_us: int) -> Step:
        """A turn between two commits does nothing: a scan that is due would be a commit of its own."""
        if poll.next_offset:
            return step(self, poll, now_us)
        return Step(now_us, [])

    patch(Engine, "step", only_commits)
    patch(Restorer, "restore", restoring)
    patch(service, "Input", ScriptedInput)
    patch(service, "ModelReader", ScriptedModels)
    patch(service, "WallClock", lambda: FixedClock(script.clock_us))
