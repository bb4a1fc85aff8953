"""Input topics that get more partitions: refused at once with the way out, and the way out works."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Message
from confluent_kafka.cimpl import NewPartitions

from consumer.brokers import Broker
from consumer.cli import execute
from consumer.exit_codes import ExitCode
from consumer.kafka_clients import (
    make_admin,
    make_consumer,
    make_producer,
    plain_producer_settings,
    reader_settings,
)
from consumer.log_reader import LogReader
from consumer.simulator import Simulation, SimulationSettings
from tests.service.conftest import Run, feed, simulation, world_with_model
from tests.service.test_process import Process, arguments
from tests.service.world import PARTITIONS, World, features, is_settled, same_features, turn_until

pytestmark = pytest.mark.kafka

GROWN = PARTITIONS + 1


def grow(world: World, topics: Sequence[str]) -> None:
    """Adds a partition to each of `topics` and waits until the broker shows it."""
    admin = make_admin(world.config)  # kept: its futures end with it
    for done in admin.create_partitions([NewPartitions(topic, GROWN) for topic in topics]).values():
        done.result(20)
    end = time.monotonic() + 20
    while any(len(admin.list_topics(timeout=10).topics[topic].partitions) != GROWN for topic in topics):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("one", [False, True], ids=["all three", "one of them"])
def test_a_running_service_stops_when_its_input_grows(
    run: Run, kafka: Broker, tmp_path: Path, one: bool
) -> None:
    """Within seconds, with an exit code of its own and the way out; not before it was live."""
    world = world_with_model(run, kafka, simulation(customers=20, days=1))
    with Process(world, tmp_path / "log") as process:
        process.wait_for("partitions live")
        grow(world, world.names.inputs[1:2] if one else world.names.inputs)
        assert process.process.wait(40) == ExitCode.TOPICS, process.text[-3000:]
        assert "grown beyond 3 partitions" in process.text
        assert "app.name" in process.text
        assert "topics.prefix" in process.text
        assert "Traceback" not in process.text


def test_a_service_does_not_start_on_grown_inputs(kafka: Broker, capfd: pytest.CaptureFixture[str]) -> None:
    """The outputs have the old number; the fix is not to delete what has been published."""
    world = World.make(kafka)
    grow(world, world.names.inputs)
    assert execute(arguments(world)) == ExitCode.TOPICS
    words = capfd.readouterr().err
    assert f"{world.names.audit}: has 3 partitions, the input topics have 4" in words
    assert "if the input topics have grown, start a new group (app.name) on new topics" in words


def in_order_of_event_time(world: World) -> list[Message]:
    """All input records. Not in that of the broker's timestamps: a backfill has thousands with the same."""
    found: list[Message] = []
    with LogReader(lambda only: make_consumer(reader_settings(world.config, only))) as log:
        for topic in world.names.inputs:
            for partition in range(world.partitions):
                found += log.all_of(topic, partition)
    return sorted(found, key=lambda message: str(msgspec.json.decode(message.value() or b"")["event_time"]))


def copy(old: World, new: World) -> None:
    """The input records of `old` into `new`, each to where its key belongs there."""
    producer = make_producer(plain_producer_settings(new.config))
    topics = dict(zip(old.names.inputs, new.names.inputs, strict=True))
    for message in in_order_of_event_time(old):
        producer.produce(topics[message.topic() or ""], message.value(), message.key())
    assert producer.flush(60) == 0


def test_a_new_group_on_copied_input_has_the_same_features(kafka: Broker) -> None:
    """The way out: every customer has the features that the old group had, bit for bit."""
    source = Simulation(SimulationSettings(customers=450, days=30, seed=3, activity=0.25))
    old, end_us = World.make(kafka), source.settings.end_us
    feed(old, source)
    with old.service(end_us) as service:
        turn_until(service, lambda: is_settled(service))
        before = features(service.core, end_us)
    grow(old, old.names.inputs)
    new = World.make(kafka, partitions=GROWN)
    copy(old, new)
    with new.service(end_us) as service:
        turn_until(service, lambda: is_settled(service))
        after = features(service.core, end_us)
        assert service.core.partition_count == GROWN
    assert len(before) > 400
    assert same_features(before, after)
