"""What a partition has read but not yet applied, and its watermark.

The three topics of a partition are read at their own pace. The watermark is the minimum over the
topics of the newest event time read (a topic read to its end does not hold it back), and an event
more than a bucket ahead of it waits, so that a fast topic cannot push others out of the rings.
Offsets stay contiguous: a topic waits from its first event that has to.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.rows import NEVER
from schemas.batch import EventBatch, Int64Array, Topic
from schemas.kernel import allocating
from schemas.records import RawRecords
from schemas.rejects import Rejects

DAY_US: Final = 86_400_000_000
N_TOPICS: Final = len(Topic)

#: A topic may run this far ahead of the watermark.
AHEAD_US: Final = DAY_US
#: An event further ahead of its topic than this needs witnesses to move the watermark: `CONFIRMATIONS` of
#: the next `LOOKAHEAD` events must not be before it. A bad clock must not drag the watermark along.
JUMP_US: Final = 3_600_000_000
LOOKAHEAD: Final = 8
CONFIRMATIONS: Final = 2
#: Without witnesses it is still applied if it is ahead by no more than this, otherwise refused.
BELIEVED_US: Final = 7 * DAY_US
#: An event this close to the clock agrees with it and needs no other witness.
LIVE_US: Final = 3_600_000_000

# Verdicts of `_sift`; an early event is applied without moving the frontier and without waiting for it.
_FINE, _BAD_CLOCK, _OPEN, _EARLY = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one topic and partition from one poll.

    `events` int64[m]: positions in `batch`; `rejects`: what did not decode; `next_offset`: after
    the last record of the chunk; `raw`: the poll, for the bytes of events refused later.
    """

    batch: EventBatch
    events: Int64Array
    rejects: Rejects
    next_offset: int
    raw: RawRecords


@dataclass(slots=True)
class Frontier:
    """Newest believed event time of a topic, newest applied, and whether its end was reached.

    `settled`: the first two over what has been released, which is what a restart goes on from.
    """

    newest_us: int = NEVER
    applied_us: int = NEVER
    at_end: bool = False
    settled: tuple[int, int] = (NEVER, NEVER)

    def settle(self, times: Int64Array, verdict: npt.NDArray[np.uint8], latest_us: int) -> None:
        """Events at `times` int64[m] were released with `verdict` uint8[m]."""
        if not len(times):
            return
        if verdict.any() or times.max() > latest_us:
            known = times <= latest_us
            believed = times[known & (verdict == _FINE)]
            times = times[known & (verdict != _BAD_CLOCK)]
        else:
            believed = times
        newest, applied = self.settled
        self.settled = (
            max(newest, int(believed.max(initial=NEVER))),
            max(applied, int(times.max(initial=NEVER))),
        )

    def resume(self, settled: tuple[int, int]) -> None:
        """Goes on from what another process released."""
        self.newest_us, self.applied_us = self.settled = settled


@dataclass(frozen=True, slots=True)
class Release:
    """What may be applied now: chunks in topic order, positions of bad clocks, next offset per topic."""

    chunks: list[Chunk]
    bad_clock: list[tuple[Chunk, Int64Array]]
    next_offset: dict[int, int]


@allocating
def _sift(times: Int64Array, newest: int, latest: int, at_end: bool, verdict: npt.NDArray[np.uint8]) -> int:
    """Moves the frontier over `times` in order; returns it, with a verdict per event.

    Events after `latest` are refused elsewhere and move nothing. Open verdicts stand only at the end.
    """
    n = len(times)
    for i in range(n):
        t = times[i]
        verdict[i] = _FINE
        if t > latest or t <= newest:
            continue
        if newest == NEVER or t <= newest + JUMP_US or t >= latest - LIVE_US:
            newest = t
            continue
        seen, agreeing, j = 0, 0, i + 1
        while j < n and seen < LOOKAHEAD and agreeing < CONFIRMATIONS:
            if times[j] <= latest:
                seen += 1
                agreeing += times[j] >= t
            j += 1
        if agreeing == CONFIRMATIONS:
            newest = t
        elif seen < LOOKAHEAD and not at_end:
            verdict[i:] = _OPEN
            return newest
        elif t > newest + BELIEVED_US and agreeing < seen:
            verdict[i] = _BAD_CLOCK
        elif seen == LOOKAHEAD or agreeing < seen:
            verdict[i] = _EARLY
        else:
            newest = t  # the last events of the topic: nobody is left to ask
    return newest


@dataclass(slots=True)
class Intake:
    """Queues and frontiers of one partition."""

    frontiers: list[Frontier] = field(default_factory=lambda: [Frontier() for _ in range(N_TOPICS)])
    queues: list[deque[Chunk]] = field(default_factory=lambda: [deque() for _ in range(N_TOPICS)])
    #: Verdicts per waiting chunk: one that was passed stays, however often the chunk has to wait.
    verdicts: list[deque[npt.NDArray[np.uint8]]] = field(
        default_factory=lambda: [deque() for _ in range(N_TOPICS)]
    )
    watermark_us: int = NEVER

    def offer(self, topic: int, chunk: Chunk) -> None:
        """Appends a chunk that was read; the topic is not at its end until `mark_end` says so."""
        self.queues[topic].append(chunk)
        self.verdicts[topic].append(np.full(len(chunk.events), _OPEN, np.uint8))
        if len(chunk.events):
            self.frontiers[topic].at_end = False

    def mark_end(self, topic: int, at_end: bool = True) -> None:
        """Whether the topic is read to its end."""
        self.frontiers[topic].at_end = at_end

    @property
    def waiting(self) -> list[int]:
        """Topics whose first event waits for the watermark: they need not be read further now.

        A topic that waits for witnesses is read on: they, or the topic's end, are still to come.
        """
        return [
            topic
            for topic in range(N_TOPICS)
            if any(len(verdict) for verdict in self.verdicts[topic])
            and next(verdict[0] for verdict in self.verdicts[topic] if len(verdict)) != _OPEN
        ]

    @property
    def is_at_end(self) -> bool:
        """Whether all topics are read to their ends, and everything that was read has been released."""
        return self.is_empty and all(frontier.at_end for frontier in self.frontiers)

    @property
    def is_empty(self) -> bool:
        """Whether everything that was read has been released."""
        return not any(self.queues)

    def release(self, latest_us: int, idle_clock_us: int | None) -> Release:
        """Moves the watermark on and takes out what may be applied.

        `latest_us`: events after it are from the future; they are released and refused by the
        windows. `idle_clock_us`: the watermark where every topic is at its end (None: it stays).
        """
        for topic in range(N_TOPICS):
            self._sift_topic(topic, latest_us)
        self._advance(idle_clock_us)
        chunks: list[Chunk] = []
        bad: list[tuple[Chunk, Int64Array]] = []
        offsets: dict[int, int] = {}
        for topic in range(N_TOPICS):
            queue, verdicts = self.queues[topic], self.verdicts[topic]
            while queue:
                chunk, verdict = queue.popleft(), verdicts.popleft()
                taken, rest = self._split(chunk, verdict, latest_us)
                if taken is not None:
                    n = len(taken.events)
                    self.frontiers[topic].settle(
                        taken.batch.event_time_us[taken.events], verdict[:n], latest_us
                    )
                    wrong = verdict[: len(taken.events)] == _BAD_CLOCK
                    if wrong.any():
                        bad.append((taken, taken.events[wrong]))
                        taken = Chunk(
                            taken.batch, taken.events[~wrong], taken.rejects, taken.next_offset, taken.raw
                        )
                    chunks.append(taken)
                    offsets[topic] = taken.next_offset
                if rest is not None:
                    queue.appendleft(rest)
                    verdicts.appendleft(verdict[len(verdict) - len(rest.events) :])
                    break
        return Release(chunks, bad, offsets)

    def _sift_topic(self, topic: int, latest_us: int) -> None:
        """Passes the open verdicts, which are the last ones, and moves the frontier over them."""
        queue, verdicts, frontier = self.queues[topic], self.verdicts[topic], self.frontiers[topic]
        fresh = 0
        for verdict in reversed(verdicts):
            if len(verdict) and verdict[-1] != _OPEN:
                break
            fresh += 1
        if not fresh:
            return
        first = len(queue) - fresh
        times = [chunk.batch.event_time_us[chunk.events] for chunk in islice(queue, first, None)]
        lengths = [len(part) for part in times]
        joined = np.concatenate(times)
        verdict = np.concatenate(list(islice(verdicts, first, None)))
        done = int((verdict != _OPEN).sum())
        frontier.newest_us = int(
            _sift(joined[done:], frontier.newest_us, latest_us, frontier.at_end, verdict[done:])
        )
        credible = joined[(verdict != _BAD_CLOCK) & (verdict != _OPEN) & (joined <= latest_us)]
        if len(credible):
            frontier.applied_us = max(frontier.applied_us, int(credible.max()))
        for number, part in enumerate(np.split(verdict, np.cumsum(lengths)[:-1]), first):
            verdicts[number] = part

    def _advance(self, idle_clock_us: int | None) -> None:
        # At the end of everything no witness will come, and what was applied counts.
        known = [f.applied_us for f in self.frontiers if f.applied_us != NEVER]
        holding = [f.newest_us for f in self.frontiers if not f.at_end]
        if holding:
            target = min(holding)
        else:
            target = max([*known, NEVER if idle_clock_us is None else idle_clock_us], default=NEVER)
        self.watermark_us = max(self.watermark_us, target)

    def _split(
        self, chunk: Chunk, verdict: npt.NDArray[np.uint8], latest_us: int
    ) -> tuple[Chunk | None, Chunk | None]:
        """The part of `chunk` that may be applied and the part that waits."""
        times = chunk.batch.event_time_us[chunk.events]
        too_far = (times > self.watermark_us + AHEAD_US) & (times <= latest_us) & (verdict == _FINE)
        waits = too_far | (verdict == _OPEN)
        if not waits.any():
            return chunk, None
        cut = int(np.argmax(waits))
        offset = int(chunk.batch.offset[chunk.events[cut]])
        before = chunk.rejects.offset < offset
        rest = Chunk(
            chunk.batch,
            chunk.events[cut:],
            chunk.rejects.take(np.flatnonzero(~before)),
            chunk.next_offset,
            chunk.raw,
        )
        if cut == 0 and not before.any():
            return None, rest
        return Chunk(
            chunk.batch, chunk.events[:cut], chunk.rejects.take(np.flatnonzero(before)), offset, chunk.raw
        ), rest
