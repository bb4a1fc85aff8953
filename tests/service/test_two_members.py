"""Input on real Kafka: exact offsets after an assignment, pausing, and two members of one group."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

from consumer.brokers import Broker
from consumer.input import Input
from consumer.kafka_clients import consumer_settings, make_consumer
from consumer.restore import Restored, Restorer
from schemas.times import format_time
from tests.service.conftest import Run, feed, simulation, world_with_model
from tests.service.world import PARTITIONS, World, check_chain, features, is_settled, turn_until

pytestmark = pytest.mark.kafka


def filled(kafka: Broker, n: int) -> World:
    """A world with `n` records in the usage topic and a few in the others."""
    world = World.make(kafka)
    for topic, many in zip(world.names.inputs, (n, 9, 9), strict=True):
        world.send([(topic, {"customer_id": f"c{i}", "n": i}) for i in range(many)])
    return world


def joined(world: World) -> Input:
    """An input that owns every partition, with nothing live yet."""
    made = Input(make_consumer(consumer_settings(world.config)), world.names.inputs)
    end = time.monotonic() + 60
    while len(made.owned) < PARTITIONS:
        assert time.monotonic() < end
        raw, _ = made.poll(100, 0.1)
        assert raw.n == 0, "nothing is read before go_live"
    made.take_changes()
    return made


def read(made: Input, seconds: float, until_end: bool = True) -> dict[tuple[int, int], list[int]]:
    """Offsets by (partition, topic) as they come, until the end is reached or the time is over."""
    found: dict[tuple[int, int], list[int]] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (until_end and made.is_at_end):
        raw, positions = made.poll(50, 0.05)
        for partition, topic, offset in zip(raw.partition, raw.topic, raw.offset, strict=True):
            found.setdefault((int(partition), int(topic)), []).append(int(offset))
        for key, next_offset in positions.next_offset.items():
            assert next_offset == found[key][-1] + 1
    return found


def test_reading_begins_exactly_where_the_restore_ended(kafka: Broker) -> None:
    """After `go_live` every partition is read from its offset on, each record once, to its end."""
    world = filled(kafka, 600)
    ends = world.ends()
    made = joined(world)
    start = {(p, t): 40 if t == 0 else 1 for p in range(PARTITIONS) for t in range(3)}
    start = {(p, t): min(at, ends[world.names.inputs[t], p]) for (p, t), at in start.items()}
    made.go_live(start)
    found = read(made, 60)
    for (p, t), first in start.items():
        assert found.get((p, t), []) == list(range(first, ends[world.names.inputs[t], p]))
    assert not made.has_committed(0)
    made.close()


def test_a_held_topic_is_read_on_where_it_was(kafka: Broker) -> None:
    """While held nothing comes of a topic; afterwards all of it, without gap or repetition."""
    world = filled(kafka, 600)
    made = joined(world)
    made.go_live({(p, t): 0 for p in range(PARTITIONS) for t in range(3)})
    usage = [(p, 0) for p in range(PARTITIONS)]
    before: dict[tuple[int, int], list[int]] = {}
    while not before:
        before = read(made, 0.05, until_end=False)
    made.hold(usage)
    assert made.held == set(usage)
    during = read(made, 1.0, until_end=False)
    assert [key for key in during if key[1] == 0] == []
    made.hold([])
    after = read(made, 60)
    for (p, t), end in {(p, t): world.ends()[world.names.inputs[t], p] for p, t in usage}.items():
        offsets = [*before.get((p, t), []), *during.get((p, t), []), *after.get((p, t), [])]
        assert offsets == list(range(end))
    made.close()


def test_a_second_member_takes_its_share(run: Run, kafka: Broker) -> None:
    """Partitions move with everything known about their customers, and nothing is published twice."""
    source = simulation(customers=150, days=12)
    world, now_us = world_with_model(run, kafka, source), source.settings.end_us
    with world.service(now_us) as first:
        turn_until(first, lambda: is_settled(first))
        everybody = features(first.core)
        changes = world.read(world.names.changes)
        with world.with_settings(instance="b").service(now_us) as second:

            def shared() -> bool:
                first.worker.run_once()
                mine, theirs = first.core.engine.partitions.keys(), second.core.engine.partitions.keys()
                return bool(theirs) and mine | theirs == set(range(PARTITIONS)) and not mine & theirs

            turn_until(second, shared)
            turn_until(second, lambda: is_settled(second))
            apart = [features(first.core), features(second.core)]
            body = {"type": "data", "megabytes": 1.0, "event_time": format_time(now_us - 1_000_000)}
            customers = sorted(everybody)[:50]
            world.send(
                [
                    (
                        world.names.usage,
                        body | {"event_id": f"shared-{i}", "customer_id": customer.decode()},
                    )
                    for i, customer in enumerate(customers)
                ]
            )
            sent_before = first.recorder.totals.sum()
            counted = np.zeros((3, 5), np.int64)

            def all_counted() -> bool:
                first.worker.run_once()
                counted[:] = first.recorder.totals + second.recorder.totals
                return bool(counted.sum() >= sent_before + len(customers))

            turn_until(second, all_counted)
            assert second.recorder.totals.sum() > 0
    assert Counter(apart[0].keys()) + Counter(apart[1].keys()) == Counter(everybody.keys())
    for part in apart:
        assert all(np.array_equal(row, everybody[key], equal_nan=True) for key, row in part.items())
    assert counted.sum() == sent_before + len(customers)
    now = world.read(world.names.changes)
    check_chain(now)
    assert [r.value for r in now if r in changes] == [r.value for r in changes]
    assert world.committed() == world.ends()


def test_what_is_lost_while_another_partition_is_restored_is_not_worked_on(
    run: Run, kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restored already, or about to be: it is the other member's, and nothing of it is committed here."""
    source = simulation(customers=150, days=12)
    world, now_us = world_with_model(run, kafka, source, commit__max_events=300), source.settings.end_us
    with world.service(now_us) as service:
        turn_until(service, lambda: service.recorder.totals.sum() > 2_000)
    commits = Counter(audit.partition for audit in world.audits())
    # Its name sorts before the worker's, so it is given the first partitions.
    settings = consumer_settings(world.with_settings(instance="0").config)
    others, real, begun = list[Input](), Restorer.restore, list[int]()
    with world.service(now_us) as service:
        inputs = service.worker.inputs

        def crowded(self: Restorer, partition: int) -> Restored:
            begun.append(partition)
            if len(begun) == 2:
                others.append(Input(make_consumer(settings), world.names.inputs))
            end = time.monotonic() + 60
            while len(begun) == 2 and not others[0].owned:
                assert time.monotonic() < end
                inputs.stay_in_group()
                others[0].poll(1, 0.05)
            return real(self, partition)

        monkeypatch.setattr(Restorer, "restore", crowded)
        end = time.monotonic() + 60
        while len(begun) < 2:
            assert time.monotonic() < end
            service.worker.run_once()
        assert begun[:2] == [0, 1]
        for _ in range(10):
            assert set(service.core.engine.partitions) == inputs.owned <= {2}
            service.worker.run_once()
            others[0].poll(1, 0.05)
        service.worker.finish()
        lost = sorted(others[0].owned)
    others[0].close()
    after = Counter(audit.partition for audit in world.audits())
    assert lost
    assert all(commits[partition] == after[partition] > 0 for partition in lost)


def test_two_workers_calibrate_together(kafka: Broker) -> None:
    """Neither owns `min_customers`, both do: the model is made of the snapshots of both, which both adopt."""
    source = simulation(customers=450)
    world, now_us = World.make(kafka, snapshots__interval_s=1), source.settings.end_us
    with world.service(now_us) as first, world.with_settings(instance="b").service(now_us) as second:

        def shared() -> bool:
            first.worker.run_once()
            return all(service.core.engine.partitions for service in (first, second))

        turn_until(second, shared)
        feed(world, source)

        def both_settled() -> bool:
            first.worker.run_once()
            return is_settled(first) and is_settled(second)

        turn_until(second, both_settled)
        counts = [len(features(service.core)) for service in (first, second)]
        models = [service.core.coordinator.model for service in (first, second)]
    assert max(counts) < world.config.model.min_customers <= sum(counts)
    assert models[0] is not None
    assert models[1] is not None
    assert models[0].version == models[1].version
    assert "Only the customers of one worker" not in models[0].quality.explanation
    assert np.array_equal(models[0].centroids, models[1].centroids)
    changes = world.read(world.names.changes)
    check_chain(changes)
    assert {r.partition for r in changes} == set(range(PARTITIONS))
    assert world.committed() == world.ends()
