"""What turns did, as metrics and as the status page."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import structlog

from consumer import __version__
from consumer.core import Core
from consumer.http import Health
from consumer.input import Input
from consumer.metric_table import Outcome, Stage, State
from consumer.metrics import Metrics
from consumer.model_figures import ModelFigures
from consumer.output import Payload
from consumer.restore import Restored
from consumer.snapshots import Taken
from consumer.transaction import CommitTimes
from consumer.turn_totals import TurnTotals
from online_model.active_model import segment_id
from online_model.engine import Step
from online_model.rows import LIVE, NEVER, SEGMENT_UNCLASSIFIED

_log = structlog.get_logger("recorder")

#: Counters are raised this often.
_TELL_EVERY_S: Final = 0.5
#: Gauges that cost more than a glance are set this often.
_SLOW_EVERY_S: Final = 2.0
#: Share of the loop's time that counting the customers may take.
_COUNT_SHARE: Final = 0.002


class Recorder:
    """Keeps metrics, readiness and the status of one worker up to date.

    `coordinates`: whether it owns the deltas; the loop sets it.
    """

    def __init__(
        self,
        core: Core,
        inputs: Callable[[], Input | None],
        metrics: Metrics,
        health: Health,
        rebuilds: Mapping[str, int],
        model: ModelFigures,
    ) -> None:
        self._core = core
        self._inputs = inputs
        self._metrics = metrics
        self._health = health
        self._rebuilds = rebuilds
        self._seen_rebuilds: Counter[str] = Counter()
        self._next_tell_s = self._next_slow_s = self._next_count_s = 0.0
        self._model = model
        self._turns = TurnTotals()
        self._outcomes = np.zeros((3, len(Outcome)), np.int64)
        self._changes: Counter[tuple[str, str]] = Counter()
        self.coordinates = False
        #: Seconds for which commits may not be in a snapshot, by partition.
        self.uncovered_s: Callable[[], Mapping[int, float]] = dict
        self.segments: dict[str, int] = {}
        self.lag = 0
        self._lags: dict[tuple[str, int], int] = {}
        self._restoring: dict[int, int] = {}
        metrics.set_input_partitions(core.partition_count)

    def rebalanced(self, kinds: list[str], owned: int) -> None:
        """Rebalances happened; `owned` partitions are owned now."""
        self._metrics.set_state(State.RESTORING)
        self._metrics.forget_partitions()
        for kind in kinds:
            self._metrics.record_rebalance(kind, owned)

    def live(self) -> None:
        """All owned partitions are restored."""
        self._restoring = {}
        self._metrics.set_restore_remaining({})
        self._metrics.set_snapshot_ages(self.uncovered_s())
        self._metrics.set_state(State.RUNNING)

    def restoring(self, partition: int, remaining: int) -> None:
        """`remaining` input records of `partition` are still to be replayed."""
        self._health.beat()
        self._restoring = {partition: remaining}
        self._metrics.set_restore_remaining(self._restoring)

    def restored(self, partition: int, restored: Restored) -> None:
        """A partition has been brought to its last commit."""
        self._metrics.record_restore(restored.source, restored.seconds)
        _log.info(
            "partition restored",
            partition=partition,
            source=restored.source,
            n=restored.commits,
            replayed=restored.replayed,
            **{f"{phase}_s": round(seconds, 3) for phase, seconds in restored.seconds.items()},
        )

    def paused_for_snapshot(self, seconds: float) -> None:
        """The loop waited so long for a part of a snapshot to be copied."""
        self._metrics.record_snapshot_pause(seconds)

    def snapshot_taken(self, taken: Taken) -> None:
        """A snapshot is complete, or has failed."""
        self._metrics.record_snapshot(taken)
        if taken.problem:
            _log.warning("snapshot failed", partition=taken.partition, problem=taken.problem)
        else:
            _log.debug("snapshot taken", partition=taken.partition, n=taken.n, customers=taken.rows)

    def draining(self) -> None:
        """The process is stopping."""
        self._tell()
        self._metrics.set_state(State.DRAINING)
        self._health.wait_for({"stop": "stopping"})

    def aborted(self) -> None:
        """A transaction was aborted."""
        self._metrics.record_abort()

    def record(
        self, step: Step, payload: Payload | None, times: CommitTimes | None, stages: Mapping[Stage, float]
    ) -> None:
        """One turn."""
        metrics, now = self._metrics, time.monotonic()
        metrics.heartbeat()
        if payload is not None:
            self._turns.add(step)
            metrics.record_stages(stages)
        if times is not None:
            metrics.record_commit(times.total_s)
        # After a turn that had nothing to do there may be none for long.
        if self._turns.n and (payload is None or now >= self._next_tell_s):
            self._next_tell_s = now + _TELL_EVERY_S
            self._tell()
        if now >= self._next_slow_s:
            self._next_slow_s = now + _SLOW_EVERY_S
            self.look_around(now >= self._next_count_s)

    def _tell(self) -> None:
        """Raises the counters by what has come since they were raised."""
        metrics, turns, self._turns = self._metrics, self._turns, TurnTotals()
        outcomes, changes = turns.outcomes, turns.changes
        self._outcomes += outcomes
        self._changes.update(changes)
        metrics.record_events(outcomes)
        metrics.record_rejects({(topic, reason.value): n for (topic, reason), n in turns.rejects.items()})
        metrics.record_changes(changes)
        metrics.record_moves(*turns.moves)
        metrics.record_scans(turns.scans, turns.scanned)

    @property
    def totals(self) -> npt.NDArray[np.int64]:
        """Records of all turns, int64[topics, outcomes] in the order of `metric_table.Outcome`."""
        return self._outcomes + self._turns.outcomes

    @property
    def changes(self) -> Counter[tuple[str, str]]:
        """Changes of all turns by (change, cause). For the loop's thread: it counts what was put off."""
        self._tell()
        return self._changes

    def look_around(self, counts: bool = True) -> None:
        """Gauges that cost more than a glance, readiness, and (if it `counts`) the sizes of segments."""
        core, metrics = self._core, self._metrics
        states = core.engine.partitions
        inputs = self._inputs()
        if inputs is not None:
            self._lags = inputs.lag()
            self.lag = sum(self._lags.values())
            metrics.set_lag(self._lags)
        metrics.set_watermarks({p: s.watermark_us for p, s in states.items() if s.watermark_us != NEVER})
        metrics.set_snapshot_ages(self.uncovered_s())
        if counts:
            self._count_customers()
        for reason, rebuilds in self._rebuilds.items():
            for _ in range(rebuilds - self._seen_rebuilds[reason]):
                metrics.record_rebuild(reason)
            self._seen_rebuilds[reason] = rebuilds
        self._model.record(self.coordinates)
        self._health.wait_for(self._waiting())

    def _count_customers(self) -> None:
        """Goes through all rows, tens of milliseconds for a million: the next time is the later."""
        begin = time.monotonic()
        sizes = np.zeros(0, np.int64)
        states = self._core.engine.partitions.values()
        for state in states:
            hot = state.store.rows.hot[: state.index.n]
            codes = hot["segment"][hot["status"] == LIVE].astype(np.int64) - SEGMENT_UNCLASSIFIED
            found = np.bincount(codes, minlength=len(sizes))
            found[: len(sizes)] += sizes
            sizes = found
        numbers = (np.flatnonzero(sizes) + SEGMENT_UNCLASSIFIED).tolist()
        counts = dict(zip(map(segment_id, numbers), sizes[sizes > 0].tolist(), strict=True))
        self.segments = {segment: n for segment, n in counts.items() if segment}
        self._metrics.set_segments(self.segments)
        self._metrics.set_population(int(sizes.sum()), sum(state.nbytes for state in states))
        now = time.monotonic()
        self._next_count_s = now + (now - begin) / _COUNT_SHARE

    def _waiting(self) -> dict[str, str]:
        inputs = self._inputs()
        reasons = {}
        # Who is spare does all that a member can do, and takes over when another one goes.
        if inputs is not None and not inputs.owned and not inputs.is_spare:
            reasons["assignment"] = "no partition is assigned yet"
        if self._core.engine.active is None:
            reasons["model"] = "not calibrated yet: needs customers and history enough, and a coordinator"
        return reasons

    def status(self) -> dict[str, Any]:
        """What /status shows. Runs on the HTTP thread."""
        core, lags, inputs = self._core, self._lags, self._inputs()
        return {
            "program": __version__,
            "run_id": core.run_id,
            "ready": self._health.ready,
            "waiting": dict(self._health.waiting),
            "lag": self.lag,
            "spare": inputs is not None and inputs.is_spare,
            "partitions": {
                str(number): {
                    "watermark_us": None if state.watermark_us == NEVER else state.watermark_us,
                    "customers": state.index.n,
                    "next_offset": [int(offset) for offset in state.next_offset],
                    "lag": {topic: n for (topic, partition), n in lags.items() if partition == number},
                }
                for number, state in sorted(core.engine.partitions.items())
            },
            "restore_remaining": {str(number): n for number, n in self._restoring.items()},
            "coordinating": self.coordinates,
            **self._model.status(),
            "segments": self.segments,
            "changes": {f"{change} {cause}": n for (change, cause), n in sorted(self._changes.items())},
        }
