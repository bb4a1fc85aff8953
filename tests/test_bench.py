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


def run(name: str, *options: str, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """The JSON object in the last line of `python -m tests.bench.<name>`, which ends with one of `codes`."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{name}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode in codes, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert result.get("holds", True) is (done.returncode == 0)
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


def test_scrape_asks_for_everything() -> None:
    """The series of every label are in it."""
    found = run("scrape", "--quick")
    assert found["scrapes"] == 5
    assert 0 < found["median_ms"] <= found["max_ms"]
    assert found["bytes"] > 50_000


@pytest.mark.kafka
@pytest.mark.slow
def test_recovery_goes_on_from_snapshots(kafka: Broker) -> None:
    """Recovery has its phases, and every partition came back from a snapshot."""
    found = run("recovery", "--quick", "--bootstrap", kafka.bootstrap)
    assert found["sources"] == {"snapshot": 4}
    assert 0 < found["restored_s"]["p50"] <= found["live_s"]["p50"]
    assert found["snapshot_cpu_share_of_process"] > 0


@pytest.mark.kafka
@pytest.mark.slow
def test_recalibration_is_measured_under_traffic(kafka: Broker) -> None:
    """A version came of it while changes were seen, before it and during it."""
    found = run("recalibration", "--quick", "--bootstrap", kafka.bootstrap, codes=(0, 1))
    assert found["recalibration_s"] > 0
    assert found["version"] > 1
    assert found["columns"] == 25
    assert found["without"]["changes"] > 0
    assert found["during"]["changes"] > 0
    assert {"k = 5", "k = 10"} <= set(found["steps_s"])


@pytest.mark.slow
def test_quality_measures_every_reader_and_bar() -> None:
    """Quality has all streams and readers, moves with and without hysteresis, and a verdict on each bar."""
    found = run("quality", "--quick", codes=(0, 1))
    table = found["table"]
    assert {"stationary", "abrupt shift", "sorted", "silent churn", "billing cycles"} <= set(table)
    readers = ("ours", "published", "river_default", "river_warm", "mini_batch")
    assert all(row[reader] > 0.5 for row in table.values() for reader in readers)
    assert ("IBM set" in table) is (found["ibm"] == "measured")
    assert set(found["detection"]) == set(table)
    assert found["detection"]["gradual drift"]["delay_days"] == [None]  # too few customers to tell
    assert set(found["moves"]) == {"identical", "constant", "migrations", "migrations_at_once"}
    assert all({"published", "hysteresis_off"} <= set(row) for row in found["moves"].values())
    assert found["holds"] is all(bar["holds"] is not False for bar in found["bars"].values())
    measured = found["recalibration"] != "not measured"
    assert (found["bars"]["ids_renamed"]["value"] is not None) is measured
