"""An hour of two workers under a live feed: one is killed every two minutes, the other must not notice.

`python -m tests.chaos.soak --minutes 60 --out soak.jsonl`. A line of JSON per sample of the worker that is
left alone; the last line is the verdict. With `--bootstrap` a run that was interrupted goes on where it was:
the same command again, with the same file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from consumer.brokers import BrokerOptions, resolve
from tests.bench._cluster import Loader
from tests.bench._events import DAY_US, Population
from tests.service.conftest import get, load_json
from tests.service.test_process import Process, arguments, wait_until_applied
from tests.service.test_workers import check_everything
from tests.service.world import World

PARTITIONS: Final = 4
HISTORY_DAYS: Final = 29
HISTORY_PER_CUSTOMER: Final = 20
TICK_S: Final = 0.1
#: Runs from this length on are judged by their growth; it may be a fiftieth of the memory in an hour, and no
#: file in an hour.
JUDGED_FROM_MIN: Final = 30.0
MAX_RSS_SHARE_PER_H: Final = 0.02


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=10_000, help="events per second")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--kill-every-s", type=float, default=120.0)
    parser.add_argument(
        "--absent-s", type=float, default=15.0, help="that the victim is away, every 2nd time"
    )
    parser.add_argument("--sample-s", type=float, default=5.0)
    parser.add_argument("--bootstrap", help="a broker that outlives the run (default: start one)")
    parser.add_argument("--out", type=Path, default=Path("soak.jsonl"))
    return parser.parse_args(arguments)


class Feed:
    """Events of now at a steady rate, from a thread of its own."""

    def __init__(self, world: World, population: Population, rate: int) -> None:
        self._loader, self._population, self._rate = Loader(world.config), population, rate
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._stopping.wait(TICK_S):
            due = int((time.monotonic() - begin) * self._rate) - self.sent
            now_us = time.time_ns() // 1000
            for events in self._population.traffic(due, now_us - int(TICK_S * 1e6), int(TICK_S * 1e6)):
                self._loader.send(events, 0, events.n)
            self.sent += due

    def stop(self) -> None:
        """Ends it; everything has been written then."""
        self._stopping.set()
        self._thread.join()
        self._loader.flush()


@dataclass
class Commits:
    """Cumulative counts of the commit histogram, by upper bound in seconds."""

    counts: dict[float, float] = field(default_factory=dict)

    @classmethod
    def of(cls, metrics: str) -> Commits:
        """From the text of /metrics."""
        found = {}
        for family in text_string_to_metric_families(metrics):
            for sample in family.samples:
                if sample.name == "segmenter_commit_duration_seconds_bucket":
                    found[float(sample.labels["le"])] = sample.value
        return cls(found)

    def p99_s(self, before: Commits) -> float | None:
        """Bound below which 99 % of the commits since `before` stayed; None without any."""
        since = {bound: n - before.counts.get(bound, 0.0) for bound, n in sorted(self.counts.items())}
        total = max(since.values(), default=0.0)
        return next((bound for bound, n in since.items() if total and n >= 0.99 * total), None)


def usage_of(pid: int) -> dict[str, float]:
    """Resident megabytes (all, of no file, in huge pages), open files and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    pages = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]  # the first line is its address
    memory = dict(line.split(":", 1) for line in pages)
    return {
        "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
        "anonymous_mb": int(status["RssAnon"].split()[0]) / 1024,
        "huge_mb": int(memory["AnonHugePages"].split()[0]) / 1024,
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(status["Threads"]),
    }


class Busy:
    """Share of the machine's processor time in use since the last call, all processes together."""

    def __init__(self) -> None:
        self._last = self._read()

    @staticmethod
    def _read() -> tuple[int, int]:
        ticks = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]

    def __call__(self) -> float:
        """From 0 to 1."""
        before, self._last = self._last, self._read()
        total, idle = (now - then for now, then in zip(self._last, before, strict=True))
        return round(1 - idle / max(total, 1), 3)


class Soak:
    """One run: `survivor` is left alone, `victim` is killed and started again."""

    def __init__(self, world: World, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
        self._world, self._options, self._folder, self._stack = world, options, folder, stack
        self.kills = 0
        self.survivor = self._start("survivor")
        self.victim = self._start("victim")
        self._port = int(self.survivor.wait_for(r'"http_port": ?(\d+)').group(1))
        self._commits = Commits()
        self._busy = Busy()

    def _start(self, name: str) -> Process:
        log = self._folder / f"{name}-{self.kills if name == 'victim' else 0}.log"
        world = self._world.with_settings(instance=name)
        return self._stack.enter_context(Process(world, log, **model_settings(self._options)))

    def kill(self) -> None:
        """Kills the victim and starts it again: at once, so that it keeps its place in the group, and every
        second time so late that the survivor has to take over.
        """
        assert self.victim.end(signal.SIGKILL) == -signal.SIGKILL, self.victim.text[-2000:]
        self.kills += 1
        if self.kills % 2 == 0:
            time.sleep(self._options.absent_s)
        self.victim = self._start("victim")

    def sample(self) -> dict[str, Any]:
        """What the survivor uses and does now. Raises AssertionError if it has ended."""
        assert self.survivor.process.poll() is None, self.survivor.text[-3000:]
        status = load_json(get(self._port, "/status")[1])
        commits = Commits.of(get(self._port, "/metrics")[1])
        p99 = commits.p99_s(self._commits)
        self._commits = commits
        return usage_of(self.survivor.process.pid) | {
            "commit_p99_s": p99,
            "lag": status["lag"],
            "partitions": len(status["partitions"]),
            "kills": self.kills,
            "machine_busy": self._busy(),
        }

    def finish(self) -> None:
        """Waits until all is applied and stops both."""
        self.victim.wait_for("partitions live")  # a signal while it is imported would just end it
        wait_until_applied(self._world, self.survivor, timeout_s=300)
        for process in (self.victim, self.survivor):
            assert process.end(signal.SIGTERM, 60) == 0, process.text[-3000:]


def slope_per_h(samples: list[dict[str, Any]], name: str) -> float:
    """Least-squares growth per hour."""
    hours = np.array([sample["seconds"] for sample in samples]) / 3600
    return float(np.polyfit(hours, [sample[name] for sample in samples], 1)[0])


def floors(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sample with the least memory of each two kills; the last ones, which may be cut short, left out.

    While the survivor stands in for the victim, and for the minute in which it keeps what it gave back, it
    holds twice as many customers or more: how large it is then says nothing about growth.
    """
    by_takeover: dict[int, list[dict[str, Any]]] = {}
    for sample in samples:
        by_takeover.setdefault(sample["kills"] // 2, []).append(sample)
    whole = list(by_takeover.values())[:-1]
    return [min(these, key=lambda sample: float(sample["rss_mb"])) for these in whole]


def verdict(samples: list[dict[str, Any]], minutes: float) -> dict[str, Any]:
    """Growth of the floors after the first fifth of the time, which is warm-up."""
    late = [sample for sample in samples if sample["seconds"] >= minutes * 12]
    least = [sample for sample in floors(samples) if sample["seconds"] >= minutes * 12] or late
    half = len(least) // 2
    rss, files = (slope_per_h(least, name) for name in ("rss_mb", "files"))
    # A slope of minutes says nothing: its error is larger than what is looked for.
    flat = minutes < JUDGED_FROM_MIN or (rss <= MAX_RSS_SHARE_PER_H * least[0]["rss_mb"] and files <= 1.0)
    p99 = [sample["commit_p99_s"] for sample in late if sample["commit_p99_s"] is not None]
    return {
        "minutes": minutes,
        "samples": len(late),
        "kills": samples[-1]["kills"],
        "rss_mb_floors": [round(sample["rss_mb"]) for sample in least],
        "rss_mb_max": round(max(sample["rss_mb"] for sample in late)),
        "flat": flat,
        "rss_mb_per_h": round(rss, 2),
        "rss_mb_per_h_second_half": round(slope_per_h(least[half:], "rss_mb"), 2),
        "files": [min(s["files"] for s in late), max(s["files"] for s in late)],
        "files_per_h": round(files, 2),
        "threads": [min(s["threads"] for s in late), max(s["threads"] for s in late)],
        "commit_p99_s_median": float(np.median(p99)),
        "commit_p99_s_max": max(p99),
        "lag_max": max(s["lag"] for s in late),
        "machine_busy_mean": round(float(np.mean([s["machine_busy"] for s in late])), 3),
        "partitions": [min(s["partitions"] for s in late), max(s["partitions"] for s in late)],
    }


def model_settings(options: argparse.Namespace) -> dict[str, Any]:
    """A model as soon as there are customers; choosing k is not what is watched."""
    return {"model__min_customers": min(5_000, options.customers), "model__k": 6}


def verify(world: World, options: argparse.Namespace) -> str:
    """What `segmenter verify` says of every partition: "clean" or "wrong"."""
    settings = arguments(world, **model_settings(options))[1:]
    command = [sys.executable, "-m", "consumer.cli", "verify", *settings]

    def one(partition: int) -> bool:
        done = subprocess.run(
            [*command, f"--partition={partition}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(done.stdout[-3000:], done.stderr[-3000:], file=sys.stderr)  # noqa: T201
        return done.returncode == 0

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return "clean" if all(list(pool.map(one, range(PARTITIONS)))) else "wrong"


def earlier(out: Path, bootstrap: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """First line and samples of a run on the same broker that was not finished."""
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    if not lines or lines[0]["bootstrap"] != bootstrap or "verdict" in lines[-1]:
        return {}, []
    return lines[0], lines[1:]


def main() -> None:
    """Runs it; exit code 1 if a check fails."""
    options = parse()
    with ExitStack() as stack:
        broker = stack.enter_context(resolve("real", options.bootstrap, BrokerOptions(heap_mb=1024)))
        head, samples = earlier(options.out, broker.bootstrap)
        names = {"topics__prefix": head["prefix"], "app__name": head["app"]} if head else {}
        world = World.make(broker, PARTITIONS, **model_settings(options), **names)
        with options.out.open("a" if head else "w", buffering=1) as sink:
            run(world, options, samples, sink.write, stack, bool(head))


def run(
    world: World,
    options: argparse.Namespace,
    samples: list[dict[str, Any]],
    write: Any,
    stack: ExitStack,
    resumed: bool,
) -> None:
    """The soak itself, from the samples of an earlier part on."""
    # Event ids of their own for each part of a run that was interrupted.
    population = Population(options.customers, prefix=b"s%d-" % len(samples))
    if not resumed:
        write(json.dumps({"bootstrap": world.config.kafka.bootstrap, **names_of(world)}) + "\n")
        now_us = time.time_ns() // 1000
        begin_us = now_us - HISTORY_DAYS * DAY_US
        loader = Loader(world.config)
        loader.load([population.profiles(begin_us)])
        n = HISTORY_PER_CUSTOMER * options.customers
        loader.load(population.traffic(n, begin_us, now_us - begin_us))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    soak = Soak(world, options, folder, stack)
    wait_until_applied(world, soak.survivor, timeout_s=300)
    feed = Feed(world, population, options.rate)
    feed.start()
    offset_s = samples[-1]["seconds"] if samples else 0.0
    begin = time.monotonic()
    killed = begin
    while (seconds := offset_s + time.monotonic() - begin) < options.minutes * 60:
        time.sleep(options.sample_s)
        if time.monotonic() - killed >= options.kill_every_s:
            soak.kill()
            killed = time.monotonic()
        samples.append({"seconds": round(seconds, 1), **soak.sample()})
        write(json.dumps(samples[-1]) + "\n")
    feed.stop()
    soak.finish()
    check_everything(world)
    found = verdict(samples, options.minutes) | {
        "events": sum(world.ends().values()),
        "verify": verify(world, options),
    }
    write(json.dumps({"verdict": found}) + "\n")
    print(json.dumps(found))  # noqa: T201
    if found["verify"] != "clean" or found["kills"] == 0 or not found["flat"]:
        sys.exit(1)


def names_of(world: World) -> dict[str, str]:
    """What finds the topics and the group again."""
    return {"prefix": world.config.topics.prefix, "app": world.config.app.name}


if __name__ == "__main__":
    main()
