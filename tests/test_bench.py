"""The benchmarks run and say what they measured. How fast anything was is not asserted here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.brokers import Broker

ROOT = Path(__file__).parent.parent
STAGES = {"poll", "decode", "evaluate", "encode", "commit", "other"}


def run(name: str, *options: str) -> dict[str, Any]:
    """The JSON object in the last line of `python -m tests.bench.<name>`."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{name}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.kafka
@pytest.mark.slow
def test_throughput_measures_four_readers(kafka: Broker) -> None:
    """Throughput has the rates of all four, their ratios and the stages of the service."""
    found = run("throughput", "--quick", "--bootstrap", kafka.bootstrap)
    rates = {f"{name}_events_per_s" for name in ("bare", "service", "river", "pandas")}
    ratios = {f"ratio_to_{name}" for name in ("bare", "river", "pandas")}
    assert all(found[name] > 0 for name in rates | ratios)
    assert set(found["stages_us"]) == STAGES


@pytest.mark.kafka
@pytest.mark.slow
def test_latency_sees_the_planted_changes(kafka: Broker) -> None:
    """Latency has percentiles over changes whose cause is in the input, and the planted ones move."""
    found = run("latency", "--quick", "--bootstrap", kafka.bootstrap)
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert found["planted"] == 50
    assert found["planted_moved"] >= 0.5 * found["planted"]  # one feature cannot move everybody
    assert found["changes"] > 0


@pytest.mark.slow
def test_memory_counts_every_customer() -> None:
    """Memory has the growth of the process per customer, all of whom have a segment."""
    found = run("memory", "--quick")
    assert found["customers"] == found["customers_with_segment"] == 5000
    assert found["bytes_per_customer"] > 0
    assert found["state_bytes_per_customer"] > found["index_bytes_per_customer"] > 0


@pytest.mark.kafka
@pytest.mark.slow
def test_recovery_goes_on_from_snapshots(kafka: Broker) -> None:
    """Recovery has its phases, and every partition came back from a snapshot."""
    found = run("recovery", "--quick", "--bootstrap", kafka.bootstrap)
    assert found["sources"] == {"snapshot": 4}
    assert 0 < found["restored_s"]["p50"] <= found["live_s"]["p50"]
    assert found["snapshot_cpu_share_of_process"] > 0
