"""A simulated month gone through by the core in memory: its snapshots, and every version of its model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.config import Config
from consumer.config_sources import load_config
from consumer.ndjson_input import EventFiles
from consumer.options import ReplayOptions
from consumer.replay import Replay
from consumer.results import OutputFile
from consumer.snapshots import Identity, SnapshotStore, SnapshotWriter
from online_model.model import Model
from online_model.model_json import to_json
from online_model.partition import PartitionState

SECONDS = 120.0


class Watched(Replay):
    """A replay that remembers the versions."""

    def __init__(self, options: ReplayOptions) -> None:
        super().__init__(options)
        self.versions: list[Model] = []

    def _adopt(self, model: Model) -> None:
        self.versions.append(model)
        super()._adopt(model)


@dataclass(frozen=True)
class Scene:
    """`config` leads to the snapshots, `models` is a file of the versions, one per line."""

    config: Config
    models: Path
    replay: Watched

    @property
    def states(self) -> dict[int, PartitionState]:
        """The partitions that the snapshots are of."""
        return self.replay.core.engine.partitions


def play(events: Path, folder: Path, partitions: int = 2, **settings: Any) -> Scene:
    """Goes through `events` as the service does, and leaves snapshots and versions in `folder`."""
    chosen = {
        "snapshots.uri": str(folder / "snapshots"),
        "app.name": "scene",
        "model.min_customers": 50,
        "model.min_history_days": 20,
    } | {name.replace("__", "."): value for name, value in settings.items()}
    config = load_config(None, {}, chosen)
    options = ReplayOptions(config, (str(events),), folder, calibrate="ready", partitions=partitions)
    replay = Watched(options)
    with (
        EventFiles(options.events, replay.topics, 1 << 62) as files,
        OutputFile(folder / "changes.ndjson") as changes,
        OutputFile(folder / "rejects.ndjson") as rejects,
    ):
        replay.run(files, changes, rejects)
    scene = Scene(config, folder / "models.ndjson", replay)
    scene.models.write_bytes(b"".join(to_json(model) + b"\n" for model in replay.versions))
    write_snapshots(config, scene.states, replay.core.spec.hash, replay.topics)
    return scene


def write_snapshots(
    config: Config, states: dict[int, PartitionState], spec_hash: str, topics: tuple[str, str, str]
) -> None:
    """A snapshot of each partition, after commit 5."""
    now = [0.0]
    identity = Identity(config.app.name, len(states), spec_hash, topics, "run")
    store = SnapshotStore(config.snapshots.uri, config.app.name)
    made = SnapshotWriter(store, identity, 1.0, 2, lambda: now[0])
    made.follow(states)
    taken, end = 0, time.monotonic() + SECONDS
    while taken < len(states):
        now[0] += 60.0
        assert time.monotonic() < end
        step = made.take_part(states, dict.fromkeys(states, 5)) if made.wants_part else made.outcome()
        if step is not None:
            assert not step.problem, step.problem
            taken += 1
        time.sleep(0.005)
    made.close()
