"""The input of a seed: produced once, read by every run of that seed, with its models and its script."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from confluent_kafka import Producer

from consumer.config import Config
from consumer.config_sources import load_config
from consumer.core import Core, Positions
from consumer.kafka_clients import (
    make_admin,
    make_consumer,
    make_producer,
    plain_producer_settings,
    reader_settings,
)
from consumer.log_reader import LogReader
from consumer.simulator import Faults, Simulation, SimulationSettings
from consumer.simulator.records import TOPICS
from consumer.topics import TopicNames, create
from online_model.coordinator import make_first_model
from online_model.model import Model
from online_model.model_json import to_json
from online_model.panel import CalibrationPolicy
from schemas.records import RawRecords
from schemas.times import format_time, parse_time
from tests.chaos.script import Script
from tests.service.world import PARTITIONS

CUSTOMERS: Final = 300
DAYS: Final = 34
#: Commits per partition in a scripted run.
COMMITS: Final = 40
#: First commits under versions 1, 2 and 3.
ADOPTED: Final = (0, 14, 27)
#: One customer in so many is erased (events that come later begin a new life), another one withdraws their
#: consent, which two of three give again, another one says nothing about it any more.
_EVERY: Final = 25
_ERASED, _WITHDRAWN, _UNASKED = 7, 12, 17
#: Quarters of days after the start; the erasures are a day apart.
_DEPARTURES: Final = 4 * 19
_RETURNS: Final = 4 * 27
_EVENT_TIME: Final = re.compile(rb'"event_time": ?"([^"]+)"')


@dataclass(frozen=True, slots=True)
class InputSet:
    """Input topics behind `prefix`, their ends, who is erased in them, and what runs on them are given."""

    seed: int
    prefix: str
    names: TopicNames
    end_us: int
    times_us: list[list[list[int]]]
    models: list[Model]
    erased: frozenset[bytes]

    @property
    def ends(self) -> list[list[int]]:
        """Records per partition and topic."""
        return [[len(times) for times in topics] for topics in self.times_us]

    def script(self, n_models: int, path: Path) -> Path:
        """A script file with the first `n_models` versions."""
        Script.by_time(self.times_us, COMMITS, list(ADOPTED[:n_models]), self.end_us).save(path)
        return path

    def publish_models(self, config: Config, names: TopicNames, n_models: int) -> None:
        """Puts the first versions on the models topic of a run."""
        producer = make_producer(plain_producer_settings(config))
        for model in self.models[:n_models]:
            producer.produce(names.models, to_json(model), str(model.version).encode(), partition=0)
        assert producer.flush(30) == 0


def make_inputs(bootstrap: str, seed: int, prefix: str, replication: int = 1) -> InputSet:
    """Simulates `CUSTOMERS` over `DAYS` days into fresh topics.

    With duplicates, late and malformed records, but with honest clocks: what a bad clock is taken for
    depends on how far the topics have been read, which differs between runs by design.
    """
    chosen = {"kafka.bootstrap": bootstrap, "topics.prefix": prefix, "model.k": 5}
    config = load_config(None, {}, chosen)
    names = TopicNames.with_prefix(prefix)
    create(make_admin(config), names, PARTITIONS, replication)
    faults = Faults(duplicates=0.01, late_window=0.005, malformed=0.01)
    source = Simulation(
        SimulationSettings(customers=CUSTOMERS, days=DAYS, seed=seed, faults=faults, activity=0.07)
    )
    _send(config, names, source)
    raw, times = _read(config, names)
    models = _models(config, raw, source.settings.end_us)
    erased = frozenset(bytes(key) for n, key in enumerate(source.population.keys) if n % _EVERY == _ERASED)
    return InputSet(seed, prefix, names, source.settings.end_us, times, models, erased)


def _send(config: Config, names: TopicNames, source: Simulation) -> None:
    """The simulation's records, and contacts with customer care four times a day in every partition.

    Without them the customer topic is silent for days and holds the watermark back that long: then
    nothing could be committed in between, and commits could not be counted.
    """
    producer: Producer = make_producer(plain_producer_settings(config))
    topics = dict(zip(TOPICS, names.inputs, strict=True))
    people = [bytes(key) for key in source.population.keys]
    quarter_us, at_us = 6 * 3_600_000_000, source.settings.start_us
    for chunk in source.chunks():
        row = 0
        while at_us < chunk.end_us:
            stop = int(np.searchsorted(chunk.arrival_us, at_us))
            for i in range(row, stop):
                producer.produce(topics[chunk.topic[i]], chunk.value[i], chunk.key[i])
            row = stop
            for number in range(3 * PARTITIONS):  # enough for one in each partition, nearly always
                key = people[(at_us // quarter_us * 3 * PARTITIONS + number) % len(people)]
                producer.produce(names.customer, _contact(key, at_us, number), key)
            for key, body in _departures(people, at_us, (at_us - source.settings.start_us) // quarter_us):
                producer.produce(names.customer, json.dumps(body).encode(), key)
            at_us += quarter_us
        for i in range(row, chunk.n):
            producer.produce(topics[chunk.topic[i]], chunk.value[i], chunk.key[i])
    assert producer.flush(30) == 0


def _contact(key: bytes, at_us: int, number: int) -> bytes:
    body = {
        "event_id": f"care-{at_us}-{number}",
        "customer_id": key.decode(),
        "event_time": format_time(at_us),
        "type": "care_contact",
        "channel": "phone",
    }
    return json.dumps(body).encode()


def _departures(people: list[bytes], at_us: int, quarter: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Erasures, and what customers say about their consent."""
    day, first = divmod(quarter - _DEPARTURES, 4)
    if first or not day >= 0:
        return
    for n, key in enumerate(people):
        kind, group = n % _EVERY, n // _EVERY
        said: dict[str, Any] = {"event_id": f"{kind}-{at_us}", "customer_id": key.decode()}
        said["event_time"] = format_time(at_us)
        if kind == _ERASED and group % 6 == day:
            yield key, said | {"type": "forget"}
        elif kind == _UNASKED and group % 6 == day:
            yield key, said | {"type": "profile", "consent_profiling": None}
        elif kind == _WITHDRAWN and quarter == _DEPARTURES:
            yield key, said | {"type": "profile", "consent_profiling": False}
        elif kind == _WITHDRAWN and quarter == _RETURNS and group % 3:
            yield key, said | {"type": "profile", "consent_profiling": True}


def _read(config: Config, names: TopicNames) -> tuple[RawRecords, list[list[list[int]]]]:
    """All records, and event times by partition, topic and offset (of a record without: the one before)."""
    parts: list[RawRecords] = []
    times: list[list[list[int]]] = [[] for _ in range(PARTITIONS)]
    with LogReader(lambda only: make_consumer(reader_settings(config, only))) as log:
        for partition in range(PARTITIONS):
            for topic, name in enumerate(names.inputs):
                found = list(log.all_of(name, partition))
                values = cast("list[bytes | None]", [m.value() for m in found])
                keys = cast("list[bytes | None]", [m.key() for m in found])
                parts.append(RawRecords.of_topic(topic, values, keys, partition=partition))
                times[partition].append(_times(values))
    return RawRecords.concat(parts), times


def _times(values: list[bytes | None]) -> list[int]:
    found: list[int] = []
    for value in values:
        text = _EVENT_TIME.search(value or b"")
        time_us = parse_time(text.group(1).decode()) if text else None
        found.append(time_us if time_us is not None else (found or [0])[-1])
    return found


def _models(config: Config, raw: RawRecords, now_us: int) -> list[Model]:
    """A calibration on all of the input, a recalibration that moves its centres, and a fold."""
    core = Core(config, PARTITIONS, follow_clock=False)
    for number in range(PARTITIONS):
        core.engine.add_partition(number)
    places = {
        (p, t): int(((raw.partition == p) & (raw.topic == t)).sum())
        for p in range(PARTITIONS)
        for t in range(3)
    }
    core.process(raw, Positions(places, dict.fromkeys(places, True)), now_us)
    population = core.engine.population(CUSTOMERS)
    policy = CalibrationPolicy(k=5, seed=1)
    first = make_first_model(population, core.plan, core.strategies, policy, 30.0)
    rng = np.random.default_rng(5)

    def moved(model: Model, kind: str, step: float) -> Model:
        shift = rng.normal(0.0, step, model.centroids.shape)
        return dataclasses.replace(
            model,
            version=model.version + 1,
            parent=model.version,
            kind=kind,  # type: ignore[arg-type] # one of the literals, below
            centroids=model.centroids + shift,
        )

    second = moved(first, "recalibrated", 0.35)
    return [first, second, moved(second, "folded", 0.2)]
