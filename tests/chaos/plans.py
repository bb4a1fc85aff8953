"""Which failpoints a run is killed at: chains of them, so that one run sees several deaths."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from tests.chaos.lives import Leg, Verdict, kill_chain
from tests.chaos.stage import Options, Stage

#: Reached in every turn.
TURN: Final = (
    "poll.after",
    "decode.after",
    "step.after",
    "payload.partition",
    "payload.after",
    "handover.before",
    "handover.after",
    "transaction.begun",
    "produce.batch",
    "produce.all",
    "flush.after",
    "offsets.before",
    "offsets.after",
    "commit.before",
    "commit.after",
    "record.before",
)
#: Reached on the way up, once there has been a commit.
START: Final = (
    "start.output",
    "start.models",
    "model.adopted",
    "assign.callback",
    "restore.begin",
    "restore.audit",
    "restore.loaded",
    "restore.replay",
    "restore.replayed",
    "restore.published",
    "live.before",
    "live.after",
    "coordinator.assigned",
    "coordinator.owner",
)
#: Reached while a snapshot is written.
SNAPSHOT: Final = (
    "snapshot.copied",
    "snapshot.part",
    "snapshot.written",
    "snapshot.published",
    "snapshot.pruned",
)
#: Reached when a transaction is aborted.
ABORT: Final = ("abort.before", "abort.after", "payload.retry", "producer.rebuild", "producer.started")
STOP: Final = ("shutdown.begin", "shutdown.committed", "shutdown.closed")
#: Reached when another worker joins.
JOIN: Final = ("revoke.callback", "drop.settled", "rebalance.dropped")
#: Reached when the group has gone on without the worker.
LOST: Final = ("lost.callback",)
#: Reached by the coordinator, which is busy only where nothing is scripted.
FOLD: Final = ("coordinator.fold", "publish.before", "publish.produced", "publish.after")
CALIBRATE: Final = ("calibration.begin", "calibration.end")

#: Reached several times in a turn.
_OFTEN: Final = frozenset({"payload.partition", "produce.batch"})
#: Reached once per partition, or per part.
_TIMES: Final = {"restore": 3, "snapshot": 4}
_LEGS: Final = 6


@dataclass(frozen=True, slots=True)
class Chain:
    """A run: its legs and its options. `id` replays it."""

    id: str
    seed: int
    legs: tuple[Leg, ...]
    options: Options

    def run(self, stage: Stage) -> Verdict:
        """Runs it on the inputs of its seed."""
        return kill_chain(stage, self.seed, list(self.legs), self.options)


def leg_at(name: str, rng: random.Random) -> Leg:
    """A life that ends at the failpoint `name`."""
    if name in TURN:
        return Leg(name, f"{name}=kill@{rng.randint(2, 4) * (3 if name in _OFTEN else 1)}")
    if name in ABORT:
        return Leg(name, f"offsets.before=raise:abort@{rng.randint(2, 4)};{name}=kill")
    if name in STOP:
        return Leg(name, f"{name}=kill", "stop", 6)
    if name in JOIN:
        return Leg(name, f"{name}=kill", "join", 9)
    if name in LOST:
        return Leg(name, f"{name}=kill", "freeze", 6)
    if name in FOLD or name in CALIBRATE:
        return Leg(name, f"{name}=kill", "wait")
    often = _TIMES.get(name.split(".", maxsplit=1)[0])
    return Leg(name, f"{name}=kill@{rng.randint(1, often)}" if often else f"{name}=kill")


def chains(seed: int, rounds: int, inputs: int) -> list[Chain]:
    """Chains in which every failpoint that a single worker comes by has `rounds` deaths.

    `inputs`: how many different inputs they are spread over.
    """
    rng = random.Random(seed)
    made: list[Chain] = []

    def add(legs: list[Leg], options: Options) -> None:
        number = len(made)
        made.append(Chain(f"chain:{seed}:{number}", 1 + number % inputs, tuple(legs), options))

    for _ in range(rounds):
        others = [*START, *SNAPSHOT, *ABORT, *STOP]
        turns = list(TURN)
        rng.shuffle(others)
        rng.shuffle(turns)
        while others or turns:
            legs: list[Leg] = []
            while len(legs) < _LEGS and (others or turns):
                # A commit of its own first: without one there is nothing to restore.
                if turns and (len(legs) % 2 == 0 or not others):
                    legs.append(leg_at(turns.pop(), rng))
                elif legs or not turns:
                    if not legs:
                        legs.append(leg_at("commit.after", rng))
                    legs.append(leg_at(others.pop(), rng))
            add(legs, Options(3))
    for number in range(max(1, rounds // 2)):
        for name in JOIN:
            add([leg_at(name, rng)], Options(1, several=True, settings={"commit.interval_ms": 100}))
        for name in LOST:
            add([leg_at(name, rng)], Options(1, settings={"commit.interval_ms": 100}))
        free = {"commit.max_events": 150, "commit.interval_ms": 20}
        add([leg_at(name, rng) for name in FOLD], Options(1, scripted=False, settings=free))
        if number == 0:
            first = free | {"model.min_customers": 150, "model.min_history_days": 14}
            for name in CALIBRATE:
                add([leg_at(name, rng)], Options(0, scripted=False, settings=first))
    return made
