"""Laws of the intake: nothing is lost, offsets stay contiguous, the watermark is sound."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.intake import (
    AHEAD_US,
    BELIEVED_US,
    CONFIRMATIONS,
    JUMP_US,
    LIVE_US,
    LOOKAHEAD,
    Chunk,
    Intake,
    Release,
)
from online_model.rows import NEVER
from tests.online_model.streams import DAY, HOUR, T0, Event, Log

TYPES = ("sms", "topup", "care_contact")
FIELDS: tuple[Event, ...] = ({}, {"amount": 1.0, "currency": "EUR"}, {"channel": "phone"})
FAR = T0 + 4000 * DAY
MINUTE = HOUR // 60


def event(topic: int, us: int) -> Event:
    """An event of a topic at a time."""
    return {"event_id": "e", "customer_id": "c", "us": us, "type": TYPES[topic], **FIELDS[topic]}


class Harness:
    """An intake with its log; keeps what came out per topic, as (offset, how) in the order it came."""

    def __init__(self) -> None:
        self.log = Log()
        self.intake = Intake()
        self.offered = [0, 0, 0]
        self.out: list[list[tuple[int, str]]] = [[], [], []]
        #: Per topic the times by offset (None: a broken record).
        self.times: list[list[int | None]] = [[], [], []]
        #: Per topic and offset the topic's frontier before its first release, and the records known then.
        self.sifted: list[list[tuple[int, int]]] = [[], [], []]

    def offer(self, topic: int, times: list[int], broken: int = -1) -> None:
        """Offers events of a topic; with a record that does not decode at position `broken`."""
        events: list[Event | bytes] = [event(topic, us) for us in times]
        if topic == 0 and broken >= 0:
            events.insert(min(broken, len(events)), b"{")
        before = self.offered[topic]
        self.offered[topic] += len(events)
        self.times[topic] += [None if isinstance(one, bytes) else one["us"] for one in events]
        poll = self.log.poll(events)
        assert poll.rejects.n + poll.batch.n == self.offered[topic] - before
        chunk = Chunk(poll.batch, np.arange(poll.batch.n), poll.rejects, self.offered[topic], poll.raw)
        self.intake.offer(topic, chunk)

    def release(self, latest: int = FAR, idle: int | None = None) -> Release:
        """Releases; checks that exactly the offsets up to the next one came out, each once."""
        before = self.intake.watermark_us
        for topic, known in enumerate(self.times):
            fresh = (self.intake.frontiers[topic].newest_us, len(known))
            self.sifted[topic] += [fresh] * (len(known) - len(self.sifted[topic]))
        release = self.intake.release(latest, idle)
        assert self.intake.watermark_us >= before
        reached = [len(out) for out in self.out]
        bad = {id(chunk.batch): chunk.batch.offset[events] for chunk, events in release.bad_clock}
        for chunk in release.chunks:
            if not chunk.raw.n:
                continue
            topic = int(chunk.raw.topic[0])
            events = chunk.batch.offset[chunk.events]
            parts = [(int(o), "event") for o in events]
            parts += [(int(o), "reject") for o in chunk.rejects.offset]
            if id(chunk.batch) in bad:
                parts += [(int(o), "bad clock") for o in bad.pop(id(chunk.batch))]
            self.out[topic] += sorted(parts)
            for offset in events[
                chunk.batch.event_time_us[chunk.events] > self.intake.watermark_us + AHEAD_US
            ]:
                assert self.may_be_early(topic, int(offset), latest)
        assert not bad
        for topic in range(3):
            offsets = [offset for offset, _ in self.out[topic]]
            assert offsets == list(range(len(offsets)))
            assert release.next_offset.get(topic, reached[topic]) == len(offsets)
        return release

    def may_be_early(self, topic: int, offset: int, latest: int) -> bool:
        """Whether an event may come out ahead of the watermark: from the future, or early and unwitnessed."""
        us = self.times[topic][offset]
        if us is None or us > latest:
            return us is not None
        frontier, known = self.sifted[topic][offset]
        after = [t for t in self.times[topic][offset + 1 : known] if t is not None and t <= latest]
        alone = sum(t >= us for t in after[:LOOKAHEAD]) < CONFIRMATIONS
        ahead = us - self.intake.frontiers[topic].newest_us
        return alone and us > frontier + JUMP_US and ahead <= BELIEVED_US

    def verdicts(self, topic: int = 0) -> list[str]:
        """How the records of a topic came out, by offset."""
        return [how for _, how in self.out[topic]]


@given(st.integers(0, 1 << 32))
@settings(max_examples=80)
def test_everything_comes_out_once_and_in_order(seed: int) -> None:
    """Whatever the times, the pace of the topics and the refused records between: contiguous offsets."""
    rng = random.Random(seed)
    harness, now = Harness(), T0
    for _ in range(rng.randrange(1, 14)):
        topic = rng.randrange(3)
        now += rng.choice([0, HOUR, DAY, 3 * DAY])
        jump = rng.choice([0, 0, 0, 0, 5, 9, 500, 5000])
        count = rng.randrange(6)
        times = [now + rng.choice([0, 0, 0, jump]) * DAY + rng.randrange(2 * DAY) for _ in range(count)]
        harness.offer(topic, times, broken=rng.choice([-1, 0, 2]))
        harness.intake.mark_end(topic, rng.random() < 0.5)
        if rng.random() < 0.7:
            harness.release()
    for topic in range(3):
        harness.intake.mark_end(topic)
    harness.release(idle=FAR)
    assert [len(out) for out in harness.out] == harness.offered
    assert harness.intake.waiting == []


@given(st.integers(0, 1 << 32))
@settings(max_examples=40)
def test_verdicts_do_not_depend_on_how_long_records_wait(seed: int) -> None:
    """Read in one piece or piece by piece, the same records have bad clocks."""
    rng = random.Random(seed)
    now, times = T0, []
    for _ in range(20):
        now += rng.randrange(2 * DAY)
        times.append(now + rng.choice([0, 0, 0, 0, JUMP_US + DAY, JUMP_US + 5 * DAY]))
    times += [now, now]
    whole, pieces = Harness(), Harness()
    whole.offer(0, times)
    for us in times:
        pieces.offer(0, [us])
        pieces.release()
        pieces.offer(1, [us - 2 * DAY])
    for harness in (whole, pieces):
        for topic in range(3):
            harness.intake.mark_end(topic)
        harness.release()
    assert pieces.verdicts() == whole.verdicts()


def test_the_watermark_is_the_slowest_topic() -> None:
    """It is the minimum over the topics that are not at their end, the maximum when all are."""
    harness = Harness()
    harness.offer(0, [T0 + 5 * HOUR])
    harness.offer(1, [T0 + 2 * HOUR])
    harness.release()
    assert harness.intake.watermark_us == NEVER  # the third topic may hold anything
    harness.intake.mark_end(2)
    harness.release()
    assert harness.intake.watermark_us == T0 + 2 * HOUR
    harness.intake.mark_end(1)
    harness.release()
    assert harness.intake.watermark_us == T0 + 5 * HOUR
    harness.intake.mark_end(0)
    harness.release(idle=T0 + 3 * HOUR)
    assert harness.intake.watermark_us == T0 + 5 * HOUR
    harness.release(idle=T0 + 9 * HOUR)
    assert harness.intake.watermark_us == T0 + 9 * HOUR
    harness.offer(0, [T0])
    harness.release()
    assert harness.intake.watermark_us == T0 + 9 * HOUR


def test_an_event_far_ahead_waits_for_the_others() -> None:
    """A topic stops at its first witnessed event more than a bucket ahead, with all that follow it."""
    harness = Harness()
    harness.intake.mark_end(2)
    harness.offer(1, [T0])
    last = T0 + AHEAD_US
    harness.offer(0, [T0 + HOUR, last, last + 1, last, T0 + HOUR], broken=4)
    harness.release()
    assert harness.verdicts() == ["event", "event"]
    assert harness.intake.waiting == [0]
    assert harness.intake.watermark_us == T0
    harness.offer(1, [T0 + HOUR])
    harness.release()
    assert harness.verdicts() == ["event", "event", "event", "event", "reject", "event"]
    assert harness.intake.waiting == []
    assert harness.intake.watermark_us == T0 + HOUR


def jumping(jump: int, after: list[int], latest: int = FAR) -> Harness:
    """One topic that is not at its end: T0, then the jump, then `after`; the other topics are at theirs."""
    harness = Harness()
    harness.intake.mark_end(1)
    harness.intake.mark_end(2)
    harness.offer(0, [T0, T0 + jump, *after])
    harness.release(latest)
    return harness


NEIGHBOURS = [T0 + minute * MINUTE for minute in range(1, LOOKAHEAD + 1)]


def test_a_clock_that_jumps_alone_is_refused() -> None:
    """More than a week ahead of its topic, with fewer than two witnesses among the next eight."""
    for jump in (BELIEVED_US + 1, 300 * DAY):
        for witnesses in range(CONFIRMATIONS):
            harness = jumping(jump, [T0 + jump] * witnesses + NEIGHBOURS)
            assert harness.verdicts() == ["event", *["bad clock"] * (1 + witnesses), *["event"] * LOOKAHEAD]
            assert harness.intake.watermark_us == NEIGHBOURS[-1]
            assert harness.intake.waiting == []


def test_a_clock_that_jumps_alone_by_days_is_applied_and_not_followed() -> None:
    """Up to a week ahead it comes out without waiting for the watermark, which stays with the others."""
    for jump in (JUMP_US + LOOKAHEAD * MINUTE + 1, 3 * DAY, BELIEVED_US):
        harness = jumping(jump, NEIGHBOURS)
        assert harness.verdicts() == ["event"] * (2 + LOOKAHEAD)
        assert harness.intake.watermark_us == NEIGHBOURS[-1]
        assert harness.intake.waiting == []


def test_a_jump_with_witnesses_is_believed() -> None:
    """Two of the next eight events that are not before it, wherever among them, move the watermark there."""
    for jump in (3 * DAY, 300 * DAY):
        for pair in combinations(range(LOOKAHEAD), CONFIRMATIONS):
            after = [T0 + jump if i in pair else us for i, us in enumerate(NEIGHBOURS)]
            harness = jumping(jump, after)
            assert harness.verdicts() == ["event"] * (2 + LOOKAHEAD)
            assert harness.intake.watermark_us == T0 + jump
    late = [*NEIGHBOURS, T0 + 300 * DAY, T0 + 300 * DAY]
    assert jumping(300 * DAY, late).verdicts()[:2] == ["event", "bad clock"]


def test_records_that_do_not_count_are_no_witnesses() -> None:
    """Events from the future neither confirm a jump nor use up the eight."""
    far, latest = T0 + 300 * DAY, T0 + 400 * DAY
    harness = jumping(300 * DAY, [latest + 1] * 20, latest)
    assert harness.verdicts() == ["event"]
    harness.offer(0, NEIGHBOURS[:-2])
    harness.release(latest)
    assert harness.verdicts() == ["event"]
    harness.offer(0, [far, far])
    harness.release(latest)
    assert harness.verdicts() == ["event"] * (22 + LOOKAHEAD)
    assert harness.intake.watermark_us == far


def test_an_event_near_the_clock_needs_no_witness() -> None:
    """Within an hour of the clock it is believed at once, a moment earlier it is not."""
    latest = T0 + 300 * DAY
    harness = jumping(300 * DAY - LIVE_US, NEIGHBOURS, latest)
    assert harness.verdicts() == ["event"] * (2 + LOOKAHEAD)
    assert harness.intake.watermark_us == latest - LIVE_US
    harness = jumping(300 * DAY - LIVE_US - 1, NEIGHBOURS, latest)
    assert harness.verdicts() == ["event", "bad clock", *["event"] * LOOKAHEAD]
    assert harness.intake.watermark_us == NEIGHBOURS[-1]


def test_at_the_end_of_a_topic_those_that_are_left_decide() -> None:
    """A jump is believed if all of them agree; one that contradicts makes it early, or a bad clock."""
    for jump, after, verdict, frontier, watermark in (
        (300 * DAY, [], "event", 300 * DAY, 300 * DAY),
        (300 * DAY, [T0 + 300 * DAY], "event", 300 * DAY, 300 * DAY),
        (300 * DAY, [T0 + MINUTE], "bad clock", MINUTE, MINUTE),
        (3 * DAY, [T0 + MINUTE], "event", MINUTE, 3 * DAY),  # where all ends, what was applied counts
    ):
        harness = jumping(jump, after)
        assert harness.verdicts() == ["event"]
        harness.intake.mark_end(0)
        harness.release()
        assert harness.verdicts() == ["event", verdict, *["event"] * len(after)]
        assert harness.intake.frontiers[0].newest_us == T0 + frontier
        assert harness.intake.watermark_us == T0 + watermark


@pytest.mark.parametrize("seed", range(5))
def test_bad_clocks_do_not_move_the_watermark_of_a_backfill(seed: int) -> None:
    """One record in 400 is days ahead: all are applied, and the watermark keeps to the true newest times."""
    rng = random.Random(seed)
    harness, newest, planted, pace = Harness(), [NEVER] * 3, 0, 4 * MINUTE
    for _ in range(240):
        topic = rng.randrange(3)
        start = max(newest[topic], T0)
        true = [start + i * pace + rng.randrange(pace) for i in range(rng.randrange(1, 200))]
        newest[topic] = max(true)
        times = [us + rng.randrange(DAY, 6 * DAY) if rng.random() < 0.0025 else us for us in true]
        planted += sum(us != t for us, t in zip(true, times, strict=True))
        harness.offer(topic, times)
        harness.release()
        if min(newest) != NEVER:
            assert abs(harness.intake.watermark_us - min(newest)) <= HOUR
    assert planted > 40
    for topic in range(3):
        harness.intake.mark_end(topic)
    harness.release()
    assert [len(out) for out in harness.out] == harness.offered
    assert {how for out in harness.out for _, how in out} == {"event"}
    assert 0 <= harness.intake.watermark_us - max(newest) < 6 * DAY


def test_a_jump_at_the_end_of_what_was_read_stays_open() -> None:
    """Not decided until what follows is known, or there is nothing more to read."""
    far = T0 + 300 * DAY
    for at_end, expected in ((False, ["event"]), (True, ["event", "event"])):
        harness = Harness()
        for topic in range(3):
            harness.intake.mark_end(topic)
        harness.offer(0, [T0, far])
        harness.intake.mark_end(0, at_end)
        harness.release()
        assert harness.verdicts() == expected
    harness.offer(0, [far + HOUR])
    harness.release()
    assert harness.intake.watermark_us == far + HOUR


def test_the_future_moves_nothing_and_waits_for_nobody() -> None:
    """Events after the clock's limit are handed on to be refused; the watermark does not see them."""
    harness = Harness()
    harness.offer(0, [T0 + 2 * HOUR, T0 + 3 * HOUR])
    harness.release(latest=T0 + HOUR)
    assert harness.verdicts() == ["event", "event"]
    assert harness.intake.watermark_us == NEVER


def test_a_topic_that_looks_for_witnesses_is_read_on() -> None:
    """It is not among the waiting ones, or neither witnesses nor its end would ever be read."""
    harness = Harness()
    harness.intake.mark_end(2)
    harness.offer(1, [T0, T0 + HOUR])
    harness.offer(0, [T0, T0 + HOUR, T0 + 3 * AHEAD_US])
    harness.release()
    assert harness.intake.queues[0]
    assert harness.intake.waiting == []
