"""What a restart keeps: nothing twice, nothing lost, and the same customers as before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer import service as service_module
from consumer.brokers import Broker
from consumer.kafka_clients import make_producer, plain_producer_settings, producer_factory
from consumer.ports import OnError, ProducerFactory, TransactionalProducer
from online_model.rows import SEGMENT_NONE
from schemas.times import format_time
from tests.service.conftest import Run
from tests.service.world import (
    PARTITIONS,
    Membership,
    Record,
    World,
    check_chain,
    features,
    is_settled,
    published,
    same_features,
    turn_until,
)

pytestmark = pytest.mark.kafka

HOUR_US = 3_600_000_000


class AbortsOnce:
    """A producer whose first commit is refused in a way that only an abort gets out of."""

    def __init__(self, inner: TransactionalProducer) -> None:
        self._inner = inner
        self.aborted = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit_transaction(self, timeout: float, /) -> None:
        """As the real one, but not the first time."""
        if not self.aborted:
            self.aborted += 1
            raise KafkaException(
                KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "scripted", txn_requires_abort=True)
            )
        self._inner.commit_transaction(timeout)


@dataclass(slots=True, repr=False)
class Restarts:
    """The run, restarted twice: with nothing new, and after events that came while it was down."""

    idle_totals: npt.NDArray[np.int64]
    idle_features: dict[bytes, npt.NDArray[np.float64]]
    idle_published: dict[bytes, Membership]
    closed: bytes
    forgotten: bytes
    revived: bytes
    aborts: int
    totals: npt.NDArray[np.int64]
    before: tuple[dict[bytes, npt.NDArray[np.float64]], dict[bytes, Membership]]
    after: tuple[dict[bytes, npt.NDArray[np.float64]], dict[bytes, Membership]]
    changes: list[Record]
    current: list[Record]


def customer_event(run: Run, customer: bytes, kind: str, time_us: int) -> tuple[str, dict[str, Any]]:
    """An event without fields of its own."""
    body = {
        "event_id": f"{kind}-{customer.decode()}-{time_us}",
        "customer_id": customer.decode(),
        "event_time": format_time(time_us),
        "type": kind,
    }
    return run.world.names.customer, body


def usage(
    run: Run, customer: bytes, megabytes: float, time_us: int, number: int
) -> tuple[str, dict[str, Any]]:
    """A data session."""
    _, body = customer_event(run, customer, "data", time_us)
    return run.world.names.usage, body | {"event_id": f"late-{number}", "megabytes": megabytes}


@pytest.fixture(scope="module")
def monkey() -> Iterator[pytest.MonkeyPatch]:
    """A monkeypatch for the module."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def restarts(run: Run, monkey: pytest.MonkeyPatch) -> Restarts:
    """Three more services on the topics of the run; the second one suffers an aborted transaction."""
    with run.world.service(run.end_us) as service:
        turn_until(service, lambda: is_settled(service))
        idle = service.recorder.totals.copy(), features(service.core), published(service.core)
    members = sorted(customer for customer, row in run.published.items() if row[0] not in (SEGMENT_NONE, -2))
    closed, forgotten, revived, *others = members
    # More than a day later: before that nobody may move again (decision.min_dwell_days).
    at, now_us = run.end_us + 30 * HOUR_US, run.end_us + 36 * HOUR_US
    events = [usage(run, customer, 40_000, at + i, i) for i, customer in enumerate(others[:60])]
    events += [customer_event(run, customer, "closed", at) for customer in (closed, revived)]
    events += [customer_event(run, forgotten, "forget", at)]
    events += [
        usage(run, customer, 1, at - HOUR_US, 901 + i) for i, customer in enumerate((closed, forgotten))
    ]
    run.world.send(events)

    made: list[AbortsOnce] = []

    def faulty(config: Any, role: str = "") -> ProducerFactory:
        real = producer_factory(config, role)
        if role:
            return real

        def build(on_error: OnError) -> TransactionalProducer:
            producer = real(on_error)
            if made:
                return producer
            made.append(AbortsOnce(producer))
            return made[0]

        return build

    monkey.setattr(service_module, "producer_factory", faulty)
    with run.world.service(now_us) as service:
        turn_until(service, lambda: is_settled(service))
        run.world.send([usage(run, revived, 10, at + HOUR_US, 900)])
        turn_until(service, lambda: service.recorder.totals.sum() == 66)
        turn_until(service, lambda: is_settled(service))
        totals = service.recorder.totals.copy()
        before = features(service.core), published(service.core)
    monkey.undo()
    with run.world.service(now_us) as service:
        turn_until(service, lambda: is_settled(service))
        after = features(service.core), published(service.core)
    names = run.world.names
    return Restarts(
        *idle,
        closed=closed,
        forgotten=forgotten,
        revived=revived,
        aborts=sum(producer.aborted for producer in made),
        totals=totals,
        before=before,
        after=after,
        changes=run.world.read(names.changes),
        current=run.world.read(names.current),
    )


def test_a_restart_reads_nothing_twice(restarts: Restarts) -> None:
    """With nothing new, a restarted service counts no record."""
    assert restarts.idle_totals.sum() == 0


def test_a_restart_rebuilds_every_feature(run: Run, restarts: Restarts) -> None:
    """The features of all customers are those before the restart, bit for bit."""
    assert same_features(run.features, restarts.idle_features)
    assert same_features(*(side[0] for side in (restarts.before, restarts.after)))


def test_a_restart_keeps_what_was_published(run: Run, restarts: Restarts) -> None:
    """Segment, sequence number, since and segment left of all customers are those before the restart."""
    assert published_only(restarts.idle_published) == published_only(run.published)
    assert published_only(restarts.after[1]) == published_only(restarts.before[1])


def published_only(rows: dict[bytes, Membership]) -> dict[bytes, Membership]:
    """That of everybody ever published; since where there is a segment."""
    return {
        key: row if row.segment != SEGMENT_NONE else row._replace(since_us=0)
        for key, row in rows.items()
        if row.seq
    }


def test_nothing_is_published_twice(run: Run, restarts: Restarts) -> None:
    """What was there stays, and what came later goes on counting per customer."""
    before = [(r.partition, r.offset, r.value) for r in run.records[run.world.names.changes]]
    now = {(r.partition, r.offset): r.value for r in restarts.changes}
    assert all(now[partition, offset] == value for partition, offset, value in before)
    assert len(restarts.changes) > len(before)
    check_chain([r for r in restarts.changes if r.key != restarts.forgotten])
    ids = [r.headers["ce_id"] for r in restarts.changes]
    assert len(ids) == len(set(ids))


def test_events_that_came_while_it_was_down_move_customers(run: Run, restarts: Restarts) -> None:
    """A burst of usage moves customers, with the event as its trigger."""
    known = {(r.partition, r.offset) for r in run.records[run.world.names.changes]}
    moved = [
        r for r in restarts.changes if (r.partition, r.offset) not in known and r.json["change"] == "moved"
    ]
    assert any(
        r.json["cause"] == "behaviour"
        and r.headers["segmenter_trigger_topic"].decode() == run.world.names.usage
        for r in moved
    )
    assert restarts.totals.sum() == 66


def test_a_closed_customer_stays_closed(restarts: Restarts) -> None:
    """Exited once, with a tombstone; older events are dropped, and the number outlives the restart."""
    exits = [r.json for r in restarts.changes if r.key == restarts.closed]
    assert [body["change"] for body in exits].count("exited") == 1
    assert exits[-1]["cause"] == "closed"
    assert [r.value for r in restarts.current if r.key == restarts.closed][-1] is None
    assert restarts.after[1][restarts.closed][:2] == (SEGMENT_NONE, exits[-1]["seq"])
    assert restarts.closed not in restarts.after[0]


def test_a_new_life_goes_on_counting(restarts: Restarts) -> None:
    """A customer who comes back after leaving is live again, and seq continues."""
    bodies = [r.json for r in restarts.changes if r.key == restarts.revived]
    assert [body["seq"] for body in bodies] == list(range(1, len(bodies) + 1))
    assert "exited" in [body["change"] for body in bodies]
    assert restarts.revived in restarts.after[0]


def test_a_forgotten_customer_leaves_no_trace(restarts: Restarts) -> None:
    """Only the tombstone is written after `forget`; older events do not bring the customer back."""
    values = [r.value for r in restarts.current if r.key == restarts.forgotten]
    assert values[-1] is None
    assert all(value is not None for value in values[:-1])
    assert [r.headers for r in restarts.current if r.key == restarts.forgotten][-1] == {}
    assert "exited" not in [r.json["change"] for r in restarts.changes if r.key == restarts.forgotten]
    for _, rows in (restarts.before, restarts.after):
        assert rows.get(restarts.forgotten, (SEGMENT_NONE, 0, 0))[:2] == (SEGMENT_NONE, 0)


def test_an_aborted_transaction_is_written_again_exactly_once(run: Run, restarts: Restarts) -> None:
    """The payload of the aborted commit is there, once; counts and offsets are those of no abort."""
    assert restarts.aborts == 1
    assert run.world.committed() == run.world.ends()
    audits = run.world.audits()
    for partition in {a.partition for a in audits}:
        numbers = [a.n for a in audits if a.partition == partition]
        assert numbers == list(range(1, len(numbers) + 1))
    assert sum(a.outputs for a in audits) == len(restarts.changes)


def test_a_death_in_the_very_first_transaction_is_a_fresh_start(kafka: Broker) -> None:
    """What it wrote was never committed: the ends of the output topics have moved, but nothing is there."""
    world = World.make(kafka)
    settings = plain_producer_settings(world.config) | {"transactional.id": f"{world.config.app.name}-gone"}
    dead = make_producer(settings)
    dead.init_transactions(30)
    dead.begin_transaction()
    for topic in (world.names.changes, world.names.current, world.names.audit):
        for partition in range(PARTITIONS):
            dead.produce(topic, b"never committed", b"c1", partition)
    assert dead.flush(30) == 0
    dead.abort_transaction(30)
    with world.service(HOUR_US) as service:
        turn_until(service, lambda: len(service.core.engine.partitions) == PARTITIONS)
        assert [int(state.next_offset.sum()) for state in service.core.engine.partitions.values()] == [0] * 3
