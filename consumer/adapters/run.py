"""Files of documents through an adapter to NDJSON or to Kafka."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec
from confluent_kafka import KafkaError, Message

from consumer import kafka_clients
from consumer.adapters.tmf import Event, Rejected, TmfAdapter
from consumer.config import Config
from consumer.errors import BrokerUnreachable, DataError
from consumer.ndjson_input import STDIN
from consumer.topics import TopicNames
from schemas.events import TOPIC_OF_TYPE

#: Documents between two moments at which everything so far is written and remembered.
_SAVE_EVERY: Final = 5_000
_FLUSH_S: Final = 30.0


class Sink(Protocol):
    """Where events go."""

    def write(self, event: Event) -> None:
        """Takes an event."""

    def flush(self) -> None:
        """Returns when everything taken is written."""


class NdjsonSink:
    """A line per event."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, event: Event) -> None:
        """Takes an event."""
        self._stream.write(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def flush(self) -> None:
        """Returns when everything taken is written."""
        self._stream.flush()


class KafkaSink:
    """The input topics: key = customer_id, partitions as Kafka's Java client chooses them."""

    def __init__(self, config: Config) -> None:
        self._topics = TopicNames.with_prefix(config.topics.prefix).inputs
        self._failed = 0
        settings = kafka_clients.plain_producer_settings(config) | {"on_delivery": self._delivered}
        self._producer = kafka_clients.make_producer(settings)

    def write(self, event: Event) -> None:
        """Takes an event; waits while the client's queue is full."""
        value, key = json.dumps(event, ensure_ascii=False).encode(), event["customer_id"].encode()
        while True:
            try:
                self._producer.produce(self._topics[TOPIC_OF_TYPE[event["type"]]], value, key)
                return
            except BufferError:
                self._producer.poll(0.05)

    def flush(self) -> None:
        """Returns when everything taken is written. Raises `BrokerUnreachable` if it was not."""
        waiting = self._producer.flush(_FLUSH_S)
        if waiting or self._failed:
            raise BrokerUnreachable(
                f"{waiting + self._failed} events were not delivered",
                "check the broker and run it again with the same --state: events keep their ids",
            )

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._failed += error is not None


def adapt_files(adapter: TmfAdapter, names: Sequence[str], sink: Sink, rejects: BinaryIO) -> None:
    """Every document of the files `names` ("-" is stdin) to `sink`; a line of JSON per reject to `rejects`.

    Remembers what became of a document only after its events are written: a run that breaks off and is made
    again repeats events with their ids, which the service drops. Raises `DataError`, `BrokerUnreachable`.
    """
    for name in names:
        for number, document in documents(name):
            made = adapter.adapt(document)
            if isinstance(made, Rejected):
                rejects.write(_reject_line(made, name, number, document))
                continue
            for event in made:
                sink.write(event)
            if adapter.counts["documents"] % _SAVE_EVERY == 0:
                sink.flush()
                adapter.memory.save()
    rejects.flush()
    sink.flush()
    adapter.memory.save()


def documents(name: str) -> Iterator[tuple[int, bytes]]:
    """Documents of a file with their numbers, from 1: lines, or items where the file is one JSON array."""
    with ExitStack() as opened:
        try:
            stream = sys.stdin.buffer if name == STDIN else opened.enter_context(Path(name).open("rb"))
            lines = enumerate(stream, 1)
            for number, line in lines:
                if number == 1 and line.lstrip().startswith(b"["):
                    yield from _array(line + stream.read())
                    return
                if text := line.strip():
                    yield number, text
        except OSError as error:
            raise DataError(
                f"file {name} cannot be read: {error.strerror}", "give readable files, or - for stdin"
            ) from None


def _array(text: bytes) -> Iterator[tuple[int, bytes]]:
    try:
        items = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (ValueError, RecursionError):
        yield 1, text  # the adapter says what is wrong with it
        return
    for number, item in enumerate(items, 1):
        yield number, bytes(item)


def _reject_line(rejected: Rejected, name: str, number: int, document: bytes) -> bytes:
    record: dict[str, Any] = {
        "reason": str(rejected.reason),
        "detail": rejected.detail,
        "file": name,
        "document": number,
        "raw": document.decode("utf-8", "backslashreplace"),
    }
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
