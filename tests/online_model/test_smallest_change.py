"""Laws of the smallest change: applied it moves the customer, and a little less does not."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from online_model.active_model import ActiveModel
from online_model.compile_plan import compile_plan
from online_model.decision import Candidates, DecisionPolicy, decide
from online_model.evaluate import evaluate
from online_model.model import DORMANT_CODE
from online_model.scaler import Scaler
from online_model.scaler import apply as scale
from online_model.smallest_change import Move, Mover, Situation, Step
from tests.customers.quiet import quiet_service
from tests.online_model.streams import DAY, HOUR, T0, small_spec
from tests.online_model.tiny import POLICY, TINY, World, listed, model


def test_the_hand_solved_change() -> None:
    """From 1 MB towards 100: with h = 0.1 the border is at 55 MB, so 54 more do not quite suffice."""
    mover = Mover(TINY, model(), POLICY)
    at = Situation(np.array([1.0, 1.0, 0.0]), 0, 0.0)
    (move,) = mover.answer(at, 1).singles
    (step,) = move.steps
    assert (step.column, step.before, round(step.after, 6)) == (0, 1.0, 55.1)
    assert not mover.lands(Situation(np.array([55.0, 1.0, 0.0]), 0, 0.0), 1)
    assert mover.answer(at, 0).best == Move((), 0.0), "is there already"
    (back,) = mover.answer(Situation(np.array([90.0, 0.0, 0.0]), 1, 0.0), 0).singles
    assert round(back.steps[0].after, 6) == 44.9


def test_applied_to_the_engine_it_moves_the_customer() -> None:
    """The megabytes of the answer, as an event after the dwell time; a little less does nothing."""
    for share, moves in ((1.0, True), (0.98, False)):
        world = World()
        world.engine.offer_model(model())
        world.tell([world.event("ann", "data", T0, megabytes=1.0)], T0 + HOUR)
        (move,) = Mover(TINY, model(), POLICY).answer(Situation(np.array([1.0, 0.0, 0.0]), 0, 0.0), 1).singles
        more = (move.steps[0].after - 1.0) * share
        later = T0 + 2 * DAY
        changes = listed(world.tell([world.event("ann", "data", later, megabytes=more)], later + HOUR))
        assert [change["new"] for change in changes] == ([2] if moves else [])


def test_the_dormant_need_an_activity_first() -> None:
    """Nothing but less silence moves them; a customer of whom too little is known cannot be moved."""
    mover = Mover(TINY, model(), POLICY)
    dormant = Situation(np.array([90.0, 0.0, 6.0]), DORMANT_CODE, 6.0)
    assert mover.answer(dormant, 1).best is None
    assert mover.answer(replace(dormant, inactive_days=0.0), 1).best == Move((), 0.0)
    assert mover.answer(Situation(np.array([np.nan, 0.0, 0.0]), 0, 0.0), 1).best is None


def test_services_are_booked_and_cancelled_one_by_one() -> None:
    """Segments that differ by the cloud: it is booked or cancelled, and nothing is said of the others."""
    levels = "levels: [tv, fiber, cloud]"
    feature = f"{{name: services, block: all, aggregate: one_hot, attribute: services, {levels}}}"
    plan, d = compile_plan(small_spec(feature)), 3
    no_limit, kind = np.full(d, np.inf), np.zeros(d, np.int8)
    booked = model(
        spec_hash=plan.spec.hash,
        columns=plan.columns.name,
        scaler=Scaler(np.zeros(d), np.ones(d), -no_limit, no_limit, kind, kind, np.full(d, 1 / d)),
        centroids=np.array([[0.9, 0.9, 0.1], [0.9, 0.9, 0.9]]),
    )
    mover = Mover(plan, booked, POLICY)
    for services, current in itertools.product(itertools.product((0.0, 1.0), repeat=d), (0, 1)):
        at, target = Situation(np.array(services), current, 0.0), 1 - current
        answer = mover.answer(at, target)
        if mover.lands(at, target):
            continue
        (move,) = answer.singles
        assert move.steps == (Step(2, services[2], 1.0 - services[2]),)
        assert mover.lands(mover.applied(at, move), target)
    unknown = Situation(np.full(d, np.nan), 0, 0.0)
    assert mover.answer(unknown, 1).best is None


@pytest.fixture(scope="module")
def people() -> tuple[Mover, ActiveModel, list[Situation]]:
    """Simulated customers under a calibrated model of the default features."""
    active, found, book = None, [], quiet_service()
    for state in book.core.engine.partitions.values():
        active = state.active
        assert active is not None
        rows = state.live_rows(0, 1 << 16)
        seen = evaluate(state.store.rows, rows, state.watermark_us, book.core.plan, active.model.share_priors)
        codes = active.codes(state.store.rows.hot["segment"][rows])
        found += [
            Situation(raw, int(code), float(silent))
            for raw, code, silent in zip(seen.raw, codes, seen.silent_days, strict=True)
            if code >= 0
        ]
    assert active is not None
    return Mover(book.core.plan, active.model, book.core.engine.settings.policy), active, found


def landed(raw: np.ndarray, at: Situation, inactive: float, active: ActiveModel) -> int:
    """The decision, called as the engine calls it."""
    model, day_us = active.model, DAY
    candidates = Candidates(np.array([at.current], np.int16), np.zeros(1, np.int64), np.array([inactive]))
    made = decide(
        scale(model.scaler, raw[None]),
        candidates,
        model.centroids,
        model.scaler.importance,
        day_us,
        DecisionPolicy(),
    )
    return int(made.target[0])


def test_every_answer_moves_and_less_does_not(people: tuple[Mover, ActiveModel, list[Situation]]) -> None:
    """Simulated customers, every other segment: singles and pairs land; 3 % less of a number never does."""
    mover, active, situations = people
    asked = answered = 0
    for at in situations[:40]:
        for target in range(active.model.k):
            if target == at.current:
                continue
            asked += 1
            answer = mover.answer(at, target)
            moves = [*answer.singles, *([] if answer.pair is None else [answer.pair])]
            answered += bool(moves)
            for move in moves:
                after = mover.applied(at, move)
                assert landed(after.raw, at, after.inactive_days, active) == target
            for move in answer.singles:
                assert not _lands_with_less(mover, at, move, target)
            sizes = [move.size for move in answer.singles]
            assert sizes == sorted(sizes)
            if answer.pair is not None and answer.singles:
                behaviour = [m.size for m in answer.singles if mover.is_behaviour(m.steps[0].column)]
                numbers = [
                    s
                    for s, m in zip(sizes, answer.singles, strict=True)
                    if len(m.steps) == 1 and s in behaviour
                ]
                assert not numbers or answer.pair.size <= min(numbers) * 1.05
    assert asked >= 100
    assert answered >= 0.8 * asked, "some segments are further away than two features"


def _lands_with_less(mover: Mover, at: Situation, move: Move, target: int) -> bool:
    """Whether 3 % less of a number that needs no rounding to whole ones is enough, too."""
    if len(move.steps) != 1 or float(move.steps[0].after).is_integer():
        return False
    (step,) = move.steps
    less = replace(step, after=step.before + 0.97 * (step.after - step.before))
    return mover.lands(mover.applied(at, Move((less,), 0.0)), target)
