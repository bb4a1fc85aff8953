"""Realistic, seeded telecom events for the input contract v1, with the planted truth beside."""

from consumer.simulator.kafka_feed import FeedError, KafkaFeed
from consumer.simulator.ndjson import write_ndjson
from consumer.simulator.records import FaultKind
from consumer.simulator.settings import Drift, Faults, Migration, SimulationSettings
from consumer.simulator.simulation import EventChunk, Simulation
from consumer.simulator.truth import Truth

__all__ = [
    "Drift",
    "EventChunk",
    "FaultKind",
    "Faults",
    "FeedError",
    "KafkaFeed",
    "Migration",
    "Simulation",
    "SimulationSettings",
    "Truth",
    "write_ndjson",
]
