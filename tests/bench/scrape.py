"""Scrape: how long /metrics takes, asked over HTTP, with everything in it that a large group has.

30 segments, 40 features, 64 partitions; customers are never labels, so more customers make it no longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import urllib.request

import numpy as np

from consumer.drift_figures import DriftFigures
from consumer.http import Health, StatusServer
from consumer.metric_table import DRIFT_LABELLED, DRIFT_OVERALL, Stage
from consumer.metrics import Metrics
from consumer.snapshots import Taken

TOPICS = ("telecom.usage.v1", "telecom.billing.v1", "telecom.customer.v1")


def filled(segments: int, features: int, partitions: int) -> Metrics:
    """Metrics of a worker that owns all partitions."""
    metrics = Metrics(TOPICS, "bench")
    metrics.record_events(np.full((3, 5), 7, np.int64))
    metrics.record_rejects({(topic, f"reason_{n}"): n + 1 for topic in range(3) for n in range(12)})
    metrics.record_changes(
        {(change, cause): 1 for change in ("assigned", "moved", "exited") for cause in "abcdef"}
    )
    metrics.record_commit(0.01)
    metrics.record_stages(dict.fromkeys(Stage, 0.01))
    metrics.record_restore("snapshot", {"audit": 0.1, "load": 1.0, "replay": 0.5})
    metrics.set_lag({(topic, p): p for topic in TOPICS for p in range(partitions)})
    metrics.set_watermarks(dict.fromkeys(range(partitions), 1))
    metrics.record_scans(range(partitions), 1)
    for p in range(partitions):
        metrics.record_snapshot(Taken(p, rows=1, bytes=1, seconds=1.0, cpu_s=0.1))
    metrics.set_segments({f"s{n}": n for n in range(segments)})
    labels = {
        name: {f"{name}_{n}": 0.1 for n in range(features if name.startswith("feature") else segments)}
        for name in DRIFT_LABELLED
    }
    metrics.set_drift(DriftFigures(10_000, dict.fromkeys(DRIFT_OVERALL, 0.1), labels))
    metrics.set_alarms((f"kind_{n}", "subject", "watch") for n in range(20))
    metrics.set_model(3, segments, "hash", 1)
    return metrics


def main() -> None:
    """Runs the benchmark; the last line of stdout is the result."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scrape", description=__doc__)
    parser.add_argument("--segments", type=int, default=30)
    parser.add_argument("--features", type=int, default=40)
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--scrapes", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="few scrapes: to see that it works")
    options = parser.parse_args()
    n = 5 if options.quick else options.scrapes
    metrics = filled(options.segments, options.features, options.partitions)
    server = StatusServer("127.0.0.1", 0, metrics.registry, Health(), dict)
    times, size = [], 0
    for _ in range(n):
        begin = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=20) as answer:
            size = len(answer.read())
        times.append(1e3 * (time.perf_counter() - begin))
    server.close()
    result = {
        "median_ms": round(statistics.median(times), 2),
        "max_ms": round(max(times), 2),
        "bytes": size,
        "scrapes": n,
        "segments": options.segments,
        "features": options.features,
        "partitions": options.partitions,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
