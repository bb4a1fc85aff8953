"""A child steps back, answers, and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.child import Answer, Child, NotNow
from online_model.panel import Progress

GROUPS = Path("/proc/sys/kernel/sched_autogroup_enabled")


def describe(task: str, report: Progress) -> bytes:
    """Its nice value, whether its session is its own, its environment and the group's nice value."""
    report(1, 2, task)
    own = os.getsid(0) == os.getpid()
    group = Path("/proc/self/autogroup")
    return f"{os.nice(0)} {own} {group.read_text() if group.exists() else ''}".encode()


def refuse(task: str, _: Progress) -> bytes:
    """Says what is wrong with its task."""
    raise NotNow(task) if task == "later" else ValueError(task)


def die(task: str, _: Progress) -> bytes:
    """Ends without an answer."""
    os._exit(int(task))


def last(task: str, _: Progress) -> bytes:
    """Tells who it is through a file, and works on for ever."""
    path = Path(task)
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)
    while True:
        time.sleep(0.01)


def answer(child: Child[str]) -> Answer:
    """What comes of it within a minute."""
    found = until(child.poll)
    child.close()
    return found


def until(ask: Callable[[], Answer | bool | None], timeout_s: float = 60.0) -> Answer:
    """What `ask` says once it says something."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := ask():
            return found if isinstance(found, Answer) else Answer()
        time.sleep(0.01)
    raise AssertionError("nothing came")


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or only its entry until somebody asks for its code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_steps_back() -> None:
    """For those of its session by its own value, for others by that of a session of its own."""
    child = Child(describe, "first", "describing")
    nice, own, group = answer(child).value.decode().split(" ", 2)
    assert (int(nice), own) == (min(os.nice(0) + 10, 19), "True")
    if GROUPS.exists() and GROUPS.read_text().strip() == "1":
        assert group.strip().endswith(f"nice {nice}")
    assert child.reached is not None
    assert child.reached.text == "first"


@pytest.mark.parametrize(
    ("work", "task", "expected"),
    [
        (refuse, "no such segment", Answer(problem="no such segment")),
        (refuse, "later", Answer(problem="later", is_passing=True)),
        (die, "3", Answer(problem="its process ended without an answer")),
    ],
)
def test_what_is_wrong_is_told(work: Callable[[str, Progress], bytes], task: str, expected: Answer) -> None:
    """Also when it says nothing at all."""
    assert answer(Child(work, task, "failing")) == expected


def test_a_closed_child_is_gone(tmp_path: Path) -> None:
    """Whatever it was doing; nobody waits for it."""
    told = tmp_path / "pid"
    child = Child(last, str(told), "lasting")
    until(told.exists)
    begin = time.monotonic()
    child.close()
    assert time.monotonic() - begin < 1.0
    until(lambda: is_gone(int(told.read_text())))


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """A killed parent leaves no child that computes on."""
    told = tmp_path / "pid"
    script = (
        "import time\nfrom consumer.child import Child\nfrom tests.consumer.test_child import last\n"
        f"child = Child(last, {str(told)!r}, 'lasting')\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2]) as parent:
        until(told.exists)
        parent.send_signal(signal.SIGKILL)
    until(lambda: is_gone(int(told.read_text())))
