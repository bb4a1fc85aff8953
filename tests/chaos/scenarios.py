"""Runs with faults at chosen moments, among them those that mutants are held against."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import Producer

from tests.chaos.commands import recalibrations
from tests.chaos.followers import Followers, never_committed
from tests.chaos.lives import LEG_S, Leg, Verdict, judge, kill_chain, live_leg, wait_for_commits
from tests.chaos.nursery import Child
from tests.chaos.stage import Options, Run, Stage, Stuck
from tests.chaos.stray import stray_end
from tests.service.world import PARTITIONS


def kills(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """A death before, one after a commit, and one with a step in memory; three model versions."""
    names = ("commit.before=kill@4", "commit.after=kill@5", "step.after=kill@7", "flush.after=kill@6")
    legs = [Leg(text.partition("=")[0], text) for text in names]
    return kill_chain(stage, seed, legs, Options(n_models=3, mutant=mutant))


def snapshots(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """Deaths with snapshots of different ages there; each life begins from one."""
    # Slow commits: whoever copied what is not committed yet dies with a snapshot of it.
    slow = "commit.before=sleep:300%1;snapshot.published=kill"
    # Deaths all over the run: what is copied too early is seen only if one of few customers moves just then.
    legs = [Leg("snapshot.published", f"{slow}@{n}") for n in (1, 2, 1, 1, 2, 1, 1)]
    legs += [Leg("commit.after", f"commit.after=kill@{n}") for n in (4, 3)]
    options = Options(n_models=3, mutant=mutant)
    verdict = Verdict()
    with Run(stage, seed, "snapshots", options) as run:
        try:
            for leg in legs:
                live_leg(run, leg)
            run.start()
            run.wait_until_done()
            verdict.faults += ["snapshot loaded" for child in run.children if "snapshot loaded" in child.text]
            judge(run, verdict)
        except Stuck as stuck:
            verdict.problems.append(f"stuck: {stuck}")
    if "snapshot loaded" not in verdict.faults:
        verdict.missed.append("snapshot loaded")
        verdict.faults.clear()  # void: nothing was restored from a snapshot
    return verdict


def disk(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """A disk that is full now and then, then slow, while workers die: commits go on, restores are right."""
    full = "snapshot.part=raise:full%0.2;snapshot.written=raise:full%0.3"
    slow = "snapshot.part=sleep:250%1;snapshot.written=sleep:900%1"
    legs = [Leg("commit.after", f"{traps};commit.after=kill@{n}") for traps, n in ((full, 12), (slow, 9))]
    options = Options(3, mutant=mutant, settings={"commit.interval_ms": 40})
    verdict = Verdict()
    with Run(stage, seed, "disk", options) as run:
        try:
            for leg in legs:
                live_leg(run, leg)
            run.start(full, seed=seed)
            run.wait_until_done()
            failures = sum("snapshot failed" in child.text for child in run.children)
            if failures < len(legs):
                verdict.missed.append("a snapshot that fails")
            judge(run, verdict)
        except Stuck as stuck:
            verdict.problems.append(f"stuck: {stuck}")
    return verdict


def _alone(
    stage: Stage,
    seed: int,
    options: Options,
    traps: str,
    act: Callable[[Run, Child, Verdict], None],
) -> Verdict:
    """One worker with traps, something that happens to it, and the end of the run."""
    verdict = Verdict()
    with Run(stage, seed, act.__name__.strip("_"), options) as run:
        try:
            act(run, run.start(traps), verdict)
            run.wait_until_done(90)
            judge(run, verdict)
        except Stuck as stuck:
            verdict.problems.append(f"stuck: {stuck}")
    return verdict


def _nothing(_: Run, __: Child, ___: Verdict) -> None:
    """The traps are enough."""


def abort(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """A transaction that the client wants aborted: the same payload once more."""
    return _alone(stage, seed, Options(3, mutant=mutant, calm=True), "offsets.before=raise:abort@5", _nothing)


def step_error(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """A step that fails half-way: the process ends, with a traceback, and the next one restores."""
    verdict = _alone(stage, seed, Options(3, mutant=mutant), "step.after=raise:abort@9", _nothing)
    verdict.problems = [p for p in verdict.problems if not p.startswith("unexpected error")]
    return verdict


def join(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """A second worker joins: partitions move, nobody has a reason to end."""

    def joining(run: Run, _: Child, verdict: Verdict) -> None:
        wait_for_commits(run, 12)
        other = run.start(instance="b")
        while "partitions live" not in other.text and not run.is_done:
            time.sleep(0.05)
        if not run.is_done:
            verdict.faults.append("join")

    options = Options(1, mutant=mutant, calm=True, several=True, settings={"commit.interval_ms": 150})
    return _alone(stage, seed, options, "", joining)


def comes_back(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """What a second worker was given comes back when that is killed: from memory, and from what it did."""

    def returning(run: Run, first: Child, verdict: Verdict) -> None:
        wait_for_commits(run, 12)
        other = run.start(instance="b")
        wait_until(run, lambda: "partitions live" in other.text)
        committed = run.observer.commits
        wait_until(run, lambda: run.observer.commits >= committed + 9)
        restored = first.text.count("partition restored")
        other.signal(signal.SIGKILL)
        wait_until(run, lambda: first.text.count("partition restored") >= restored + PARTITIONS)
        back = [line for line in first.text.splitlines() if "partition restored" in line][-PARTITIONS:]
        verdict.faults += ["given back"] + ["from memory" for line in back if "kept" in line]

    options = Options(1, mutant=mutant, several=True, settings={"commit.interval_ms": 300})
    verdict = _alone(stage, seed, options, "", returning)
    if verdict.faults.count("from memory") < PARTITIONS:
        verdict.missed.append("from memory")
        verdict.faults.clear()  # void: it was restored from something else
    return verdict


def restores(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """A third worker joins while the second restores, which gives up; the first is killed beside all that."""

    def crowding(run: Run, first: Child, verdict: Verdict) -> None:
        wait_for_commits(run, 12)
        second = run.start("restore.replay=sleep:5000@1", "b")
        wait_until(run, lambda: bool(run.fired))
        third = run.start(instance="c")
        wait_until(run, lambda: "restore given up" in second.text)
        first.signal(signal.SIGKILL)
        wait_until(run, lambda: "partition restored" in third.text)
        verdict.faults += ["restore given up", "killed beside restores"]

    options = Options(1, mutant=mutant, several=True, settings={"commit.interval_ms": 300})
    return _alone(stage, seed, options, "", crowding)


def zombie(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """A worker stands still before a commit until others have taken over, and then goes on."""

    def standing(run: Run, stopped: Child, _: Verdict) -> None:
        end = time.monotonic() + LEG_S
        while not run.fired:
            if stopped.code is not None or time.monotonic() > end:
                raise Stuck(f"it ended before its commit: {stopped.text[-1500:]}")
            time.sleep(0.02)
        other = run.start(instance="b")
        done = run.observer.commits
        while run.observer.commits < done + 6 and not run.is_done:
            if run.observer.quiet_s > 40:
                raise Stuck(f"nobody takes over: {other.text[-1500:]}")
            time.sleep(0.05)
        stopped.signal(signal.SIGCONT)
        time.sleep(1.5)

    options = Options(1, mutant=mutant, several=True, settings={"commit.interval_ms": 50})
    return _alone(stage, seed, options, "handover.before=stop@6", standing)


def group_lost(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """The group's offsets are gone: the audit log knows."""

    def losing(run: Run, first: Child, verdict: Verdict) -> None:
        first.wait(LEG_S)
        run.rename_group()
        verdict.faults.append("group lost")

    return _alone(stage, seed, Options(3, mutant=mutant), "commit.after=kill@9", losing)


def open_transaction(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """Somebody leaves a transaction open on the output topics while a worker dies and restores."""

    def straying(run: Run, first: Child, verdict: Verdict) -> None:
        wait_for_commits(run, 6)
        stray = open_stray(run)
        first.wait(LEG_S)
        second = run.start()
        time.sleep(2.5)
        stray.abort_transaction(10)
        second.wait(0.5)
        verdict.faults.append("open transaction")

    options = Options(3, mutant=mutant, settings={"commit.interval_ms": 100})
    return _alone(stage, seed, options, "commit.after=kill@8", straying)


def open_stray(run: Run) -> Producer:
    """A producer with an open transaction on changes and audit, never committed."""
    stray = Producer(
        {
            "bootstrap.servers": run.stage.cluster.direct,
            "transactional.id": f"stray-{run.id}",
            "transaction.timeout.ms": 20_000,
            "log_level": 0,
        }
    )
    stray.init_transactions(20)
    stray.begin_transaction()
    for topic in (run.names.changes, run.names.audit, run.names.current):
        for partition in range(len(run.inputs.ends)):
            stray.produce(topic, b"never committed", b"stray", partition)
    assert stray.flush(20) == 0
    return stray


def campaigns(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """Deaths of a worker, and a transaction that comes to nothing, while campaign engines follow and die.

    `mutant` is one of the engine.
    """
    options, verdict = Options(1, news=True, settings={"commit.interval_ms": 300}), Verdict()
    with Run(stage, seed, "campaigns", options) as run, Followers(run, seed, mutant) as followers:
        try:
            live_leg(run, Leg("commit.before", "commit.before=kill@24"))
            run.start()
            wait_for_commits(run, 80)
            with never_committed(run):
                time.sleep(1.0)
            run.wait_until_done(90)
            if mutant:
                run.finish()  # what the service did is of another run
            else:
                judge(run, verdict)
            followers.judge(verdict)
        except Stuck as stuck:
            verdict.problems.append(f"stuck: {stuck}")
    return verdict


def wait_until(run: Run, holds: Callable[[], bool]) -> None:
    """Until something holds; raises `Stuck` if it never does, or the run is over before."""
    end = time.monotonic() + LEG_S
    while not holds():
        if run.is_done or time.monotonic() > end:
            raise Stuck(f"it did not come to that: {run.stacks()}")
        time.sleep(0.01)


Scenario = Callable[[Stage, int, str], Verdict]
SCENARIOS: Final[dict[str, Scenario]] = {
    "kills": kills,
    "snapshots": snapshots,
    "abort": abort,
    "step_error": step_error,
    "join": join,
    "comes_back": comes_back,
    "restores": restores,
    "zombie": zombie,
    "group_lost": group_lost,
    "open_transaction": open_transaction,
    "stray_end": stray_end,
    "disk": disk,
    "recalibrations": recalibrations,
    "campaigns": campaigns,
}
