"""Somebody whose bytes are unlike all others', in a month of others, on a broker whose files are known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from consumer.brokers import Broker
from consumer.kafka_clients import (
    make_admin,
    make_consumer,
    make_producer,
    plain_producer_settings,
    reader_settings,
)
from consumer.log_reader import LogReader
from consumer.replay_feed import partition_of
from consumer.snapshots import SnapshotStore
from online_model.model import Model
from online_model.model_json import to_json
from schemas.times import format_time
from tests.customers.left import Left, Needles, in_files, in_memory, in_snapshots, in_topic
from tests.customers.quiet import quiet_month
from tests.service.conftest import feed
from tests.service.test_process import Process, arguments
from tests.service.world import PARTITIONS, World

SOMEBODY: Final = "erase-me-7f3a9c"
#: In the id of every event of theirs.
MARK: Final = "mk5d1e0b"
SNAPSHOTS_S: Final = 1
#: The month is over: what happens now is a year later, and no reason to recalibrate.
SERVICE: Final[dict[str, Any]] = {"snapshots__interval_s": SNAPSHOTS_S, "model__recalibrate_days": "null"}


@dataclass(frozen=True, slots=True)
class Scene:
    """A world with the month and its model, and with somebody to erase; `logs`: the broker's directory."""

    world: World
    logs: Path
    folder: Path
    needles: Needles

    @classmethod
    def make(cls, broker: Broker, logs: Path, folder: Path, model: Model) -> Scene:
        """Topics that keep records as they are, so that they can be found in the files."""
        world = World.make(broker, snapshots__interval_s=SNAPSHOTS_S)
        scene = cls(world, logs, folder, Needles.of(SOMEBODY, MARK))
        scene.configure(scene.topics, {"compression.type": "uncompressed"})
        producer = make_producer(plain_producer_settings(world.config))
        producer.produce(world.names.models, to_json(model), str(model.version).encode(), partition=0)
        assert producer.flush(20) == 0
        feed(world, quiet_month())
        scene._send_somebody()
        return scene

    @property
    def topics(self) -> list[str]:
        """All of the contract."""
        return [getattr(self.world.names, name) for name in self.world.names.__slots__]

    @property
    def partition(self) -> int:
        """Of the customer."""
        return partition_of(SOMEBODY.encode(), PARTITIONS)

    def configure(self, topics: Sequence[str], settings: dict[str, str]) -> None:
        """Settings of `topics`."""
        admin = make_admin(self.world.config)  # kept: its futures end with it
        resources = [
            ConfigResource(
                ResourceType.TOPIC,
                name,
                incremental_configs=[
                    ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
                    for setting, value in settings.items()
                ],
            )
            for name in topics
        ]
        for done in admin.incremental_alter_configs(resources).values():
            done.result(20)

    def _send_somebody(self) -> None:
        """What a customer of the month did, under another name; and dead letters of theirs."""
        world = self.world
        records = [(topic, record) for topic in world.names.inputs for record in world.read(topic)]
        model = Counter(record.key for _, record in records).most_common(3)[2][0]
        events = [
            (topic, record.json | {"customer_id": SOMEBODY, "event_id": f"{MARK}-{n}"})
            for n, (topic, record) in enumerate(records)
            if record.key == model
        ]
        world.send(events)
        producer = make_producer(plain_producer_settings(world.config))
        lost = msgspec.json.encode(events[0][1] | {"event_id": f"{MARK}-lost"})
        elsewhere = (self.partition + 1) % PARTITIONS
        producer.produce(world.names.usage, lost, SOMEBODY.encode(), elsewhere)
        producer.produce(world.names.usage, lost[:-2], SOMEBODY.encode(), self.partition)
        assert producer.flush(20) == 0

    def start(self, name: str, instance: str = "a") -> Reachable:
        """A service that can be asked what it holds."""
        world = self.world.with_settings(instance=instance)
        return Reachable(self, world, name)

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """New customers in every partition, three times a second, who also call customer care.

        So segments stay open as long as they may, with the erasure in one of them.
        """
        over = threading.Event()

        def loop() -> None:
            number = 0
            while not over.wait(0.3):
                number += 1
                now = format_time(time.time_ns() // 1000)
                names = [f"new-{number}-{n}" for n in range(4 * PARTITIONS)]
                text = {"event_time": now, "type": "sms", "count": 1}
                call = {"event_time": now, "type": "care_contact", "channel": "phone"}
                for topic, event in ((self.world.names.usage, text), (self.world.names.customer, call)):
                    self.world.send(
                        [(topic, event | {"event_id": name, "customer_id": name}) for name in names]
                    )

        thread = threading.Thread(target=loop, name="traffic")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(30)

    def wait_for_snapshots(self, commit: int, timeout_s: float = 120.0) -> None:
        """Until all snapshots of the customer's partition are of after `commit`."""
        store = SnapshotStore(self.world.config.snapshots.uri, self.world.config.app.name)
        end = time.monotonic() + timeout_s
        while True:
            try:
                firsts = [store.manifest(self.partition, n).first_n for n in store.numbers(self.partition)]
            except OSError:  # replaced while it was read
                firsts = []
            if len(firsts) > 1 and min(firsts) >= commit:
                return
            assert time.monotonic() < end, f"snapshots of after the erasure are missing: {firsts}"
            time.sleep(0.2)

    def ends(self, *topics: str) -> dict[tuple[str, int], int]:
        """Ends of topics with as many partitions as the inputs."""
        with LogReader(lambda only: make_consumer(reader_settings(self.world.config, only))) as log:
            return {(topic, p): log.bounds(topic, p)[1] for topic in topics for p in range(PARTITIONS)}

    # -- what is left ------------------------------------------------------------------------------

    def in_records(self, topic: str) -> Left:
        """In what a reader gets of a topic."""
        parts = PARTITIONS if topic in self.world.partitioned else 1
        return self.needles.within(in_topic(self.world, topic, parts))

    def in_logs(self, topic: str = "") -> Left:
        """In the broker's files of one topic, or of all of this world and of Kafka's own."""
        wanted = topic or (self.world.config.topics.prefix, "__")
        return self.needles.within(
            (where, data) for where, data in in_files(self.logs) if where.startswith(wanted)
        )

    def in_snapshots(self) -> Left:
        """In the snapshots of all partitions."""
        return self.needles.within(in_snapshots(Path(self.world.config.snapshots.uri)))


class Reachable(Process):
    """A service that says which bytes its objects hold (`tests.customers.reachable`)."""

    def __init__(self, scene: Scene, world: World, name: str) -> None:
        self._scene = scene
        self._answer = scene.folder / f"{name}.json"
        needles = scene.folder / "needles.json"
        needles.write_text(json.dumps({n: value.hex() for n, value in scene.needles.by_name.items()}))
        self._log = scene.folder / f"{name}.log"
        program = [sys.executable, "-m", "tests.customers.reachable", str(needles), str(self._answer)]
        line = [*program, *arguments(world, ("run",), **SERVICE)]
        with self._log.open("wb") as sink:
            self.process = subprocess.Popen(line, stdout=sink, stderr=subprocess.STDOUT)

    def live(self) -> None:
        """Waits until everything that is there has been applied."""
        self.wait_for("partitions live")
        ends, end = self._scene.world.ends(), time.monotonic() + 120
        while True:
            committed = self._scene.world.committed()
            if all(committed[place] >= offset for place, offset in ends.items()):
                return
            assert time.monotonic() < end, self.text[-2000:]
            time.sleep(0.3)

    def held(self) -> dict[str, int]:
        """What its objects hold now."""
        self._answer.unlink(missing_ok=True)
        os.kill(self.process.pid, signal.SIGUSR2)
        end = time.monotonic() + 60
        while not self._answer.exists():
            assert self.process.poll() is None, self.text[-2000:]
            assert time.monotonic() < end, "no answer"
            time.sleep(0.05)
        found: dict[str, Any] = json.loads(self._answer.read_text())
        return found

    def bytes_held(self) -> Left:
        """What is in its memory, freed or not."""
        return self._scene.needles.within(in_memory(self.process.pid))
