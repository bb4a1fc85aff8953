"""Laws of `segmenter forget`: no trace is left where none may be, and nothing brings the customer back."""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow.parquet as pq
import pytest

from consumer import cli
from consumer.brokers import Broker
from consumer.clock import WallClock
from consumer.core import Core
from consumer.dead_letters import DeadLetters, Replay, Selection
from consumer.dead_letters.replay import ERASED
from consumer.exit_codes import ExitCode
from consumer.kafka_clients import make_producer, plain_producer_settings
from consumer.replay_feed import partition_of
from consumer.service import Service
from consumer.snapshots import SnapshotStore
from online_model.model import Model
from schemas.times import format_time, parse_time
from tests.customers.conftest import settle
from tests.customers.quiet import END_US
from tests.customers.test_inspect import arguments, customers_of, told
from tests.service.world import PARTITIONS, World, check_chain, is_settled, turn_until

MINUTE_US = 60_000_000


@contextmanager
def running(world: World) -> Iterator[Service]:
    """The service on a thread of its own, by the clock of the machine."""
    with Service(world.config, WallClock()) as service:
        turn_until(service, lambda: is_settled(service))
        over = threading.Event()

        def loop() -> None:
            while not over.is_set():
                service.worker.run_once()
            service.worker.finish()

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield service
        finally:
            over.set()
            thread.join(60)
            assert not thread.is_alive()


def memory_of(service: Service) -> bytes:
    """The ids that the service holds."""
    return b"".join(state.index._arena.tobytes() for state in service.core.engine.partitions.values())


def usage(customer: str, event_id: str, time_us: int) -> dict[str, Any]:
    """A text message."""
    return {
        "event_id": event_id,
        "customer_id": customer,
        "event_time": format_time(time_us),
        "type": "sms",
        "count": 1,
    }


@pytest.fixture
def world(embedded_broker: Broker, calibrated: Model) -> World:
    """Snapshots every second."""
    return settle(embedded_broker, calibrated, snapshots__interval_s=1)


def restart(world: World, now_us: int) -> tuple[bytes, int]:
    """A service that restores and goes on: its ids, and how many records it applied."""
    with world.service(now_us) as service:
        turn_until(service, lambda: is_settled(service))
        return memory_of(service), int(service.recorder.totals.sum())


def snapshot_ids(world: World, partition: int) -> tuple[set[str], list[int]]:
    """Ids in the newest snapshot of a partition, and the first commits of all of them."""
    store = SnapshotStore(world.config.snapshots.uri, world.config.app.name)
    numbers = store.numbers(partition)
    manifests = [store.manifest(partition, number) for number in numbers]
    if not manifests:
        return set(), [0]
    folder = Path(world.config.snapshots.uri) / world.config.app.name / f"partition={partition}"
    table = pq.read_table(folder / manifests[0].file)
    return set(table["customer_id"].to_pylist()), [manifest.first_n for manifest in manifests]


def test_erased_everywhere_and_not_back(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Memory, current topic and new snapshots; restarts, an old event, a letter sent again change nothing."""
    gone = customers_of(world)[2]
    key, partition = gone.encode(), partition_of(gone.encode(), PARTITIONS)
    neighbour = next(
        c for c in customers_of(world) if c != gone and partition_of(c.encode(), PARTITIONS) == partition
    )
    # A letter of the customer, which somebody sends again after the erasure.
    producer = make_producer(plain_producer_settings(world.config))
    lost = msgspec.json.encode(usage(gone, "lost", END_US - MINUTE_US))
    producer.produce(world.names.usage, lost, key, (partition + 1) % PARTITIONS)
    assert producer.flush(20) == 0
    file = tmp_path / "receipt.json"
    before = [r for r in world.read(world.names.changes) if r.key == key]
    with running(world) as service:
        end = time.monotonic() + 60
        assert key in memory_of(service)
        said = told(capsys, arguments(world, "forget", gone, "--yes", "--receipt", str(file)))
        assert key not in memory_of(service)
        while snapshot_ids(world, partition)[1][0] < said["commit"]:
            assert time.monotonic() < end, "no snapshot after the erasure"
            # Snapshots are taken where something happens.
            world.send([(world.names.usage, usage(neighbour, uuid.uuid4().hex, END_US))])
            time.sleep(0.5)
    assert gone not in snapshot_ids(world, partition)[0]
    lost_letters = Selection(reasons=frozenset({"misrouted"}))
    plan = Replay(world.config, Core(world.config, PARTITIONS), END_US, anyway=True).dry_run(
        DeadLetters(world.config).read(lost_letters)
    )
    assert plan.leaves == {(world.names.usage, "misrouted"): {ERASED: 1}}
    check_receipt(world, said, json.loads(file.read_text()), gone)
    assert world.read(world.names.changes)[-1].key != key
    assert [r for r in world.read(world.names.changes) if r.key == key] == before, "no change event"

    now_us = time.time_ns() // 1000
    assert key not in restart(world, now_us)[0], "after a restart from the snapshot"
    shutil.rmtree(world.config.snapshots.uri)
    assert key not in restart(world, now_us)[0], "after a replay of the whole input"

    # Somebody who does not see the snapshots sends it.
    elsewhere = world.config.snapshots.model_copy(update={"uri": str(tmp_path / "nothing")})
    blind = world.config.model_copy(update={"snapshots": elsewhere})
    again = Replay(blind, Core(blind, PARTITIONS), END_US, anyway=True)
    plan = again.send(DeadLetters(blind).read(lost_letters), lambda _: None)
    assert plan.sends.total() == 1
    again.close()
    world.send([(world.names.usage, usage(gone, "straggler", END_US - 2 * MINUTE_US))])
    restart(world, now_us)
    assert [r.value for r in world.read(world.names.current) if r.key == key][-1] is None
    assert cli.execute(arguments(world, "inspect", gone)) in (ExitCode.OK, ExitCode.CONFIG)
    assert '"live"' not in capsys.readouterr().out


def check_receipt(world: World, said: dict[str, Any], written: dict[str, Any], gone: str) -> None:
    """It names nobody, and says of every topic of the contract what becomes of it."""
    assert written == said
    assert gone not in json.dumps(said)
    assert said["effective"]
    tombstone = next(
        r
        for r in world.read(world.names.current)
        if r.partition == said["event"]["partition"] and r.offset == said["tombstone_offset"]
    )
    assert (tombstone.key, tombstone.value) == (gone.encode(), None)
    (event,) = [
        r
        for r in world.read(world.names.customer)
        if (r.partition, r.offset) == (said["event"]["partition"], said["event"]["offset"])
    ]
    assert (event.json["type"], event.json["customer_id"]) == ("forget", gone)
    places = {one["place"]: one for one in said["places"]}
    names = world.names
    assert places["memory of the service"]["state"] == "erased"
    for topic in (*names.inputs, names.changes, names.dlq):
        gone_by = cast("int", parse_time(places[topic]["gone_by"]))
        days = 120 if topic in names.inputs else 30
        after_us = gone_by - cast("int", parse_time(said["time"]))
        assert days * 1440 * MINUTE_US <= after_us <= (days + 8) * 1440 * MINUTE_US
    assert places[names.current]["state"] == "tombstone"
    assert any(names.audit in place and names.models in place for place in places)


def test_a_new_life_begins_with_newer_events(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever comes back after the erasure is a new customer: `seq` begins at 1, nothing is remembered."""
    gone = customers_of(world)[1]
    with running(world) as service:
        told(capsys, arguments(world, "forget", gone, "--yes"))
        later_us = time.time_ns() // 1000
        world.send([(world.names.usage, usage(gone, "back", later_us))])
        end = time.monotonic() + 60
        while not (mine := [r for r in world.read(world.names.current) if r.key == gone.encode()])[-1].value:
            assert time.monotonic() < end, service.recorder.status()
            time.sleep(0.3)
    assert mine[-1].json["seq"] == 1
    changes = [r for r in world.read(world.names.changes) if r.key == gone.encode()]
    assert changes[-1].json["change"] == "assigned"
    assert changes[-1].json["previous_segment"] is None
    check_chain(changes[-1:])


def test_without_a_service_it_is_sent_and_said_so(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 6 and a receipt that says: not yet. The service carries it out when it comes."""
    gone = customers_of(world)[4]
    capsys.readouterr()
    line = arguments(world, "forget", gone, "--yes", "--wait-s", "0.5", "--json")
    assert cli.execute(line) == ExitCode.CHECK_FAILED
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert not said["effective"]
    assert "segmenter doctor" in captured.err
    assert gone.encode() not in restart(world, time.time_ns() // 1000)[0]
    assert [r.value for r in world.read(world.names.current) if r.key == gone.encode()][-1] is None


@pytest.mark.parametrize(
    ("more", "words"),
    [(("c1",), "add --yes"), (("a\tb", "--yes"), "is no customer id"), (("", "--yes"), "no customer id")],
)
def test_mistakes_are_named(
    embedded_broker: Broker, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    """Nothing is sent."""
    world = World.make(embedded_broker)
    assert cli.execute(arguments(world, "forget", *more)) == ExitCode.CONFIG
    assert words in capsys.readouterr().err
    assert world.read(world.names.customer) == []
