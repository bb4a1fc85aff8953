"""One calibrated run on real Kafka, which many laws look at."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from consumer.brokers import Broker
from consumer.kafka_clients import make_producer, plain_producer_settings
from consumer.simulator import Faults, KafkaFeed, Simulation, SimulationSettings, Truth
from online_model.model import Model
from tests.service.world import (
    PARTITIONS,
    Membership,
    Record,
    World,
    features,
    is_settled,
    published,
    turn_until,
)


@dataclass(slots=True, repr=False)
class Run:
    """What one service did with a simulated month, and everything it wrote."""

    world: World
    truth: Truth
    end_us: int
    totals: npt.NDArray[np.int64]
    changes: Counter[tuple[str, str]]
    model: Model
    features: dict[bytes, npt.NDArray[np.float64]]
    published: dict[bytes, Membership]
    held: set[tuple[int, int]]
    answers: dict[str, tuple[int, str]]
    committed: dict[tuple[str, int], int]
    ends: dict[tuple[str, int], int]
    records: dict[str, list[Record]] = field(default_factory=dict)


def simulation(customers: int = 500, days: int = 32, seed: int = 7) -> Simulation:
    """Simulated customers with realistic faults, rarer events to keep it short."""
    return Simulation(
        SimulationSettings(
            customers=customers, days=days, seed=seed, faults=Faults.realistic(), activity=0.25
        )
    )


def feed(world: World, source: Simulation) -> None:
    """Sends all of it."""
    feed = KafkaFeed(
        plain_producer_settings(world.config),
        source,
        partitions=PARTITIONS,
        topic_prefix=world.config.topics.prefix,
    )
    feed.run()
    feed.close()


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of a request to the service."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="session")
def run(kafka: Broker) -> Run:
    """500 customers, 32 days, three partitions, realistic faults; the service is stopped again."""
    # Small turns: the topics do not come all at once.
    world, source = World.make(kafka, commit__max_events=2_000), simulation()
    feed(world, source)
    end_us = source.settings.end_us
    answers: dict[str, tuple[int, str]] = {}
    held: set[tuple[int, int]] = set()
    with world.service(end_us) as service:
        port = service.server.port
        service.worker.run_once()
        answers["/readyz before"] = get(port, "/readyz")

        def is_done() -> bool:
            held.update(service.worker.inputs.held)
            return is_settled(service)

        turn_until(service, is_done)
        service.recorder.look_around()
        for path in ("/livez", "/readyz", "/metrics", "/status", "/nowhere"):
            answers[path] = get(port, path)
        active = service.core.engine.active
        assert active is not None
        made = Run(
            world=world,
            truth=source.truth,
            end_us=end_us,
            totals=service.recorder.totals.copy(),
            changes=service.recorder.changes.copy(),
            model=active.model,
            features=features(service.core),
            published=published(service.core),
            held=held,
            answers=answers,
            committed=world.committed(),
            ends=world.ends(),
        )
    names = world.names
    topics = (names.changes, names.current, names.dlq, names.audit, names.catalog, names.models)
    made.records = {topic: world.read(topic) for topic in (*topics, *names.inputs)}
    return made


def world_with_model(run: Run, kafka: Broker, source: Simulation, **settings: Any) -> World:
    """Fresh topics with events and the model of the run: everything is decided from the first event on."""
    world = World.make(kafka, **settings)
    model = run.records[run.world.names.models][0]
    producer = make_producer(plain_producer_settings(world.config))
    producer.produce(world.names.models, cast("bytes", model.value), model.key, partition=0)
    assert producer.flush(20) == 0
    feed(world, source)
    return world


def load_json(text: str) -> dict[str, Any]:
    """An answer's body."""
    body: dict[str, Any] = json.loads(text)
    return body
