"""The soak runs, kills its victim and comes to a verdict; how flat the memory is takes an hour to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.brokers import Broker
from tests.chaos.soak import Commits, earlier, slope_per_h

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.kafka
@pytest.mark.slow
def test_a_short_soak_comes_to_a_verdict(kafka: Broker, tmp_path: Path) -> None:
    """A kill, every record applied, and the samples of the worker that was left alone."""
    out = tmp_path / "soak.jsonl"
    options = [
        "--minutes=0.4",
        "--rate=500",
        "--customers=600",
        "--kill-every-s=15",
        "--sample-s=2",
    ]
    options += [f"--bootstrap={kafka.bootstrap}", f"--out={out}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.soak", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    found = lines[-1]["verdict"]
    assert found["kills"] == 1
    assert found["events"] > 600 * 20 + 500 * 20
    assert found["samples"] >= 5
    assert {sample["kills"] for sample in lines[1:-1]} == {0, 1}
    assert all(sample["rss_mb"] > 50 and sample["threads"] > 1 for sample in lines[1:-1])
    # What is finished is not gone on with; what was cut off is, on the same broker only.
    assert earlier(out, kafka.bootstrap) == ({}, [])
    out.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    assert earlier(out, kafka.bootstrap) == (lines[0], lines[1:-1])
    assert earlier(out, "elsewhere:9092") == ({}, [])


def test_growth_is_per_hour() -> None:
    """Two megabytes in a quarter of an hour are eight per hour."""
    samples = [{"seconds": 9.0 * n, "rss_mb": 300 + 0.02 * n} for n in range(100)]
    assert slope_per_h(samples, "rss_mb") == pytest.approx(8.0)


def test_a_percentile_counts_the_commits_of_its_interval_only() -> None:
    """A hundred fast commits since then, whatever was slow before."""
    before = Commits({0.05: 0.0, 0.1: 0.0, 1.0: 50.0})
    assert Commits({0.05: 98.0, 0.1: 100.0, 1.0: 150.0}).p99_s(before) == 0.1
    assert before.p99_s(before) is None
