"""Quality of the clustering on seeded streams, beside river, MiniBatchKMeans and batch K-Means.

Without Kafka: each stream gives the feature vectors of its customers day by day. Ours, the streaming
peers and the best of ten batch fits see the same vectors; a cost ratio is a mean squared distance over
that of the batch fit of the day. The exit code is 0 only if every bar that was measured holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.bench._quality_bars import (
    READERS,
    cost_bars,
    detection,
    move_bars,
    recalibration_bars,
    table,
)
from tests.bench._quality_costs import ALARMS, Run, Source, run
from tests.bench._quality_ibm import IbmStream, is_here
from tests.bench._quality_moves import constant, identical, migrations
from tests.bench._quality_ours import recalibration
from tests.bench._quality_recalibration import recalibrate_at_end
from tests.bench._quality_streams import STREAMS
from tests.bench._remote import say

#: The set does not change once everybody has joined.
_IBM_DAYS = 14


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--customers", type=int, default=2400, help="in a stream at its usual size")
    parser.add_argument(
        "--recalibrated-customers", type=int, default=8000, help="where a recalibration is looked at"
    )
    parser.add_argument("--days", type=int, default=36, help="event-days of a stream")
    parser.add_argument("--move-days", type=int, default=30, help="event-days over which moves are counted")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--streams", nargs="*", help="names of the streams to run (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: to see that it works, not to measure"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.recalibrated_customers = 300
        options.customers, options.days, options.move_days, options.seeds = 300, 8, 12, 1
    return options


def sources(names: Sequence[str] | None) -> list[Source]:
    """The streams asked for, and the IBM set where it is."""
    known: list[Source] = [*STREAMS]
    if is_here():
        known.append(IbmStream())
    unknown = sorted(set(names or ()) - {source.name for source in known})
    if unknown:
        raise SystemExit(f"no stream {unknown}; known: {[source.name for source in known]}")
    return [source for source in known if names is None or source.name in names]


def size_of(source: Source, options: argparse.Namespace) -> tuple[int, int]:
    """Customers and event-days of a stream; the IBM set is taken whole, until everybody has joined."""
    if isinstance(source, IbmStream) and not options.quick:
        return 10_000, min(options.days, _IBM_DAYS)
    return options.customers, options.days


def measure_costs(options: argparse.Namespace) -> list[Run]:
    """Every stream with every seed."""
    runs = []
    for source in sources(options.streams):
        for seed in range(1, options.seeds + 1):
            began = time.monotonic()
            done = run(source, seed, *size_of(source, options))
            runs.append(done)
            means = ", ".join(f"{name} {value:.3f}" for name, value in done.mean_ratios.items())
            say(f"{source.name}, seed {seed}: {means} ({time.monotonic() - began:.0f} s)")
    return runs


def measure_recalibrations(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Per stream: medians over the seeds, the worst, and ids renamed by all; {} without a recalibration."""
    found: dict[str, dict[str, float]] = {}
    by = recalibration()
    if by is None:
        return found
    for source in sources(options.streams):
        customers, days = size_of(source, options)
        # A centroid of a few hundred customers is off by their chance alone: with m of them by 2 / m.
        customers = customers if isinstance(source, IbmStream) else options.recalibrated_customers
        seeds = range(1, options.seeds + 1)
        rows = [recalibrate_at_end(source, seed, customers, days, by) for seed in seeds]
        found[source.name] = {
            "ratio": round(float(np.median([row["ratio"] for row in rows])), 4),
            "ratio_a_day_later": round(float(np.median([row["ratio_a_day_later"] for row in rows])), 4),
            "worst_ratio": round(max(max(row["ratio"], row["ratio_a_day_later"]) for row in rows), 4),
            "ids_renamed": sum(row["ids_renamed"] for row in rows),
        }
        say(f"{source.name}, recalibrated: {found[source.name]}")
    return found


def measure_moves(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Means over the seeds of everything that is counted about moves."""
    measures: dict[str, Callable[[int], dict[str, float]]] = {
        "identical": lambda seed: identical(seed, options.customers, options.move_days),
        "constant": lambda seed: constant(seed, options.customers, options.move_days),
        "migrations": lambda seed: migrations(seed, options.customers, options.move_days, at_once=False),
        "migrations_at_once": lambda seed: migrations(
            seed, options.customers, options.move_days, at_once=True
        ),
    }
    found = {}
    for name, measure in measures.items():
        by_seed = [measure(seed) for seed in range(1, options.seeds + 1)]
        found[name] = {key: round(float(np.mean([row[key] for row in by_seed])), 6) for key in by_seed[0]}
        say(f"{name}: {found[name]}")
    return found


def show(rows: dict[str, dict[str, Any]], bars: dict[str, dict[str, Any]]) -> None:
    """The table and the bars, for people."""
    say(f"{'':16}" + "".join(f"{name:>15}" for name in (*READERS, "worst_day", "ari")))
    for name, row in rows.items():
        cells = [row[reader] for reader in (*READERS, "worst_day", "ari")]
        say(f"{name:16}" + "".join(f"{'-' if cell is None else format(cell, '.3f'):>15}" for cell in cells))
    for name, found in bars.items():
        verdict = {True: "holds", False: "DOES NOT HOLD", None: "not measured"}[found["holds"]]
        say(f"{name:40}{found['value']!s:>12}{found['limit']:>10}  {verdict}")


def main() -> None:
    """Runs the benchmark; the last line of stdout is the result."""
    options = parse()
    runs = measure_costs(options)
    recalibrated = measure_recalibrations(options)
    moves = measure_moves(options)
    rows = table(runs)
    bars = cost_bars(runs) | recalibration_bars(recalibrated) | move_bars(moves)
    show(rows, bars)
    result = {
        "customers": options.customers,
        "days": options.days,
        "seeds": options.seeds,
        "table": rows,
        "ibm": "measured" if is_here() else "not measured: the set is not here",
        "drift_thresholds": ALARMS,
        "detection": detection(runs),
        "moves": moves,
        "recalibration": recalibrated or "not measured",
        "bars": bars,
        "holds": all(found["holds"] is not False for found in bars.values()),
    }
    print(json.dumps(result))
    sys.exit(0 if result["holds"] else 1)


if __name__ == "__main__":
    main()
