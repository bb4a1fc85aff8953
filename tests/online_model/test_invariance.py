"""Inside the window it does not matter how the same events came in: features are equal bit for bit."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.intake import Release
from online_model.rows import NEVER
from schemas.batch import Topic
from tests.online_model.streams import (
    DAY,
    DEFAULT,
    HOUR,
    T0,
    TOPIC_OF,
    Event,
    Features,
    Log,
    engine_of,
    features,
    random_event,
)

KINDS = (
    "data",
    "data",
    "voice",
    "sms",
    "correction",
    "invoice",
    "payment",
    "topup",
    "profile",
    "care_contact",
)
NOW = T0 + 30 * DAY
PRIORS = np.full(DEFAULT.columns.n, 0.25)
SEEDS = st.integers(0, 1 << 32)


def events_of(rng: random.Random, span: int, n: int = 60) -> list[Event]:
    """Events at distinct seconds of the `span` (us) after T0, in order of time."""
    seconds = sorted(rng.sample(range(span // 1_000_000), n))
    customers = ["ann", "bob", "eve"]
    return [
        random_event(rng, rng.choice(KINDS), T0 + second * 1_000_000, rng.choice(customers), number)
        for number, second in enumerate(seconds)
    ]


def run(polls: list[list[Event]], at_end: bool = True) -> Features:
    """Features after the polls, each a step; every topic is at its end after the last."""
    engine, log = engine_of(DEFAULT), Log()
    for events in polls:
        engine.step(log.poll(events, at_end), NOW)
    engine.step(log.poll([]), NOW)
    assert not engine.partitions[0].intake.waiting
    return features(engine, PRIORS)


def split(rng: random.Random, events: list[Event]) -> list[list[Event]]:
    """The events cut at random places."""
    cuts = sorted(rng.choices(range(len(events) + 1), k=rng.randrange(12)))
    return [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]


@given(SEEDS, st.booleans())
@settings(max_examples=25)
def test_batches_may_be_split_anywhere(seed: int, at_end: bool) -> None:
    """One poll, many polls, empty polls, topics at their end or not: the same bits."""
    rng = random.Random(seed)
    events = events_of(rng, 28 * DAY)
    assert run(split(rng, events), at_end) == run([events])


@given(SEEDS)
@settings(max_examples=25)
def test_topics_may_be_interleaved_anyhow(seed: int) -> None:
    """Only the order inside a topic is given; a topic may even be read whole before the others."""
    rng = random.Random(seed)
    events = events_of(rng, 28 * DAY)
    queues = [[event for event in events if TOPIC_OF[event["type"]] == topic] for topic in range(3)]
    whole = [event for topic in rng.sample(range(3), 3) for event in queues[topic]]
    mixed = []
    while any(queues):
        mixed.append(rng.choice([queue for queue in queues if queue]).pop(0))
    expected = run([events])
    assert run(split(rng, mixed), at_end=False) == expected
    assert run(split(rng, whole), at_end=False) == expected


@given(SEEDS)
@settings(max_examples=25)
def test_events_may_come_in_any_order(seed: int) -> None:
    """Any order of distinct times, within what a clock may jump (a week)."""
    rng = random.Random(seed)
    events = events_of(rng, 6 * DAY)
    shuffled = rng.sample(events, len(events))
    assert run(split(rng, shuffled)) == run([events])


@given(SEEDS)
@settings(max_examples=25)
def test_duplicates_change_nothing(seed: int) -> None:
    """A copy within the last 16 events of its customer and topic is dropped."""
    rng = random.Random(seed)
    events = events_of(rng, 28 * DAY)
    doubled = list(events)
    for event in rng.sample(events, 20):
        at = doubled.index(event)
        doubled.insert(rng.randint(at + 1, min(at + 5, len(doubled))), event)
    assert run(split(rng, doubled)) == run([events])


@given(SEEDS)
@settings(max_examples=10)
def test_looking_changes_nothing(seed: int) -> None:
    """Evaluating customers between the steps, which moves their rings on, leaves the features alone."""
    rng = random.Random(seed)
    events = events_of(rng, 28 * DAY)
    engine, log = engine_of(DEFAULT), Log()
    for part in split(rng, events):
        engine.step(log.poll(part), NOW)
        features(engine, PRIORS)
    assert features(engine, PRIORS) == run([events])


@given(SEEDS)
@settings(max_examples=10)
def test_customers_do_not_touch_each_other(seed: int) -> None:
    """A customer's features are the same with and without the others."""
    rng = random.Random(seed)
    events = events_of(rng, 28 * DAY)
    alone = [event for event in events if event["customer_id"] == "ann"]
    mark = random_event(rng, "data", T0 + 28 * DAY + HOUR, "mark", 1000)
    assert run([[*alone, mark]]).get(b"ann") == run([[*events, mark]]).get(b"ann")


def test_the_last_by_topic_and_offset_is_the_trigger() -> None:
    """Also where a topic's events were held back and come with those of a later poll."""
    rng, log = random.Random(3), Log()
    usage, billing = log.chunks([random_event(rng, kind, T0, "ann", 1) for kind in ("data", "topup")])
    (more,) = log.chunks([random_event(rng, "sms", T0 + HOUR, "ann", 2)])
    state = engine_of(DEFAULT).partitions[0]
    applied = state.apply(Release([usage, more, billing], [], {}), NOW, NEVER)
    assert (applied.topic.tolist(), applied.offset.tolist()) == ([Topic.BILLING], [0])
