"""What the log still has about one customer: published changes, and the last events with their outcome."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Message

from consumer.config import Config
from consumer.customer.lookup import Found
from consumer.kafka_clients import make_consumer, reader_settings
from consumer.log_reader import LogReader
from online_model.id_index import hash_bytes
from online_model.rows import DUPLICATE_HORIZON
from schemas.batch import EventBatch
from schemas.records import RawRecords

#: A customer's row knows the ids of so many events per topic, so of these the outcome can be told.
REMEMBERED: Final = DUPLICATE_HORIZON

#: Offsets looked back at first, four times as many when they were not enough, and at most, per input topic.
_FIRST_LOOK: Final = 4096
_MOST: Final = 1_000_000


class Traces:
    """Readers of the partition of a customer. Use as a context manager; `BrokerUnreachable` may be raised."""

    def __init__(self, config: Config, found: Found) -> None:
        self._found = found
        self._log = LogReader(lambda committed: make_consumer(reader_settings(config, committed)))

    def changes(self, n: int) -> list[dict[str, Any]]:
        """The last `n` published changes that the topic still has, oldest first. Reads all of it."""
        found = [
            msgspec.json.decode(message.value() or b"null")
            for message in self._log.all_of(self._found.names.changes, self._found.state.number)
            if message.key() == self._found.customer
        ]
        return found[-n:] if n else []

    def events(self, n: int) -> list[dict[str, Any]]:
        """The last `n` (`REMEMBERED` at most) applied events in the order of their times, with outcomes.

        That is `counted`, `refused` (a dead letter), `duplicate`, or `of an earlier life`. No further back
        than a million records per topic.
        """
        told, n = [], min(n, REMEMBERED)
        for code, topic in enumerate(self._found.names.inputs):
            messages = self._of_topic(topic, int(self._found.state.next_offset[code]), n)
            told += self._outcomes(code, topic, messages)
        told.sort(key=lambda event: (event["event_time"] or "", event["topic"], event["offset"]))
        return told[-n:] if n else []

    def _of_topic(self, topic: str, end: int, n: int) -> list[Message]:
        partition = self._found.state.number
        low = self._log.bounds(topic, partition)[0]
        look = _FIRST_LOOK
        while True:
            first = max(low, end - look)
            chunks = self._log.chunks({(topic, partition): (first, end)})
            mine = [m for chunk in chunks for m in chunk if m.key() == self._found.customer]
            if len(mine) >= n or first == low or look >= _MOST:
                return mine[-n:] if n else []
            look *= 4

    def _outcomes(self, code: int, topic: str, messages: list[Message]) -> list[dict[str, Any]]:
        raw = RawRecords(
            [message.value() for message in messages],
            [message.key() for message in messages],
            np.full(len(messages), code, np.uint8),
            np.full(len(messages), self._found.state.number, np.int32),
            np.array([message.offset() for message in messages], np.int64),
        )
        batch, _ = self._found.core.decoder.decode(raw)
        at = {offset: event for event, offset in enumerate(batch.offset.tolist())}
        seen: set[int] = set()
        told = []
        for value, offset in zip(raw.values, raw.offset.tolist(), strict=True):
            event = at.get(offset)
            outcome = "refused" if event is None else self._outcome(code, batch, event, seen)
            body = _body(value)
            told.append(
                {
                    "event_time": body.get("event_time"),
                    "type": body.get("type"),
                    "topic": topic,
                    "offset": offset,
                    "outcome": outcome,
                    "event": body,
                }
            )
        return told

    def _outcome(self, code: int, batch: EventBatch, event: int, seen: set[int]) -> str:
        """By what the row remembers: the last ids of the topic that were not refused, and its last cut."""
        rows, row = self._found.state.store.rows, self._found.row
        ids = batch.event_ids
        own = int(hash_bytes(ids.data, int(ids.ends[event]), int(ids.ends[event + 1])))
        if batch.event_time_us[event] <= rows.hot["cut"][row]:
            return "of an earlier life"
        if own not in rows.seen[row, code].tolist():
            return "refused"
        if own in seen:
            return "duplicate"
        seen.add(own)
        return "counted"

    def __enter__(self) -> Traces:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._log.__exit__(*problem)


def _body(value: bytes | None) -> dict[str, Any]:
    """The record as far as it is an object."""
    try:
        body = msgspec.json.decode(value or b"null")
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}
