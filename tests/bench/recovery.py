"""Recovery: kill -9 of a worker with a million customers until it is live again, under traffic.

The process is the real `segmenter run`; broker and source are bound to one core, the worker may use all.
It is killed at random moments of the snapshot interval; each run is split by phase: start of the process,
assignment by the group, reading the audit log, loading snapshots, replaying the input since.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.bench._cluster import Loader, bench_config, make_topics, start_broker
from tests.bench._events import Population
from tests.bench._killed import Start, Worker
from tests.bench._remote import Remote, say, two_cores
from tests.bench._source import Source

HISTORY_DAYS: Final = 30
_SEED: Final = 11
_PHASES: Final = (
    "started_s",
    "assigned_s",
    "restored_s",
    "audit_s",
    "load_s",
    "replay_s",
    "live_s",
    "user_s",
    "system_s",
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.recovery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--history", type=int, default=5, help="events per customer before")
    parser.add_argument("--rate", type=int, default=5000, help="events per second while it is killed")
    parser.add_argument("--runs", type=int, default=10, help="kills")
    parser.add_argument("--interval-s", type=float, help="between snapshots (default: the product's)")
    parser.add_argument("--between-s", type=float, default=45.0, help="longest time alive between kills")
    parser.add_argument("--bootstrap", help="a broker to use (default: start one on the second core)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: to see that it works, not to measure"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.customers, options.partitions, options.rate = 2000, 2, 200
        options.runs, options.interval_s, options.between_s = 2, 1.0, 4.0
    return options


def settle(worker: Worker, options: argparse.Namespace) -> None:
    """Waits until everybody has a segment and every partition a snapshot."""
    end = time.monotonic() + 1800
    while True:
        values = worker.metrics()
        assigned = sum(value for name, value in values.items() if name.startswith("segmenter_segment_cust"))
        if assigned >= options.customers and values["segmenter_snapshots_total"] >= options.partitions:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"not settled: {assigned:,.0f} customers have a segment, {values}")
        time.sleep(1)


def shares(worker: Worker, before: dict[str, float], seconds: float) -> dict[str, float]:
    """What snapshots cost since `before`; the longest pause is the upper edge of its bucket."""
    now = worker.metrics()
    name = "segmenter_snapshot_cpu_seconds_total"
    cpu_s = now["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    pauses = {
        float(key.split("{")[1].rstrip("}")): value
        for key, value in now.items()
        if key.startswith("segmenter_snapshot_pause_seconds_bucket")
    }
    count = now["segmenter_snapshot_pause_seconds_count"]
    return {
        "snapshot_cpu_share_of_process": round((now[name] - before[name]) / cpu_s, 4),
        "snapshot_cpu_share_of_core": round((now[name] - before[name]) / seconds, 4),
        "snapshots": now["segmenter_snapshots_total"],
        "snapshot_mb": round(now["segmenter_snapshot_bytes_total"] / 1e6, 1),
        "pause_below_ms": 1e3 * min(edge for edge, n in pauses.items() if n >= count),
        "pause_mean_ms": round(1e3 * now["segmenter_snapshot_pause_seconds_sum"] / max(count, 1), 2),
    }


def summary(starts: list[Start], costs: dict[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """Percentiles per phase."""
    phases = {
        phase: {
            f"p{q}": round(float(np.percentile([getattr(start, phase) for start in starts], q)), 2)
            for q in (50, 99)
        }
        for phase in _PHASES
    }
    sources: dict[str, int] = {}
    for start in starts:
        for source, n in start.sources.items():
            sources[source] = sources.get(source, 0) + n
    return phases | costs | {
        "runs": len(starts),
        "sources": sources,
        "customers": options.customers,
        "partitions": options.partitions,
        "rate": options.rate,
        "interval_s": options.interval_s,
    }  # fmt: skip


def main() -> None:
    """Runs the benchmark; the last line of stdout is the result."""
    options = parse()
    _, other = two_cores()
    rng = random.Random(_SEED)
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(options.bootstrap, other))
        say(f"broker: {broker}; broker and source on core {other}")
        chosen = {} if options.interval_s is None else {"snapshots__interval_s": options.interval_s}
        config = bench_config(
            broker.bootstrap,
            model__min_customers=min(5000, options.customers),
            watermark__idle_grace_s=None,
            **chosen,
        )
        options.interval_s = config.snapshots.interval_s
        make_topics(config, options.partitions)
        population = Population(options.customers, _SEED)
        history = Loader(config).load(population.history(options.history, HISTORY_DAYS))
        say(f"history: {history:,} events of {options.customers:,} customers")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segmenter-recovery-")))
        worker = stack.enter_context(Worker(config, folder))
        worker.start()
        settle(worker, options)
        say("everybody has a segment, every partition a snapshot")
        source = Remote(other, Source, config, options.customers, _SEED)
        stack.callback(source.kill)  # it has more to send than there is time
        longest = (options.runs + 1) * (options.between_s + 25.0) + 2 * options.interval_s
        plan = {"rate": options.rate, "seconds": longest, "speed": 1.0, "jumps": 0, "warm_s": 0.0}
        source.call("prepare", plan)
        source.send("run")
        before, begun = worker.metrics(), time.monotonic()
        time.sleep(options.interval_s + 5.0)
        costs = shares(worker, before, time.monotonic() - begun)
        say(f"snapshots under traffic: {costs}")
        starts = []
        for number in range(options.runs):
            time.sleep(rng.uniform(0.2, 1.0) * options.between_s)
            starts.append(worker.revive())
            say(f"kill {number + 1}: {starts[-1]}")
        result = summary(starts, costs, options) | {"broker": broker.description}
        print(json.dumps(result))


if __name__ == "__main__":
    main()
