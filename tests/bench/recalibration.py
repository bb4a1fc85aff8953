"""Recalibration of a large base while the service works: how long, and what it does to latency.

The child process that recalibrates shares the second core with the broker, the source and the subscriber;
the service has the first. Traffic and planted behaviour changes as in `latency`; a command asks for a
recalibration in the middle of them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from contextlib import ExitStack
from typing import Any, Final

import numpy as np

from consumer.child import Child
from consumer.config import Config
from consumer.models import keeper
from consumer.models.history import command, send
from tests.bench._cluster import Loader, bench_config, cpu_seconds, make_topics, start_broker
from tests.bench._events import START_US, Population
from tests.bench._observer import Observer
from tests.bench._remote import Remote, say, two_cores
from tests.bench._service import ServiceRunner
from tests.bench._source import Source

HISTORY_DAYS: Final = 30
_SEED: Final = 11
_DRAIN_S: Final = 3.0
#: Bars.
_LONGEST_S: Final = 90.0
_SLOWEST_MS: Final = 500.0


class Watched(ServiceRunner):
    """A service that notes when it recalibrates. The child that does it runs on core `other`."""

    def __init__(self, config: Config, now_us: int, other: int) -> None:
        class Elsewhere(Child[Any]):
            """A child on the other core, with all its threads."""

            def __init__(self, *arguments: Any) -> None:
                before = os.sched_getaffinity(0)
                os.sched_setaffinity(0, {other})
                try:
                    super().__init__(*arguments)
                finally:
                    os.sched_setaffinity(0, before)

        vars(keeper)["Child"] = Elsewhere
        super().__init__(config, now_us)
        self._began_s = self._ended_s = 0.0
        self._last_s, self._stages = time.time(), dict[str, float]()
        self._slowest: dict[str, Any] = {"seconds": 0.0}
        self._steps: dict[str, float] = {}
        self._pauses: dict[str, float] = {}

    def settle(self, timeout_s: float) -> float:
        """Turns until every partition has a snapshot; seconds."""
        begin = time.monotonic()
        engine, writer = self.service.core.engine, self._parts.restorer._store
        while not all(writer.numbers(number) for number in engine.partitions):
            if time.monotonic() - begin > timeout_s:
                raise RuntimeError(f"no snapshots after {timeout_s:.0f} s")
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                self.service.worker.run_once()
        return time.monotonic() - begin

    def _turned(self) -> None:
        status = self.service.keeper.status()
        now = time.time()
        if now - self._last_s > self._slowest["seconds"] and self._stages:
            spent = {name: s - self._stages.get(name, 0.0) for name, s in self._tally.stages.items()}
            self._slowest = {
                "seconds": round(now - self._last_s, 2),
                "after_begin_s": round(now - self._began_s, 1) if self._began_s else None,
                "stages_s": {name: round(s, 2) for name, s in spent.items()},
            }
        self._last_s, self._stages = now, dict(self._tally.stages)
        if status is not None:
            if not self._began_s:
                self._began_s, self._pauses = now, self._snapshot_pauses()
            self._steps.setdefault(str(status["text"]), now)
        elif self._began_s and not self._ended_s:
            self._ended_s = now

    def _snapshot_pauses(self) -> dict[str, float]:
        """How many pauses for parts of snapshots were at most so many seconds."""
        registry = self.service.metrics.registry
        return {
            sample.labels["le"]: sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "segmenter_snapshot_pause_seconds_bucket"
        }

    def recalibrated(self) -> dict[str, Any]:
        """Begin and end in seconds since the epoch, when each step began, and the version that came of it."""
        model = self.service.core.coordinator.model
        assert model is not None
        return {
            "began_s": self._began_s,
            "ended_s": self._ended_s,
            "slowest_turn": self._slowest,
            "pauses_before": self._pauses,
            "steps": {text: round(at - self._began_s, 1) for text, at in self._steps.items()},
            "version": model.version,
            "k": model.k,
            "columns": self.service.core.plan.columns.n,
        }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.recalibration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rate", type=int, default=20_000, help="events per second")
    parser.add_argument("--warm-s", type=float, default=30.0, help="seconds of traffic that are not counted")
    parser.add_argument("--before-s", type=float, default=30.0, help="traffic without a recalibration")
    parser.add_argument("--during-s", type=float, default=110.0, help="traffic from the command on")
    parser.add_argument("--jumps-per-s", type=float, default=25.0, help="planted behaviour changes")
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--history", type=int, default=5, help="events per customer before")
    parser.add_argument("--bootstrap", help="a broker to use (default: start one on the second core)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: to see that it works, not to measure"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.rate, options.warm_s, options.before_s, options.during_s = 500, 1.0, 2.0, 14.0
        options.customers, options.partitions, options.history = 2000, 2, 10
    return options


def percentiles(seen: dict[str, Any], first_s: float, last_s: float) -> dict[str, float]:
    """Of the changes whose trigger was appended between two moments, milliseconds."""
    inside = (seen["append_s"] >= first_s) & (seen["append_s"] < last_s)
    latency = seen["latency_ms"][inside]
    if not len(latency):
        raise RuntimeError("no behaviour change was seen: see the numbers above")
    p50, p99 = (round(float(np.percentile(latency, q)), 1) for q in (50, 99))
    return {"changes": len(latency), "p50_ms": p50, "p99_ms": p99, "max_ms": round(float(latency.max()), 1)}


def main() -> int:
    """Runs the benchmark; the last line of stdout is the result, the code 0 if its bars hold."""
    options = parse()
    measured, other = two_cores()
    seconds = options.warm_s + options.before_s + options.during_s
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(options.bootstrap, other))
        say(f"broker: {broker}; service on core {measured}, all others on core {other}")
        config = bench_config(
            broker.bootstrap,
            model__min_customers=min(5000, options.customers),
            model__k="5-10",
            decision__min_dwell_days=0,
            watermark__idle_grace_s=None,
            snapshots__interval_s=1.0 if options.quick else 60.0,
        )
        make_topics(config, options.partitions)
        population = Population(options.customers, _SEED)
        history = Loader(config).load(population.history(options.history, HISTORY_DAYS))
        say(f"history: {history:,} events of {options.customers:,} customers")
        service = stack.enter_context(Remote(measured, Watched, config, START_US, other))
        warm = service.call("warm", history)
        say(f"warm after {warm['seconds']:.0f} s: {warm['changes']}, segments {warm['segments']}")
        say(f"every partition has a snapshot after {service.call('settle', 900.0):.0f} s")
        source = stack.enter_context(Remote(other, Source, config, options.customers, _SEED))
        plan = {"rate": options.rate, "seconds": seconds, "speed": 1.0, "warm_s": options.warm_s}
        source.send("prepare", plan | {"jumps": int(options.jumps_per_s * (seconds - options.warm_s))})
        while source.is_busy:
            service.call("keep_alive")
        say(f"{source.result():,} behaviour changes planted")
        observer = stack.enter_context(Remote(other, Observer, config, options.partitions))
        service.send("serve", seconds + _DRAIN_S, 1.0)
        observer.send("watch", seconds + _DRAIN_S)
        before = cpu_seconds(broker.pid)
        source.send("run")
        begin = time.time()
        time.sleep(options.warm_s + options.before_s)
        send(config, command("recalibrate"))
        sent = source.result()
        after = cpu_seconds(broker.pid)
        served, done = service.result(), service.call("recalibrated")
        say(f"{observer.result():,} changes seen; service: {served}; recalibration: {done}")
        if not done["ended_s"]:
            raise RuntimeError("the recalibration was not done in time: see --during-s")
        seen = observer.call("latencies")
        result = {
            "recalibration_s": round(done["ended_s"] - done["began_s"], 1),
            "steps_s": done["steps"],
            "version": done["version"],
            "k": done["k"],
            "without": percentiles(seen, begin + options.warm_s, done["began_s"]),
            "during": percentiles(seen, done["began_s"], done["ended_s"]),
            "rate_reached": round(sent["sent"] / sent["seconds"], 1),
            "source_behind_ms": round(sent["behind_ms"], 1),
            "slowest_turn": done["slowest_turn"],
            "snapshot_pauses_before_by_s": done["pauses_before"],
            "metrics_share_of_loop": round(served["metrics_share"], 4),
            "customers": options.customers,
            "columns": done["columns"],
            "broker": broker.description,
            "broker_busy_share": None
            if before is None or after is None
            else round((after - before) / sent["seconds"], 3),
        }
        result["p99_ratio"] = round(result["during"]["p99_ms"] / result["without"]["p99_ms"], 2)
        holds = result["recalibration_s"] <= _LONGEST_S and result["during"]["p99_ms"] <= _SLOWEST_MS
        print(json.dumps(result | {"holds": holds}))
        return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
