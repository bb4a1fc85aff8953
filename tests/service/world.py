"""A service with topics of its own on a broker, and what can be read back from them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from consumer.brokers import Broker
from consumer.clock import FixedClock
from consumer.config import Config
from consumer.config_sources import load_config
from consumer.core import Core
from consumer.kafka_clients import (
    consumer_settings,
    make_admin,
    make_consumer,
    make_producer,
    plain_producer_settings,
    reader_settings,
)
from consumer.log_reader import LogReader
from consumer.service import Service
from consumer.topics import TopicNames, create
from online_model.evaluate import evaluate
from online_model.rows import LIVE
from schemas.internal import AuditRecord, from_json

PARTITIONS = 3


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a read_committed reader sees it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    @property
    def json(self) -> dict[str, Any]:
        """The value, which must be there."""
        return cast("dict[str, Any]", msgspec.json.decode(cast("bytes", self.value)))


def snapshot_folder() -> str:
    """A directory that is gone when the tests end."""
    path = tempfile.mkdtemp(prefix="segmenter-snapshots-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@dataclass(frozen=True, slots=True)
class World:
    """Topics behind a prefix of their own, and the settings of a service on them."""

    config: Config
    names: TopicNames
    partitions: int = PARTITIONS

    @classmethod
    def make(cls, broker: Broker, partitions: int = PARTITIONS, **settings: Any) -> World:
        """Fresh topics; `settings` with `__` for the dot."""
        prefix = f"s{uuid.uuid4().hex[:8]}."
        chosen = {
            "kafka.bootstrap": broker.bootstrap,
            "topics.prefix": prefix,
            "app.name": f"app-{prefix}x",
            "app.instance": "a",
            "snapshots.uri": snapshot_folder(),
            "http.host": "127.0.0.1",
            "http.port": 0,
            "watermark.idle_grace_s": None,
            "model.min_customers": 400,
            "model.k": 5,
            "model.recalibrate_days": None,
        } | {name.replace("__", "."): value for name, value in settings.items()}
        config = load_config(None, {}, chosen)
        names = TopicNames.with_prefix(prefix)
        create(make_admin(config), names, partitions, 1)
        return cls(config, names, partitions)

    def with_settings(self, **settings: Any) -> World:
        """The same topics with other settings of the group `app`."""
        app = self.config.app.model_copy(update=settings)
        return World(self.config.model_copy(update={"app": app}), self.names, self.partitions)

    def service(self, now_us: int) -> Service:
        """A service whose clock stands at `now_us`."""
        return Service(self.config, FixedClock(now_us))

    def send(self, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Produces events (topic, body), keyed by customer, in order."""
        producer: Producer = make_producer(plain_producer_settings(self.config))
        for topic, body in events:
            producer.produce(topic, msgspec.json.encode(body), body["customer_id"].encode())
        assert producer.flush(30) == 0

    def limit_records(self, topics: Sequence[str], limit_bytes: int) -> None:
        """Sets the largest record that `topics` take."""
        admin = make_admin(self.config)  # kept: its futures end with it
        entry = ConfigEntry(
            "max.message.bytes", str(limit_bytes), incremental_operation=AlterConfigOpType.SET
        )
        resources = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in topics]
        for done in admin.incremental_alter_configs(resources).values():
            done.result(20)

    def read(self, topic: str) -> list[Record]:
        """Every committed record of `topic`, per partition in order."""
        found = []
        with LogReader(lambda only: make_consumer(reader_settings(self.config, only))) as log:
            parts = range(self.partitions) if topic in self.partitioned else range(1)
            for partition in parts:
                for message in log.all_of(topic, partition):
                    headers = cast("list[tuple[str, bytes]]", message.headers() or [])
                    key, value = message.key(), message.value()
                    found.append(Record(partition, int(message.offset() or 0), key, value, dict(headers)))
        return found

    @property
    def partitioned(self) -> tuple[str, ...]:
        """Topics with as many partitions as the inputs."""
        names = self.names
        return (*names.inputs, names.changes, names.current, names.dlq, names.audit)

    def committed(self) -> dict[tuple[str, int], int]:
        """Committed offsets of the group."""
        watcher = make_consumer(consumer_settings(self.config) | {"group.instance.id": "watcher"})
        places = [TopicPartition(t, p) for t in self.names.inputs for p in range(self.partitions)]
        try:
            return {(p.topic, p.partition): p.offset for p in watcher.committed(places, timeout=30)}
        finally:
            watcher.close()

    def ends(self) -> dict[tuple[str, int], int]:
        """Ends of the input topics."""
        with LogReader(lambda only: make_consumer(reader_settings(self.config, only))) as log:
            return {(t, p): log.bounds(t, p)[1] for t in self.names.inputs for p in range(self.partitions)}

    def audits(self) -> list[AuditRecord]:
        """Audit records, per partition in order."""
        return [from_json(cast("bytes", r.value), AuditRecord) for r in self.read(self.names.audit)]


def turn_until(service: Service, done: Callable[[], bool], timeout_s: float = 240.0) -> int:
    """Turns the loop until `done` and commits what it did; the number of turns."""
    end, turns = time.monotonic() + timeout_s, 0
    while not done():
        assert time.monotonic() < end, f"not done after {turns} turns: {service.recorder.status()}"
        service.worker.run_once()
        turns += 1
    service.worker.finish()
    return turns


def is_settled(service: Service) -> bool:
    """Everything read and applied, the newest model live and every partition's scan finished."""
    states, active = service.core.engine.partitions, service.core.engine.active
    inputs, newest = service.worker.inputs, service.core.coordinator.model
    return (
        len(states) > 0
        and active is not None
        and newest is not None
        and active.model.version == newest.version
        and not any(state.scan.active or state.intake.waiting for state in states.values())
        and inputs.is_at_end
    )


def features(core: Core, at_us: int | None = None) -> dict[bytes, npt.NDArray[np.float64]]:
    """Raw features of every live customer at `at_us` or its partition's watermark, with the same priors."""
    found: dict[bytes, npt.NDArray[np.float64]] = {}
    for number in core.engine.partitions:
        found |= features_of(core, number, at_us)
    return found


def features_of(core: Core, number: int, at_us: int | None = None) -> dict[bytes, npt.NDArray[np.float64]]:
    """As `features`, of one partition."""
    state = core.engine.partitions[number]
    rows = np.flatnonzero(state.store.rows.hot["status"][: state.index.n] == LIVE).astype(np.int32)
    priors = np.full(core.plan.columns.n, 0.5)
    now_us = state.watermark_us if at_us is None else at_us
    raw = evaluate(state.store.rows, rows, now_us, core.plan, priors).raw
    return dict(zip(state.index.ids(rows), raw, strict=True))


def same_features(a: dict[bytes, npt.NDArray[np.float64]], b: dict[bytes, npt.NDArray[np.float64]]) -> bool:
    """Bit for bit, missing values included."""
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


class Membership(NamedTuple):
    """What a worker knows of a customer's last change; `left` as in `online_model.rows.Rows`."""

    segment: int
    seq: int
    since_us: int
    left: int


def published(core: Core) -> dict[bytes, Membership]:
    """The membership of every customer that has an id."""
    found = {}
    for state in core.engine.partitions.values():
        rows = state.store.rows
        columns = (rows.hot["segment"], rows.hot["seq"], rows.hot["since"], rows.left)
        for row, customer in enumerate(state.index.ids(np.arange(state.index.n))):
            if customer:
                found[customer] = Membership(*(int(column[row]) for column in columns))
    return found


def check_chain(changes: Sequence[Record]) -> None:
    """Per customer `seq` is 1, 2, 3... and each change begins where the one before ended."""
    last: dict[bytes | None, dict[str, Any]] = {}
    for record in changes:
        body, before = record.json, last.get(record.key)
        assert body["seq"] == (1 if before is None else before["seq"] + 1), (body, before)
        segment = None if before is None else before["segment"]
        previous = body["previous_segment"]
        assert (previous and previous["id"]) == (segment and segment["id"]), (body, before)
        last[record.key] = body
