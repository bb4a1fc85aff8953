"""A restart that versions have come before: who moves because of them, and who would have moved anyway."""

from __future__ import annotations

import dataclasses
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.config_sources import load_config
from consumer.core import Core, Positions
from consumer.models.calibrator import Recipe
from consumer.restore import Restorer
from online_model.change_batch import Cause
from online_model.engine import PartitionStep
from online_model.intake import Intake
from online_model.model import Model
from online_model.model_json import from_json
from online_model.partition import PartitionState
from online_model.renaming import renamed
from online_model.scan import Scan
from schemas.records import RawRecords
from tests.consumer.group import NAMES, Workers, simulated

INTERVAL_S = 14_400


@dataclasses.dataclass(slots=True, repr=False)
class Stopped:
    """A worker that has finished the first pass of version 1; `second` has other segments."""

    core: Core
    now_us: int
    first: Model
    second: Model

    def step(self) -> list[PartitionStep]:
        """One step without records."""
        nothing = RawRecords.of_topic(0, [], [])
        return self.core.process(nothing, Positions({}, {}), self.now_us).partitions

    def restart(self, came: list[Model]) -> PartitionState:
        """Partition 0 as a restart brings it back after the versions that `came` while it was down."""
        engine, known = self.core.engine, {1: self.first} | {model.version: model for model in came}
        state = engine.partitions[0]
        audit: Any = SimpleNamespace(
            model_version=1,
            previous_version=0,
            to_offsets=dict(zip(NAMES.inputs, map(int, state.next_offset), strict=True)),
            watermark_us=state.watermark_us,
            frontiers={t: f.settled for t, f in zip(NAMES.inputs, state.intake.frontiers, strict=True)},
            scan=SimpleNamespace(
                id=state.scan.id, hi=state.scan.cursor, learns=False, unseen=state.scan.unseen
            ),
        )
        engine.partitions.clear()
        for model in came:
            engine.offer_model(model)
        state.intake = Intake()
        state.intake.watermark_us, state.scan = audit.watermark_us, Scan(state.scan.interval_us)
        engine.add_partition(0, state)
        restorer: Any = SimpleNamespace(
            _names=NAMES, _core=self.core, _around=SimpleNamespace(model=known.get)
        )
        Restorer._go_on(restorer, state, audit)
        return state


@pytest.fixture
def stopped(tmp_path: Any) -> Stopped:
    """Without hysteresis of time: who would move does."""
    settings = {
        "watermark.idle_grace_s": None,
        "scan.interval_s": INTERVAL_S,
        "snapshots.uri": str(tmp_path),
        "model.k": 4,
        "model.min_customers": 100,
        "model.min_history_days": 3,
        "decision.min_dwell_days": 0,
    }
    group, commits = Workers(load_config(None, {}, settings), 1, 5), simulated(1200, 5, per_chunk=1)
    for commit in commits:
        group.turn(commit)
    [core] = group.cores
    recipe, customers = Recipe.of(core), core.engine.population(10_000)
    group.adopt(from_json(recipe.make(customers, lambda *_: None)))
    policy = dataclasses.replace(recipe.policy, k_min=6, k_max=6, k=6)
    second = from_json(dataclasses.replace(recipe, policy=policy).make(customers, lambda *_: None))
    second = dataclasses.replace(second, version=2, parent=1, kind="recalibrated")
    made = Stopped(core, commits[-1].now_us, group.newest, second)
    while not all(part.is_empty for part in made.step()):
        pass
    return made


def folded(model: Model) -> Model:
    """The next version, of a scan that taught nothing."""
    return dataclasses.replace(model, version=model.version + 1, parent=model.version, kind="folded")


def again(model: Model) -> Model:
    """The next version, under another name."""
    return renamed(model, model.segments[0].id, f"Gold {model.version}", "command")


@pytest.mark.parametrize("after", [[], [again], [folded], [again, folded, folded]])
def test_a_promotion_is_the_cause_whatever_came_after_it(stopped: Stopped, after: list[Any]) -> None:
    """Everybody is looked at again at once, and nobody acts on what only the model has moved."""
    came = [stopped.second]
    for make in after:
        came.append(make(came[-1]))
    state = stopped.restart(came)
    assert state.versions == (came[-1].version, 1)
    causes: Counter[tuple[Cause, bool]] = Counter()
    for _ in range(4):
        for part in stopped.step():
            assert (part.model_version, part.previous_version) == (came[-1].version, 1)
            if part.changes is not None:
                causes.update(zip(map(Cause, part.changes.cause), part.changes.actionable, strict=True))
    assert causes[Cause.MODEL, False] > 20
    assert set(causes) == {(Cause.MODEL, False)}
    assert not state.scan.active


@pytest.mark.parametrize("make", [again, folded])
def test_without_a_promotion_the_next_pass_comes_at_its_boundary(stopped: Stopped, make: Any) -> None:
    """As without a restart; what decided before is what the last commit was decided by."""
    came = [make(stopped.first)]
    came.append(make(came[0]))
    state = stopped.restart(came)
    assert state.versions == (3, 1)
    assert [part.scanned for part in stopped.step()] == [None]
    state.intake.watermark_us += state.scan.interval_us
    assert [part.scanned is None for part in stopped.step()] == [False]
