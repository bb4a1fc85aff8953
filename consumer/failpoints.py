"""Named places where a test can make the process die, stop, wait or fail. For tests only.

    SEGMENTER_TEST_FAILPOINTS      what happens where: `commit.before=kill@3;restore.replay=sleep:200`
    SEGMENTER_TEST_FAILPOINTS_LOG  file that every firing is appended to before it takes effect

Without both variables there is nothing: a failpoint is one comparison with None. They are no settings, so no
configuration file or option can switch them on, and a process that has them warns at its start.

An entry is `name=action`, with `@n` for the n-th time the place is reached (default the first), or with `%p`
for each time with probability p, drawn from `SEGMENTER_TEST_FAILPOINTS_SEED` (default 0). Actions:

    kill             SIGKILL to this process
    stop             SIGSTOP to this process; somebody else continues it
    sleep:MS         wait
    raise:abort      the client's error that only an abort gets out of
    raise:retriable  the client's error that the same call again gets out of
    raise:fatal      the client's error after which only a restart is safe
    raise:full       OSError, no space left on the device
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException

from consumer.errors import ConfigError

VARIABLE: Final = "SEGMENTER_TEST_FAILPOINTS"
LOG_VARIABLE: Final = "SEGMENTER_TEST_FAILPOINTS_LOG"
SEED_VARIABLE: Final = "SEGMENTER_TEST_FAILPOINTS_SEED"

#: Every failpoint, in about the order in which a process comes by; a test compares them with the sources.
FAILPOINTS: Final = (
    "start.output",  # the producer has aborted what a former process left open
    "start.models",  # every model version has been adopted
    "poll.after",  # records have been consumed
    "decode.after",  # a piece has been decoded
    "model.adopted",  # a version has become visible
    "step.after",  # windows, decisions and published segments are in memory
    "payload.partition",  # between the partitions of a payload
    "payload.after",  # the payload is complete
    "handover.before",  # the commit of the turn before is finished
    "handover.after",  # the commit has begun on its thread
    "transaction.begun",
    "produce.batch",  # a batch of records of one topic and partition has been queued
    "produce.all",  # all of the payload has been queued
    "flush.after",
    "offsets.before",
    "offsets.after",
    "commit.before",
    "commit.after",  # before the loop hears of it
    "record.before",  # the loop has heard of it; metrics have not
    "abort.before",
    "abort.after",
    "payload.retry",  # the payload was aborted and is about to be written again
    "producer.rebuild",  # the old producer is gone
    "producer.started",  # the new one has its epoch
    "assign.callback",
    "revoke.callback",
    "lost.callback",
    "drop.settled",  # the commit under way has ended, the partitions are still owned
    "rebalance.dropped",  # the state of lost partitions is gone
    "restore.begin",
    "restore.audit",  # the audit log has been read
    "restore.loaded",  # the rows of a snapshot, or nothing, are in memory
    "restore.replay",  # a chunk of the input has been applied
    "restore.replayed",
    "restore.published",  # published segments are in the rows
    "live.before",  # all partitions are restored
    "live.after",
    "coordinator.assigned",  # about to become the owner of the deltas
    "coordinator.owner",
    "coordinator.fold",  # a scan has been folded
    "publish.before",
    "publish.produced",
    "publish.after",
    "calibration.begin",
    "calibration.end",
    "recalibration.begin",
    "recalibration.end",  # the proposal is there, nothing is published
    "snapshot.copied",  # a part is in the buffer
    "snapshot.part",  # and in the file
    "snapshot.written",  # the file is complete, its manifest is not there
    "snapshot.published",  # the manifest is
    "snapshot.pruned",
    "shutdown.begin",
    "shutdown.committed",  # the last turn is committed, nothing is closed
    "shutdown.closed",
)

_log = structlog.get_logger("failpoints")


@dataclass(slots=True)
class _Trap:
    """What happens at one failpoint: at the `nth` time, or each time with probability `chance`."""

    action: str
    act: Callable[[], None]
    nth: int
    chance: float | None
    hits: int = 0

    def springs(self, draw: Callable[[], float]) -> bool:
        """Counts a hit; whether it fires."""
        self.hits += 1
        return self.hits == self.nth if self.chance is None else draw() < self.chance


class _Armed:
    """The traps of this process."""

    def __init__(self, traps: dict[str, _Trap], log: str, seed: int) -> None:
        self._traps = traps
        self._random = random.Random(seed)
        self._lock = threading.Lock()  # commits and publications run on threads of their own
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)

    def reach(self, name: str) -> None:
        trap = self._traps.get(name)
        if trap is None:
            return
        with self._lock:
            fires = trap.springs(self._random.random)
            if fires:
                line = {"failpoint": name, "action": trap.action, "hit": trap.hits, "pid": os.getpid()}
                # One unbuffered write: the kernel has it whatever becomes of the process.
                os.write(self._log, json.dumps(line | {"at_ns": time.time_ns()}).encode() + b"\n")
        if fires:
            trap.act()


_armed: _Armed | None = None


def failpoint(name: str) -> None:
    """A place of `FAILPOINTS`. Does nothing unless a test has armed it."""
    if _armed is not None:
        _armed.reach(name)


def arm(env: Mapping[str, str]) -> None:
    """Arms what `env` asks for, with a warning; nothing without both variables.

    Raises `ConfigError` for what cannot be understood.
    """
    global _armed  # noqa: PLW0603 - one per process, so that a place costs one comparison
    _armed = None
    text, log = env.get(VARIABLE), env.get(LOG_VARIABLE)
    if not text or not log:
        return
    traps = dict(_parse(entry) for entry in text.split(";") if entry.strip())
    _armed = _Armed(traps, log, int(env.get(SEED_VARIABLE, "0")))
    _log.warning(
        "FAILPOINTS ARE ARMED: this process will fail on purpose; it is no production process", traps=text
    )


def disarm() -> None:
    """Takes everything back."""
    arm({})


def _parse(entry: str) -> tuple[str, _Trap]:
    name, _, rest = entry.strip().partition("=")
    chance: float | None = None
    nth = 1
    try:
        if "%" in rest:
            action, _, number = rest.partition("%")
            chance = float(number)
        else:
            action, _, number = rest.partition("@")
            nth = int(number or "1")
        act = _action(action)
    except (ValueError, KeyError):
        raise _wrong(entry) from None
    if name not in FAILPOINTS or nth < 1:
        raise _wrong(entry)
    return name, _Trap(action, act, nth, chance)


def _wrong(entry: str) -> ConfigError:
    return ConfigError(
        f"{VARIABLE}: {entry!r} is no known failpoint with an action",
        "write name=kill, stop, sleep:MS or raise:KIND, with @n or %probability; unset it in production",
    )


def _action(text: str) -> Callable[[], None]:
    kind, _, detail = text.partition(":")
    if kind == "sleep":
        seconds = float(detail) / 1000
        return lambda: time.sleep(seconds)
    if kind == "raise":
        return _raiser(detail)
    number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[kind]
    return lambda: os.kill(os.getpid(), number)


def _raiser(kind: str) -> Callable[[], None]:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if kind == "full":
        return full
    flags = {"abort": "txn_requires_abort", "retriable": "retriable", "fatal": "fatal"}[kind]

    def client() -> None:
        raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "failpoint", **{flags: True}))

    return client
