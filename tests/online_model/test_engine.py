"""Laws of the step: which changes are published, why, and with which marks."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from online_model.change_batch import Cause, Change
from online_model.rows import SEGMENT_DORMANT, SEGMENT_NONE
from schemas.batch import Topic
from schemas.rejects import Reason
from tests.online_model.streams import DAY, HOUR, T0, Event
from tests.online_model.tiny import POLICY, World, listed, model

ANN = "ann"


def started(settled: int = 3, **settings: Any) -> tuple[World, int]:
    """A world with a model in which Ann has been in the low segment for `settled` days; and the time."""
    world = World(**settings)
    world.engine.offer_model(model())
    now = T0
    assert [c["new"] for c in world.changes([world.event(ANN, "data", T0)], now)] == [1]
    for _ in range(settled):
        now += DAY
        world.tell([world.event(ANN, "data", now)], now)
    return world, now


def test_the_first_assignment() -> None:
    """A customer without a segment gets the nearest: assigned, cause first, provisional while new."""
    world = World()
    world.engine.offer_model(model())
    (change,) = world.changes([world.event(ANN, "data", T0, megabytes=90.0)], T0)
    assert (change["id"], change["change"], change["cause"]) == (ANN, Change.ASSIGNED, Cause.FIRST)
    assert (change["old"], change["new"], change["seq"], change["runner_up"]) == (SEGMENT_NONE, 2, 1, 1)
    assert change["provisional"]
    assert not change["actionable"]
    assert (change["trigger_topic"], change["trigger_offset"]) == (Topic.USAGE, 0)
    assert world.changes([world.event(ANN, "data", T0 + HOUR)], T0 + HOUR) == []


def test_nothing_is_decided_without_a_model() -> None:
    """Windows fill, nothing is published; the promotion then assigns everybody."""
    world = World()
    assert world.changes([world.event(ANN, "data", T0)], T0) == []
    world.engine.offer_model(model())
    assert [c["cause"] for c in world.changes([], T0)] == [Cause.FIRST]


def test_a_move_by_behaviour() -> None:
    """What the customer did: cause, trigger, drivers with values before and after, one seq more."""
    world, now = started()
    event = world.event(ANN, "data", now + HOUR, megabytes=95.0)
    (change,) = world.changes([event], now + HOUR)
    assert (change["change"], change["cause"]) == (Change.MOVED, Cause.BEHAVIOUR)
    assert (change["old"], change["new"], change["seq"], change["old_since_us"]) == (1, 2, 2, T0)
    assert (change["trigger_topic"], change["trigger_offset"]) == (Topic.USAGE, 4)
    assert not change["provisional"]
    assert change["actionable"]
    assert change["driver"] == [0, -1, -1]
    assert change["before"][0] == 1.0
    assert change["after"][0] == 99.0
    assert change["contribution"][0] == 1.0
    hot = world.engine.partitions[0].store.rows.hot[0]
    assert (hot["segment"], hot["seq"], hot["since"]) == (2, 2, now + HOUR)


def test_a_move_needs_hysteresis_and_dwell() -> None:
    """Neither just beyond the middle nor too soon after the last move."""
    world, now = started()
    assert world.changes([world.event(ANN, "data", now + 1, megabytes=48.0)], now + 1) == []  # 52: h is 0.1
    assert len(world.changes([world.event(ANN, "data", now + 2, megabytes=10.0)], now + 2)) == 1
    back = {"corrects_event_id": "e1", "type_corrected": "data", "megabytes": -61.0}
    now += 2
    early = now + POLICY.min_dwell_us - 1
    assert world.changes([world.event(ANN, "correction", early, **back)], early) == []
    (change,) = world.changes([world.event(ANN, "voice", early + 1)], early + 1)
    assert (change["old"], change["new"]) == (2, 1)


def test_a_move_by_correction() -> None:
    """Corrections alone give the cause correction; with another event it is behaviour."""
    for extra, cause in (([], Cause.CORRECTION), (["voice"], Cause.BEHAVIOUR)):
        world, now = started()
        more = {"corrects_event_id": "e1", "type_corrected": "data", "megabytes": 95.0}
        events = [world.event(ANN, "correction", now + 1, **more)]
        events += [world.event(ANN, kind, now + 2) for kind in extra]
        assert [c["cause"] for c in world.changes(events, now + 2)] == [cause]


@pytest.mark.parametrize(("amount", "cause"), [(-5.0, Cause.CORRECTION), (5.0, Cause.BEHAVIOUR)])
def test_a_credit_note_is_a_correction(amount: float, cause: Cause) -> None:
    """It takes back what was billed: what it lets go on is no behaviour, what a bill lets go on is."""
    world, now = started(0)  # moved just now: she must stay for a while
    assert world.changes([world.event(ANN, "data", now + HOUR, megabytes=95.0)], now + HOUR) == []
    later = now + 2 * DAY
    bill = world.event(ANN, "invoice", later, amount=amount, currency="EUR")
    (change,) = world.changes([bill], later)
    assert (change["new"], change["cause"]) == (2, cause)
    assert (change["trigger_topic"], change["trigger_offset"]) == (Topic.BILLING, 0)


def test_silence_makes_dormant_without_an_event() -> None:
    """Time alone moves a customer, at a scan; coming back is answered at once."""
    world, now = started()
    step = world.tell([world.event("bob", "data", now + 5 * DAY)], now + 5 * DAY)
    (change,) = [c for c in listed(step) if c["id"] == ANN]
    assert (change["cause"], change["new"]) == (Cause.TIME, SEGMENT_DORMANT)
    assert (change["trigger_topic"], change["trigger_offset"]) == (-1, -1)
    assert np.isnan(change["margin"])
    now += 5 * DAY + 1
    (change,) = world.changes([world.event(ANN, "data", now)], now)
    assert (change["cause"], change["old"], change["new"]) == (Cause.BEHAVIOUR, SEGMENT_DORMANT, 1)


def test_a_promotion_is_the_cause_for_rows_it_moved() -> None:
    """Only for rows not seen since the swap, and only if the version before would not have moved them."""
    world, now = started()
    events = [world.event("bob", "data", now + 1), world.event("eve", "data", now + 1, megabytes=2.0)]
    world.tell(events, now + 1)
    now += DAY + 2
    world.engine.offer_model(model(2, low=-500.0, high=2.0))
    more = [world.event("bob", "data", now, megabytes=95.0)]
    causes = {c["id"]: (c["cause"], c["new"], c["actionable"]) for c in world.changes(more, now)}
    assert causes["ann"] == (Cause.MODEL, 2, False)
    assert causes["bob"][:2] == (Cause.BEHAVIOUR, 2)
    assert causes["eve"] == (Cause.MODEL, 2, False)
    world.engine.offer_model(model(3, low=0.0, high=100.0))
    world.tell([], now)  # the pass under version 3 sees everybody: too early to move back
    now += DAY
    (change,) = [c for c in world.changes([world.event(ANN, "voice", now)], now) if c["id"] == ANN]
    assert change["cause"] == Cause.BEHAVIOUR


def test_a_retired_segment_is_left_at_once() -> None:
    """Neither dwell nor hysteresis keeps anyone in a segment that no longer exists."""
    world, now = started(settled=0)
    world.engine.offer_model(model(2, low=-500.0, high=100.0, ids=("s1", "s3"), next_segment=10))
    world.engine.offer_model(model(3, ids=("s5", "s6"), next_segment=10))
    for _ in range(3):
        changes = world.changes([], now)
        if changes:
            break
    assert [(c["old"], c["new"]) for c in changes] == [(1, 5)]


def test_older_models_are_ignored() -> None:
    """A version that is not newer never goes live; one of another specification is an error."""
    world, now = started()
    world.engine.offer_model(model(3))
    world.engine.offer_model(model(2, high=7.0))
    assert world.tell([], now).model_version == 3
    with pytest.raises(ValueError, match="specification"):
        world.engine.offer_model(model(9, spec_hash="other"))


@pytest.mark.parametrize(
    ("kind", "fields", "change", "cause"),
    [
        ("closed", {}, Change.EXITED, Cause.CLOSED),
        ("profile", {"consent_profiling": False}, Change.EXITED, Cause.CONSENT),
        ("forget", {}, Change.ERASED, Cause.ERASURE),
    ],
)
def test_leaving(kind: str, fields: dict[str, Any], change: Change, cause: Cause) -> None:
    """The exit names the segment left; events before it stay without effect, and are counted."""
    world, now = started()
    (exited,) = world.changes([world.event(ANN, kind, now + 10, **fields)], now + 10)
    assert (exited["change"], exited["cause"], exited["seq"]) == (change, cause, 2)
    assert (exited["old"], exited["new"], exited["trigger_topic"]) == (1, SEGMENT_NONE, Topic.CUSTOMER)
    step = world.tell([world.event(ANN, "data", now + 5, megabytes=95.0)], now + 20)
    assert step.changes is None
    assert step.outcomes[0, 5:].sum() == 1
    assert not len(world.engine.partitions[0].live_rows(0, 1 << 16))


def test_a_new_life_after_closing() -> None:
    """A newer event starts with empty windows and goes on counting changes."""
    world, now = started()
    world.tell([world.event(ANN, "closed", now + 10)], now + 10)
    (change,) = world.changes([world.event(ANN, "data", now + 20, megabytes=9.0)], now + 20)
    assert (change["change"], change["seq"], change["provisional"]) == (Change.ASSIGNED, 3, True)
    state = world.engine.partitions[0]
    assert world.engine.population(9).raw[0, 0] == 9.0
    assert state.index.n == 1


def test_consent_comes_back() -> None:
    """Only a profile that gives consent again, later than the withdrawal, resumes profiling."""
    world, now = started()
    world.tell([world.event(ANN, "profile", now + DAY, consent_profiling=False)], now + DAY)
    now += DAY
    refused = [world.event(ANN, "data", now + HOUR), world.event(ANN, "profile", now + HOUR, age=30)]
    assert world.tell(refused, now + HOUR).outcomes[:, 6].sum() == 2
    back = world.event(ANN, "profile", now + 2 * HOUR, consent_profiling=True)
    (change,) = world.changes([back], now + 2 * HOUR)
    assert (change["change"], change["seq"], change["consent"]) == (Change.ASSIGNED, 3, 1)
    assert change["consent_us"] == now + 2 * HOUR


def test_withdrawal_does_not_outlive_closing() -> None:
    """Who left without consent and comes back as a new customer has said nothing yet."""
    world, now = started()
    world.tell([world.event(ANN, "profile", now + 1, consent_profiling=False)], now + 1)
    world.tell([world.event(ANN, "closed", now + DAY)], now + DAY)
    now += 2 * DAY
    events = [world.event(ANN, "data", now), world.event(ANN, "profile", now, age=30)]
    (change,) = world.changes(events, now)
    assert (change["change"], change["consent"]) == (Change.ASSIGNED, 0)


def test_the_erased_are_not_resurrected() -> None:
    """The id is gone; its older events change nothing, not even at a scan; a newer one starts from zero."""
    world, now = started()
    world.tell([world.event(ANN, "forget", now + 10)], now + 10)
    state = world.engine.partitions[0]
    assert state.index.ids(np.arange(1)) == [b""]
    step = world.tell([world.event(ANN, "data", now + 5)], now + 20)
    assert step.outcomes[0, 5] == 1
    assert step.changes is None
    now += 2 * HOUR
    (bob,) = world.changes([world.event("bob", "data", now)], now)  # with a whole pass of the scan
    assert bob["id"] == "bob"
    (change,) = world.changes([world.event(ANN, "data", now + 30)], now + 30)
    assert (change["seq"], change["change"]) == (1, Change.ASSIGNED)


def test_an_erasure_outweighs_a_closing_of_the_same_step() -> None:
    """Whatever else happened in the step: the tombstone goes out, and no change event about it."""
    world, now = started()
    events = [world.event(ANN, "closed", now + 10), world.event(ANN, "forget", now + 11)]
    assert [c["change"] for c in world.changes(events, now + 11)] == [Change.ERASED]


def test_an_erasure_outweighs_a_closing_that_was_polled_before() -> None:
    """What a step publishes does not depend on how its records were polled."""
    world, now = started()
    world.engine.offer(world.log.poll([world.event(ANN, "closed", now + 10)]))
    assert [c["change"] for c in world.changes([world.event(ANN, "forget", now + 11)], now + 11)] == [
        Change.ERASED
    ]


def test_backfill_triggers_nothing() -> None:
    """Behind the clock by more than the limit nothing is actionable; an exit neither."""
    world, now = started()
    later = now + 30 * DAY
    (moved,) = world.changes([world.event(ANN, "data", now + 1, megabytes=95.0)], later)
    (exited,) = world.changes([world.event(ANN, "closed", now + 2)], later)
    assert (moved["actionable"], exited["actionable"]) == (False, False)


def history(seed: int, n: int = 300) -> list[Event]:
    """Ten days of random events of a dozen customers, with exits and broken clocks among them."""
    rng, world = random.Random(seed), World()
    kinds = ["data"] * 12 + ["voice"] * 6 + ["profile", "closed", "forget"]
    events = []
    for i in range(n):
        us = T0 + i * 10 * DAY // n - rng.choice([0, 0, 0, HOUR, 400 * DAY])
        kind = rng.choice(kinds)
        fields = {"megabytes": rng.choice([1.0, 30.0, 90.0])} if kind == "data" else {}
        if kind == "profile" and rng.random() < 0.5:
            fields = {"consent_profiling": rng.random() < 0.5}
        events.append(
            world.event(f"c{rng.randrange(12)}", kind, us + 500 * DAY * (rng.random() < 0.01), **fields)
        )
    return events


def play(events: list[Event], partitions: int = 1) -> tuple[World, list[list[dict[str, Any]]]]:
    """Steps of ten events with a model from the third on; all changes per step."""
    world, out = World(partitions, scan_rows=3), []
    for i in range(0, len(events), 10):
        if i == 30:
            world.engine.offer_model(model())
        if i == 150:
            world.engine.offer_model(model(2, high=60.0))
        now = T0 + (i + 10) * 10 * DAY // len(events)
        steps = world.steps(events[i : i + 10], now)
        out.append([change for step in steps for change in listed(step)])
    return world, out


def test_the_same_inputs_give_the_same_steps() -> None:
    """Two engines that read the same publish the same, down to the last digit."""
    events = history(1)
    first, second = play(events)[1], play(events)[1]
    assert repr(first) == repr(second)
    assert sum(map(len, first)) > 20


def test_every_change_follows_the_one_before() -> None:
    """Per life of an id: seq counts by one, and the old segment is the new one of the change before."""
    last: dict[str, tuple[int, int]] = {}
    for step in play(history(2))[1]:
        for change in step:
            seq, segment = last.get(change["id"], (0, SEGMENT_NONE))
            assert change["seq"] == seq + 1
            assert change["old"] == segment
            assert change["new"] != segment or change["change"] == Change.ERASED
            last[change["id"]] = (change["seq"], change["new"])
            if change["change"] == Change.ERASED:
                del last[change["id"]]


@pytest.mark.parametrize("seed", range(3))
def test_every_event_is_accounted_for(seed: int) -> None:
    """Accepted, duplicate, refused and dropped add up to what was offered; each refused has a reject."""
    events = history(seed)
    events += events[-5:]
    world = World(partitions=3)
    world.log.partitions = 1  # everything lands on partition 0: two thirds are misrouted
    outcomes, refused = np.zeros(7, np.int64), dict[Reason, int]()
    for i in range(0, len(events), 20):
        for step in world.steps([*events[i : i + 20]], T0 + 10 * DAY):
            outcomes += step.outcomes.sum(axis=0)
            for reason, n in step.rejects.count_by_reason().items():
                refused[reason] = refused.get(reason, 0) + n
    assert not any(state.intake.waiting for state in world.engine.partitions.values())
    assert outcomes.sum() == len(events)
    assert outcomes[1] > 0
    for at, reason in ((2, Reason.LATE), (3, Reason.FUTURE), (4, Reason.MISROUTED)):
        assert outcomes[at] == refused.get(reason, 0)
    assert outcomes[4] > len(events) // 3
