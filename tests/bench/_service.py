"""The real service in the child of a benchmark: warmed up by the history, then measured."""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import TopicPartition

from consumer.clock import FixedClock, ScaledClock
from consumer.config import Config
from consumer.logs import configure_logging
from consumer.memory import keep_little
from consumer.metric_table import Stage
from consumer.output import Payload
from consumer.service import Service
from consumer.transaction import CommitTimes
from online_model.engine import Step
from schemas.batch import Topic

_WARM_S = 1800.0


@dataclass(slots=True)
class SwitchClock:
    """A fixed clock until `run` lets it go at `speed` times the machine's pace."""

    now: FixedClock | ScaledClock

    def now_us(self) -> int:
        """Microseconds since the epoch in event time."""
        return self.now.now_us()

    def run(self, speed: float) -> None:
        """Lets the clock go from where it stands."""
        self.now = ScaledClock(self.now.now_us(), speed)


@dataclass(slots=True)
class Tally:
    """What the turns of a measurement took and did, by the stages that the worker reports itself."""

    stages: dict[str, float] = field(default_factory=dict)
    changes: int = 0
    commits: int = 0
    slices: int = 0
    #: Processor time of the loop's thread that went into metrics.
    recording_s: float = 0.0

    def add(self, step: Step, payload: Payload | None, stages: Mapping[Stage, float]) -> None:
        """One turn."""
        for stage, seconds in stages.items():
            self.stages[stage.value] = self.stages.get(stage.value, 0.0) + seconds
        self.commits += payload is not None
        self.changes += payload.changes if payload is not None else 0
        self.slices += sum(part.scanned is not None for part in step.partitions)


class ServiceRunner:
    """A `Service` that is stepped from outside."""

    def __init__(self, config: Config, now_us: int) -> None:
        configure_logging("warning", "console")
        keep_little()
        self._clock = SwitchClock(FixedClock(now_us))
        self.service = Service(config, self._clock)
        self._tally = Tally()
        recorder = self.service.recorder
        record = recorder.record

        def recorded(
            step: Step, payload: Payload | None, times: CommitTimes | None, stages: Mapping[Stage, float]
        ) -> None:
            self._tally.add(step, payload, stages)
            begin = time.thread_time()
            record(step, payload, times, stages)
            self._tally.recording_s += time.thread_time() - begin

        recorder.record = recorded  # type: ignore[method-assign]

    @property
    def _consumed(self) -> int:
        return int(self.service.recorder.totals.sum())

    # -- warming up ------------------------------------------------------------------------------

    def warm(self, n: int) -> dict[str, Any]:
        """Consumes the `n` records of the history, calibrates, and assigns everybody; then reading pauses."""
        worker, engine = self.service.worker, self.service.core.engine
        deadline, begin = time.monotonic() + _WARM_S, time.perf_counter()
        idle = 0
        while idle < 5:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not warm after {_WARM_S:.0f} s: {self.service.recorder.status()}")
            worker.run_once()
            busy = (
                self._consumed < n
                or engine.active is None
                or any(state.scan.active for state in engine.partitions.values())
            )
            idle = 0 if busy else idle + 1
        self._pause(True)
        customers = sum(state.index.n for state in engine.partitions.values())
        return {
            "seconds": time.perf_counter() - begin,
            "consumed": self._consumed,
            "customers": customers,
            "changes": dict(sorted(map(_named, self.service.recorder.changes.items()))),
            "segments": dict(self.service.recorder.segments),
        }

    def _pause(self, pause: bool) -> None:
        # Paused, the client drops what it has fetched ahead: each measurement begins with an empty queue.
        inputs = self._parts.inputs
        places = [
            TopicPartition(inputs._topics[topic], number)
            for number in sorted(inputs.owned)
            for topic in range(len(Topic))
        ]
        consumer = inputs._consumer
        consumer.pause(places) if pause else consumer.resume(places)
        # What was appended during the pause lies before the ends that were seen: a topic that has not been
        # read since must not let the others move the watermark, or no scan would begin in this round.
        inputs._at_end = dict.fromkeys(inputs._at_end, False)

    @property
    def _parts(self) -> Any:
        return self.service.worker._parts

    def keep_alive(self) -> None:
        """A turn without input, so that the group does not give us up while others are measured."""
        self.service.worker.run_once()

    # -- measuring -------------------------------------------------------------------------------

    def measure(self, n: int, profile: bool = False) -> dict[str, Any]:
        """Handles at least `n` further records; from the first one read to the commit of the last."""
        worker = self.service.worker
        before = self._consumed
        profiler = cProfile.Profile() if profile else None
        self._pause(False)
        begin = process = thread = 0.0
        # What is counted as consumed has been committed.
        while self._consumed - before < n:
            if not begin:
                self._tally = Tally()
            entered = time.perf_counter()
            if profiler is not None and begin:
                profiler.enable()
            worker.run_once()
            if not begin and self._consumed > before:
                # The first turn with records counts from the moment its poll returned.
                begin = entered + self._tally.stages.pop(Stage.POLL.value)
                process, thread = time.process_time(), time.thread_time()
        seconds = time.perf_counter() - begin
        cpu, loop = time.process_time() - process, time.thread_time() - thread
        if profiler is not None:
            profiler.disable()
        self._pause(True)
        count = self._consumed - before
        stages = dict(self._tally.stages)
        stages["other"] = max(seconds - sum(stages.values()), 0.0)
        return {
            "events": count,
            "seconds": seconds,
            "stages_us": {name: s / count * 1e6 for name, s in stages.items()},
            "client_threads_us": (cpu - loop) / count * 1e6,
            "changes": self._tally.changes,
            "commits": self._tally.commits,
            "scan_slices": self._tally.slices,
            "profile": _text(profiler) if profiler is not None else None,
        }

    def serve(self, seconds: float, speed: float) -> dict[str, Any]:
        """Turns for `seconds` with the clock running at `speed`."""
        self._tally, before = Tally(), self._consumed
        self._clock.run(speed)
        self._pause(False)
        end, loop_s = time.monotonic() + seconds, time.thread_time()
        turns = scanning = 0
        slowest = 0.0
        while (begin := time.monotonic()) < end:
            step = self.service.worker.run_once()
            turns += 1
            scanning += any(part.scanned is not None for part in step.partitions)
            slowest = max(slowest, time.monotonic() - begin)
            self._turned()
        return {
            "events": self._consumed - before,
            "turns": turns,
            "turns_with_scan": scanning,
            "slowest_turn_ms": slowest * 1e3,
            "metrics_share": self._tally.recording_s / (time.thread_time() - loop_s),
            "changes": dict(sorted(map(_named, self.service.recorder.changes.items()))),
            "stages_ms_per_turn": {s: x / max(turns, 1) * 1e3 for s, x in self._tally.stages.items()},
        }

    def _turned(self) -> None:
        """Called after each turn of `serve`."""

    def close(self) -> None:
        """Lets the service go."""
        self.service.close()


def _named(item: tuple[tuple[str, str], int]) -> tuple[str, int]:
    (change, cause), n = item
    return f"{change} {cause}", n


def _text(profiler: cProfile.Profile) -> str:
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).sort_stats("tottime").print_stats(45)
    return out.getvalue()
