"""The input topics: polling, ownership, and where each partition stands.

The client's callbacks only note what happened; the loop acts. Positions are kept here (offset of the
last record plus one), never asked of the client. Records of partitions that are not live are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, cast

import numpy as np
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.core import Positions
from consumer.errors import BrokerRefused, BrokerUnreachable, Fenced, StateUnknown
from consumer.failpoints import failpoint
from consumer.kafka_clients import CloseMember, is_fatal, leave_group
from schemas.records import RawRecords

_log = structlog.get_logger("input")

N_TOPICS: Final = 3

_FORBIDDEN: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


@dataclass(slots=True)
class Ownership:
    """What rebalances did since the loop last looked."""

    assigned: set[int] = field(default_factory=set)
    #: Partitions of which this process got some topics and, it must be feared, another one the others.
    split: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    kinds: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.kinds)


class Input:
    """The group consumer of the three input topics.

    A partition is *owned* from its assignment on and *live* from `go_live` on: only then it is read.
    `settle` waits for the commit under way, if any, and never raises: partitions are given up after it,
    so that it is made by their owner or not at all.
    """

    def __init__(
        self, consumer: Consumer, topics: tuple[str, str, str], settle: Callable[[], None] = lambda: None
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._settle = settle
        self._code = {name: code for code, name in enumerate(topics)}
        self._changed = Ownership()
        self._owned: set[int] = set()
        self._answered = False
        self._next: dict[tuple[int, int], int] = {}
        self._at_end: dict[tuple[int, int], bool] = {}
        self._ends: dict[tuple[int, int], int] = {}
        self._paused: set[tuple[int, int]] = set()
        consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    # -- ownership -----------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        failpoint("assign.callback")
        numbers = {part.partition for part in partitions}
        got = {(part.topic, part.partition) for part in partitions}
        self._changed.split = {n for n in numbers if any((topic, n) not in got for topic in self._topics)}
        self._changed.assigned |= numbers
        self._changed.dropped -= numbers - self._owned
        self._changed.kinds.append("assigned")
        self._owned |= numbers
        self._answered = True  # also where it gives this member nothing: more members than partitions
        # Nothing is read until the loop has restored the partitions and names their offsets.
        consumer.assign([])

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        failpoint("revoke.callback")
        self._drop(partitions, "revoked")

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        failpoint("lost.callback")
        self._drop(partitions, "lost")

    def _drop(self, partitions: list[TopicPartition], kind: str) -> None:
        self._settle()
        failpoint("drop.settled")
        numbers = {part.partition for part in partitions} or set(self._owned)
        self._changed.assigned -= numbers
        self._changed.split -= numbers
        self._changed.dropped |= numbers
        self._changed.kinds.append(kind)
        self._owned -= numbers
        self._answered = False  # a rebalance is under way: the next assignment is yet to come
        for key in [key for key in self._next if key[0] in numbers]:
            del self._next[key]
            self._at_end.pop(key, None)
            self._paused.discard(key)

    def take_changes(self) -> Ownership:
        """Rebalances since the last call."""
        changed, self._changed = self._changed, Ownership()
        return changed

    @property
    def owned(self) -> frozenset[int]:
        """Partitions assigned to this process."""
        return frozenset(self._owned)

    @property
    def is_spare(self) -> bool:
        """Whether the group has answered since the last revocation and has no partition for this process."""
        return self._answered and not self._owned

    @property
    def live(self) -> frozenset[int]:
        """Partitions that are read."""
        return frozenset(partition for partition, _ in self._next)

    def is_wanted(self, partition: int) -> bool:
        """Whether a restore of `partition` still makes sense: it was neither lost nor lost and given back."""
        return partition in self._owned and partition not in self._changed.assigned

    @property
    def held(self) -> frozenset[tuple[int, int]]:
        """(partition, topic) that are not read further now."""
        return frozenset(self._paused)

    @property
    def is_at_end(self) -> bool:
        """Whether everything live is read to its end as last heard."""
        return all(self._at_end.get(key, False) for key in self._next)

    def go_live(self, offsets: dict[tuple[int, int], int]) -> None:
        """Reads from `offsets` by (partition, topic) on; other live partitions go on where they are.

        Partitions that were lost meanwhile stay out, also those that have come back since: they are
        restored again, because another member may have worked on them.
        """
        ready = {key: at for key, at in offsets.items() if key[0] in self._owned - self._changed.assigned}
        self._next |= ready
        self._at_end |= dict.fromkeys(ready, False)
        if not self._next:
            return
        places = [self._place(key, offset) for key, offset in sorted(self._next.items())]
        self._consumer.assign(places)
        self._consumer.resume(places)  # a pause may outlive an assignment
        self._paused.clear()

    def stay_in_group(self) -> None:
        """Shows the group that we are alive, during a restore that lasts. Reads nothing."""
        if not self._next:  # rebalances are eager: whoever restores has nothing that is live
            for message in self._consumer.consume(1, 0.0):
                self._is_record(message)

    def has_committed(self, partition: int) -> bool:
        """Whether the group has committed an offset of `partition`."""
        places = [TopicPartition(topic, partition) for topic in self._topics]
        return any(place.offset >= 0 for place in self._consumer.committed(places, timeout=30.0))

    def _place(self, key: tuple[int, int], offset: int = -1) -> TopicPartition:
        return TopicPartition(self._topics[key[1]], key[0], offset)

    # -- reading -------------------------------------------------------------------------------

    def poll(self, limit: int, timeout_s: float) -> tuple[RawRecords, Positions]:
        """Up to `limit` records, waiting `timeout_s` at most. Raises `StateUnknown` if the client gave up."""
        try:
            messages: list[Message] = self._consumer.consume(limit, timeout_s)
        except KafkaException as exception:
            # What the client had fetched is gone while its position moved on: only a restore is safe.
            raise StateUnknown(
                f"reading the input failed: {exception.args[0].str()}", "restart; the process restores"
            ) from exception
        return self._records(messages)

    def _records(self, messages: list[Message]) -> tuple[RawRecords, Positions]:
        keys = list(map(Message.key, messages))
        if None in keys:  # only then can there be an event that is no record
            messages = [message for message in messages if self._is_record(message)]
            keys = list(map(Message.key, messages))
        n = len(messages)
        values = cast("list[bytes | None]", list(map(Message.value, messages)))
        partition = np.fromiter(map(Message.partition, messages), np.int32, n)
        offset = np.fromiter(map(Message.offset, messages), np.int64, n)
        # A record always has a topic; only events may lack one, and they are gone by now.
        topics = cast("Iterable[str]", map(Message.topic, messages))
        topic = np.fromiter(map(self._code.__getitem__, topics), np.uint8, n)
        return self._advance(RawRecords(values, keys, topic, partition, offset))

    def _is_record(self, message: Message) -> bool:
        """False for events, which are noted here. Raises what only an operator or a restart can mend."""
        error = message.error()
        if error is None:
            return True
        topic, partition = message.topic(), message.partition()
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends[int(partition or 0), self._code[topic or ""]] = int(message.offset() or 0)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise StateUnknown(
                f"the next record of {topic} [{partition}] no longer exists: {error.str()}",
                "raise the retention of the input topics, or start a new group (app.name) and backfill",
            )
        elif error.code() in _FORBIDDEN:
            raise BrokerRefused(
                f"the input cannot be read: {error.str()}",
                "allow this client to read the input topics and the group (ACL), see kafka.client",
            )
        elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise BrokerUnreachable(f"{topic} cannot be read: {error.str()}", "run 'segmenter doctor'")
        elif is_fatal(error):
            raise Fenced(
                f"the group has no place for this process any more: {error.str()}",
                "restart; give every process its own app.instance",
            )
        else:
            _log.warning("event of the input client", code=error.name(), reason=error.str())
        return False

    def _advance(self, raw: RawRecords) -> tuple[RawRecords, Positions]:
        """The live records of `raw`, and where they leave the inputs."""
        code = raw.partition.astype(np.int64) * N_TOPICS + raw.topic
        # Records come in runs of one topic and partition; the last of a run tells where it stands.
        last = np.flatnonzero(np.append(code[1:] != code[:-1], True)) if raw.n else np.empty(0, np.int64)
        runs = [(place // N_TOPICS, place % N_TOPICS) for place in code[last].tolist()]
        if not self._next.keys() >= set(runs):
            live = [p * N_TOPICS + t for p, t in self._next]
            return self._advance(raw.take(np.flatnonzero(np.isin(code, live)).tolist()))
        moved = dict(zip(runs, (raw.offset[last] + 1).tolist(), strict=True))
        self._next |= moved
        for key in moved:
            self._at_end[key] = False
        # The end event of a topic comes after its last record, also within one poll.
        for key, end in self._ends.items():
            if key in self._next and end >= self._next[key]:
                self._at_end[key] = True
        self._ends.clear()
        return raw, Positions(moved, dict(self._at_end))

    def hold(self, waiting: Iterable[tuple[int, int]]) -> None:
        """Reads no further in `waiting` (partition, topic) until called without them."""
        wanted = set(waiting) & set(self._next)
        if wanted != self._paused:
            resume, pause = self._paused - wanted, wanted - self._paused
            if resume:
                self._consumer.resume([self._place(key) for key in resume])
            if pause:
                self._consumer.pause([self._place(key) for key in pause])
            self._paused = wanted

    def lag(self) -> dict[tuple[str, int], int]:
        """Records between the next offset and the last known end, by (topic, partition)."""
        lags = {}
        for key, offset in self._next.items():
            _, high = self._consumer.get_watermark_offsets(self._place(key), cached=True)
            if high >= 0:
                lags[self._topics[key[1]], key[0]] = max(high - offset, 0)
        return lags

    # -- commit --------------------------------------------------------------------------------

    def group_metadata(self) -> object:
        """Fresh group metadata, which carries the generation that fences former owners."""
        return self._consumer.consumer_group_metadata()

    def close(self, close_member: CloseMember = leave_group) -> None:
        """Ends the membership."""
        close_member(self._consumer, "input")
