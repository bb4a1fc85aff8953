"""The short contract of the service, on every broker it is offered on: applied once, restarted the same."""

from __future__ import annotations

import pytest

from consumer.brokers import Broker
from tests.service.conftest import Run, simulation, world_with_model
from tests.service.world import check_chain, features, is_settled, same_features, turn_until

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("broker_fixture", ["kafka", "embedded_broker"])
def test_applied_once_and_restarted_the_same(
    run: Run, request: pytest.FixtureRequest, broker_fixture: str
) -> None:
    """Every record is accounted for, changes form chains, and a restart finds everything as it was."""
    broker: Broker = request.getfixturevalue(broker_fixture)
    source = simulation(customers=100, days=6)
    world, now_us = world_with_model(run, broker, source), source.settings.end_us
    with world.service(now_us) as service:
        turn_until(service, lambda: is_settled(service))
        assert service.recorder.totals.sum() == source.truth.sent.total
        before = features(service.core)
    changes = world.read(world.names.changes)
    check_chain(changes)
    assert len(changes) >= 90
    with world.service(now_us) as service:
        turn_until(service, lambda: is_settled(service))
        assert service.recorder.totals.sum() == 0
        assert same_features(before, features(service.core))
    later = world.read(world.names.changes)
    check_chain(later)
    # The restart's scan looks at everybody, later than the last one did; no event is decided on again.
    places = {(record.partition, record.offset) for record in changes}
    new = [record.json["cause"] for record in later if (record.partition, record.offset) not in places]
    assert set(new) <= {"time", "model"}
    assert sum(audit.outputs for audit in world.audits()) == len(later)
