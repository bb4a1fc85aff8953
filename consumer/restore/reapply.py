"""Applies the input of a partition again, up to its last commit.

Windows do not depend on how events are grouped, so commits are applied together. Not where a life ends: an
event after a `closed` begins a new life, one before it is forgotten with the old; such commits are applied by
themselves. Where a commit published, the features of that moment are kept beside the segment: it is the last
of its group if a customer of it has events in the next one.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from confluent_kafka import Message

from consumer.core import Core
from consumer.failpoints import failpoint
from consumer.log_reader import LogReader, Ranges
from consumer.restore.tail import Changes, Tail
from online_model.partition import PartitionState
from online_model.poll import Poll
from online_model.rebuild import Moment, Published, apply_again, publish_again
from schemas.batch import Topic
from schemas.records import RawRecords

#: What the text of an event that ends a life, or lets one end, contains.
_ENDINGS: Final = (b"closed", b"forget", b"consent_profiling", b"\\u")

#: Records of a group, about.
_GROUP: Final = 20_000

#: Records read at once, about: topics of a partition come at their own pace, and what is ahead of the others
#: waits in memory. The client forgets what it has fetched beyond, so many small stretches would be slow.
_STRETCH: Final = 60_000

#: Share priors float64[D] of a model version; None if the version is not known.
Priors = Callable[[int], npt.NDArray[np.float64] | None]


@dataclass(frozen=True, slots=True, eq=False)
class Commits:
    """Commits to apply again, in order.

    Numbers int64[m], next offsets int64[m, 3], watermarks and model versions int64[m]; `published`: what
    each published, None where that is read elsewhere; `refused`: offsets per input topic to leave out,
    ascending.
    """

    n: npt.NDArray[np.int64]
    to: npt.NDArray[np.int64]
    watermark_us: npt.NDArray[np.int64]
    model_version: npt.NDArray[np.int64]
    published: Changes | None
    refused: list[npt.NDArray[np.int64]]

    @classmethod
    def of(cls, tail: Tail) -> Commits:
        """The commits of `tail`."""
        a = tail.audits
        return cls(a.n, a.to, a.watermark_us, a.model_version, tail.changes, tail.refused)

    def cuts(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """Commits that a group may end with: those that published, and the last one.

        Those that hold `offsets` of the customer topic, and those before them, are as `alone` says.
        """
        said = np.empty(0, np.intp) if self.published is None else self.published.commits
        return np.unique(np.concatenate([self.alone(offsets), said, [len(self.to) - 1]])).astype(np.intp)

    def alone(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """Commits that a group must end with: those that hold `offsets`, and those before them."""
        at = np.searchsorted(self.to[:, Topic.CUSTOMER], offsets, side="right")
        cuts = np.unique(np.concatenate([at - 1, at]))
        return cuts[(cuts >= 0) & (cuts < len(self.to))].astype(np.intp)


@dataclass(slots=True)
class _Group:
    """Commits that are applied together.

    `records` of all of them, up to commit number `end`; `published`: those that published; `customers`
    whose features at their commit are still to be read.
    """

    records: list[Message] = field(default_factory=list)
    end: int = -1
    published: list[int] = field(default_factory=list)
    customers: set[bytes] = field(default_factory=set)

    def takes(self, records: list[Message]) -> bool:
        """Whether `records` may be applied before the features of `customers` are read."""
        return len(self.records) < _GROUP and self.customers.isdisjoint([r.key() or b"" for r in records])

    def add(self, records: list[Message], index: int, published: Published | None) -> None:
        """Takes the records up to commit `index`, which published."""
        self.records += records
        self.end = index
        if published is not None:
            self.published.append(index)
            self.customers.update(published.ids.to_bytes())


class Reapplication:
    """Brings `state` from the offsets it holds to the last of `commits`, without deciding anything."""

    def __init__(
        self,
        core: Core,
        inputs: tuple[str, str, str],
        state: PartitionState,
        commits: Commits,
        priors: Priors,
    ) -> None:
        self._core = core
        self._code = {topic: number for number, topic in enumerate(inputs)}
        self._inputs = inputs
        self._state = state
        self._commits = commits
        self._priors = priors
        self._ahead: list[deque[Message]] = [deque() for _ in inputs]
        self._group = _Group()

    def run(self, log: LogReader, first: list[int], progress: Callable[[int], None]) -> None:
        """Reads the input from offsets `first` on; `progress` hears how many records are left."""
        if not len(self._commits.to):
            return
        end = self._commits.to[-1].tolist()
        ends = self._ends_of_lives(log, self._ranges(first, end))
        cuts = self._commits.cuts(ends)
        alone = np.isin(cuts, self._commits.alone(ends))
        position, at = list(first), 0
        for last in self._stretches(first, cuts):
            to = self._commits.to[cuts[last]].tolist()
            for chunk in chain(log.chunks(self._ranges(position, to)), [[]]):
                for message in chunk:
                    code = self._code[message.topic() or ""]
                    self._ahead[code].append(message)
                    position[code] = int(message.offset() or 0) + 1
                if not chunk:  # what is left are records that are no longer there
                    position = np.maximum(position, to).tolist()
                while at <= last and self._is_read(position, int(cuts[at])):
                    self._take(int(cuts[at]))
                    if alone[at]:
                        self._apply()
                    at += 1
                failpoint("restore.replay")
                progress(sum(max(goal - place, 0) for place, goal in zip(position, end, strict=True)))
        self._apply()

    def _ranges(self, first: list[int], end: list[int]) -> Ranges:
        """The offsets `first` to `end` of the input topics of the partition."""
        places = [(topic, self._state.number) for topic in self._inputs]
        return dict(zip(places, zip(first, end, strict=True), strict=True))

    def _stretches(self, first: list[int], cuts: npt.NDArray[np.intp]) -> Iterator[int]:
        """Last cut of each stretch of the input that is read at once."""
        records = np.maximum(self._commits.to[cuts] - np.array(first, np.int64), 0).sum(axis=1)
        begin, read = 0, 0
        while begin < len(cuts):
            last = max(int(np.searchsorted(records, read + _STRETCH, side="right")) - 1, begin)
            yield last
            begin, read = last + 1, int(records[last])

    def _is_read(self, position: list[int], index: int) -> bool:
        cut = self._commits.to[index].tolist()
        return all(place >= last for place, last in zip(position, cut, strict=True))

    def _ends_of_lives(self, log: LogReader, ranges: Ranges) -> npt.NDArray[np.int64]:
        """Offsets of the customer topic whose records may end a life, or depend on the watermark."""
        place, found = (self._inputs[Topic.CUSTOMER], self._state.number), array("q")
        for chunk in log.chunks({place: ranges[place]}):
            found.extend(int(m.offset() or 0) for m in chunk if _stands_alone(m.value() or b""))
        return np.array(found, np.int64)

    def _take(self, index: int) -> None:
        """Takes what has been read up to the commit at `index` into the group."""
        cut = self._commits.to[index].tolist()
        taken: list[Message] = []
        for code, queue in enumerate(self._ahead):
            while queue and int(queue[0].offset() or 0) < cut[code]:
                taken.append(queue.popleft())
        if not self._group.takes(taken):
            self._apply()
        changes = self._commits.published
        published = None if changes is None else changes.of(index)
        self._group.add(taken, index, published if published is not None and len(published.seq) else None)

    def _apply(self) -> None:
        """Applies the group and what its commits published; the next one begins."""
        group, self._group = self._group, _Group()
        if group.end < 0:
            return
        commits, state = self._commits, self._state
        raw = self._records(group.records)
        batch, rejects = self._core.decoder.decode(raw)
        cut = commits.to[group.end].tolist()
        moved = {(state.number, code): int(offset) for code, offset in enumerate(cut)}
        apply_again(state, Poll(raw, batch, rejects, moved, {}), int(commits.watermark_us[group.end]))
        for index in group.published:
            assert commits.published is not None
            at = Moment(int(commits.n[index]), int(commits.watermark_us[index]))
            priors = self._priors(int(commits.model_version[index]))
            publish_again(state, at, commits.published.of(index), self._core.plan, priors)

    def _records(self, messages: list[Message]) -> RawRecords:
        """The records but those refused, by topic and offset."""
        topic = np.array([self._code[message.topic() or ""] for message in messages], np.uint8)
        offset = np.array([message.offset() for message in messages], np.int64)
        keep = np.ones(len(messages), np.bool_)
        for code, refused in enumerate(self._commits.refused):
            mine = topic == code
            keep[mine] = ~np.isin(offset[mine], refused)
        values = cast("list[bytes | None]", [message.value() for message in messages])
        keys = cast("list[bytes | None]", [message.key() for message in messages])
        raw = RawRecords(values, keys, topic, np.full(len(messages), self._state.number, np.int32), offset)
        return raw if keep.all() else raw.take(np.flatnonzero(keep).tolist())


def _stands_alone(value: bytes) -> bool:
    """Whether a commit with this record must be applied by itself.

    How far back a profile without `activated_on` begins a life depends on the watermark.
    """
    undated = b"profile" in value and (b"activated_on" not in value or b"null" in value)
    return undated or any(word in value for word in _ENDINGS)
