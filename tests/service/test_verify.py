"""`segmenter verify` on real Kafka: what the service wrote is derived again, over restarts and models."""

from __future__ import annotations

import json
import time
from typing import Any, cast

import pytest

from consumer.brokers import Broker
from consumer.cli import execute
from consumer.exit_codes import ExitCode
from consumer.kafka_clients import make_producer, plain_producer_settings
from consumer.verify import Report, Rules, Verifier
from consumer.verify.log import KafkaSource
from online_model.model import Model
from online_model.model_json import to_json
from online_model.renaming import renamed
from schemas.times import format_time
from tests.consumer.verify.book import promoted
from tests.service.conftest import Run, simulation, world_with_model
from tests.service.world import PARTITIONS, World, is_settled, turn_until

pytestmark = pytest.mark.kafka

DAY_US = 86_400_000_000


def verify(world: World) -> Report:
    """All partitions."""
    return Verifier(Rules.of(world.config, PARTITIONS), KafkaSource(world.config)).verify()


def test_the_run_is_clean(run: Run) -> None:
    """A month with realistic faults: every change as it must be, every input record counted once."""
    report = verify(run.world)
    assert report.findings == []
    assert report.unverified == []
    # Read now: other tests go on with the same topics.
    assert report.counts["changes"] == len(run.world.read(run.world.names.changes)) > 400
    totals = dict.fromkeys(run.world.names.inputs, 0)
    for (_, topic), outcomes in report.inputs.items():
        totals[topic] += sum(outcomes.values())
    ends = run.world.ends()
    assert totals == {topic: sum(end for (t, _), end in ends.items() if t == topic) for topic in totals}


@pytest.fixture(scope="module")
def eventful(run: Run, kafka: Broker) -> World:
    """Restarts in the middle of a backlog, ends of lives, corrections, a promotion and a name at rest."""
    source = simulation(customers=150, days=14, seed=3)
    world = world_with_model(run, kafka, source, commit__max_events=300)
    end_us = source.settings.end_us
    for turns in (8, 12):
        with world.service(end_us) as service:
            for _ in range(turns):
                service.worker.run_once()
    with world.service(end_us) as service:
        turn_until(service, lambda: is_settled(service))
    world.send(_endings(world, end_us))
    with world.service(end_us + DAY_US) as service:
        turn_until(service, lambda: is_settled(service))
        newest = service.core.coordinator.model
    assert newest is not None
    model = promoted(newest, newest.version + 1)
    _publish(world, model)
    _publish(world, renamed(model, model.segments[0].id, "Gold customers", "rename"))
    with world.service(end_us + DAY_US) as service:
        turn_until(service, lambda: is_settled(service))
    return world


def _publish(world: World, model: Model) -> None:
    producer = make_producer(plain_producer_settings(world.config))
    producer.produce(world.names.models, to_json(model), str(model.version).encode(), partition=0)
    assert producer.flush(20) == 0


def _endings(world: World, now_us: int) -> list[tuple[str, dict[str, Any]]]:
    names = world.names
    members = sorted({cast("bytes", record.key).decode() for record in world.read(names.changes)})
    sooner = format_time(now_us - 60_000_000)
    later = format_time(now_us - 30_000_000)
    events: list[tuple[str, dict[str, Any]]] = []

    def add(topic: str, customer: str, when: str, **fields: Any) -> None:
        common = {"event_id": f"end-{len(events)}", "customer_id": customer, "event_time": when}
        events.append((topic, common | fields))

    for i, customer in enumerate(members[:30]):
        match i % 5:
            case 0:
                add(names.customer, customer, sooner, type="closed")
            case 1:
                add(names.customer, customer, sooner, type="forget")
                add(names.customer, customer, later, type="care_contact", channel="phone")
            case 2:
                add(names.customer, customer, sooner, type="forget")
            case 3:
                add(names.customer, customer, sooner, type="profile", consent_profiling=False)
            case _:
                correction = {"type": "correction", "type_corrected": "data", "corrects_event_id": "x"}
                add(names.usage, customer, sooner, megabytes=50_000.0, **correction)
    return events


def test_restarts_ends_of_lives_and_a_promoted_model_are_clean(eventful: World) -> None:
    """Whatever process decided: the same rules."""
    report = verify(eventful)
    assert report.findings == []
    assert report.unverified == []
    audits = eventful.audits()
    assert len({audit.run_id for audit in audits}) == 5
    assert len({audit.model_version for audit in audits}) >= 2
    causes = {record.json["cause"] for record in eventful.read(eventful.names.changes)}
    assert causes >= {"first", "closed", "consent", "model"}


def test_the_command_says_clean(eventful: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 and counts that add up."""
    code = execute(["verify", "--json", *_arguments(eventful)])
    assert code == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["clean"] is True
    assert document["findings"] == []
    ends = eventful.ends()
    assert {(row["topic"], row["partition"]): row["records"] for row in document["inputs"]} == ends


def test_the_command_names_a_finding(eventful: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A record that nobody should have written: exit code 6, with customer and offset."""
    producer = make_producer(plain_producer_settings(eventful.config))
    last = eventful.read(eventful.names.changes)[-1]
    producer.produce(eventful.names.changes, last.value, last.key, partition=last.partition)
    assert producer.flush(20) == 0
    code = execute(["verify", "-p", str(last.partition), *_arguments(eventful)])
    output = capsys.readouterr().out
    assert code == ExitCode.CHECK_FAILED
    rows = [line.split("\t") for line in output.splitlines()]
    assert ["additional", str(last.partition), cast("bytes", last.key).decode()] in [row[:3] for row in rows]


def test_nothing_to_verify(kafka: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """Topics without a commit are clean; topics that are not there are told with their fix."""
    world = World.make(kafka)
    deadline = time.monotonic() + 30
    while (code := execute(["verify", *_arguments(world)])) == ExitCode.BROKER:
        assert time.monotonic() < deadline, capsys.readouterr().err
        time.sleep(0.2)  # topics that new have no leader yet
    assert code == ExitCode.OK
    assert "nothing to verify" in capsys.readouterr().err
    missing = ["--bootstrap", world.config.kafka.bootstrap, "--set", "topics.prefix=nowhere."]
    assert execute(["verify", *missing]) == ExitCode.TOPICS
    assert "topics create" in capsys.readouterr().err


def test_a_partition_that_is_not_there(kafka: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error that tells how many there are."""
    world = World.make(kafka)
    assert execute(["verify", "--partition", "9", *_arguments(world)]) == ExitCode.CONFIG
    assert "3 partitions" in capsys.readouterr().err


def _arguments(world: World) -> list[str]:
    config = world.config
    chosen = {"topics.prefix": config.topics.prefix, "app.name": config.app.name}
    sets = [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]
    return ["--bootstrap", config.kafka.bootstrap, *sets]
