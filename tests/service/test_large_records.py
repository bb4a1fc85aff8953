"""Input records as large as a dead letter can be, and larger: refused, never lost, and never a riddle."""

from __future__ import annotations

import base64
from random import Random
from typing import Final

import pytest

from consumer.brokers import Broker
from consumer.errors import DataError
from consumer.kafka_clients import MAX_RECORD_BYTES, make_producer, plain_producer_settings
from tests.service.world import World

pytestmark = pytest.mark.kafka

NOW_US: Final = 1_772_445_600_000_000
#: Reserve for key, headers and framing of a dead letter.
HEAD_BYTES: Final = 2_048


def world_with_a_record(kafka: Broker, size: int) -> World:
    """A record of `size` bytes that do not compress, and are no event."""
    world = World.make(kafka)
    world.limit_records(world.names.inputs, 2 * MAX_RECORD_BYTES)
    settings = plain_producer_settings(world.config) | {"message.max.bytes": 2 * MAX_RECORD_BYTES}
    producer = make_producer(settings)
    producer.produce(world.names.usage, base64.b85encode(Random(size).randbytes(size))[:size], b"c1")
    assert producer.flush(30) == 0
    return world


def with_client(world: World, **settings: object) -> World:
    """The world with settings of the Kafka client, with `__` for the dot."""
    client = {name.replace("__", "."): value for name, value in settings.items()}
    kafka = world.config.kafka.model_copy(update={"client": client})
    return World(world.config.model_copy(update={"kafka": kafka}), world.names)


def run_until_read(world: World) -> None:
    """Turns the loop until the record has been handled, and commits."""
    with world.service(NOW_US) as service:
        turns = 0
        while service.recorder.totals.sum() < 1:
            service.worker.run_once()
            turns += 1
            assert turns < 2_000


def check_refused(world: World) -> None:
    """One dead letter with all the bytes, and the input is done."""
    [letter] = world.read(world.names.dlq)
    [came] = world.read(world.names.usage)
    assert letter.value == came.value
    assert world.committed()[world.names.usage, came.partition] == came.offset + 1


def test_a_record_close_to_the_limit_becomes_a_dead_letter(kafka: Broker) -> None:
    """Its headers make it larger than it came; there is room for them."""
    world = world_with_a_record(kafka, MAX_RECORD_BYTES - HEAD_BYTES)
    run_until_read(world)
    check_refused(world)


def test_a_larger_one_stops_the_process_with_the_fix_and_the_fix_works(kafka: Broker) -> None:
    """Nothing is committed past it; with a higher limit it becomes a dead letter."""
    world = world_with_a_record(kafka, MAX_RECORD_BYTES + HEAD_BYTES)
    with pytest.raises(DataError, match=f"too large for topic {world.names.dlq}") as caught:
        run_until_read(world)
    assert "message.max.bytes in kafka.client" in caught.value.fix
    assert world.read(world.names.dlq) == []
    assert set(world.committed().values()) == {-1001}
    world.limit_records([world.names.dlq], 2 * MAX_RECORD_BYTES)
    run_until_read(with_client(world, message__max__bytes=2 * MAX_RECORD_BYTES))
    check_refused(world)


def test_a_dead_letter_topic_with_a_low_limit_is_named(kafka: Broker) -> None:
    """The broker refuses the record: no endless restarts without a word about the topic's limit."""
    world = world_with_a_record(kafka, 2_000_000)
    world.limit_records([world.names.dlq], 1_000_000)
    with pytest.raises(DataError, match="too large") as caught:
        run_until_read(world)
    assert "max.message.bytes" in caught.value.fix
    world.limit_records([world.names.dlq], MAX_RECORD_BYTES)
    run_until_read(world)
    check_refused(world)
