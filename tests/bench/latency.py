"""Latency: append of the event that moves a customer -> its change visible to a read_committed reader.

Open loop: a source sends at a fixed schedule whether or not the service keeps up. Among the traffic are
light users who suddenly use 80 GB: their next evaluation must move them. Event time runs faster than the
clock, so that the hourly scan over all customers is under way nearly all the time.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from typing import Any, Final

import numpy as np

from tests.bench._cluster import Loader, bench_config, cpu_seconds, make_topics, start_broker
from tests.bench._events import LIGHT, START_US, Population
from tests.bench._observer import Observer
from tests.bench._remote import Remote, say, two_cores
from tests.bench._service import ServiceRunner
from tests.bench._source import Source

HISTORY_DAYS: Final = 30
_SEED: Final = 11
#: Time for the last changes to come out after the last event.
_DRAIN_S: Final = 3.0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rate", type=int, default=20_000, help="events per second")
    parser.add_argument("--seconds", type=float, default=80.0)
    parser.add_argument(
        "--warm-s",
        type=float,
        default=20.0,
        help="seconds of traffic that are not counted: until then the broker still compiles",
    )
    parser.add_argument("--jumps", type=int, default=3000, help="planted behaviour changes")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--history", type=int, default=15, help="events per customer before")
    parser.add_argument("--scan-s", type=int, default=60, help="event time between scans, seconds")
    parser.add_argument("--speed", type=float, default=120.0, help="event time per second of the clock")
    parser.add_argument(
        "--interval-ms", type=int, help="commit interval of the service (default: the product's)"
    )
    parser.add_argument("--bootstrap", help="a broker to use (default: start one on the second core)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: to see that it works, not to measure"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.rate, options.seconds, options.warm_s = 500, 6.0, 1.0
        options.jumps, options.customers, options.history = 50, 1000, 10
    return options


def summary(
    options: argparse.Namespace,
    seen: dict[str, Any],
    planted: set[str],
    served: dict[str, Any],
    sent: dict[str, Any],
) -> dict[str, Any]:
    """Percentiles over all behaviour changes whose trigger was appended after the warm-up."""
    first = seen["append_s"].min() if len(seen["append_s"]) else 0.0
    counted = seen["append_s"] >= first + options.warm_s
    latency = seen["latency_ms"][counted]
    if not len(latency):
        raise RuntimeError("no behaviour change was seen: see the numbers above")
    p50, p90, p99 = (round(float(np.percentile(latency, q)), 1) for q in (50, 90, 99))
    moved = planted & set(seen["customers"])
    return {
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "max_ms": round(float(latency.max()), 1),
        "changes": len(latency),
        "planted": len(planted),
        "planted_moved": len(moved),
        "rate": options.rate,
        "rate_reached": round(sent["sent"] / sent["seconds"], 1),
        "source_behind_ms": round(sent["behind_ms"], 1),
        "seconds": options.seconds,
        "events": served["events"],
        "customers": options.customers,
        "turns": served["turns"],
        "scan_share": round(served["turns_with_scan"] / max(served["turns"], 1), 3),
        "slowest_turn_ms": round(served["slowest_turn_ms"], 1),
        "stages_ms_per_turn": {s: round(ms, 2) for s, ms in served["stages_ms_per_turn"].items()},
        "metrics_share_of_loop": round(served["metrics_share"], 4),
        "published": served["changes"],
    }


def main() -> None:
    """Runs the benchmark; the last line of stdout is the result."""
    options = parse()
    measured, other = two_cores()
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(options.bootstrap, other))
        say(f"broker: {broker}; service on core {measured}, all others on core {other}")
        settings = {} if options.interval_ms is None else {"commit__interval_ms": options.interval_ms}
        config = bench_config(
            broker.bootstrap,
            model__min_customers=min(5000, options.customers),
            decision__min_dwell_days=0,
            scan__interval_s=options.scan_s,
            watermark__idle_grace_s=None,
            **settings,
        )
        make_topics(config, options.partitions)
        population = Population(options.customers, _SEED)
        history = Loader(config).load(population.history(options.history, HISTORY_DAYS))
        say(f"history: {history:,} events of {options.customers:,} customers")
        service = stack.enter_context(Remote(measured, ServiceRunner, config, START_US))
        warm = service.call("warm", history)
        say(f"warm after {warm['seconds']:.0f} s: {warm['changes']}, segments {warm['segments']}")
        source = stack.enter_context(Remote(other, Source, config, options.customers, _SEED))
        plan = {name: getattr(options, name) for name in ("rate", "seconds", "speed", "jumps", "warm_s")}
        source.send("prepare", plan)
        while source.is_busy:
            service.call("keep_alive")
        n = source.result()
        light = np.flatnonzero(population.persona == LIGHT)[:n]
        planted = {customer.decode() for customer in population.ids[light]}
        observer = stack.enter_context(Remote(other, Observer, config, options.partitions))
        service.send("serve", options.seconds + _DRAIN_S, options.speed)
        observer.send("watch", options.seconds + _DRAIN_S)
        before = cpu_seconds(broker.pid)
        sent = source.call("run")
        after = cpu_seconds(broker.pid)
        served = service.result()
        say(f"{observer.result():,} changes seen; service: {served}")
        result = summary(options, observer.call("latencies"), planted, served, sent)
        result["broker"] = broker.description
        result["broker_busy_share"] = (
            None if before is None or after is None else round((after - before) / sent["seconds"], 3)
        )
        print(json.dumps(result))


if __name__ == "__main__":
    main()
