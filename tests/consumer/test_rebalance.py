"""The loop around rebalances: whoever has lost a partition neither decides nor commits for it.

And when it gives memory back, which is after them and now and then besides.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer.change_records import ChangeRecords
from consumer.clock import FixedClock
from consumer.config import Config
from consumer.config_sources import load_config
from consumer.core import Core, Positions
from consumer.input import Input
from consumer.models.calibrator import Recipe
from consumer.output import Payload, PayloadMaker
from consumer.restore import KeptStates, RestoreCancelled, Restored
from consumer.worker import GIVE_BACK_EVERY_S, Parts, Worker
from online_model.intake import Intake
from online_model.model import Model
from online_model.model_json import from_json
from online_model.partition import PartitionState
from schemas.records import RawRecords
from tests.consumer.group import NAMES, Commit, Workers, simulated
from tests.consumer.test_input import FakeConsumer

HOUR_S = 3600

#: What happens in the group while the partition is restored that has waited for it.
Event = Callable[["Group"], None]


class Quiet(FakeConsumer):
    """A consumer whose topics have no record."""

    def consume(self, _: int, timeout_s: float) -> list[object]:
        """Nothing."""
        return []


@dataclass(slots=True, repr=False)
class Group:
    """The group as one member sees it, and what that member did."""

    client: Quiet
    inputs: Input
    handed: list[Payload] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    restored: list[int] = field(default_factory=list)

    def assign(self, *partitions: int) -> None:
        """These are given to it."""
        self.client.on["on_assign"](self.client, self._places(partitions))

    def revoke(self, *partitions: int) -> None:
        """These are taken from it."""
        self.client.on["on_revoke"](self.client, self._places(partitions))

    def _places(self, partitions: tuple[int, ...]) -> list[TopicPartition]:
        return [TopicPartition(topic, p) for topic in NAMES.inputs for p in partitions]


class Restarted:
    """Brings partitions back with their pass under way; `events` happen in the restores of partition 1."""

    def __init__(self, core: Core, states: dict[int, PartitionState], group: Group) -> None:
        self._core, self._states, self._group = core, states, group
        self.events: list[Event] = []

    def prepare(self, partitions: list[int]) -> None:
        """Nothing is loaded ahead."""

    def restore(self, partition: int) -> Restored:
        """As the restorer: given up if the partition is not wanted any more after what has happened."""
        if partition == 1 and self.events:
            self.events.pop(0)(self._group)
            if not self._group.inputs.is_wanted(partition):
                raise RestoreCancelled
        state = self._states[partition]
        at, active = state.scan.progress, state.active
        assert active is not None
        watermark_us, settled = state.watermark_us, [f.settled for f in state.intake.frontiers]
        state.intake = Intake()
        state.intake.watermark_us = watermark_us
        for frontier, times in zip(state.intake.frontiers, settled, strict=True):
            frontier.resume(times)
        state.scan.resume(at, active.model.k, self._core.plan.columns.n)
        self._core.engine.partitions[partition] = state
        self._group.restored.append(partition)
        return Restored({(partition, t): int(o) for t, o in enumerate(state.next_offset)}, 41, "snapshot")


@dataclass(frozen=True, slots=True)
class Stopped:
    """A worker that was stopped in the first pass of a model."""

    config: Config
    core: Core
    model: Model
    states: dict[int, PartitionState]
    now_us: int


@functools.cache
def history() -> list[Commit]:
    """Five days."""
    return simulated(1500, 5, per_chunk=1)


def stopped(folder: str) -> Stopped:
    """Its partitions are no longer in its engine."""
    settings = {
        "watermark.idle_grace_s": None,
        "scan.interval_s": 4 * HOUR_S,
        "snapshots.uri": folder,
        "model.k": 3,
        "model.min_customers": 100,
        "model.min_history_days": 3,
    }
    config = load_config(None, {}, settings)
    group = Workers(config, 1, 5)
    [core], commits = group.cores, history()
    for commit in commits:
        group.turn(commit)
    model = from_json(Recipe.of(core).make(core.engine.population(10_000), lambda *_: None))
    group.adopt(model)
    now_us = commits[-1].now_us
    core.process(RawRecords.of_topic(0, [], []), Positions({}, {}), now_us)
    states = dict(core.engine.partitions)
    assert all(state.scan.active for state in states.values())
    core.engine.partitions.clear()
    return Stopped(config, core, model, states, now_us)


def nothing(*_: object, **__: object) -> None:
    """Whatever is told."""


@pytest.fixture
def started(tmp_path: Any) -> tuple[Worker, Group, Restarted]:
    """A worker that is about to hear of its first assignment, of partitions 0 and 1."""
    was, client = stopped(str(tmp_path)), Quiet()
    core = was.core
    group = Group(client, Input(cast("Consumer", client), NAMES.inputs))
    restorer = Restarted(core, was.states, group)
    records = ChangeRecords(core.plan.columns, core.strategies, NAMES.inputs, core.run_id, "/test")
    records.learn(was.model)
    committer = SimpleNamespace(finish=nothing, start=group.handed.append, serve=nothing)
    recorder = SimpleNamespace(
        rebalanced=lambda kinds, owned: group.told.append("restoring"),
        live=lambda: group.told.append("live"),
        restored=nothing,
        record=nothing,
    )
    parts: Any = SimpleNamespace(
        config=was.config,
        clock=FixedClock(was.now_us),
        core=core,
        inputs=group.inputs,
        committer=committer,
        payloads=PayloadMaker(NAMES, records, core.run_id, 4 * HOUR_S * 1_000_000),
        models=SimpleNamespace(poll=list),
        coordinator=None,
        restorer=restorer,
        kept=KeptStates(),
        snapshots=SimpleNamespace(follow=nothing, wants_part=False),
        recorder=recorder,
        health=SimpleNamespace(beat=lambda: group.told.append("beat"), wait_for=nothing),
    )
    group.assign(0, 1)
    return Worker(cast("Parts", parts), nothing), group, restorer


def shrunk(group: Group) -> None:
    """A member joins and is given partition 0."""
    group.revoke(0, 1)
    group.assign(1)


def lost(group: Group) -> None:
    """Other members have both."""
    group.revoke(0, 1)


def again(group: Group) -> None:
    """Both are lost and given back: another member may have worked on them."""
    group.revoke(0, 1)
    group.assign(0, 1)


@pytest.mark.parametrize(
    ("events", "left"), [([shrunk], {1}), ([lost], set()), ([again], {0, 1}), ([again, again, shrunk], {1})]
)
def test_what_is_lost_during_a_restore_is_not_worked_on(
    started: tuple[Worker, Group, Restarted], events: list[Event], left: set[int]
) -> None:
    """Also where it had been restored already, with a pass under way that would publish."""
    worker, group, restorer = started
    restorer.events = list(events)
    worker.run_once()
    assert set(worker._parts.core.engine.partitions) == group.inputs.owned == group.inputs.live == left
    committed = {place.partition for payload in group.handed for place in payload.offsets}
    assert committed == left
    assert sum(payload.changes for payload in group.handed) > 0 or not left
    assert group.told[-2:] == ["live", "beat"]
    worker.run_once()
    assert {place.partition for payload in group.handed for place in payload.offsets} == left


def test_what_is_lost_goes_on_from_memory(started: tuple[Worker, Group, Restarted]) -> None:
    """It was restored and nothing came after it."""
    worker, _, restorer = started
    restorer.events = [shrunk]
    worker.run_once()
    kept = worker._parts.kept.take(0)
    assert kept is not None
    assert kept.n == 41


def test_a_partition_that_is_lost_while_another_is_restored_is_not_begun(
    started: tuple[Worker, Group, Restarted],
) -> None:
    """Its loss is known before its turn comes."""
    worker, group, restorer = started
    group.assign(0, 1, 2)

    def without_the_last(group: Group) -> None:
        group.revoke(0, 1, 2)
        group.assign(0, 1)

    restorer.events = [without_the_last]
    worker.run_once()
    assert group.restored == [0, 0, 1]


def test_a_group_that_never_rests_is_followed_until_the_end(
    started: tuple[Worker, Group, Restarted],
) -> None:
    """The loop is alive meanwhile, decides nothing, and stops when it is told to."""
    worker, group, restorer = started
    rounds = 50

    def once_more(group: Group) -> None:
        again(group)
        if group.told.count("restoring") == rounds:
            worker.stop()
        restorer.events.append(once_more)

    restorer.events = [once_more]
    worker.run_once()
    assert worker.is_stopping
    assert group.told.count("restoring") == rounds + 1
    assert group.told.count("beat") >= 2 * rounds
    assert not group.handed
    assert not worker._parts.core.engine.partitions


def test_free_memory_is_given_back_where_nothing_happens_too(
    started: tuple[Worker, Group, Restarted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rebalance, and then once a minute."""
    worker, _, _ = started
    given: list[float] = []
    monkeypatch.setattr("consumer.worker.give_back", lambda: given.append(time.monotonic()))
    worker.run_once()
    worker.run_once()
    assert len(given) == 1, "the rebalance"
    assert worker._give_back_s <= time.monotonic() + GIVE_BACK_EVERY_S
    worker._give_back_s = time.monotonic()  # a minute later
    worker.run_once()
    worker.run_once()
    assert len(given) == 2
