"""Workers of one group without Kafka: real cores share the partitions, one of them coordinates."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from consumer.config import Config
from consumer.core import Core, Positions, delta_of, report_of
from consumer.simulator import Faults, Simulation, SimulationSettings
from consumer.snapshots import Identity, SnapshotStore, SnapshotWriter
from consumer.topics import TopicNames
from online_model.engine import PartitionStep
from online_model.model import Model
from online_model.model_json import from_json, to_json
from schemas.internal import DeltaRecord
from schemas.internal import from_json as record_from_json
from schemas.internal import to_json as record_to_json
from schemas.records import RawRecords
from tests.online_model.streams import partition_of

PARTITIONS = 6
NAMES = TopicNames.with_prefix("")
HOUR_US = 3_600_000_000

#: Customers per slice of a scan: passes take several steps, of each partition another number.
SLICE = 180


@dataclass(frozen=True, slots=True)
class Commit:
    """Records of one step, and its clock."""

    raw: RawRecords
    positions: Positions
    now_us: int

    def of(self, partitions: Sequence[int]) -> tuple[RawRecords, Positions]:
        """What a worker that owns `partitions` polls."""
        mine = self.raw.take(np.flatnonzero(np.isin(self.raw.partition, partitions)).tolist())
        at, ends = self.positions.next_offset, self.positions.at_end
        return mine, Positions(
            {place: offset for place, offset in at.items() if place[0] in partitions},
            {place: end for place, end in ends.items() if place[0] in partitions},
        )


def simulated(customers: int, days: int, seed: int = 5, per_chunk: int = 3) -> list[Commit]:
    """Simulated customers with realistic faults, twelve hours cut into `per_chunk` commits."""
    source = Simulation(
        SimulationSettings(
            customers=customers, days=days, seed=seed, faults=Faults.realistic(), activity=0.1, chunk_hours=12
        )
    )
    codes = {name: code for code, name in enumerate(NAMES.inputs)}
    homes: dict[bytes, int] = {}
    offsets = dict.fromkeys(((p, t) for p in range(PARTITIONS) for t in range(3)), 0)
    commits = []
    for chunk in source.chunks():
        rows = list(zip(chunk.topic, chunk.key, chunk.value, strict=True))
        size = -(-len(rows) // per_chunk)
        for part in range(per_chunk):
            some = rows[part * size : (part + 1) * size]
            topic, home, offset = [], [], []
            for name, key, _ in some:
                key = key or b""
                place = homes.setdefault(key, partition_of(key.decode(), PARTITIONS)), codes[name]
                home.append(place[0])
                topic.append(place[1])
                offset.append(offsets[place])
                offsets[place] += 1
            raw = RawRecords(
                [value for _, _, value in some],
                [key for _, key, _ in some],
                np.array(topic, np.uint8),
                np.array(home, np.int32),
                np.array(offset, np.int64),
            )
            positions = Positions(dict(offsets), dict.fromkeys(offsets, True))
            commits.append(Commit(raw, positions, chunk.end_us))
    return commits


@dataclass(slots=True, repr=False)
class Workers:
    """`n` cores, partition p on core p mod n; the first one coordinates.

    The deltas of a step come in an order of their own (`seed`), through their bytes, and so do versions.
    """

    config: Config
    n: int
    seed: int
    versions: list[bytes] = field(default_factory=list)
    cores: list[Core] = field(default_factory=list)
    steps: int = 0
    _rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.cores = [Core(self.config, PARTITIONS) for _ in range(self.n)]
        for core in self.cores:
            core.engine.settings = dataclasses.replace(core.engine.settings, scan_rows=SLICE)
        for partition in range(PARTITIONS):
            self.cores[partition % self.n].engine.add_partition(partition)
        self._rng = random.Random(self.seed)

    @property
    def newest(self) -> Model:
        """The newest version."""
        return from_json(self.versions[-1])

    @property
    def deciding(self) -> set[int]:
        """Versions that partitions decide by now."""
        return {state.versions[0] for core in self.cores for state in core.engine.partitions.values()}

    def adopt(self, model: Model) -> None:
        """A version becomes visible to everybody."""
        self.versions.append(to_json(model))
        for core in self.cores:
            core.engine.offer_model(self.newest)
            core.coordinator.adopt(self.newest)

    def turn(self, commit: Commit) -> None:
        """One step of every worker; then the coordinator reads the deltas."""
        self.steps += 1
        found: list[PartitionStep] = []
        for core in self.cores:
            step = core.process(*commit.of(list(core.engine.partitions)), commit.now_us)
            found += step.partitions
        deltas = []
        for part in found:
            if part.scanned is not None and part.scanned.completed is not None:
                interval_us = self.config.scan.interval_s * 1_000_000
                deltas.append(
                    record_to_json(delta_of(part.partition, part.scanned, part.model_version, interval_us))
                )
        self._rng.shuffle(deltas)
        for delta in deltas:
            made = self.cores[0].coordinator.offer(report_of(record_from_json(delta, DeltaRecord)))
            if made is not None:
                self.adopt(made)

    def snapshot(self, store: SnapshotStore) -> None:
        """Every worker writes snapshots of what it owns."""
        for core in self.cores:
            identity = Identity(self.config.app.name, PARTITIONS, core.spec.hash, NAMES.inputs, core.run_id)
            seconds = [0.0]
            writer = SnapshotWriter(store, identity, 1.0, 2, lambda: seconds[0])  # noqa: B023
            writer.follow(core.engine.partitions)
            seconds[0] = 2.0
            left = set(core.engine.partitions)
            while left:
                taken = (
                    writer.take_part(core.engine.partitions, dict.fromkeys(left, self.steps))
                    if writer.wants_part
                    else writer.outcome()
                )
                if taken is not None:
                    assert not taken.problem
                    left.discard(taken.partition)
            writer.close()
