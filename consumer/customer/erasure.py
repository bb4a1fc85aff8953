"""Erasure of one customer, from the event to the receipt.

The event is an ordinary record of the input contract, so the service carries the erasure out in the
transaction of a commit, and a replay meets it again. This sends it, sees from the audit log and the current
topic that it has taken effect, and says what is left where and until when.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message

from consumer.clock import Deadline
from consumer.config import Config
from consumer.dead_letters import Letter
from consumer.errors import BrokerUnreachable, ConfigError, StateUnknown
from consumer.kafka_clients import make_consumer, make_producer, plain_producer_settings, reader_settings
from consumer.log_reader import LogReader
from consumer.replay_feed import partition_of
from consumer.restore.tail import audits_after, last_audit
from consumer.topics import TopicNames
from schemas import limits
from schemas.times import format_time

_SEND_TIMEOUT_S: Final = 20.0
_LOOK_AGAIN_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Request:
    """An erasure event as it stands in the log.

    Before it: the number of the last commit of its partition, the ends of the current topic and dead letters.
    """

    event_id: str
    event_time_us: int
    topic: str
    partition: int
    offset: int
    last_commit: int
    current_end: int
    letters_end: int


@dataclass(frozen=True, slots=True)
class Effect:
    """The erasure is done: `commit` of the partition holds it, the null record stands at `tombstone`."""

    commit: int
    tombstone: int


class Erasure:
    """Sends erasures and watches them take effect. Use as a context manager."""

    def __init__(self, config: Config, partitions: int) -> None:
        self._config = config
        self._partitions = partitions
        self._names = TopicNames.with_prefix(config.topics.prefix)
        self._log = LogReader(lambda committed: make_consumer(reader_settings(config, committed)))

    def send(self, customer: str, now_us: int) -> Request:
        """Writes the event. Raises `ConfigError` for what is no id, `BrokerUnreachable`."""
        if re.fullmatch(limits.ID_PATTERN.removesuffix("$"), customer) is None:
            raise ConfigError(
                f"{customer!r} is no customer id",
                f"1 to {limits.ID_LENGTH} characters without control characters, as the key of the records",
            )
        partition = partition_of(customer.encode(), self._partitions)
        audit = last_audit(self._log, self._names.audit, partition)
        current_end = self._log.bounds(self._names.current, partition)[1]
        letters_end = self._log.bounds(self._names.dlq, partition)[1]
        body = {
            "event_id": f"forget-{uuid.uuid4().hex}",
            "customer_id": customer,
            "event_time": format_time(now_us),
            "type": "forget",
        }
        written = self._write(customer, partition, msgspec.json.encode(body))
        return Request(
            event_id=body["event_id"],
            event_time_us=now_us,
            topic=self._names.customer,
            partition=partition,
            offset=int(written.offset() or 0),
            last_commit=0 if audit is None else audit.n,
            current_end=current_end,
            letters_end=letters_end,
        )

    def _write(self, customer: str, partition: int, value: bytes) -> Message:
        reports: list[tuple[KafkaError | None, Message]] = []
        producer = make_producer(
            plain_producer_settings(self._config) | {"delivery.report.only.error": False}
        )
        try:
            producer.produce(
                self._names.customer,
                value,
                customer.encode(),
                partition,
                on_delivery=lambda error, message: reports.append((error, message)),
            )
        except KafkaException as exception:
            raise _unwritten(exception.args[0].str()) from exception
        producer.flush(_SEND_TIMEOUT_S)
        if not reports or reports[0][0] is not None:
            raise _unwritten("no answer" if not reports else str(reports[0][0]))
        return reports[0][1]

    def wait(self, request: Request, customer: str, timeout_s: float) -> Effect | None:
        """The effect of the event, once it is committed; None if that takes longer than `timeout_s`.

        Raises `StateUnknown` if the event came to nothing.
        """
        deadline = Deadline(timeout_s)
        while True:
            audit = last_audit(self._log, self._names.audit, request.partition)
            if audit is not None and audit.to_offsets[request.topic] > request.offset:
                self._require_taken(request)
                return Effect(self._commit(request), self._tombstone(request, customer.encode()))
            if deadline.expired:
                return None
            time.sleep(_LOOK_AGAIN_S)

    def _commit(self, request: Request) -> int:
        """The commit that holds the event."""
        audits = audits_after(self._log, self._names.audit, request.partition, request.last_commit)
        return min(audit.n for audit in audits if audit.to_offsets[request.topic] > request.offset)

    def _require_taken(self, request: Request) -> None:
        place = (request.topic, request.partition, request.offset)

        def is_ours(message: Message) -> bool:
            letter = Letter.of(message)
            return (letter.topic, letter.origin_partition, letter.origin_offset) == place

        found = self._first(self._names.dlq, request.partition, request.letters_end, is_ours)
        if found is not None:
            letter = Letter.of(found)
            raise StateUnknown(
                f"the erasure was refused ({letter.reason}: {letter.detail}): dead letter {letter.name}",
                "mend the reason (segmenter dlq show) and run the command again",
            )

    def _tombstone(self, request: Request, key: bytes) -> int:
        found = self._first(
            self._names.current,
            request.partition,
            request.current_end,
            lambda message: message.key() == key and message.value() is None,
        )
        if found is None:
            raise StateUnknown(
                f"the event at {request.topic} [{request.partition}] {request.offset} was read, but "
                f"{self._names.current} has no null record of the customer",
                "run 'segmenter verify': the service has not done what the event asks for",
            )
        return int(found.offset() or 0)

    def _first(
        self, topic: str, partition: int, first: int, is_wanted: Callable[[Message], bool]
    ) -> Message | None:
        ranges = {(topic, partition): (first, self._log.bounds(topic, partition)[1])}
        found = [message for chunk in self._log.chunks(ranges) for message in chunk if is_wanted(message)]
        return found[0] if found else None

    def __enter__(self) -> Erasure:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._log.__exit__(*problem)


def _unwritten(why: str) -> BrokerUnreachable:
    return BrokerUnreachable(
        f"the erasure could not be written: {why}", "check kafka.bootstrap and the brokers, then run it again"
    )
