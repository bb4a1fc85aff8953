"""A partition restored from parts of different ages and brought up to date goes on as if nothing had been."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from online_model.change_batch import Change
from online_model.engine import PartitionStep
from online_model.partition import PartitionState
from online_model.poll import Poll
from online_model.rebuild import Moment, Published, apply_again, publish_again
from online_model.rows import HOT, UNBORN
from online_model.state_columns import Extent, PartBuffer, RowPart, finish_load, load_part
from schemas.batch import StringColumn
from tests.online_model.streams import DAY, T0, Event, features
from tests.online_model.test_engine import history
from tests.online_model.tiny import TINY, World, listed, model

#: What the evaluation of a customer may change without changing the customer: how far the rings are moved on.
HEADS = {"head_day", "head_week"}
RINGS = {"day32", "day16", "week32", "week16", "sum32", "sum16"}


@dataclass(slots=True)
class Run:
    """An engine that steps through events, what it committed, and the parts copied on the way."""

    events: list[Event]
    world: World = field(default_factory=lambda: World(scan_rows=3))
    commits: list[tuple[Poll, PartitionStep]] = field(default_factory=list)

    def steps(self) -> Iterator[int]:
        """Takes a step of ten events at a time; yields how many have been taken."""
        for i in range(0, len(self.events), 10):
            if i == 30:
                self.world.engine.offer_model(model())
            if i == 150:
                self.world.engine.offer_model(model(2, high=60.0))
            now = T0 + (i + 10) * 10 * DAY // len(self.events)
            poll = self.world.log.poll(self.events[i : i + 10])
            (step,) = self.world.engine.step(poll, now).partitions
            self.commits.append((poll, step))
            yield len(self.commits)

    @property
    def state(self) -> PartitionState:
        """The only partition."""
        return self.world.engine.partitions[0]


def kept(part: RowPart) -> RowPart:
    """A copy that outlives the buffer."""
    return RowPart(part.low, part.ids, part.hashes, copy.deepcopy(part.rows))


def accepted(poll: Poll, step: PartitionStep) -> Poll:
    """The poll without what the step refused."""
    refused = set(zip(step.rejects.topic.tolist(), step.rejects.offset.tolist(), strict=True))
    keep = [
        i for i, at in enumerate(zip(poll.raw.topic.tolist(), poll.raw.offset.tolist(), strict=True))
        if at not in refused
    ]  # fmt: skip
    raw = poll.raw.take(keep)
    log = World().log
    batch, rejects = log.decoder.decode(raw)
    assert not rejects.n
    return Poll(raw, batch, rejects, poll.next_offset, poll.at_end)


def published(step: PartitionStep) -> Published | None:
    """The changes of a step as their records say it."""
    changes = step.changes
    if changes is None:
        return None
    at = np.flatnonzero(changes.change != Change.ERASED)
    return Published(
        StringColumn.from_bytes([changes.customer_ids[i] for i in at]),
        changes.new[at],
        changes.old[at],
        changes.seq[at],
        np.full(len(at), step.watermark_us),
        changes.provisional[at],
    )


def restore(run: Run, parts: list[tuple[int, RowPart]], first: int) -> World:
    """A new engine from parts and the commits from number `first` + 1 on."""
    world = World(scan_rows=3)
    world.log = run.world.log
    state = world.engine.partitions[0]
    for _, part in parts:
        load_part(state, part)
    ends = [step.end for _, step in run.commits]
    finish_load(state, [Extent(part.low, n, ends[n - 1]) for n, part in parts])
    state.erased = dict(run.state.erased)
    state.first_watermark_us = run.state.first_watermark_us
    if first:
        state.intake.watermark_us = run.commits[first - 1][1].watermark_us
    for n, (poll, step) in enumerate(run.commits[first:], first + 1):
        apply_again(state, accepted(poll, step), step.watermark_us)
        if (changes := published(step)) is not None:
            publish_again(state, Moment(n, step.watermark_us), changes, TINY, np.full(3, np.nan))
    state.extents = None
    state.next_offset[:] = ends[-1]
    last = run.commits[-1][1]
    for frontier, settled in zip(state.intake.frontiers, last.frontiers, strict=True):
        frontier.resume(settled)
    engine = run.world.engine
    world.engine.active, world.engine.previous = engine.active, engine.previous
    state.scan.resume(last.scan, 2, TINY.columns.n)
    return world


def contents(state: PartitionState) -> list[list[Any]]:
    """Per row that has lived, in no order, the columns that do not depend on when it was evaluated."""
    rows, n = state.store.rows, state.index.n
    return sorted(
        [
            state.index.hashes[row].tobytes(),
            *(
                (name, getattr(rows, name)[row].tobytes())
                for name in sorted({*rows._fields} - RINGS - {"hot"})
            ),
            *((name, rows.hot[name][row].tobytes()) for name in sorted(set(HOT.fields or ()) - HEADS)),
        ]
        for row in range(n)
        if rows.hot["status"][row] != UNBORN
    )


def in_parts(run: Run, begin: int, size: int) -> list[tuple[int, RowPart]]:
    """Runs to the end; from step `begin` on copies a part after each step."""
    parts: list[tuple[int, RowPart]] = []
    buffer, low = PartBuffer(run.state.store.rows, size), 0
    for n in run.steps():
        done = n < begin or (parts and low == run.state.index.n and parts[-1][1].n < size)
        if not done:
            part = kept(buffer.copy(run.state, low))
            low += part.n
            parts.append((n, part))
    return parts


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("begin", "size"), [(1, 3), (9, 4), (20, 5), (29, 100)])
def test_fuzzy_parts_and_a_replay_are_the_state(seed: int, begin: int, size: int) -> None:
    """Whatever was copied when: features, duplicates, profiles and what was published, bit for bit."""
    run = Run(history(seed))
    parts = in_parts(run, begin, size)
    world = restore(run, parts, parts[0][0] if parts else 0)
    assert contents(world.engine.partitions[0]) == contents(run.state)
    priors = np.full(3, 0.5)
    assert features(world.engine, priors) == features(run.world.engine, priors)
    assert world.engine.partitions[0].erased == run.state.erased


@pytest.mark.parametrize("seed", range(6))
def test_it_goes_on_as_if_nothing_had_been(seed: int) -> None:
    """The steps after a restore publish the same changes, drivers and causes included, and scan the same."""
    events = history(seed, 400)
    run = Run(events[:300])
    parts = in_parts(run, 12, 4)
    world = restore(run, parts, parts[0][0])
    for i in range(300, 400, 10):
        now = T0 + (i + 10) * 10 * DAY // 400
        poll = run.world.log.poll(events[i : i + 10])
        (mine,) = run.world.engine.step(poll, now).partitions
        (other,) = world.engine.step(poll, now).partitions
        assert repr(listed(mine)) == repr(listed(other))
        assert mine.watermark_us == other.watermark_us
        assert mine.scan[:2] == other.scan[:2]
        assert mine.frontiers == other.frontiers


def test_a_part_of_another_layout_is_refused() -> None:
    """A column of another width or type names itself."""
    run = Run(history(1, 20))
    list(run.steps())
    part = PartBuffer(run.state.store.rows, 10).copy(run.state, 0)
    state = World().engine.partitions[0]
    wrong = part.rows._replace(day32=part.rows.day32[:, :8])
    with pytest.raises(ValueError, match="column day32"):
        load_part(state, RowPart(0, part.ids, part.hashes, wrong))
    with pytest.raises(ValueError, match="begins at row 3"):
        load_part(state, RowPart(3, part.ids, part.hashes, part.rows))
