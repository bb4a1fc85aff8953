"""What the person on call does about a planted fault: the entry of the runbook, and nothing else."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.deploy.rig import Rig
from tests.deploy.runbook import Entry, entries, run

#: Until the alerts of a mended fault must be gone.
_GONE_S: Final = 120.0

#: Does what the entry says under *Mend*; returns what commands have said.
Mend = Callable[[Rig, Entry], str]


@dataclass(frozen=True, slots=True)
class Mended:
    """What came of it: the line that shows the cause ('' if none does), and seconds until all was quiet."""

    cause: str
    after_s: float | None
    said: str

    @property
    def holds(self) -> bool:
        """Whether the cause was seen and the alerts are gone."""
        return bool(self.cause) and self.after_s is not None


def start_again(rig: Rig, _: Entry) -> str:
    """A supervisor starts the dead worker again, under its name; one that stands still is killed first."""
    rig.workers[0].signal(signal.SIGKILL)
    rig.workers[0] = rig.start("a")
    rig.watch()
    return ""


def at_the_source(_: Rig, __: Entry) -> str:
    """The source sends what it should: the load goes on without the fault."""
    return ""


def make_room(rig: Rig, _: Entry) -> str:
    """The store can be written again."""
    where = Path(rig.world.config.snapshots.uri)
    where.unlink()
    shutil.move(where.with_name(where.name + ".gone"), where)
    return ""


def send_ages(rig: Rig, _: Entry) -> str:
    """The source sends the field again."""
    events = [{**rig.base(customer), "type": "profile", "age": 40} for customer in rig.customers[::3]]
    rig.send(rig.world.names.customer, events)
    return ""


def by_command(rig: Rig, entry: Entry) -> str:
    """The commands of the entry; a proposal that comes of them is looked at and promoted by its own entry."""
    said = _run(rig, entry.mend)
    waiting = entries()["SegmenterProposalWaiting"]
    code, output = run(waiting.look, _instance(rig), rig.workers[0].config)
    return said if code else said + output + _run(rig, waiting.mend)


def mend(rig: Rig, alert: str, cause: str, how: Mend) -> Mended:
    """Looks by the entry of `alert` for `cause`, a regular expression; mends; waits until all is quiet."""
    entry = entries()[alert]
    _, looked = run(entry.look, _instance(rig), rig.workers[0].config)
    seen = re.search(cause, looked)
    said = how(rig, entry)
    begin = time.monotonic()
    while (names := {name for name, _ in rig.prometheus.alerts()}) and time.monotonic() - begin < _GONE_S:
        rig.run(0.5)
    gone_s = None if names else round(time.monotonic() - begin, 1)
    return Mended("" if seen is None else seen.group().strip(), gone_s, said if seen else looked)


def _instance(rig: Rig) -> str:
    return f"127.0.0.1:{rig.workers[0].port}"


def _run(rig: Rig, commands: str) -> str:
    code, output = run(commands, _instance(rig), rig.workers[0].config)
    if code:
        raise RuntimeError(f"{commands}: {output}")
    return output
