"""Services on the embedded broker, with a model that was calibrated on simulated customers."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.brokers import Broker
from consumer.kafka_clients import make_producer, plain_producer_settings
from online_model.model import Model
from online_model.model_json import to_json
from tests.consumer.verify.book import Service
from tests.customers.quiet import END_US, quiet_month, quiet_service
from tests.service.conftest import feed
from tests.service.world import World, is_settled, turn_until


@pytest.fixture(scope="session")
def book() -> Service:
    """The month without Kafka: applied, calibrated, and everybody given a segment."""
    return quiet_service()


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
