"""`segmenter` as a worker of the chaos suite: the product's command line, with what a run asks for put in.

The environment says what that is; nothing of it exists in the product.

    CHAOS_INPUTS   prefix of input topics that several runs share
    CHAOS_SCRIPT   file of a `Script`: commit boundaries, clock and model versions are the script's
    CHAOS_NEWS     set: no change is of a backfill, so all of them may be actionable
    CHAOS_MUTANT   name of a deliberate bug (`tests.chaos.mutants`)
    CHAOS_DUMP     file for the final features and published segments, written on a clean stop
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from consumer import cli, service
from consumer.core import Core
from consumer.recorder import Recorder
from consumer.snapshots import Identity, SnapshotStore, SnapshotWriter, writer
from consumer.topics import TopicNames
from consumer.verify import verifier
from consumer.verify.partition import Clockwork
from online_model.engine import Engine
from online_model.rows import NEVER
from online_model.state_columns import PartBuffer
from tests.chaos.mutants import MUTANTS
from tests.chaos.patching import patch
from tests.chaos.script import Script
from tests.chaos.scripted import follow
from tests.service.world import features_of, published

INPUTS: Final = "CHAOS_INPUTS"
SCRIPT: Final = "CHAOS_SCRIPT"
NEWS: Final = "CHAOS_NEWS"
MUTANT: Final = "CHAOS_MUTANT"
DUMP: Final = "CHAOS_DUMP"


def main(arguments: list[str]) -> int:
    """Runs the command line with what the environment asks for; the exit code."""
    env = os.environ
    # A worker that hangs is asked where: the stacks of all its threads go to its log.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if prefix := env.get(INPUTS):
        patch(TopicNames, "with_prefix", staticmethod(_sharing(TopicNames.with_prefix, prefix)))
    if env.get(NEWS):
        _all_is_news()
    if path := env.get(SCRIPT):
        follow(Script.load(Path(path)))
    _snapshots_all_the_time()
    if name := env.get(MUTANT):
        MUTANTS[name].apply()
    if path := env.get(DUMP):
        _dump_at_the_end(Path(path))
    return cli.execute(arguments)


def _snapshots_all_the_time() -> None:
    """A run lasts seconds and has a hundred customers a partition: several parts, begun all the time."""

    def often(store: SnapshotStore, identity: Identity, _: float, keep: int) -> SnapshotWriter:
        return SnapshotWriter(store, identity, 0.05, keep)

    patch(service, "SnapshotWriter", often)
    patch(writer, "CPU_SHARE", 1.0)
    patch(writer, "PartBuffer", lambda like: PartBuffer(like, 40))


def _all_is_news() -> None:
    """The month lies in the past, and a campaign starts with what happens now: here that is all of it."""
    patch(Engine, "is_live", lambda self, state, now_us: state.watermark_us != NEVER)
    patch(verifier, "Clockwork", lambda **rules: Clockwork(**rules | {"backfill_lag_us": 1 << 62}))


def _sharing(own: Callable[[str], TopicNames], inputs: str) -> Callable[[str], TopicNames]:
    shared = own(inputs)

    def with_prefix(prefix: str = "") -> TopicNames:
        return dataclasses.replace(
            own(prefix), usage=shared.usage, billing=shared.billing, customer=shared.customer
        )

    return with_prefix


def state_of(core: Core) -> dict[str, Any]:
    """What must be equal after any number of failures: features bit by bit, segments, positions."""
    return {
        "features": {
            f"{number}/{key.decode()}": row.tobytes().hex()
            for number in core.engine.partitions
            for key, row in features_of(core, number).items()
        },
        "published": {key.decode(): list(row) for key, row in published(core).items() if row[1]},
        "partitions": {
            str(number): [state.watermark_us, *map(int, state.next_offset)]
            for number, state in core.engine.partitions.items()
        },
    }


def _dump_at_the_end(path: Path) -> None:
    draining = Recorder.draining

    def dump(self: Recorder) -> None:
        path.write_text(json.dumps(state_of(self._core)))
        draining(self)

    patch(Recorder, "draining", dump)
