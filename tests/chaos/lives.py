"""Lives of a worker that end at chosen places, and the judgement of a run: as if nothing had happened."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import Final

from consumer.exit_codes import ExitCode
from tests.chaos.nursery import Child
from tests.chaos.oracle import State, invariants, same_outcome, same_readers
from tests.chaos.stage import Options, Run, Stage, Stuck
from tests.chaos.verified import verified

#: How long a process with a trap may take to reach it.
LEG_S: Final = 40.0
#: Longer than a session: the group goes on without the member.
FREEZE_S: Final = 12.5


@dataclass(slots=True)
class Verdict:
    """What came of a run. `problems`: what does not hold; `faults`: what was done to it, as it happened.

    `missed`: faults that were planned and did not happen; a run with none that happened is void.
    """

    problems: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def is_void(self) -> bool:
        """Whether nothing was done to it."""
        return not self.faults and not self.problems


@dataclass(frozen=True, slots=True)
class Leg:
    """One life of a worker: `traps` as failpoints; `then` happens after `after` commits of its own.

    `name`: the failpoint that must fire and end the process. `then`: `stop`, `join` (of another worker),
    `freeze` (for longer than its session) or `wait` (for the trap although all is done).
    """

    name: str
    traps: str
    then: str = ""
    after: int = 3


def judge(run: Run, verdict: Verdict) -> None:
    """Stops the run and adds what does not hold."""
    outcome = run.finish()
    verdict.problems += run.traceback()
    if run.options.calm:
        ended = [c.code for c in run.children if c.code not in (ExitCode.OK, -signal.SIGKILL)]
        verdict.problems += [f"a worker ended by itself with code {code}" for code in ended]
    verdict.problems += invariants(outcome, run.inputs.ends, run.inputs.erased)
    verdict.problems += same_readers(run.observer, outcome)
    n_models = run.options.n_models if run.options.scripted else 1
    expected = run.stage.expected(run.inputs.seed, n_models, run.options.news)
    if run.options.several or not run.options.scripted:
        outcome.state.update(_checked(run, outcome.state, verdict))
    if run.options.scripted:
        verdict.problems += same_outcome(outcome, expected)
    verdict.problems += verified(run)
    verdict.faults += [f"{f['failpoint']} {f['action']}" for f in run.fired]


def _checked(run: Run, held: State, verdict: Verdict) -> State:
    """What a new worker restores, after a comparison with the memory of those that were stopped.

    Where nothing is scripted the last of them may have moved on its watermark without anything to commit.
    """
    restored = run.restored()
    same = [p for p, place in held["partitions"].items() if restored["partitions"].get(p) == place]
    for part in ("features",):
        mine = {key: value for key, value in held[part].items() if key.partition("/")[0] in same}
        wrong = [key for key, value in mine.items() if restored[part].get(key) != value]
        if wrong:
            verdict.problems.append(f"{part} of {len(wrong)} are not what is restored, first {wrong[:3]}")
    return restored


def live_leg(run: Run, leg: Leg, instance: str = "a") -> Child:
    """One life: starts a worker with traps and returns when it has ended or everything is done."""
    child, before = run.start(leg.traps, instance), run.observer.commits
    end, acted = time.monotonic() + LEG_S, False
    while child.code is None and time.monotonic() < end:
        if not acted and leg.then and run.observer.commits >= before + leg.after:
            acted = True
            if leg.then == "stop":
                child.signal(signal.SIGTERM)
            elif leg.then == "join":
                run.start(instance="b")
            elif leg.then == "freeze":
                child.signal(signal.SIGSTOP)
                time.sleep(FREEZE_S)
                child.signal(signal.SIGCONT)
        if run.is_done and leg.then not in ("stop", "wait"):
            break
        time.sleep(0.01)
    return child


def kill_chain(stage: Stage, seed: int, legs: list[Leg], options: Options) -> Verdict:
    """One run whose worker is killed at a failpoint, started again, killed at the next one, and so on."""
    verdict = Verdict()
    with Run(stage, seed, "kills", options) as run:
        try:
            for leg in legs:
                before = len(run.fired)
                live_leg(run, leg)
                names = [f["failpoint"] for f in run.fired[before:]]
                if leg.name not in names:
                    verdict.missed.append(leg.name)
                    for child in run.children:
                        child.signal(signal.SIGKILL)
            run.wait_until_live(run.start())
            run.wait_until_done()
            judge(run, verdict)
        except Stuck as stuck:
            verdict.problems.append(f"stuck: {stuck}")
    return verdict


def wait_for_commits(run: Run, n: int) -> None:
    """Until the run has `n` audit records, or is done."""
    end = time.monotonic() + LEG_S
    while run.observer.commits < n and not run.is_done and time.monotonic() < end:
        run.revive()
        time.sleep(0.01)
