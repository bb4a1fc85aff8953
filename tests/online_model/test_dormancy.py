"""Silence makes dormant in time: without an event, and where nobody says anything any more."""

from __future__ import annotations

from typing import Any

import pytest

from online_model.change_batch import Cause, Change
from online_model.engine import PartitionStep
from online_model.rows import SEGMENT_DORMANT
from tests.online_model.streams import DAY, HOUR, T0, partition_of
from tests.online_model.tiny import POLICY, World, listed, model

PARTITIONS = 3
GRACE = 300_000_000
RULE = int(POLICY.dormant_after_days * DAY)
#: Ann's partition goes idle; Bob's goes on.
ANN, BOB = "ann", "bob"
P = partition_of(ANN, PARTITIONS)
MINUTE = 60_000_000


class Silence:
    """Ann has said her last word `offset` after T0; the clock stands where the watermark is told to be."""

    def __init__(self, offset: int, others_go_on: bool, **settings: Any) -> None:
        self.world = World(PARTITIONS, idle_grace_us=GRACE, **settings)
        self.others_go_on = others_go_on
        self.last = T0 + offset
        self.world.engine.offer_model(model())
        events = [self.world.event(name, "data", T0) for name in (ANN, BOB)]
        self.world.steps(events, T0)
        self.at(T0 + DAY - HOUR if offset > DAY else T0)
        if offset:
            self.world.steps([self.world.event(ANN, "voice", self.last)], self.last)

    def at(self, watermark: int) -> list[PartitionStep]:
        """Steps until nothing happens any more, as of the clock that brings an idle partition there."""
        now, found = watermark + GRACE, []
        events = [self.world.event(BOB, "data", now - MINUTE)] if self.others_go_on else []
        while steps := [step for step in self.world.steps(events, now) if not step.is_empty]:
            found += steps
            events = []
        return found

    def of_ann(self, watermark: int) -> list[tuple[PartitionStep, dict[str, Any]]]:
        """Her changes on the way there, each with its step."""
        return [
            (step, change) for step in self.at(watermark) for change in listed(step) if change["id"] == ANN
        ]


def test_the_scene() -> None:
    """They are on different partitions."""
    assert partition_of(BOB, PARTITIONS) != P


@pytest.mark.parametrize("others_go_on", [True, False], ids=["others go on", "nobody says anything"])
@pytest.mark.parametrize("offset", [0, 1, 25 * MINUTE, HOUR - 1, HOUR, 13 * HOUR + 7, DAY - 1, DAY + 1])
def test_dormant_at_the_first_scan_after_the_rule(offset: int, others_go_on: bool) -> None:
    """Not a microsecond before the scan boundary, and then at once: within the hour of the rule."""
    silence = Silence(offset, others_go_on)
    rule = silence.last + RULE
    boundary = -(-rule // HOUR) * HOUR
    day = silence.last
    while (day := day + DAY) < boundary - HOUR:
        assert silence.of_ann(day) == []
    assert silence.of_ann(boundary - HOUR) == []
    assert silence.of_ann(boundary - 1) == []
    ((step, change),) = silence.of_ann(boundary)
    assert (change["change"], change["cause"], change["new"]) == (Change.MOVED, Cause.TIME, SEGMENT_DORMANT)
    assert (change["trigger_topic"], change["trigger_offset"]) == (-1, -1)
    assert (step.partition, step.watermark_us, step.touched) == (P, boundary, 0)
    assert (step.start == step.end).all()
    assert rule <= step.watermark_us < rule + HOUR
    assert silence.of_ann(boundary + DAY) == []


@pytest.mark.parametrize("others_go_on", [True, False])
@pytest.mark.parametrize("step_us", [MINUTE * 7, HOUR, 6 * HOUR + 1, DAY - 1])
def test_effective_within_a_day_of_the_rule(step_us: int, others_go_on: bool) -> None:
    """However long the steps of the clock are, up to a day."""
    silence = Silence(5 * HOUR + 3, others_go_on)
    rule, at, found = silence.last + RULE, silence.last + DAY, []
    while at < rule + 2 * DAY:
        at += step_us if at > rule - DAY else DAY // 2
        found += silence.of_ann(at)
    ((step, change),) = found
    assert (change["cause"], change["new"]) == (Cause.TIME, SEGMENT_DORMANT)
    assert rule <= step.watermark_us <= rule + DAY


def test_everybody_on_an_idle_partition_however_small_the_slices() -> None:
    """A pass of many steps over a partition that says nothing reaches all of its customers."""
    world = World(1, idle_grace_us=GRACE, scan_rows=3)
    world.engine.offer_model(model())
    names = [f"c{i}" for i in range(20)]
    events = [world.event(name, "data", T0) for name in names]
    while not world.tell(events, T0).is_empty:
        events = []
    found, steps = [], 0
    while not (step := world.tell([], T0 + RULE + GRACE)).is_empty:
        found += [(change["id"], change["cause"], change["new"]) for change in listed(step)]
        steps += 1
        assert step.watermark_us == T0 + RULE
    assert steps > 6
    assert sorted(found) == sorted((name, Cause.TIME, SEGMENT_DORMANT) for name in names)
