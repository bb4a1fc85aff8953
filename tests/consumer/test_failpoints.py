"""Laws of the failpoints: known by name, silent unless armed, written down before they take effect."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

import consumer
from consumer import failpoints
from consumer.errors import ConfigError
from consumer.failpoints import FAILPOINTS, LOG_VARIABLE, SEED_VARIABLE, VARIABLE, arm, disarm, failpoint
from consumer.reaction import Reaction, reaction_to

NAME = "commit.before"


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    disarm()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where firings are written."""
    return tmp_path / "fired"


def env(text: str, log: Path, seed: int = 0) -> dict[str, str]:
    """Environment of a process with traps."""
    return {VARIABLE: text, LOG_VARIABLE: str(log), SEED_VARIABLE: str(seed)}


def fired(log: Path) -> list[tuple[str, int]]:
    """Names and hits of what was written."""
    lines = map(json.loads, log.read_text().splitlines())
    return [(line["failpoint"], line["hit"]) for line in lines]


def test_every_failpoint_is_registered_and_every_registered_one_is_somewhere() -> None:
    """The names in the sources are those of the list, each in one place, and there are at least thirty."""
    found: list[str] = []
    for path in Path(consumer.__file__).parent.rglob("*.py"):
        if path.name != "failpoints.py":
            calls = re.findall(r"\bfailpoint\(([^)]*)\)", path.read_text(encoding="utf-8"))
            found += [call.strip('"') for call in calls]
    assert sorted(found) == sorted(FAILPOINTS)
    assert len(set(FAILPOINTS)) == len(FAILPOINTS) >= 30


def test_nothing_happens_without_both_variables(log: Path) -> None:
    """A process without the variables has nothing to look at, and one variable alone is none."""
    for partial in ({}, {VARIABLE: f"{NAME}=kill"}, {LOG_VARIABLE: str(log)}):
        arm(partial)
        assert failpoints._armed is None
        failpoint(NAME)
    assert not log.exists()


def test_it_fires_at_the_nth_time_only(log: Path) -> None:
    """The error comes at the second time, other places are not touched, and the firing is written."""
    arm(env(f"{NAME}=raise:abort@2", log))
    failpoint(NAME)
    failpoint("commit.after")
    with pytest.raises(KafkaException):
        failpoint(NAME)
    failpoint(NAME)
    assert fired(log) == [(NAME, 2)]


def test_the_same_seed_fires_at_the_same_times(log: Path, tmp_path: Path) -> None:
    """With a probability the seed decides when."""
    times = []
    for number in range(2):
        at = tmp_path / str(number)
        arm(env(f"{NAME}=sleep:0%0.2", at, seed=5))
        for _ in range(100):
            failpoint(NAME)
        times.append(fired(at))
    assert times[0] == times[1]
    assert 5 < len(times[0]) < 50


@pytest.mark.parametrize(
    ("kind", "reaction"), [("abort", Reaction.ABORT), ("retriable", Reaction.AGAIN), ("fatal", Reaction.EXIT)]
)
def test_errors_are_those_of_the_client(kind: str, reaction: Reaction, log: Path) -> None:
    """Each kind of error calls for its reaction."""
    arm(env(f"{NAME}=raise:{kind}", log))
    with pytest.raises(KafkaException) as raised:
        failpoint(NAME)
    assert reaction_to(raised.value.args[0]) is reaction


def test_a_full_disk_is_an_operating_system_error(log: Path) -> None:
    """`raise:full` looks like a write to a full disk."""
    arm(env(f"{NAME}=raise:full", log))
    with pytest.raises(OSError, match="No space left"):
        failpoint(NAME)


@pytest.mark.parametrize("rest", ["", "=explode", "=kill@0", "=sleep:x", "s=kill"])
def test_what_cannot_be_understood_is_refused(rest: str, log: Path) -> None:
    """A wrong name or action stops the process instead of testing nothing."""
    with pytest.raises(ConfigError, match=VARIABLE):
        arm(env(NAME + rest, log))


def test_a_kill_leaves_its_line_and_nothing_after_it(log: Path) -> None:
    """SIGKILL at the place: the line is in the file, the code behind it has not run."""
    program = (
        "import os; from consumer.failpoints import arm, failpoint; "
        f"arm(os.environ); failpoint({NAME!r}); print('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | env(f"{NAME}=kill", log),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    assert "went on" not in done.stdout
    assert fired(log) == [(NAME, 1)]
