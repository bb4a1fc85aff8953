"""Kernels are compiled in a process of their own, once per version and kind of processor.

A process that has compiled keeps some 200 MB for the rest of its life, and its heap cannot shrink around what
the compiler has left in it. A service lives for months, so it only ever loads what another one has compiled.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Final

import structlog

from consumer.config import Config
from consumer.core import Core
from consumer.kafka_clients import make_admin
from consumer.stopping import StopRequest
from consumer.topics import TopicNames, require
from schemas.kernel import are_compiled

_log = structlog.get_logger("kernels")

_COMMAND: Final = [sys.executable, "-m", "consumer.warmup"]
#: How often a request to stop is looked for meanwhile.
_LOOK_EVERY_S: Final = 0.1
#: After so long a process that was asked to end is killed.
_STOP_TIMEOUT_S: Final = 5.0


def compile_kernels(config: Config, stop: StopRequest) -> None:
    """Returns when they are on disk, at once if they were there; or when `stop` has come.

    Where they cannot be put on disk the service works as well: it compiles what it needs when it needs it.
    Mistakes of the operator are told before that minute: raises what a `Service` raises on its way up.
    """
    if are_compiled():
        return
    _check(config)
    _log.info("compiling the kernels", hint="about a minute, once per version and kind of processor")
    begin = time.monotonic()
    process = subprocess.Popen(
        _COMMAND,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not stop.has_come:
            try:
                _, said = process.communicate(timeout=_LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                continue
            if process.returncode:
                _log.warning(
                    "the kernels could not be compiled ahead: the first turns compile them",
                    problem=said.strip().rpartition("\n")[2],
                )
            else:
                _log.info("kernels compiled", seconds=round(time.monotonic() - begin, 1))
            return
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _check(config: Config) -> None:
    Core(config, require(make_admin(config), TopicNames.with_prefix(config.topics.prefix)))
