"""Laws of flaps: moves straight back to the segment left at most seven event days before."""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.change_batch import Change
from online_model.decision import DecisionPolicy
from online_model.engine import PartitionStep
from online_model.flaps import RETURN_DAYS, count_moves
from online_model.model import Model, Segment
from online_model.rows import SEGMENT_DORMANT, SEGMENT_NONE
from tests.online_model.streams import DAY, HOUR, T0, Event
from tests.online_model.tiny import World, listed, model

Counts = tuple[int, int]

NO_DWELL = DecisionPolicy(hysteresis=0.1, min_dwell_us=0, dormant_after_days=5.0, min_present=0.5)
NEVER_DORMANT = dataclasses.replace(NO_DWELL, dormant_after_days=30.0)
#: Megabytes of the three segments.
LOW, MIDDLE, HIGH = 0.0, 100.0, 200.0


def three_segments(version: int = 1, high: float = HIGH) -> Model:
    """Segments 1, 2 and 3 at `LOW`, `MIDDLE` and `high`."""
    base, k = model(version), 3
    return dataclasses.replace(
        base,
        centroids=np.array([[LOW, 0.0, 0.0], [MIDDLE, 0.0, 0.0], [high, 0.0, 0.0]]),
        weights=np.ones(k),
        segments=tuple(Segment(f"s{i}", f"s{i}") for i in (1, 2, 3)),
        reference=dataclasses.replace(
            base.reference, segment_shares=np.full(k, 1 / k), error_by_segment=np.full(k, 100.0)
        ),
    )


class Scene:
    """A world in which customers have the megabytes that they are told to have."""

    def __init__(self, policy: DecisionPolicy = NEVER_DORMANT) -> None:
        self.world = World(policy=policy)
        self.world.engine.offer_model(three_segments())
        self.megabytes: dict[str, float] = defaultdict(float)

    def event(self, customer: str, megabytes: float, us: int) -> Event:
        """The event at `us` after which the customer has `megabytes`, if nothing has left the window."""
        more, self.megabytes[customer] = megabytes - self.megabytes[customer], megabytes
        if more >= 0:
            return self.world.event(customer, "data", us, megabytes=more)
        fields = {"corrects_event_id": "e1", "type_corrected": "data", "megabytes": more}
        return self.world.event(customer, "correction", us, **fields)

    def at(self, days: float, *events: tuple[str, float], us: int = 0) -> Counts:
        """Flaps and other moves of a step `days` (and `us`) after T0 after which customers have megabytes."""
        now = T0 + round(days * DAY) + us
        return counted(self.world.tell([self.event(*event, now) for event in events], now))

    def tell(self, days: float, customer: str, kind: str) -> Counts:
        """Flaps and other moves of a step with an event of another kind; some kinds end a life."""
        now = T0 + round(days * DAY)
        if kind in {"closed", "forget"}:
            self.megabytes.pop(customer)
        return counted(self.world.tell([self.world.event(customer, kind, now)], now))

    def left(self) -> list[int]:
        """The column, by row."""
        state = self.world.engine.partitions[0]
        return [int(number) for number in state.store.rows.left[: state.index.n]]

    def segments(self) -> list[int]:
        """Published segments, by row."""
        state = self.world.engine.partitions[0]
        return [int(number) for number in state.store.rows.hot["segment"][: state.index.n]]


def counted(step: PartitionStep) -> Counts:
    """Flaps and other moves of a step."""
    return (0, 0) if step.changes is None else count_moves(step.changes, step.watermark_us)


def test_every_move_back_is_a_flap() -> None:
    """There, and three times back: the first move is none, a first assignment is no move at all."""
    scene = Scene()
    assert scene.at(0, ("c", LOW)) == (0, 0)
    assert scene.left() == [SEGMENT_NONE]
    assert scene.at(1, ("c", MIDDLE)) == (0, 1)
    assert scene.left() == [1]
    assert [scene.at(2, ("c", LOW)), scene.at(3, ("c", MIDDLE)), scene.at(4, ("c", LOW))] == [(1, 0)] * 3
    assert scene.left() == [2]


def test_moving_on_is_no_flap() -> None:
    """Round three segments nobody goes back; from the third straight back to the second somebody does."""
    scene = Scene()
    scene.at(0, ("round", LOW), ("back", LOW))
    assert scene.at(1, ("round", MIDDLE), ("back", MIDDLE)) == (0, 2)
    assert scene.at(2, ("round", HIGH), ("back", HIGH)) == (0, 2)
    assert scene.at(3, ("round", LOW), ("back", MIDDLE)) == (1, 1)
    assert scene.left() == [3, 3]
    # The first segment was left two moves ago: only what the last move left counts.
    assert scene.at(4, ("back", LOW)) == (0, 1)


@pytest.mark.parametrize(("late_us", "expected"), [(-1, (1, 0)), (0, (1, 0)), (1, (0, 1))])
def test_seven_days_after_leaving_is_the_last_moment(late_us: int, expected: Counts) -> None:
    """The time counts from when the segment was left, however long the customer had been in it."""
    scene = Scene()
    scene.at(0, ("c", LOW))
    scene.at(9, ("c", LOW))
    assert scene.at(10, ("c", MIDDLE)) == (0, 1)
    assert scene.at(10 + RETURN_DAYS, ("c", LOW), us=late_us) == expected


def test_a_stay_that_is_no_segments_breaks_the_chain() -> None:
    """Back by way of dormant is no move between two segments, and the one after it goes back to nothing."""
    scene = Scene(NO_DWELL)
    scene.at(0, ("c", LOW), ("d", LOW))
    scene.at(1, ("c", MIDDLE), ("d", MIDDLE))
    assert scene.tell(6, "other", "voice") == (0, 0)
    assert scene.segments() == [SEGMENT_DORMANT, SEGMENT_DORMANT, 1]
    assert scene.left() == [SEGMENT_NONE] * 3
    assert scene.tell(6.1, "c", "voice") == (0, 0)
    now = T0 + 6 * DAY + 5 * HOUR
    awake = [scene.event("d", LOW, now), scene.world.event("d", "voice", now)]  # a correction wakes nobody
    assert counted(scene.world.tell(awake, now)) == (0, 0)
    assert scene.segments() == [2, 1, 1]
    assert scene.at(6.3, ("c", LOW)) == (0, 1)
    assert scene.left() == [2, SEGMENT_NONE, SEGMENT_NONE]


@pytest.mark.parametrize("end", ["closed", "forget"])
def test_another_life_knows_nothing_of_the_segment_left(end: str) -> None:
    """Neither with the row of a closed customer nor with the id of an erased one does a return count."""
    scene = Scene()
    scene.at(0, ("c", LOW))
    scene.at(1, ("c", MIDDLE))
    assert scene.left() == [1]
    assert scene.tell(2, "c", end) == (0, 0)
    assert scene.left() == [SEGMENT_NONE]
    assert scene.at(3, ("c", MIDDLE)) == (0, 0)
    assert scene.at(4, ("c", LOW)) == (0, 1)


def test_a_life_that_ends_and_begins_in_one_step() -> None:
    """The exit and the first assignment are published together; the new life has left no segment."""
    scene = Scene()
    scene.at(0, ("c", LOW))
    scene.at(1, ("c", MIDDLE))
    now, event = T0 + 2 * DAY, scene.world.event
    back = event("c", "care_contact", now + 1, channel="app")
    step = scene.world.tell([event("c", "closed", now), back], now + 1)
    assert [(change["old"], change["new"]) for change in listed(step)] == [(2, 0), (0, 1)]
    assert counted(step) == (0, 0)
    assert scene.left() == [SEGMENT_NONE]
    scene.megabytes.clear()
    assert scene.at(3, ("c", MIDDLE)) == (0, 1)


def test_a_return_that_a_model_causes_counts() -> None:
    """Whoever is sent to and fro by versions of the model is in no calmer a segment."""
    world = World(policy=NEVER_DORMANT)
    world.engine.offer_model(model())
    world.tell([world.event("c", "data", T0, megabytes=40.0)], T0)
    found = []
    for day, (version, high) in enumerate([(2, 60.0), (3, 100.0), (4, 60.0)], 1):
        world.engine.offer_model(model(version, high=high))
        found.append(counted(world.tell([], T0 + day * DAY)))
    assert found == [(0, 1), (1, 0), (1, 0)]


#: A day of each: the megabytes of one customer after the other.
PLANTED = {
    "a": [LOW, MIDDLE, LOW, MIDDLE, MIDDLE, LOW],
    "b": [LOW, MIDDLE, HIGH, MIDDLE, LOW, MIDDLE],
    "c": [HIGH, LOW, MIDDLE, HIGH, LOW, HIGH],
    "d": [MIDDLE, MIDDLE, MIDDLE, MIDDLE, HIGH, HIGH],
}


@given(st.integers(0, 1 << 32))
@settings(max_examples=25, deadline=None)
def test_it_does_not_matter_what_is_polled_together(seed: int) -> None:
    """Steps of one event or of many, as long as nobody moves twice in one: the same flaps and other moves."""
    rng, scene = random.Random(seed), Scene()
    steps: list[list[Event]] = []
    for day in range(6):
        events = [
            scene.event(customer, megabytes[day], T0 + day * DAY + i * HOUR)
            for i, (customer, megabytes) in enumerate(PLANTED.items())
        ]
        cuts = sorted(rng.choices(range(len(events) + 1), k=rng.randrange(4)))
        steps += [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    now, total = T0, np.zeros(2, np.int64)
    for events in steps:
        now = max([now, *(event["us"] for event in events)])
        total += counted(scene.world.tell(events, now))
    assert total.tolist() == [3 + 2 + 1 + 0, 1 + 3 + 4 + 1]


def plainly(steps: Iterable[PartitionStep]) -> Counts:
    """The definition, word for word, over everything that was published."""
    stays: dict[object, list[tuple[int, int]]] = defaultdict(list)  # segment, entered at
    flaps = others = 0
    for step in steps:
        for change in listed(step):
            before = stays[change["id"]]
            if change["change"] == Change.MOVED and change["old"] > 0 and change["new"] > 0:
                came_from = before[-2][0] if len(before) > 1 else SEGMENT_NONE
                soon = step.watermark_us - before[-1][1] <= RETURN_DAYS * DAY
                if came_from == change["new"] and soon:
                    flaps += 1
                else:
                    others += 1
            before.append((change["new"], step.watermark_us))
            if change["change"] == Change.ERASED:
                del stays[change["id"]]
    return flaps, others


@pytest.mark.parametrize("seed", range(8))
def test_fuzzy_flaps_are_those_of_the_published_record(seed: int) -> None:
    """Whatever customers do, silence, exits and a new model included: counted again from the changes."""
    rng, scene, steps = random.Random(seed), Scene(NO_DWELL), []
    now = T0
    for i in range(200):
        if i == 100:
            scene.world.engine.offer_model(three_segments(2, high=150.0))
        now += rng.randrange(DAY)
        events = []
        for customer in rng.sample("abcdef", rng.randrange(4)):
            kind = rng.choices(["megabytes", "voice", "closed", "forget"], [20, 5, 1, 1])[0]
            if kind == "megabytes":
                events.append(scene.event(customer, rng.choice([LOW, MIDDLE, HIGH]), now))
            else:
                events.append(scene.world.event(customer, kind, now))
        steps.append(scene.world.tell(events, now))
    total = np.sum([counted(step) for step in steps], axis=0).tolist()
    assert tuple(total) == plainly(steps)
    assert min(total) > 10
