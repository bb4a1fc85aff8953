"""A quiet month of few customers, and the service that has seen it, without Kafka."""

from __future__ import annotations

from typing import Any

from consumer.simulator import Faults, Simulation, SimulationSettings
from tests.consumer.verify.book import Service, partition_of

CUSTOMERS, DAYS = 120, 20


def quiet_month(seed: int = 7) -> Simulation:
    """Few customers, few events, no faults."""
    return Simulation(
        SimulationSettings(
            customers=CUSTOMERS,
            days=DAYS,
            seed=seed,
            activity=0.2,
            new_customer_share=0.0,
            silent_churn_share=0.0,
            closed_share=0.0,
            faults=Faults(),
        )
    )


END_US = quiet_month().settings.end_us


def quiet_service(**settings: Any) -> Service:
    """The month applied, calibrated, and everybody given a segment."""
    source, service = quiet_month(), Service(**settings)
    for chunk in source.chunks():
        for topic, key, value in zip(chunk.topic, chunk.key, chunk.value, strict=True):
            service.log.append(f"{service.config.topics.prefix}{topic}", partition_of(key or b""), key, value)
    service.drain(END_US, limit=100_000)
    service.calibrate()
    service.drain(END_US)
    return service
