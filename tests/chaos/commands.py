"""The coordinator dies at every step of a recalibration that somebody asked for."""

from __future__ import annotations

import time
from typing import Final

from consumer.models.history import History, command, send
from tests.chaos.lives import LEG_S, Verdict, judge, wait_for_commits
from tests.chaos.stage import Options, Run, Stage, Stuck

_STEPS: Final = (
    "recalibration.begin",
    "recalibration.end",
    "publish.before",
    "publish.produced",
    "publish.after",
)


def recalibrations(stage: Stage, seed: int, mutant: str = "") -> Verdict:
    """One command, sent twice: one version in the end, decided by from then on, and no number without one."""
    # Scans are folded and published meanwhile: they must not take the command with them.
    settings = {"commit.max_events": 60, "commit.interval_ms": 20, "model.max_moved": 1.0}
    options = Options(1, scripted=False, mutant=mutant, settings=settings)
    verdict, record = Verdict(), command("recalibrate")
    with Run(stage, seed, "recalibrations", options) as run:
        try:
            for step in _STEPS:
                before = len(run.fired)
                child = run.start(f"{step}=kill")
                if step == _STEPS[0]:
                    wait_for_commits(run, 12)
                    send(run.world.config, record)
                    send(run.world.config, record)
                child.wait(LEG_S)
                if step not in [f["failpoint"] for f in run.fired[before:]]:
                    verdict.missed.append(step)
            run.wait_until_live(run.start())
            run.wait_until_done()
            made = _versions(run, record.id)
            if len(made) != 1:
                verdict.problems.append(f"one command, versions {made}")
            judge(run, verdict)
        except Stuck as stuck:
            verdict.problems.append(f"stuck: {stuck}")
    return verdict


def _versions(run: Run, command_id: str) -> list[int]:
    """Versions that the command made, a moment after the first: by then there could be more."""
    made: list[int] = []
    end, settled = time.monotonic() + LEG_S, False
    while time.monotonic() < end:
        versions = History.read(run.world.config).versions
        made = [number for number, model in versions.items() if model.command == command_id]
        if made and not settled:
            end, settled = time.monotonic() + 3.0, True
        time.sleep(0.5)
    return made
