"""Erasures while a snapshot is copied: nobody comes back, nothing is left, rows are as many as in the run."""

from __future__ import annotations

import numpy as np

from online_model.model import Model
from online_model.partition import PartitionState
from online_model.rows import LIVE
from online_model.state_columns import PartBuffer, RowPart
from tests.online_model.streams import HOUR, T0, Event
from tests.online_model.test_rebuild import Run, contents, kept, restore
from tests.online_model.tiny import World, listed, model

NOW = T0 + 3 * HOUR


def play(
    steps: list[list[Event]], copies: dict[int, int], given: Model | None = None
) -> tuple[Run, list[tuple[int, RowPart]]]:
    """Takes `steps` with a model; after step n, the part of one row from ``copies[n]`` on is copied."""
    run = Run([])
    if given is not None:
        run.world.engine.offer_model(given)
    parts: list[tuple[int, RowPart]] = []
    for n, events in enumerate(steps, 1):
        poll = run.world.log.poll(events)
        (step,) = run.world.engine.step(poll, NOW).partitions
        run.commits.append((poll, step))
        if n in copies:
            parts.append((n, kept(PartBuffer(run.state.store.rows, 1).copy(run.state, copies[n]))))
    return run, parts


def live(state: PartitionState) -> list[bytes]:
    """Ids of the live customers."""
    rows = np.flatnonzero(state.store.rows.hot["status"][: state.index.n] == LIVE)
    return sorted(state.index.ids(rows))


def erased(after_us: int) -> list[list[Event]]:
    """Bob's last event, at `after_us`, is read before the erasure of an hour after T0; ann stays."""
    event = World().event
    ids = iter(range(100))

    def named(customer: str, kind: str, us: int) -> Event:
        return event(customer, kind, us) | {"event_id": f"h{next(ids)}"}

    return [
        [named("ann", "data", T0), named("bob", "data", T0)],
        [named("bob", "data", after_us)],
        [named("bob", "forget", T0 + HOUR)],
        [named("ann", "data", T0 + 2 * HOUR)],
    ]


def test_an_erased_customer_is_not_brought_back() -> None:
    """An event with a newer time, read before the erasure, does not start a life in the replay."""
    run, parts = play(erased(T0 + 2 * HOUR), {1: 0, 3: 1})
    world = restore(run, parts, 1)
    assert live(run.state) == [b"ann"]
    assert live(world.engine.partitions[0]) == [b"ann"]


def test_rows_are_as_many() -> None:
    """The size of a slice of the scan depends on the number of rows."""
    run, parts = play(erased(T0 + HOUR // 2), {1: 0, 3: 1})
    world = restore(run, parts, 1)
    assert live(world.engine.partitions[0]) == live(run.state)
    assert world.engine.partitions[0].index.n == run.state.index.n


def test_two_lives_in_two_parts() -> None:
    """Copied before the erasure and, in another row, after the return: each event finds its life."""
    event = World().event
    run, parts = play(
        [
            [event("bob", "data", T0), event("ann", "data", T0) | {"event_id": "a1"}],
            [event("bob", "forget", T0 + HOUR) | {"event_id": "b2"}],
            [event("bob", "data", T0 + 2 * HOUR, megabytes=7.0) | {"event_id": "b3"}],
            [event("ann", "data", T0 + 2 * HOUR) | {"event_id": "a4"}],
            [event("bob", "data", T0 + 2 * HOUR + 1, megabytes=5.0) | {"event_id": "b5"}],
        ],
        {1: 0, 2: 1, 4: 2},
    )
    world = restore(run, parts, 1)
    assert contents(world.engine.partitions[0]) == contents(run.state)
    assert world.engine.partitions[0].index.n == run.state.index.n


def test_a_life_that_ends_and_begins_in_one_commit() -> None:
    """The second life has moved from nowhere, whatever the row held before the commit."""
    event = World().event
    run, parts = play(
        [
            [event("bob", "data", T0, megabytes=100.0)],
            [
                event("bob", "closed", T0 + HOUR) | {"event_id": "b2"},
                event("bob", "care_contact", T0 + 2 * HOUR, channel="app") | {"event_id": "b3"},
            ],
        ],
        {1: 0},
        model(),
    )
    world = restore(run, parts, 1)
    assert [(change["old"], change["new"]) for change in listed(run.commits[1][1])] == [(2, 0), (0, 1)]
    assert contents(world.engine.partitions[0]) == contents(run.state)


def test_no_trace_of_an_erased_customer_in_a_part() -> None:
    """Neither the id nor a hash made without a key, which finds the id again among phone numbers."""
    _, parts = play(erased(T0 + 2 * HOUR), {4: 1})
    (_, part), *_ = parts
    assert part.ids.to_bytes() == [b""]
    assert part.hashes.tolist() == [0]
