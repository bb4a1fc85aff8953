"""A service without Kafka: the real core and the real records, appended to lists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from consumer.change_records import ChangeRecords
from consumer.config import Config
from consumer.config_sources import load_config
from consumer.core import Core, Positions, report_of
from consumer.output import PayloadMaker
from consumer.simulator import Faults, Simulation, SimulationSettings
from consumer.topics import TopicNames
from consumer.verify import Finding, Record, Report, Rules, Verifier
from online_model.coordinator import make_first_model
from online_model.id_index import IdIndex
from online_model.model import Model
from online_model.model_json import from_json, to_json
from schemas.batch import StringColumn
from schemas.internal import DeltaRecord
from schemas.internal import from_json as record_from_json
from schemas.records import RawRecords
from schemas.times import format_time

DAY = 86_400_000_000
PARTITIONS = 2
#: The partition that is tampered with.
P = 0

Topics = dict[tuple[str, int], list[Record]]


@dataclass(slots=True)
class Log:
    """Topics as lists: the source of a verification, and what a test tampers with."""

    topics: Topics = field(default_factory=lambda: defaultdict(list))
    first: dict[tuple[str, int], int] = field(default_factory=dict)

    def records(self, topic: str, partition: int) -> Iterator[Record]:
        """Every record."""
        return iter(self.topics[topic, partition])

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Begins at 0, unless a test says that the beginning is gone."""
        records = self.topics[topic, partition]
        return self.first.get((topic, partition), 0), records[-1].offset + 1 if records else 0

    def append(self, topic: str, partition: int, key: Any, value: Any, headers: Any = ()) -> int:
        """Adds a record at the end; returns its offset."""
        records = self.topics[topic, partition]
        offset = records[-1].offset + 1 if records else 0
        records.append(Record(offset, key, value, tuple(headers)))
        return offset

    def copy(self) -> Log:
        """The same records in lists of its own."""
        copied = Log(first=dict(self.first))
        copied.topics.update({place: list(records) for place, records in self.topics.items()})
        return copied


class Service:
    """Core, records and log; `turn` is one commit of all partitions."""

    def __init__(self, **settings: Any) -> None:
        chosen = {"watermark.idle_grace_s": None, "model.k": 4, "scan.interval_s": 43_200}
        self.config: Config = load_config(None, {}, chosen | settings)
        self.names = TopicNames.with_prefix(self.config.topics.prefix)
        self.log = Log()
        self.core = Core(self.config, PARTITIONS)
        self.records: Any = ChangeRecords(
            self.core.plan.columns,
            self.core.strategies,
            self.names.inputs,
            self.core.run_id,
            f"/{self.config.app.name}",
        )
        interval_us = self.config.scan.interval_s * 1_000_000
        self.payloads = PayloadMaker(self.names, self.records, self.core.run_id, interval_us)
        self.versions: list[Model] = []
        self._read = dict.fromkeys(((t, p) for t in self.names.inputs for p in range(PARTITIONS)), 0)
        for partition in range(PARTITIONS):
            self.core.engine.add_partition(partition)

    def adopt(self, model: Model) -> None:
        """Publishes a version and offers it to the engine."""
        self.versions.append(model)
        self.log.append(self.names.models, 0, str(model.version).encode(), to_json(model))
        self.core.engine.offer_model(model)
        self.core.coordinator.adopt(model)
        learn = getattr(self.records, "learn", None) or self.records.use
        learn(model)

    def send(self, topic: str, body: Mapping[str, Any], partition: int | None = None) -> int:
        """Appends an event to an input topic, keyed by its customer; returns its offset."""
        key = str(body["customer_id"]).encode()
        home = partition_of(key) if partition is None else partition
        return self.log.append(topic, home, key, msgspec.json.encode(body))

    def turn(self, now_us: int, limit: int = 400) -> None:
        """Reads up to `limit` records per topic and partition, decides and writes."""
        raw, positions = self._poll(limit)
        step = self.core.process(raw, positions, now_us)
        states = self.core.engine.partitions
        live = {number: self.core.engine.is_live(state, now_us) for number, state in states.items()}
        payload = self.payloads.make(step, live)
        if payload is None:
            return
        for batch in payload.batches:
            headers: Sequence[Any] = batch.headers or [()] * len(batch.keys)
            for key, value, header in zip(batch.keys, batch.values, headers, strict=True):
                self.log.append(batch.topic, batch.partition, key, value, header)
                if batch.topic == self.names.deltas:
                    made = self.core.coordinator.offer(report_of(record_from_json(value or b"", DeltaRecord)))
                    if made is not None:
                        self.adopt(made)

    def _poll(self, limit: int) -> tuple[RawRecords, Positions]:
        parts, ends = [], {}
        for code, topic in enumerate(self.names.inputs):
            for partition in range(PARTITIONS):
                first = self._read[topic, partition]
                new = self.log.topics[topic, partition][first : first + limit]
                self._read[topic, partition] = first + len(new)
                values, keys = [r.value for r in new], [r.key for r in new]
                parts.append(RawRecords.of_topic(code, values, keys, partition=partition, first_offset=first))
                ends[partition, code] = first + len(new) == len(self.log.topics[topic, partition])
        at = {
            (p, code): self._read[t, p] for code, t in enumerate(self.names.inputs) for p in range(PARTITIONS)
        }
        return RawRecords.concat(parts), Positions(at, ends)

    def drain(self, now_us: int, limit: int = 400) -> None:
        """Turns until everything is read and every pass of the scan is finished."""
        states = self.core.engine.partitions.values()
        for _ in range(1000):
            self.turn(now_us, limit)
            read = all(self._read[place] == len(self.log.topics[place]) for place in self._read)
            if read and all(s.intake.is_empty and not s.scan.active for s in states):
                return
        raise AssertionError("never done")

    def calibrate(self) -> None:
        """The first model, from everybody there is."""
        population = self.core.engine.population(10_000)
        self.adopt(
            make_first_model(population, self.core.plan, self.core.strategies, self.core.calibration, 30.0)
        )

    def verify(self, log: Log | None = None, partitions: Sequence[int] | None = None) -> Report:
        """Verifies the log, or a changed copy of it."""
        return Verifier(Rules.of(self.config, PARTITIONS), log or self.log).verify(partitions)


def partition_of(key: bytes) -> int:
    """The partition that the service accepts a key on."""
    for partition in range(PARTITIONS):
        index = IdIndex(partition, PARTITIONS)
        if index.rows_of(StringColumn.from_bytes([key]), np.zeros(1, np.int64))[0] >= 0:
            return partition
    raise AssertionError("no partition")


def promoted(model: Model, version: int) -> Model:
    """A recalibrated version: the same segments with their centroids moved, one of them renamed."""
    document = msgspec.json.decode(to_json(model))
    document |= {"version": version, "parent": model.version, "kind": "recalibrated"}
    centroids = np.array(document["centroids"])
    document["centroids"] = (centroids + 0.35 * (np.roll(centroids, 1, axis=0) - centroids)).tolist()
    document["segments"][0]["name"] = "Renamed"
    return from_json(msgspec.json.encode(document))


def simulate(customers: int = 120, days: int = 30, seed: int = 5) -> Simulation:
    """Customers with realistic faults."""
    return Simulation(
        SimulationSettings(
            customers=customers, days=days, seed=seed, faults=Faults.realistic(), activity=0.3, chunk_hours=12
        )
    )


def live_month() -> Service:
    """A month of simulated customers under several models, and everything that ends a life."""
    service = Service()
    source = simulate()
    start = source.settings.start_us
    for number, chunk in enumerate(source.chunks()):
        for topic, key, value in zip(chunk.topic, chunk.key, chunk.value, strict=True):
            home = partition_of(key or b"")
            service.log.append(f"{service.config.topics.prefix}{topic}", home, key, value)
        at = start + number * 12 * 3_600_000_000
        if service.core.engine.active is None and chunk.end_us >= start + 12 * DAY:
            service.calibrate()
        if number == 44:
            service.adopt(promoted(service.versions[-1], service.versions[-1].version + 1))
        if number in {36, 40, 46, 52}:
            endings(service, at, number)
        service.drain(chunk.end_us + 60_000_000)
    return service


def endings(service: Service, at_us: int, number: int) -> None:
    """Closings, erasures, withdrawn consent and its return, corrections: of customers with a segment."""
    changes = [r for p in range(PARTITIONS) for r in service.log.topics[service.names.changes, p]]
    known = sorted({record.key for record in changes if record.key is not None})
    names, first = service.names, (number - 36) * 2
    rows = [key.decode() for key in known][first : first + 12]

    def send(topic: str, customer: str, n: int, **fields: Any) -> None:
        body = {"event_id": f"end-{number}-{customer}-{n}", "customer_id": customer}
        service.send(topic, body | {"event_time": format_time(at_us + n * 1_000_000)} | fields)

    stray: dict[str, Any] = {
        "event_id": f"stray-{number}",
        "customer_id": rows[0],
        "event_time": format_time(at_us),
    }
    stray |= {"type": "topup", "amount": 5.0, "currency": service.config.currency}
    service.send(names.billing, stray, 1 - partition_of(rows[0].encode()))
    for i, customer in enumerate(rows):
        match i % 6:
            case 0:
                send(names.customer, customer, 1, type="closed")
            case 1:
                send(names.customer, customer, 1, type="closed")
                send(names.customer, customer, 2, type="profile", age=40, contract="monthly")
                send(names.customer, customer, 3, type="care_contact", channel="phone")
            case 2:
                send(names.customer, customer, 1, type="forget")
            case 3:
                send(names.customer, customer, 1, type="forget")
                send(names.customer, customer, 2, type="profile", age=30)
            case 4:
                send(names.customer, customer, 1, type="profile", consent_profiling=False)
                send(names.customer, customer, 3, type="care_contact", channel="chat")
                if number == 40:
                    send(names.customer, customer, 5, type="profile", consent_profiling=True, age=50)
            case _:
                correction = {"type": "correction", "type_corrected": "data", "corrects_event_id": "x"}
                send(names.usage, customer, 1, megabytes=60_000.0, **correction)


def body_of(record: Record) -> dict[str, Any]:
    """JSON of a record."""
    body: dict[str, Any] = msgspec.json.decode(record.value or b"{}")
    return body


def altered(record: Record, **fields: Any) -> Record:
    """The record with fields of its body replaced."""
    return record._replace(value=msgspec.json.encode(body_of(record) | fields))


def find_change(service: Service, wanted: Callable[[dict[str, Any]], bool]) -> int:
    """Position of a change of partition 0, late in the log."""
    records = service.log.topics[service.names.changes, P]
    return max(i for i, record in enumerate(records) if wanted(body_of(record)))


def is_move(body: dict[str, Any]) -> bool:
    """A move with confidence and drivers."""
    return body["change"] == "moved" and body["confidence"] is not None and len(body["drivers"]) > 1


def kinds_of(service: Service, log: Log) -> tuple[set[str], list[Finding]]:
    """Kinds of what is found in `log`, and the findings."""
    report = service.verify(log, [P])
    return set(report.kinds), report.findings
