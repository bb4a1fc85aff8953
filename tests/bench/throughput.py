"""Throughput: a bare consume loop, the service, river per event, pandas in micro-batches.

All read the same preloaded topics of a real Apache Kafka with the same client settings, each in a process
bound to one core while the broker has another. Rounds are interleaved; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from consumer.brokers import Broker
from consumer.config import Config
from tests.bench._bare import BareReader
from tests.bench._cluster import (
    Loader,
    Offsets,
    bench_config,
    cpu_seconds,
    ends_of,
    make_topics,
    make_yardstick_topic,
    start_broker,
)
from tests.bench._events import HOUR_US, START_US, Population
from tests.bench._pandas import PandasReader
from tests.bench._remote import Remote, say, two_cores
from tests.bench._river import RiverReader
from tests.bench._service import ServiceRunner

HISTORY_DAYS: Final = 30
#: The first block begins a day and an hour after the history: the day that customers stay at least is over.
BLOCKS_US: Final = START_US + 25 * HOUR_US
#: Events beyond the last block, so that no reader meets the end of a topic.
SLACK: Final = 0.3
MORE_SLACK: Final = 60_000


@dataclass(slots=True)
class Readers:
    """The four children."""

    service: Remote
    bare: Remote
    river: Remote
    pandas: Remote


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--events", type=int, default=1_000_000, help="events per reader and round")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--river-events", type=int, default=50_000, help="events of the river pipeline per round"
    )
    parser.add_argument(
        "--history",
        type=int,
        help="events per customer before (default: 30, 20 for 300,000 customers or more)",
    )
    parser.add_argument("--block-hours", type=float, default=4.0, help="event time that a round covers")
    parser.add_argument(
        "--interval-ms", type=int, help="commit interval of the service (default: the product's)"
    )
    parser.add_argument("--bootstrap", help="a broker to use (default: start one on the second core)")
    parser.add_argument("--profile", action="store_true", help="one more round under cProfile, on stderr")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: to see that it works, not to measure"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.events, options.customers, options.rounds = 60_000, 1000, 1
        options.river_events, options.history = 1000, 10
    if options.history is None:
        # Customers with a short history move all the time: what is measured would be the encoding of changes.
        options.history = max(20, min(30, 6_000_000 // options.customers))
    return options


def preload(config: Config, options: argparse.Namespace, population: Population) -> tuple[Loader, int]:
    """History into the topics."""
    loader = Loader(config)
    n = loader.load(population.history(options.history, HISTORY_DAYS))
    say(f"history: {n:,} events of {options.customers:,} customers over {HISTORY_DAYS} days")
    return loader, n


def load_blocks(
    config: Config, options: argparse.Namespace, population: Population, loader: Loader
) -> list[Offsets]:
    """The blocks of all rounds, one behind the other; returns where each begins."""
    names, starts = make_topics(config, options.partitions), []
    span = int(options.block_hours * HOUR_US)
    blocks = options.rounds + options.profile
    for number in range(blocks):
        starts.append(ends_of(config, options.partitions, names.inputs))
        loader.load(population.traffic(options.events, BLOCKS_US + number * span, span))
    extra = int(options.events * SLACK) + MORE_SLACK
    loader.load(population.traffic(extra, BLOCKS_US + blocks * span, span))
    say(f"{blocks} block(s) of {options.events:,} events loaded")
    return starts


def run_round(
    number: int, readers: Readers, start: Offsets, options: argparse.Namespace, broker: Broker
) -> dict[str, Any]:
    """All four on one block, in an order that turns with the rounds."""
    found: dict[str, Any] = {}

    def timed(name: str, remote: Remote, n: int) -> None:
        count, seconds = remote.call("measure", start, n)
        found[name] = count / seconds
        readers.service.call("keep_alive")

    def service() -> None:
        before = cpu_seconds(broker.pid)
        result = readers.service.call("measure", options.events)
        after = cpu_seconds(broker.pid)
        found["service"] = result["events"] / result["seconds"]
        found["details"] = result
        if before is not None and after is not None:
            found["broker_busy"] = (after - before) / result["seconds"]

    runs: list[Callable[[], None]] = [
        lambda: timed("bare", readers.bare, options.events),
        service,
        lambda: timed("river", readers.river, options.river_events),
        lambda: timed("pandas", readers.pandas, options.events),
    ]
    for i in range(len(runs)):
        runs[(i + number) % len(runs)]()
    say(
        f"round {number + 1}: "
        + ", ".join(f"{name} {found[name]:,.0f}/s" for name in ("bare", "service", "river", "pandas"))
    )
    return found


def summary(rounds: list[dict[str, Any]], options: argparse.Namespace, broker: Broker) -> dict[str, Any]:
    """Medians over the rounds; ratios are medians of the ratios of each round."""

    def rate(name: str) -> float:
        return round(float(median(found[name] for found in rounds)), 1)

    def ratio(name: str) -> float:
        return round(float(median(found["service"] / found[name] for found in rounds)), 3)

    details = [found["details"] for found in rounds]
    busy = [found["broker_busy"] for found in rounds if "broker_busy" in found]
    stages = sorted({stage for found in details for stage in found["stages_us"]})
    return {
        "bare_events_per_s": rate("bare"),
        "service_events_per_s": rate("service"),
        "river_events_per_s": rate("river"),
        "pandas_events_per_s": rate("pandas"),
        "ratio_to_bare": ratio("bare"),
        "ratio_to_river": ratio("river"),
        "ratio_to_pandas": ratio("pandas"),
        "stages_us": {
            s: round(median(found["stages_us"].get(s, 0.0) for found in details), 3) for s in stages
        },
        "client_threads_us": round(median(found["client_threads_us"] for found in details), 3),
        "events": options.events,
        "river_events": options.river_events,
        "customers": options.customers,
        "partitions": options.partitions,
        "rounds": options.rounds,
        "history_per_customer": options.history,
        "block_hours": options.block_hours,
        "changes": int(median(found["changes"] for found in details)),
        "commits": int(median(found["commits"] for found in details)),
        "scan_slices": int(median(found["scan_slices"] for found in details)),
        "broker": broker.description,
        "broker_busy_share": round(median(busy), 3) if busy else None,
        "ratios_to_bare": [round(found["service"] / found["bare"], 3) for found in rounds],
    }


def main() -> None:
    """Runs the benchmark; the last line of stdout is the result."""
    options = parse()
    measured, other = two_cores()
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(options.bootstrap, other))
        say(f"broker: {broker}; readers on core {measured}")
        settings = {} if options.interval_ms is None else {"commit__interval_ms": options.interval_ms}
        config = bench_config(
            broker.bootstrap,
            model__min_customers=min(5000, options.customers),
            watermark__idle_grace_s=None,
            **settings,
        )
        make_topics(config, options.partitions)
        population = Population(options.customers)
        loader, history = preload(config, options, population)
        blocks_end = BLOCKS_US + int((options.rounds + options.profile + 1) * options.block_hours * HOUR_US)
        service = stack.enter_context(Remote(measured, ServiceRunner, config, blocks_end))
        warm = service.call("warm", history)
        say(f"warm after {warm['seconds']:.0f} s: {warm['changes']}, segments {warm['segments']}")
        topic = make_yardstick_topic(config, options.partitions)
        readers = Readers(
            service,
            stack.enter_context(Remote(measured, BareReader, config)),
            stack.enter_context(Remote(measured, RiverReader, config, topic)),
            stack.enter_context(Remote(measured, PandasReader, config, topic)),
        )
        starts = load_blocks(config, options, population, loader)
        for peer in (readers.river, readers.pandas):  # their tables of customers are warm too
            peer.call("measure", starts[0], options.river_events)
        service.call("keep_alive")
        rounds = [run_round(i, readers, starts[i], options, broker) for i in range(options.rounds)]
        if options.profile:
            say(service.call("measure", options.events, True)["profile"])
        print(json.dumps(summary(rounds, options, broker)))


if __name__ == "__main__":
    main()
