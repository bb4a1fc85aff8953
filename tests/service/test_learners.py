"""The learners end to end, on the core as the service and the replay run it, without Kafka."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from consumer.config_sources import load_config
from consumer.core import Core, Positions, delta_of, report_of
from consumer.simulator import Simulation, SimulationSettings
from online_model.coordinator import make_first_model
from online_model.model import Model
from schemas.internal import DeltaRecord, from_json, to_json
from schemas.records import RawRecords

TOPICS = {"telecom.usage.v1": 0, "telecom.billing.v1": 1, "telecom.customer.v1": 2}
DAY_US = 86_400_000_000


@dataclass(slots=True)
class Learnt:
    """What a learner made of a simulated month: its versions, the last segments, the changes."""

    versions: list[Model]
    segments: dict[bytes, int]
    n_changes: int


def learn(learner: str, days: int = 20, calibrate_after: int = 14) -> Learnt:
    """Runs 250 customers through one core; calibrates once, then folds every scan."""
    chosen = {"model.learner": learner, "model.k": 4, "scan.interval_s": 86_400}
    config = load_config(None, {}, chosen | {"watermark.idle_grace_s": None})
    core = Core(config, 1)
    source = Simulation(SimulationSettings(customers=250, days=days, seed=3, activity=0.3, chunk_hours=12))
    versions: list[Model] = []
    next_offset = [0, 0, 0]
    n_changes = 0

    def adopt(model: Model) -> None:
        versions.append(model)
        core.engine.offer_model(model)
        core.coordinator.adopt(model)

    core.engine.add_partition(0)
    for chunk in source.chunks():
        topic = np.array([TOPICS[name] for name in chunk.topic], np.uint8)
        offset = np.empty(len(topic), np.int64)
        for code in range(3):
            mine = np.flatnonzero(topic == code)
            offset[mine] = np.arange(next_offset[code], next_offset[code] + len(mine))
            next_offset[code] += len(mine)
        raw = RawRecords(list(chunk.value), list(chunk.key), topic, np.zeros(len(topic), np.int32), offset)
        at = {(0, code): value for code, value in enumerate(next_offset)}
        step = core.process(raw, Positions(at, dict.fromkeys(at, True)), chunk.end_us)
        for part in step.partitions:
            n_changes += part.changes.n if part.changes is not None else 0
            if part.scanned is None:
                continue
            if part.scanned.points is not None:
                core.coordinator.learn(part.scanned.points)
            if part.scanned.completed is not None:
                # Through the bytes of the deltas topic, as in the service.
                record = delta_of(0, part.scanned, part.model_version, 86_400_000_000)
                report = report_of(from_json(to_json(record), DeltaRecord))
                made = core.coordinator.offer(report)
                if made is not None:
                    adopt(made)
        if core.engine.active is None and chunk.end_us >= source.settings.start_us + calibrate_after * DAY_US:
            population = core.engine.population(10_000)
            adopt(make_first_model(population, core.plan, core.strategies, core.calibration, 30.0))
    state = core.engine.partitions[0]

    ids = state.index.ids(np.arange(state.index.n))
    segments = state.store.rows.hot["segment"][: state.index.n].tolist()
    return Learnt(versions, dict(zip(ids, segments, strict=True)), n_changes)


@pytest.fixture(scope="module")
def learnt() -> dict[str, Learnt]:
    """Each learner on the same events."""
    return {learner: learn(learner) for learner in ("own", "river", "frozen")}


@pytest.mark.parametrize("learner", ["own", "river"])
def test_a_learner_makes_a_version_per_scan(learnt: dict[str, Learnt], learner: str) -> None:
    """Every completed scan is one version; centres move a little, ids, names and scaler stay."""
    first, *folded = learnt[learner].versions
    assert len(folded) >= 3
    assert [m.version for m in learnt[learner].versions] == list(range(1, len(folded) + 2))
    for before, after in zip(learnt[learner].versions, folded, strict=False):
        assert after.kind == "folded"
        assert after.parent == before.version
        assert after.covers.scan_id > before.covers.scan_id
        assert not np.array_equal(after.centroids, before.centroids)
        assert np.isfinite(after.centroids).all()
    last = folded[-1]
    assert [s.id for s in last.segments] == [s.id for s in first.segments]
    spread = np.sqrt(((first.centroids[:, None] - first.centroids[None]) ** 2).sum(-1)).max()
    assert np.sqrt(((last.centroids - first.centroids) ** 2).sum(-1)).max() < 0.25 * spread


def test_frozen_keeps_the_calibration(learnt: dict[str, Learnt]) -> None:
    """The frozen learner publishes no further version, and still moves customers."""
    assert [m.version for m in learnt["frozen"].versions] == [1]
    assert learnt["frozen"].n_changes >= 250


def test_the_learners_agree_on_nearly_everybody(learnt: dict[str, Learnt]) -> None:
    """After a week of learning more than nine of ten customers are in the same segment."""
    assert learnt["own"].segments.keys() == learnt["river"].segments.keys()
    for other in ("river", "frozen"):
        same = [learnt["own"].segments[key] == segment for key, segment in learnt[other].segments.items()]
        assert np.mean(same) > 0.9
