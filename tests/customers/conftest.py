"""Services on the embedded broker, with a model that was calibrated on simulated customers."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.brokers import Broker
from consumer.kafka_clients import make_producer, plain_producer_settings
from consumer.simulator import Faults, Simulation, SimulationSettings
from online_model.model import Model
from online_model.model_json import to_json
from tests.consumer.verify.book import Service, partition_of
from tests.service.conftest import feed
from tests.service.world import World, is_settled, turn_until

CUSTOMERS, DAYS = 120, 20


def quiet_month(seed: int = 7) -> Simulation:
    """Few customers, few events, no faults."""
    return Simulation(
        SimulationSettings(
            customers=CUSTOMERS,
            days=DAYS,
            seed=seed,
            activity=0.2,
            new_customer_share=0.0,
            silent_churn_share=0.0,
            closed_share=0.0,
            faults=Faults(),
        )
    )


END_US = quiet_month().settings.end_us


@pytest.fixture(scope="session")
def book() -> Service:
    """The month without Kafka: applied, calibrated, and everybody given a segment."""
    source, service = quiet_month(), Service()
    for chunk in source.chunks():
        for topic, key, value in zip(chunk.topic, chunk.key, chunk.value, strict=True):
            service.log.append(f"{service.config.topics.prefix}{topic}", partition_of(key or b""), key, value)
    service.drain(END_US, limit=100_000)
    service.calibrate()
    service.drain(END_US)
    return service


@pytest.fixture(scope="session")
def calibrated(book: Service) -> Model:
    """The model of the month."""
    return book.versions[0]


@pytest.fixture
def settled(embedded_broker: Broker, calibrated: Model) -> World:
    """Fresh topics with the model and the month, all of it applied; no service runs."""
    return settle(embedded_broker, calibrated)


def settle(broker: Broker, model: Model, **settings: Any) -> World:
    """As the fixture, with `settings` of the service."""
    world = World.make(broker, **settings)
    producer = make_producer(plain_producer_settings(world.config))
    producer.produce(world.names.models, to_json(model), str(model.version).encode(), partition=0)
    assert producer.flush(20) == 0
    feed(world, quiet_month())
    catch_up(world, END_US)
    return world


def catch_up(world: World, now_us: int) -> None:
    """A service starts, applies what there is and stops."""
    with world.service(now_us) as service:
        turn_until(service, lambda: is_settled(service))
