"""Compiles (or loads) every kernel before the clock counts: a small run through the core, without Kafka.

The first run on a machine compiles for most of a minute; done lazily that would happen inside the
first turns, between two heartbeats of the group. Later runs load the compiled kernels.

python -m consumer.warmup compiles them, for whoever loads them from disk.
"""

from __future__ import annotations

import contextlib
from typing import Final

import numpy as np

from consumer.config import Config
from consumer.core import Core, Positions
from consumer.simulator import EventChunk, Faults, Simulation, SimulationSettings
from consumer.simulator.records import TOPICS
from online_model.coordinator import make_first_model
from online_model.distance import distances
from online_model.id_index import IdIndex
from online_model.panel import CalibrationPolicy
from schemas.kernel import note_compiled
from schemas.records import RawRecords

#: Enough for events of every kind and for two clusters; what is computed is thrown away.
_CUSTOMERS: Final = 60
_DAYS: Final = 18


def warm_up(config: Config) -> None:
    """Runs events, a calibration, a scan and its fold through a `Core` of `config`.

    Raises `SpecError` as `Core` does.
    """
    core = Core(config, partition_count=1, follow_clock=False)
    core.engine.add_partition(0)
    faults = Faults(duplicates=0.01, late_window=0.01, malformed=0.01)
    run = Simulation(
        SimulationSettings(customers=_CUSTOMERS, days=_DAYS, faults=faults, currency=config.currency)
    )
    offsets = np.zeros(len(TOPICS), np.int64)
    chunks = list(run.chunks())
    for chunk in chunks[:-2]:
        _process(core, chunk, offsets)
    _use_small_model(core)
    for chunk in chunks[-2:]:
        _process(core, chunk, offsets)
    _load_again(core)
    with contextlib.suppress(OSError):  # they are in this process all the same
        note_compiled()


def _load_again(core: Core) -> None:
    """What only a restart from a snapshot uses."""
    index = core.engine.partitions[0].index
    other = IdIndex()
    other.load(*index.export(0, index.n))
    other.finish_load()


def _process(core: Core, chunk: EventChunk, offsets: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    topic = np.array([TOPICS.index(name) for name in chunk.topic], np.uint8)
    offset = np.empty(chunk.n, np.int64)
    for code in range(len(TOPICS)):
        rows = np.flatnonzero(topic == code)
        offset[rows] = offsets[code] + np.arange(len(rows))
        offsets[code] += len(rows)
    raw = RawRecords(list(chunk.value), list(chunk.key), topic, np.zeros(chunk.n, np.int32), offset)
    places = [(0, code) for code in range(len(TOPICS))]
    positions = Positions({place: int(offsets[place[1]]) for place in places}, dict.fromkeys(places, True))
    core.process(raw, positions, chunk.end_us)


def _use_small_model(core: Core) -> None:
    """A real calibration with the fewest clusters: its kernels are part of the warm-up."""
    policy = CalibrationPolicy(k=2, sample=100)
    population = core.engine.population(_CUSTOMERS)
    dormant = core.config.decision.dormant_after_days
    model = make_first_model(population, core.plan, core.strategies, policy, dormant)
    core.engine.offer_model(model)
    core.coordinator.adopt(model)
    distances(model.centroids, model.centroids, model.scaler.importance)  # a part of recalibrations


if __name__ == "__main__":
    warm_up(Config())
