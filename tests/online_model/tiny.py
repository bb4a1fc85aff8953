"""A tiny specification and a hand-made model: two segments on megabytes and calls, nothing scaled."""

from __future__ import annotations

from typing import Any

import numpy as np

from online_model.compile_plan import compile_plan
from online_model.decision import DecisionPolicy
from online_model.engine import Engine, PartitionStep
from online_model.model import N_BINS, N_EDGES, Covers, Model, Quality, Reference, Segment
from online_model.scaler import Scaler
from tests.online_model.streams import DAY, Event, Log, engine_of, small_spec

TINY = compile_plan(
    small_spec(
        """
        {name: mb, block: all, aggregate: sum, events: [data], field: megabytes, window_days: 10,
         rate: false},
        {name: calls, block: all, aggregate: count, events: [voice], window_days: 10, rate: false},
        {name: silent, block: all, aggregate: days_since, events: [data, voice], weight: 0.01}
        """,
        dormancy_feature="silent",
        provisional_days=2,
    )
)
POLICY = DecisionPolicy(hysteresis=0.1, min_dwell_us=DAY, dormant_after_days=5.0, min_present=0.5)


def model(
    version: int = 1,
    low: float = 0.0,
    high: float = 100.0,
    ids: tuple[str, str] = ("s1", "s2"),
    **changes: Any,
) -> Model:
    """Segments at `low` and `high` megabytes; the other columns are silenced."""
    d, k = 3, 2
    parts: dict[str, Any] = {
        "version": version,
        "parent": None if version == 1 else version - 1,
        "created_us": 0,
        "kind": "calibrated" if version == 1 else "recalibrated",
        "spec_hash": TINY.spec.hash,
        "columns": TINY.columns.name,
        "scaler": Scaler(
            center=np.zeros(d),
            scale=np.array([1.0, 0.0, 0.0]),
            clip_low=np.full(d, -np.inf),
            clip_high=np.full(d, np.inf),
            transform=np.zeros(d, np.int8),
            missing=np.zeros(d, np.int8),
            importance=np.array([1.0, 0.0, 0.0]),
        ),
        "share_priors": np.full(d, np.nan),
        "centroids": np.array([[low, 0.0, 0.0], [high, 0.0, 0.0]]),
        "weights": np.ones(k),
        "segments": tuple(Segment(i, i) for i in ids),
        "next_segment": 9,
        "strategies": {},
        "quality": Quality(2, 0.0, 0.0, 0.0, 0.0, 1.0, 0),
        "reference": Reference(
            np.tile(np.linspace(10, 90, N_EDGES), (d, 1)),
            np.full((d, N_BINS), 1 / N_BINS),
            np.zeros(d),
            np.zeros(d),
            np.full(k, 0.5),
            100.0,
            np.full(k, 100.0),
            400.0,
        ),
        "covers": Covers(),
    }
    return Model(**{**parts, **changes})


class World:
    """An engine with its log and clock; `tell` appends events and takes a step."""

    def __init__(self, partitions: int = 1, **settings: Any) -> None:
        self.engine: Engine = engine_of(TINY, partitions, **{"policy": POLICY, **settings})
        self.log = Log(TINY, partitions)
        self.number = 0

    def event(self, customer: str, kind: str, us: int, **fields: Any) -> Event:
        """An event with an id of its own; usage carries 1 unless told."""
        self.number += 1
        measure = {"data": {"megabytes": 1.0}, "voice": {"duration_seconds": 1.0}}.get(kind, {})
        body = {"event_id": f"e{self.number}", "customer_id": customer, "us": us, "type": kind}
        return {**body, **measure, **fields}

    def steps(self, events: list[Event], now: int) -> list[PartitionStep]:
        """One step over all partitions; every topic is at its end."""
        return self.engine.step(self.log.poll(events), now).partitions

    def tell(self, events: list[Event], now: int) -> PartitionStep:
        """One step of the only partition."""
        return self.steps(events, now)[0]

    def changes(self, events: list[Event], now: int) -> list[dict[str, Any]]:
        """The changes of one step as dictionaries, by customer."""
        return listed(self.tell(events, now))


def listed(step: PartitionStep) -> list[dict[str, Any]]:
    """Changes of a step, sorted by customer; order among one customer's is kept."""
    changes = step.changes
    if changes is None:
        return []
    names = [name for name in changes.__slots__ if name != "customer_ids"]
    rows = [
        {"id": customer.decode(), **{name: getattr(changes, name)[i].tolist() for name in names}}
        for i, customer in enumerate(changes.customer_ids)
    ]
    return sorted(rows, key=lambda row: str(row["id"]))
