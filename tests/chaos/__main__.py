"""`python -m tests.chaos`: kills, storms and mutants, with a ledger that an interrupted run goes on from.

Every run has an id (`chain:SEED:NUMBER`, `storm:SEED`, `followed:SEED`: a storm with subscribers,
`wide:SEED`: a storm on three brokers, `mutant:NAME`, `scenario:NAME`); `--only ID` with the same `--seed`
replays one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos.lives import Verdict
from tests.chaos.mutants import MUTANTS
from tests.chaos.plans import chains
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stage import Stage
from tests.chaos.storm import WEIGHTS, WIDE, Storm

#: What a full run must have seen to count as one.
MIN_KILLS: Final = 200
MIN_FAILPOINTS: Final = 30
MIN_STORMS: Final = 50
#: Kinds of random runs.
_STORMS: Final = ("storm", "followed", "wide")
#: A run in which nothing happened is tried again with another draw.
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to do: deaths per failpoint, random runs: on one broker, with subscribers (`followed`) and on
    three brokers (`wide`); inputs.

    Mutants and scenarios by name.
    """

    rounds: int
    storms: int
    followed: int
    wide: int
    inputs: int
    mutants: tuple[str, ...]
    scenarios: tuple[str, ...]
    chains: int = 1000


FULL: Final = Sizes(5, 35, 10, 10, 3, tuple(MUTANTS), tuple(SCENARIOS))
SHORT: Final = Sizes(
    1, 1, 1, 0, 1, ("offset_plus_one", "no_payload_retry", "published_not_reread"), ("abort",), 3
)


class Ledger:
    """Verdicts of runs, one JSON line each."""

    def __init__(self, path: Path, resume: bool) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            path.unlink(missing_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.entries: dict[str, dict[str, Any]] = {}
        for line in lines:
            entry = json.loads(line)
            self.entries[entry["id"]] = entry

    def add(self, id: str, verdict: Verdict, seconds: float) -> dict[str, Any]:
        """Writes a verdict down."""
        entry: dict[str, Any] = {
            "id": id,
            "verdict": "void" if verdict.is_void else "fail" if verdict.problems else "pass",
            "faults": verdict.faults,
            "missed": verdict.missed,
            "problems": [problem[:2000] for problem in verdict.problems],
            "seconds": round(seconds, 1),
        }
        self.entries[id] = entry
        with self._path.open("a") as sink:
            sink.write(json.dumps(entry) + "\n")
        return entry


def run_one(stage: Stage, id: str, seed: int, sizes: Sizes) -> Verdict:
    """The run called `id`."""
    kind, _, name = id.partition(":")
    if kind == "chain":
        return next(chain for chain in chains(seed, sizes.rounds, sizes.inputs) if chain.id == id).run(stage)
    if kind in _STORMS:
        weights = WIDE if kind == "wide" else WEIGHTS
        return Storm(int(name), sizes.inputs, weights, followed=kind == "followed").run(stage)
    if kind == "scenario":
        return SCENARIOS[name](stage, 1, "")
    return SCENARIOS[MUTANTS[name].scenario](stage, 1, name)


def ids(seed: int, sizes: Sizes) -> list[str]:
    """Every run of a size, in order. A mutant's scenario runs without it first."""
    scenarios = {*sizes.scenarios, *(MUTANTS[name].scenario for name in sizes.mutants)}
    return [
        *(f"scenario:{name}" for name in SCENARIOS if name in scenarios),
        *(f"mutant:{name}" for name in sizes.mutants),
        *[chain.id for chain in chains(seed, sizes.rounds, sizes.inputs)][: sizes.chains],
        *(f"storm:{seed * 1000 + number}" for number in range(sizes.storms)),
        *(f"followed:{seed * 1000 + 201 + number}" for number in range(sizes.followed)),
        *(f"wide:{seed * 1000 + 500 + number}" for number in range(sizes.wide)),
    ]


def brokers_for(id: str) -> int:
    """How many nodes the run called `id` is made for."""
    return 3 if id.startswith("wide:") else 1


def carry_out(
    stages: Callable[[int], Stage], wanted: list[str], seed: int, sizes: Sizes, ledger: Ledger
) -> None:
    """Runs what the ledger does not have yet, and says how each ended."""
    for number, id in enumerate(wanted, 1):
        if ledger.entries.get(id, {}).get("verdict") in ("pass", "fail"):
            continue
        stage = stages(brokers_for(id))
        for _ in range(_TRIES):
            begun = time.monotonic()
            verdict = run_one(stage, id, seed, sizes)
            entry = ledger.add(id, verdict, time.monotonic() - begun)
            if entry["verdict"] != "void":
                break
        times = Counter(entry["faults"]).items()
        faults = ", ".join(fault if n == 1 else f"{fault} x{n}" for fault, n in times)
        what = f"{entry['verdict']:4} {entry['seconds']:5.1f} s  {faults}"
        if id.startswith("mutant:"):
            what = f"{'caught' if entry['problems'] else 'MISSED'} {entry['seconds']:5.1f} s"
        print(f"[{number}/{len(wanted)}] {id:32} {what}", flush=True)
        if entry["problems"]:
            print(f"      {entry['problems'][0][:300]}", flush=True)


def summary(ledger: Ledger, wanted: list[str], full: bool) -> dict[str, Any]:
    """Counts, and whether they are what they have to be."""
    entries = [ledger.entries[id] for id in wanted if id in ledger.entries]
    mutants = [e for e in entries if e["id"].startswith("mutant:")]
    runs = [e for e in entries if not e["id"].startswith("mutant:")]
    traps = Counter(fault.split()[0] for e in runs for fault in e["faults"] if fault.endswith(" kill"))
    storms = [e for e in runs if e["id"].partition(":")[0] in _STORMS]
    other = Counter(fault for e in storms for fault in e["faults"] if " " not in fault)
    found: dict[str, Any] = {
        "runs": len(runs),
        "kills": sum(traps.values()) + other["kill"] + other["trap"] + other["open"],
        "failpoint_kills": sum(traps.values()),
        "failpoints": len(traps),
        "storms": sum(e["verdict"] == "pass" for e in storms),
        "storms_on_three_brokers": sum(e["id"].startswith("wide:") for e in storms),
        "storms_with_subscribers": sum(e["id"].startswith("followed:") for e in storms),
        "storm_faults": dict(sorted(other.items())),
        "failed": [e["id"] for e in runs if e["verdict"] == "fail"],
        "void": [e["id"] for e in runs if e["verdict"] == "void"],
        "faults_missed": sum(len(e["missed"]) for e in runs),
        "mutants": len(mutants),
        "mutants_missed": [e["id"] for e in mutants if not e["problems"]],
        "seconds": round(sum(e["seconds"] for e in entries)),
    }
    enough = not full or (
        found["failpoint_kills"] >= MIN_KILLS
        and found["failpoints"] >= MIN_FAILPOINTS
        and found["storms"] >= MIN_STORMS
    )
    complete = len(entries) == len(wanted)
    found["ok"] = bool(complete and enough and not found["failed"] and not found["mutants_missed"])
    return found


def main(arguments: list[str]) -> int:
    """Runs and sums up; 0 if everything held, every mutant was caught and there was enough of both."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="every choice is drawn from it")
    parser.add_argument("--short", action="store_true", help="a few minutes instead of the full number")
    parser.add_argument("--only", action="append", help="id of a run (or its beginning); may be repeated")
    parser.add_argument("--resume", action="store_true", help="go on with the ledger that is there")
    parser.add_argument("--out", type=Path, default=Path("out/chaos"), help="ledger, logs and scripts")
    parser.add_argument("--brokers", type=int, help="nodes of the cluster for all runs (3: three copies)")
    options = parser.parse_args(arguments)
    sizes = SHORT if options.short else FULL
    wanted = ids(options.seed, sizes)
    if options.only:
        wanted = [id for id in wanted if any(id.startswith(only) for only in options.only)]
        wanted = wanted or list(options.only)
    ledger = Ledger(options.out / "ledger.jsonl", options.resume)
    logs = options.out / "runs"
    if not options.resume:
        shutil.rmtree(logs, ignore_errors=True)
    print(f"seed {options.seed}, {len(wanted)} runs, ledger {options.out / 'ledger.jsonl'}", flush=True)
    with ExitStack() as opened:
        # One cluster at a time: the first runs all need the small one, and it is closed before the other.
        stages: dict[int, Stage] = {}

        def stage_of(brokers: int) -> Stage:
            brokers = options.brokers or brokers
            if brokers not in stages:
                opened.close()
                stages.clear()
                stages[brokers] = opened.enter_context(Stage(logs, brokers))
            return stages[brokers]

        carry_out(stage_of, wanted, options.seed, sizes, ledger)
    found = summary(ledger, wanted, full=not options.short and not options.only)
    for name, value in found.items():
        print(f"{name:18} {value}")
    print(json.dumps({"chaos": found}))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
