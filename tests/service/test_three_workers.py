"""One worker and three make the same model versions of the same input, byte for byte, on real Kafka.

Which records a commit holds is chance, so nothing is decided while records are read: the clock stands
still, and the scans that make versions begin when it is moved on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np
import pytest
from msgspec import structs

from consumer.brokers import Broker
from consumer.clock import FixedClock
from consumer.models.history import command, send
from consumer.service import Service
from consumer.simulator import Simulation, SimulationSettings
from consumer.snapshots import SnapshotStore, writer
from online_model.model import Model
from online_model.model_json import from_json
from schemas.times import format_time
from tests.service.conftest import feed
from tests.service.world import World, is_settled

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS: Final = 6
GRACE_US: Final = 300_000_000
HOUR_US: Final = 3_600_000_000
NOBODY: Final = 1_000_000_000


@dataclass(slots=True)
class Group:
    """Services of one group, turned in turn."""

    world: World
    clock: FixedClock
    services: list[Service]
    sent: int = 0

    def turn_until(self, done: Callable[[], bool]) -> None:
        """Turns all until `done` and everybody has looked at everybody."""
        end = time.monotonic() + 100
        while not (all(is_settled_or_waits(s) for s in self.services) and done()):
            assert time.monotonic() < end, [s.recorder.status() for s in self.services]
            for service in self.services:
                service.worker.run_once()
        for service in self.services:
            service.worker.finish()

    @property
    def version(self) -> int:
        """The newest version that all have adopted; 0 without any."""
        models = [service.core.coordinator.model for service in self.services]
        return min(0 if model is None else model.version for model in models)

    def wait_for_snapshots(self) -> None:
        """Until each partition has one of its last commit."""
        store = SnapshotStore(self.world.config.snapshots.uri, self.world.config.app.name)
        owned = [(p, s.worker._parts.payloads) for s in self.services for p in s.core.engine.partitions]
        self.turn_until(lambda: all(store.numbers(p)[:1] == [made.commits[p]] for p, made in owned))

    def need(self, customers: int) -> None:
        """What a calibration waits for."""
        for service in self.services:
            needs = service.config.model.model_copy(update={"min_customers": customers})
            service.core.config = service.config.model_copy(update={"model": needs})

    def speak(self, round_number: int) -> None:
        """An event of every third customer, so long ago that the watermark stays; until all are applied."""
        body = {
            "type": "data",
            "megabytes": 700.0,
            "event_time": format_time(self.clock.value_us - 2 * GRACE_US),
        }
        names = sorted(c.decode() for s in self.services for c in customers_of(s))[::3]
        self.world.send(
            [
                (self.world.names.usage, body | {"event_id": f"{round_number}-{name}", "customer_id": name})
                for name in names
            ]
        )
        ends = self.world.ends()
        self.turn_until(lambda: applied(self.services, self.world) == ends)

    def hour(self) -> None:
        """An hour passes: a scan of everybody, and the version that comes of it."""
        self.clock.value_us += HOUR_US
        before, due = self.version, self.clock.value_us - GRACE_US
        states = [state for s in self.services for state in s.core.engine.partitions.values()]
        self.turn_until(lambda: self.version > before and all(s.watermark_us == due for s in states))


def is_settled_or_waits(service: Service) -> bool:
    """As `is_settled`; before there is a model everything is read."""
    if service.core.engine.active is None:
        return service.worker.inputs.is_at_end and bool(service.core.engine.partitions)
    return is_settled(service)


def customers_of(service: Service) -> list[bytes]:
    """Ids that a service knows."""
    states = service.core.engine.partitions.values()
    return [customer for state in states for customer in state.index.ids(np.arange(state.index.n))]


def applied(services: list[Service], world: World) -> dict[tuple[str, int], int]:
    """Next offsets of what has been applied."""
    return {
        (topic, p): int(state.next_offset[code])
        for service in services
        for p, state in service.core.engine.partitions.items()
        for code, topic in enumerate(world.names.inputs)
    }


def versions_of(kafka: Broker, workers: int) -> list[bytes]:
    """Calibrated on everybody, folded, recalibrated over snapshots by command, folded."""
    # No faults: whether a bad clock is believed depends on how far was read.
    source = Simulation(SimulationSettings(customers=400, days=20, seed=8, activity=0.2))
    world = World.make(
        kafka,
        PARTITIONS,
        watermark__idle_grace_s=300,
        snapshots__interval_s=1,
        model__min_customers=NOBODY,
        model__min_history_days=10,
        model__max_moved=1.0,
    )
    feed(world, source, PARTITIONS)
    with ExitStack() as stack:
        clock = FixedClock(source.settings.end_us)
        services = [
            stack.enter_context(Service(world.with_settings(instance=f"w{n}").config, clock))
            for n in range(workers)
        ]
        group, ends = Group(world, clock, services), world.ends()
        group.turn_until(lambda: applied(services, world) == ends)
        assert all(len(s.core.engine.partitions) == PARTITIONS // workers for s in services)
        group.wait_for_snapshots()
        group.need(300)  # a worker knows of them by its share only
        group.turn_until(lambda: group.version == 1)
        group.speak(1)
        group.hour()
        group.hour()
        group.speak(2)
        group.hour()
        group.wait_for_snapshots()
        before = group.version
        send(world.config, structs.replace(command("recalibrate"), id="again", issued_by="a test"))
        group.turn_until(lambda: group.version > before)
        group.speak(3)
        group.hour()
        group.hour()
    return [record.value or b"" for record in world.read(world.names.models) if record.key != b"proposal"]


@pytest.fixture(scope="module")
def made(kafka: Broker) -> dict[int, list[bytes]]:
    """Versions by the number of workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CPU_SHARE", float("inf"))
        return {workers: versions_of(kafka, workers) for workers in (1, 3)}


def test_one_worker_and_three_make_the_same_versions(made: dict[int, list[bytes]]) -> None:
    """Every byte of every version."""
    models: list[Model] = [from_json(version) for version in made[1]]
    kinds = ["calibrated", *["folded"] * 3, "recalibrated", *["folded"] * 2]
    assert [model.kind for model in models] == kinds
    assert "Only the customers" not in models[0].quality.explanation
    assert made[3] == made[1]
