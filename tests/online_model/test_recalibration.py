"""Laws of recalibration: it follows the customers, renames nobody, and says what it would change."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from online_model.coordinator import make_first_model
from online_model.distance import nearest
from online_model.evaluate import Population
from online_model.lloyd import best_of, lloyd
from online_model.model import Model, Segment
from online_model.model_json import from_json, to_json
from online_model.panel import CalibrationPolicy
from online_model.recalibration import Proposal, Recalibration, RecalibrationPolicy, rebased, restored
from online_model.scaler import apply
from online_model.strategy import default_strategies
from tests.online_model.tiny import TINY

Float64Array = npt.NDArray[np.float64]

#: Personas by megabytes and calls.
CENTERS = np.array([[20.0, 5.0], [20.0, 60.0], [90.0, 5.0], [90.0, 60.0], [160.0, 30.0]])
STRATEGIES = default_strategies()


def people(
    centers: Float64Array, sizes: list[int], seed: int, watermark_us: int = 10**15
) -> tuple[Population, npt.NDArray[np.int64]]:
    """Settled customers around `centers`, and whose persona each has."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(len(sizes)), sizes)
    raw = np.column_stack([centers[who] + rng.normal(0.0, 4.0, (len(who), 2)), rng.uniform(0, 3, len(who))])
    n = len(who)
    return Population(raw, np.full(n, 60.0), raw[:, 2].copy(), np.full(3, np.nan), watermark_us), who


def first(population: Population, k: int | None = None) -> Model:
    """The first model of a population."""
    policy = CalibrationPolicy(k_min=2, k_max=8, sample=2000, k=k)
    return make_first_model(population, TINY, STRATEGIES, policy, 30.0)


def again(old: Model, population: Population, k: int | None = None, **changes: float) -> Proposal:
    """A recalibration of `old`."""
    calibration = CalibrationPolicy(k_min=2, k_max=8, sample=2000, k=k)
    policy = RecalibrationPolicy(calibration, **changes)
    return Recalibration(old, TINY, STRATEGIES, policy, "a test").propose(population, population.raw)


def ids_of(model: Model, centers: Float64Array) -> list[str]:
    """The segment of a typical customer of each persona."""
    raw = np.column_stack([centers, np.full(len(centers), 1.5)])
    labels = nearest(apply(model.scaler, raw), model.centroids, model.scaler.importance)[0]
    return [model.segments[label].id for label in labels]


def test_nothing_has_changed() -> None:
    """Other customers of the same kind: the same segments, nobody moves, nothing to look at."""
    old = first(people(CENTERS, [400] * 5, 1)[0])
    assert old.k == 5
    proposal = again(old, people(CENTERS, [400] * 5, 2, 2 * 10**15)[0])
    new, transition = proposal.model, proposal.model.transition
    assert transition is not None
    assert proposal.passes
    assert ids_of(new, CENTERS) == ids_of(old, CENTERS)
    assert transition.moved_share < 0.005
    assert transition.cost_after <= transition.cost_before
    assert [(s.id, s.name) for s in new.segments] == [(s.id, s.name) for s in old.segments]
    assert new.strategies == old.strategies
    assert (new.version, new.parent, new.kind, new.created_us) == (2, 1, "recalibrated", 2 * 10**15)
    assert [event.event for event in new.lineage] == ["kept"] * 5


def test_new_customers_count_and_dormant_ones_do_not() -> None:
    """As in scans: a third have a day of history, and a tenth have been silent for longer than the rule."""
    old = first(people(CENTERS, [400] * 5, 1)[0])
    population, _ = people(CENTERS, [300] * 5, 2)
    observed, silent = population.observed_days.copy(), population.silent_days.copy()
    observed[::3] = 1.0
    silent[::10] = 31.0
    transition = again(old, population._replace(observed_days=observed, silent_days=silent)).model.transition
    assert transition is not None
    assert sum(map(sum, transition.customers)) == 1350


def test_twenty_recalibrations_under_drift_rename_nobody() -> None:
    """Every persona wanders through half of the space; each keeps its segment all the way."""
    centers, rng = CENTERS.copy(), np.random.default_rng(5)
    model = first(people(centers, [300] * 5, 1)[0])
    begin = ids_of(model, centers)
    direction = rng.normal(0.0, 1.0, centers.shape)
    for turn in range(20):  # k is given: the panel is not what is tested
        centers = centers + 1.5 * direction
        proposal = again(model, people(centers, [300] * 5, 10 + turn)[0], k=5)
        assert proposal.passes
        model = from_json(to_json(proposal.model))
        assert ids_of(model, centers) == begin
    assert model.version == 21
    assert model.next_segment == 6


def test_a_replacement_gets_a_new_id() -> None:
    """One persona is gone and another one is there: its id does not come back."""
    old = first(people(CENTERS, [300] * 5, 1)[0], k=5)
    before = ids_of(old, CENTERS)
    centers = CENTERS.copy()
    centers[4] = [30.0, 160.0]
    model = again(old, people(centers, [300] * 5, 2)[0], k=5).model
    after = ids_of(model, centers)
    assert after[:4] == before[:4]
    assert after[4] == "s6"
    assert before[4] not in after
    events = {event.segment_id: event.event for event in model.lineage}
    assert events["s6"] == "new"
    assert events[before[4]] == "retired"
    assert model.next_segment == 7
    third = again(model, people(CENTERS, [300] * 5, 3)[0], k=5).model
    assert ids_of(third, CENTERS)[4] == "s7"


def lineage(model: Model) -> dict[str, tuple[str, list[str], list[str]]]:
    """Event, from and to of each segment."""
    return {e.segment_id: (e.event, e.from_ids, e.to_ids) for e in model.lineage}


def test_another_number_of_segments_needs_a_person() -> None:
    """A new group is proposed as a segment of its own, its end as a retirement; never taken by itself."""
    apart = np.vstack([CENTERS, [[160.0, 120.0]]])
    five, six = people(CENTERS, [300] * 5, 1)[0], people(apart, [300] * 6, 2)[0]
    old = first(five)
    grown = again(old, six)
    assert not grown.passes
    assert grown.model.transition is not None
    assert "from 5 to 6" in grown.model.transition.concerns[0]
    assert ids_of(grown.model, apart) == [*ids_of(old, CENTERS), "s6"]
    assert lineage(grown.model)["s6"] == ("new", [], [])
    shrunk = again(grown.model, five)
    assert not shrunk.passes
    assert ids_of(shrunk.model, CENTERS) == ids_of(old, CENTERS)
    assert lineage(shrunk.model)["s6"] == ("retired", [], [])


def test_a_split_and_a_merger() -> None:
    """Two halves of one persona: one keeps the id, the other says where it comes from; and back again."""
    halves = np.vstack([CENTERS[:4], [[144.0, 30.0], [176.0, 30.0]]])
    old = first(people(CENTERS, [300, 300, 300, 300, 600], 1)[0], k=5)
    parent = ids_of(old, CENTERS)[4]
    model = again(old, people(halves, [300] * 4 + [330, 270], 2)[0], k=6).model
    assert ids_of(model, halves) == [*ids_of(old, CENTERS), "s6"]
    assert lineage(model)["s6"] == ("split", [parent], [])
    merged = again(model, people(CENTERS, [300, 300, 300, 300, 600], 3)[0], k=5).model
    kept, event = next((i, e) for i, e in lineage(merged).items() if e[0] == "merged")
    assert {parent, "s6"} == set(event[1])
    (gone,) = {parent, "s6"} - {kept}
    assert lineage(merged)[gone] == ("retired", [], [kept])


def test_too_many_moves_need_a_person() -> None:
    """The cap is on customers who would change their segment."""
    old = first(people(CENTERS, [300] * 5, 1)[0], k=5)
    centers = CENTERS.copy()
    centers[4] = [30.0, 160.0]
    changed = people(centers, [300] * 5, 2)[0]
    assert again(old, changed, k=5, max_moved=0.5).passes
    refused = again(old, changed, k=5, max_moved=0.05)
    assert not refused.passes
    assert refused.model.transition is not None
    assert "change their segment" in refused.model.transition.concerns[0]


def test_the_same_customers_give_the_same_bytes() -> None:
    """Nothing but the arguments decides."""
    population = people(CENTERS, [200] * 5, 3)[0]
    old = first(population)
    twice = [to_json(again(old, population).model) for _ in range(2)]
    assert twice[0] == twice[1]


def test_it_is_as_cheap_as_a_fit_from_scratch() -> None:
    """From stale centroids, on customers that it has not seen: within one percent of ten starts."""
    old = first(people(CENTERS, [300] * 5, 1)[0], k=5)
    moved = CENTERS + np.array([30.0, -2.0])
    model = again(old, people(moved, [3000] * 5, 2)[0], k=5).model
    importance = model.scaler.importance
    others = apply(model.scaler, people(moved, [3000] * 5, 3)[0].raw)
    start = best_of(others, 5, 10, np.random.default_rng(0))[0]
    batch = lloyd(others, start, importance)[0]
    costs = [nearest(others, c, importance)[1].mean() for c in (model.centroids, batch)]
    assert costs[0] <= 1.01 * costs[1]


def test_a_proposal_becomes_the_version_after_the_newest() -> None:
    """Folds of the same segments may have come between; other segments may not."""
    old = first(people(CENTERS, [200] * 5, 1)[0], k=5)
    proposal = again(old, people(CENTERS, [200] * 5, 2)[0], k=5).model
    newest = dataclasses.replace(old, version=7, parent=6, kind="folded")
    model = rebased(proposal, newest)
    assert (model.version, model.parent, model.kind) == (8, 7, "recalibrated")
    assert {event.version for event in model.lineage} == {8}
    others = (*old.segments[:4], Segment("s9", "another"))
    bound = old.strategies | {"s9": "default"}
    renamed = dataclasses.replace(newest, segments=others, next_segment=10, strategies=bound)
    with pytest.raises(ValueError, match="other segments"):
        rebased(proposal, renamed)


def test_a_former_version_comes_back_under_its_names() -> None:
    """Retired ids live again, ids given since are never given twice, bindings of now stay."""
    old = first(people(CENTERS, [300] * 5, 1)[0], k=5)
    centers = CENTERS.copy()
    centers[4] = [30.0, 160.0]
    newest = again(old, people(centers, [300] * 5, 2)[0], k=5).model
    gone = ids_of(old, CENTERS)[4]
    model = restored(old, newest)
    assert (model.version, model.parent, model.kind, model.next_segment) == (3, 2, "restored", 7)
    assert ids_of(model, CENTERS) == ids_of(old, CENTERS)
    events = {event.segment_id: event.event for event in model.lineage}
    assert events[gone] == "restored"
    assert events["s6"] == "retired"
    assert list(events.values()).count("kept") == 4


def test_another_specification_is_refused() -> None:
    """The columns of the old model mean something else."""
    population = people(CENTERS, [200] * 5, 3)[0]
    old = dataclasses.replace(first(population), spec_hash="other")
    with pytest.raises(ValueError, match="specification other"):
        again(old, population)
