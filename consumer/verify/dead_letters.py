"""The dead letters of a partition, and whether each of them had to be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.verify.events import Event
from consumer.verify.log import Record
from schemas.reference import Refusal
from schemas.rejects import Reason

# Headers of the contract, written down a second time.
ORIGIN_TOPIC: Final = "__streams.errors.topic"
ORIGIN_PARTITION: Final = "__streams.errors.partition"
ORIGIN_OFFSET: Final = "__streams.errors.offset"
REASON: Final = "x-reason"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What plain rules say of a record: the reasons it may be refused for, and whether it must be."""

    reasons: frozenset[str]
    must: bool


@dataclass(frozen=True, slots=True)
class Times:
    """Clock and watermarks of a commit: at its start (None: none known) and after it."""

    latest_us: int
    before_us: int | None
    after_us: int


def judge(event: Event | Refusal, times: Times, horizon_us: int, *, at_home: bool) -> Judgement:
    """Which refusals of a record would be right.

    The watermark at the start of a commit can lie between that of the commit before and its own: a commit is
    written only when something happened, while the watermark may follow the clock. Whether a clock was
    believed depends on how the records were read. There the dead letter is taken as the fact.
    """
    if isinstance(event, Refusal):
        return Judgement(frozenset({event.reason.value}), True)
    possible = {Reason.FUTURE.value}
    must = False
    if not at_home:
        possible.add(Reason.MISROUTED.value)
        must = True
    elif event.us > times.latest_us:
        must = True
    elif event.us < times.after_us - horizon_us:
        possible.add(Reason.LATE.value)
        must = times.before_us is not None and event.us < times.before_us - horizon_us
    if must and event.us <= times.latest_us:
        # A clock that was not believed is found before anything else.
        possible = possible if event.us > times.after_us else possible - {Reason.FUTURE.value}
    return Judgement(frozenset(possible), must)


class DeadLetters:
    """Records of the dead-letter topic by the record that they hold."""

    def __init__(self, records: Iterable[Record], inputs: Sequence[str]) -> None:
        code = {topic.encode(): number for number, topic in enumerate(inputs)}
        self._by_origin: dict[tuple[int, int], list[Record]] = defaultdict(list)
        self.foreign: list[Record] = []
        for record in records:
            headers = dict(record.headers)
            topic, offset = code.get(headers.get(ORIGIN_TOPIC, b"")), headers.get(ORIGIN_OFFSET, b"")
            if topic is None or not offset.isdigit():
                self.foreign.append(record)
            else:
                self._by_origin[topic, int(offset)].append(record)

    def take(self, topic: int, offset: int) -> list[Record]:
        """Dead letters of an input record; they are asked for once."""
        return self._by_origin.pop((topic, offset), [])

    def rest(self) -> list[tuple[int, int, Record]]:
        """What no verified input record explains: topic, offset and dead letter."""
        return [
            (topic, offset, record)
            for (topic, offset), records in sorted(self._by_origin.items())
            for record in records
        ]


def reason_of(letter: Record) -> str:
    """Reason code of a dead letter."""
    return dict(letter.headers).get(REASON, b"").decode(errors="replace")


def is_copy(letter: Record, record: Record, partition: int) -> bool:
    """Whether the dead letter holds the record as it is, and says where it was."""
    origin = dict(letter.headers).get(ORIGIN_PARTITION)
    return (letter.key, letter.value) == (record.key, record.value) and origin == b"%d" % partition
