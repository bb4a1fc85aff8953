"""Sending letters again: the original record, once, to where it came from.

Records and their entries in the ledger are one transaction, and the ledger is read only after this
process has taken over the transactional id: whoever ran the command before has either committed, and is
read, or is fenced, and nothing of his is visible. So a letter is sent once, however often, and however many
times at once, the command is run.

What would be refused again is left alone. What this deliberately does not do: correct a record. Its source
does that, and sends it under the same event id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Producer

from consumer.config import Config
from consumer.core import Core
from consumer.dead_letters.erased import Erased
from consumer.dead_letters.ledger import Ledger, entry_name
from consumer.dead_letters.letter import Letter
from consumer.errors import Fenced, StateUnknown
from consumer.kafka_clients import make_consumer, make_producer, producer_settings, reader_settings
from consumer.log_reader import LogReader
from consumer.reaction import FENCING_CODES
from consumer.replay_feed import partition_of
from consumer.restore.tail import last_audit
from consumer.topics import TopicNames
from schemas.batch import EventBatch
from schemas.records import RawRecords
from schemas.rejects import Reason

#: Letters of a transaction.
_BATCH: Final = 1000
_START_TIMEOUT_S: Final = 30.0
_COMMIT_TIMEOUT_S: Final = 9.0
_FULL_QUEUE_WAIT_S: Final = 0.05

#: Header of a record that was sent again: ``topic:partition:offset`` of its dead letter.
REPLAYED_FROM: Final = "segmenter_replayed_from"

SENT_BEFORE: Final = "sent before"
NO_ORIGIN: Final = "origin unknown"
ERASED: Final = "customer erased"
#: What is not sent whatever the command is told.
_NEVER_SENT: Final = (NO_ORIGIN, ERASED)


@dataclass(slots=True)
class ReplayPlan:
    """What a replay does: `sends` letters, `leaves` others, for reasons of which `NO_ORIGIN`, `SENT_BEFORE`,
    `ERASED` and the codes of `schemas.rejects.Reason` are known; both count by (topic, reason of the letter).
    """

    sends: Counter[tuple[str, str]] = field(default_factory=Counter)
    leaves: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)

    def leave(self, letter: Letter, why: str) -> None:
        """Counts a letter that stays."""
        self.leaves.setdefault((letter.topic, letter.reason), Counter())[why] += 1


@dataclass(frozen=True, slots=True)
class Sent:
    """A letter that was sent again."""

    letter: Letter

    def document(self) -> dict[str, Any]:
        """For the receipt."""
        origin = f"{self.letter.topic}:{self.letter.origin_partition}:{self.letter.origin_offset}"
        return {"letter": self.letter.name, "reason": self.letter.reason, "origin": origin}


class Judge:
    """Whether the service would take a record now: by the contract, and by the clocks as they stand.

    `watermarks`: by partition, us, where one is known.
    """

    def __init__(
        self, core: Core, names: TopicNames, now_us: int, watermarks: dict[int, int], erased: Erased
    ) -> None:
        self._core = core
        self._erased = erased
        self._topics = {topic: code for code, topic in enumerate(names.inputs)}
        self._latest_us = now_us + core.engine.settings.max_future_us
        self._watermarks = watermarks

    def refusals(self, letters: Sequence[Letter]) -> list[str]:
        """Per letter why it would be refused again; empty where it would be taken."""
        codes = [self._topics.get(letter.topic, -1) for letter in letters]
        verdicts = ["" if code >= 0 else NO_ORIGIN for code in codes]
        known = [i for i, code in enumerate(codes) if code >= 0]
        raw = RawRecords(
            [letters[i].value for i in known],
            [letters[i].key for i in known],
            np.array([codes[i] for i in known], np.uint8),
            np.zeros(len(known), np.int32),
            np.arange(len(known), dtype=np.int64),
        )
        batch, rejects = self._core.decoder.decode(raw)
        times = [letters[i].time_ms * 1000 for i in known]
        for at, reason in zip(rejects.offset.tolist(), rejects.reasons, strict=True):
            verdicts[known[at]] = reason.value
        for event, at in enumerate(batch.offset.tolist()):
            times[at] = int(batch.event_time_us[event])
            verdicts[known[at]] = self._clock(batch, event, letters[known[at]].key or b"")
        for i, time_us in zip(known, times, strict=True):
            if self._erased.covers(letters[i].key, time_us):
                verdicts[i] = ERASED
        return verdicts

    def _clock(self, batch: EventBatch, event: int, key: bytes) -> str:
        time_us, kind = int(batch.event_time_us[event]), int(batch.kind[event])
        if time_us > self._latest_us:
            return Reason.FUTURE.value
        watermark_us = self._watermarks.get(partition_of(key, self._core.partition_count))
        if watermark_us is not None and time_us < watermark_us - int(self._core.plan.horizon_us[kind]):
            return Reason.LATE.value
        return ""


class Replay:
    """One run of the command. `close` it; `BrokerUnreachable`, `Fenced` and `StateUnknown` may be raised.

    With `anyway` also what would be refused again is sent. What was of a customer before their erasure is
    not: it would be in the input topics for as long again.
    """

    def __init__(self, config: Config, core: Core, now_us: int, *, anyway: bool = False) -> None:
        self._config = config
        self._names = TopicNames.with_prefix(config.topics.prefix)
        erased = Erased.of(config, core.plan.spec.name)
        watermarks = self._watermarks(core.partition_count)
        self._judge = Judge(core, self._names, now_us, watermarks, erased)
        self._now_us = now_us
        self._anyway = anyway
        self._ledger = Ledger(config)
        self._producer: Producer | None = None

    def dry_run(self, letters: Iterable[Letter]) -> ReplayPlan:
        """What would happen; changes nothing."""
        plan, sent = ReplayPlan(), self._ledger.read()
        for _ in self._chosen(letters, sent, plan):
            pass
        return plan

    def send(self, letters: Iterable[Letter], told: Callable[[Sequence[Sent]], None]) -> ReplayPlan:
        """Sends them; `told` hears of the letters of each transaction when it is committed."""
        self._ledger.create()
        producer = self._take_over()
        plan, sent = ReplayPlan(), self._ledger.read()
        chosen = self._chosen(letters, sent, plan)
        while batch := list(islice(chosen, _BATCH)):
            self._commit(producer, batch)
            told([Sent(letter) for letter in batch])
        return plan

    def _chosen(self, letters: Iterable[Letter], sent: set[str], plan: ReplayPlan) -> Iterator[Letter]:
        """The letters to send; counts them and the others in `plan`."""
        rest = iter(letters)
        while block := list(islice(rest, _BATCH)):
            for letter, refusal in zip(block, self._judge.refusals(block), strict=True):
                if entry_name(letter) in sent:
                    plan.leave(letter, SENT_BEFORE)
                elif refusal and (refusal in _NEVER_SENT or not self._anyway):
                    plan.leave(letter, refusal)
                else:
                    plan.sends[letter.topic, letter.reason] += 1
                    yield letter

    def _watermarks(self, partitions: int) -> dict[int, int]:
        """As of the last commits."""
        found = {}
        with LogReader(lambda committed: make_consumer(reader_settings(self._config, committed))) as log:
            for partition in range(partitions):
                audit = last_audit(log, self._names.audit, partition)
                if audit is not None:
                    found[partition] = audit.watermark_us
        return found

    def _take_over(self) -> Producer:
        """A producer under the one id of this application's replays: any other run is over now."""
        name = {"transactional.id": f"{self._config.app.name}-dlq-replay"}
        producer = self._producer = make_producer(producer_settings(self._config) | name)
        try:
            producer.init_transactions(_START_TIMEOUT_S)
        except KafkaException as exception:
            raise _trouble(exception, "nothing was sent") from exception
        return producer

    def _commit(self, producer: Producer, letters: Sequence[Letter]) -> None:
        """One transaction: the records as they were, under their keys, and the ledger's entries."""
        entry = msgspec.json.encode({"sent_us": self._now_us})
        try:
            producer.begin_transaction()
            for letter in letters:
                mark = f"{self._names.dlq}:{letter.name}".encode()
                _produce(producer, letter.topic, letter.value, letter.key, headers=[(REPLAYED_FROM, mark)])
                _produce(producer, self._ledger.topic, entry, entry_name(letter).encode(), partition=0)
            producer.commit_transaction(_COMMIT_TIMEOUT_S)
        except KafkaException as exception:
            raise _trouble(
                exception, f"letters from {letters[0].name} on may not have been sent"
            ) from exception

    def close(self) -> None:
        """Lets the producer go; an open transaction is ended by the broker."""
        self._producer = None


def _produce(producer: Producer, *record: Any, **more: Any) -> None:
    """Queues a record; waits for room."""
    while True:
        try:
            producer.produce(*record, **more)
            return
        except BufferError:
            producer.poll(_FULL_QUEUE_WAIT_S)


def _trouble(exception: KafkaException, what: str) -> Fenced | StateUnknown:
    error: KafkaError = exception.args[0]
    if error.code() in FENCING_CODES:
        return Fenced(
            f"another replay took over: {what}", "wait for the other one, then run the command again"
        )
    return StateUnknown(
        f"the replay stopped ({error.str()}): {what}",
        "check the brokers and run the same command again: what was sent is not sent twice",
    )
