"""Random runs: several workers, and faults of every kind at times that a seed decides."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.followers import Followers
from tests.chaos.lives import Verdict, judge
from tests.chaos.nursery import Child
from tests.chaos.plans import ABORT, START, TURN, leg_at
from tests.chaos.scenarios import open_stray
from tests.chaos.stage import Options, Run, Stage, Stuck

#: Faults and how often each is drawn; those of many seconds are rare.
WEIGHTS: Final = {
    "kill": 8,
    "trap": 8,
    "pause": 4,
    "cut": 6,
    "delay": 3,
    "join": 4,
    "open": 2,
    "broker": 1,
    "freeze": 1,
}
#: On several brokers: with three copies of everything the death of one is an everyday matter.
WIDE: Final = WEIGHTS | {"broker": 12, "open": 0}


@dataclass(slots=True)
class Storm:
    """One random run of `seed`: everything that is drawn is drawn from it, faults by `weights`.

    `followed`: campaign engines follow it, and die beside the workers.
    """

    seed: int
    inputs: int
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)
    followed: bool = False
    workers: dict[str, Child] = field(default_factory=dict)

    def run(self, stage: Stage) -> Verdict:
        """Runs it."""
        rng = random.Random(self.seed)
        scripted = rng.random() < 0.6
        settings = (
            {"commit.interval_ms": 80} if scripted else {"commit.interval_ms": 40, "commit.max_events": 120}
        )
        names = ["a", "b", "c"][: rng.choice([1, 1, 2, 3])]
        faults = rng.choices(list(self.weights), list(self.weights.values()), k=rng.randint(3, 5))
        options = Options(1, scripted, several=True, news=self.followed, settings=settings)
        verdict = Verdict()
        with Run(stage, 1 + self.seed % self.inputs, "storm", options) as run, ExitStack() as opened:
            try:
                followers = opened.enter_context(Followers(run, self.seed)) if self.followed else None
                for name in names:
                    self.workers[name] = run.start(instance=name)
                for fault in faults:
                    self._wait(run, rng.uniform(0.3, 1.2))
                    if run.is_done:
                        verdict.missed.append(fault)
                    else:
                        _FAULTS[fault](self, run, rng)
                        verdict.faults.append(fault)
                self._heal(run)
                run.wait_until_done(150)
                judge(run, verdict)
                if followers is not None:
                    followers.judge(verdict)
            except Stuck as stuck:
                self._heal(run)
                verdict.problems.append(f"stuck: {stuck}")
        return verdict

    def _wait(self, run: Run, seconds: float) -> None:
        """Lets time pass once there has been a commit; workers that ended come back."""
        end = time.monotonic() + 40
        while run.observer.commits < 3 and time.monotonic() < end:
            self._supervise(run)
            time.sleep(0.02)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not run.is_done:
            self._supervise(run)
            time.sleep(0.02)

    def _supervise(self, run: Run) -> None:
        for name, child in self.workers.items():
            if child.code is not None:
                self.workers[name] = run.start(instance=name)

    def _heal(self, run: Run) -> None:
        for node in run.stage.cluster.nodes:
            node.proxy.delay_s, node.proxy.refusing = 0.0, False
        for child in self.workers.values():
            child.signal(signal.SIGCONT)

    def _victim(self, rng: random.Random) -> str:
        return rng.choice(sorted(self.workers))

    # -- faults --------------------------------------------------------------------------------

    def kill(self, run: Run, rng: random.Random) -> None:
        """Kill -9 of a worker; it comes back after a moment."""
        name = self._victim(rng)
        self.workers[name].signal(signal.SIGKILL)
        self.workers[name].wait(10)
        time.sleep(rng.uniform(0, 0.5))

    def trap(self, run: Run, rng: random.Random) -> None:
        """A worker that comes back with a failpoint armed."""
        name = self._victim(rng)
        self.workers[name].signal(signal.SIGKILL)
        self.workers[name].wait(10)
        leg = leg_at(rng.choice([*TURN, *START, *ABORT]), rng)
        self.workers[name] = run.start(leg.traps, name)

    def pause(self, run: Run, rng: random.Random) -> None:
        """A worker stands still for less than its session."""
        self._stand(rng, rng.uniform(0.5, 3))

    def freeze(self, run: Run, rng: random.Random) -> None:
        """A worker stands still for longer than its session and its transaction may last."""
        self._stand(rng, 12.5)

    def _stand(self, rng: random.Random, seconds: float) -> None:
        child = self.workers[self._victim(rng)]
        child.signal(signal.SIGSTOP)
        time.sleep(seconds)
        child.signal(signal.SIGCONT)

    def cut(self, run: Run, rng: random.Random) -> None:
        """Every connection of every worker breaks, and for a moment there are no new ones."""
        for node in run.stage.cluster.nodes:
            node.proxy.cut()
            node.proxy.refusing = True
        time.sleep(rng.uniform(0.05, 1.0))
        for node in run.stage.cluster.nodes:
            node.proxy.refusing = False

    def delay(self, run: Run, rng: random.Random) -> None:
        """Everything takes long for a while: transactional steps look as if they had been repeated."""
        seconds = rng.uniform(0.05, 0.5)
        for node in run.stage.cluster.nodes:
            node.proxy.delay_s = seconds
        time.sleep(1.5)
        for node in run.stage.cluster.nodes:
            node.proxy.delay_s = 0.0

    def join(self, run: Run, rng: random.Random) -> None:
        """A worker more; it stays."""
        name = next(n for n in "abcdefgh" if n not in self.workers)
        self.workers[name] = run.start(instance=name)

    def open(self, run: Run, rng: random.Random) -> None:
        """A stranger's transaction stays open on the output topics for a while."""
        stray = open_stray(run)
        self.kill(run, rng)
        self._supervise(run)
        time.sleep(rng.uniform(0.5, 2))
        stray.abort_transaction(10)

    def broker(self, run: Run, rng: random.Random) -> None:
        """Kill -9 of a broker, which comes back."""
        node = rng.choice(run.stage.cluster.nodes)
        node.kill()
        time.sleep(rng.uniform(0, 1))
        node.start()
        node.wait()


_FAULTS: Final[dict[str, Callable[[Storm, Run, random.Random], None]]] = {
    name: getattr(Storm, name) for name in WEIGHTS
}
