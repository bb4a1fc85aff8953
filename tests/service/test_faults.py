"""Each kind of planted fault on real Kafka: counted, in the dead-letter topic, under its own reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from consumer.brokers import Broker
from consumer.metric_table import Outcome
from consumer.output import ORIGIN_TOPIC, REASON
from consumer.simulator import FaultKind, Simulation, SimulationSettings
from consumer.simulator.truth import Sent
from schemas.rejects import Reason
from tests.planted import ALWAYS, FAULTS, MOSTLY, check_refused, fault_of_records
from tests.service.conftest import Run, world_with_model
from tests.service.world import is_settled, turn_until

pytestmark = pytest.mark.kafka

SETTINGS = SimulationSettings(customers=250, days=30, seed=12, activity=0.25, closed_share=0.0, faults=FAULTS)


@dataclass(frozen=True, slots=True)
class Found:
    """What was sent, what the service counted (int64[3, 5]), and fault and reason of every dead letter."""

    sent: Sent
    totals: npt.NDArray[np.int64]
    refused: list[tuple[FaultKind, str]]

    def count(self, outcome: Outcome) -> int:
        """Records with an outcome."""
        return int(self.totals[:, list(Outcome).index(outcome)].sum())


@pytest.fixture(scope="module")
def found(run: Run, kafka: Broker) -> Found:
    """A month with one faulty record in four."""
    source = Simulation(SETTINGS)
    world = world_with_model(run, kafka, source, commit__max_events=1_000)
    with world.service(SETTINGS.end_us) as service:
        turn_until(service, lambda: is_settled(service))
        totals = service.recorder.totals.copy()
    faults = fault_of_records(SETTINGS)
    refused = []
    for letter in world.read(world.names.dlq):
        topic = letter.headers[ORIGIN_TOPIC].decode().removeprefix(world.config.topics.prefix)
        fault = faults[topic, letter.key or b"", letter.value or b""]
        refused.append((fault, letter.headers[REASON].decode()))
    return Found(source.truth.sent, totals, refused)


def test_every_kind_of_fault_is_a_dead_letter_with_its_reason(found: Found) -> None:
    """All of it where that is certain, and no record without such a fault."""
    check_refused(found.refused, found.sent.by_fault, [*ALWAYS, *MOSTLY])


def test_every_record_sent_has_one_outcome(found: Found) -> None:
    """Accepted + duplicate + late + rejected + dropped = sent; dead letters are the late and rejected."""
    assert found.totals.sum() == found.sent.total
    assert found.totals.sum(axis=1).tolist() == list(found.sent.by_topic.values())
    late = sum(reason == Reason.LATE for _, reason in found.refused)
    assert found.count(Outcome.LATE) == late > 0
    assert found.count(Outcome.REJECTED) == len(found.refused) - late


def test_every_duplicate_is_counted_as_one(found: Found) -> None:
    """As many as were planted; nobody closed, so none is dropped instead."""
    assert found.count(Outcome.DUPLICATE) == found.sent.by_fault["duplicate"] > 50
    assert found.count(Outcome.DROPPED) == 0
