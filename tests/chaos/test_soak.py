"""The soak runs, kills its victim and comes to a verdict; how flat the memory is takes an hour to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.brokers import Broker
from tests.chaos.soak import Commits, earlier, floors, slope_per_h, verdict

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


def samples_of(growth_mb_per_h: float) -> list[dict[str, Any]]:
    """An hour with a kill every two minutes; every second one adds another's customers for a minute."""
    found = []
    for seconds in range(0, 3600, 5):
        kills, since = divmod(seconds, 120)
        peak = 150.0 + 2.0 * kills if kills and kills % 2 == 0 and since < 75 else 0.0
        rss = 650.0 + peak + growth_mb_per_h * seconds / 3600
        found.append({"seconds": float(seconds), "kills": kills, "rss_mb": rss, "files": 44, "threads": 32})
    extra = {"commit_p99_s": 0.1, "lag": 0, "machine_busy": 0.5, "partitions": 2}
    return [sample | extra for sample in found]


def test_standing_in_for_another_is_no_growth() -> None:
    """Floors are of equal states; peaks differ, as the machine is busy. What stays is seen all the same."""
    least = floors(samples_of(0.0))
    assert [sample["rss_mb"] for sample in least] == [650.0] * 14
    assert verdict(samples_of(0.0), 60.0)["flat"]
    grown = verdict(samples_of(20.0), 60.0)
    assert grown["rss_mb_per_h"] == pytest.approx(20.0, abs=0.5)
    assert not grown["flat"]


def test_a_percentile_counts_the_commits_of_its_interval_only() -> None:
    """A hundred fast commits since then, whatever was slow before."""
    before = Commits({0.05: 0.0, 0.1: 0.0, 1.0: 50.0})
    assert Commits({0.05: 98.0, 0.1: 100.0, 1.0: 150.0}).p99_s(before) == 0.1
    assert before.p99_s(before) is None
