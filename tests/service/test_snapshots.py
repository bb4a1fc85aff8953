"""A restart goes on from a snapshot as if nothing had been, and passes over one that cannot be trusted."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from consumer.brokers import Broker
from consumer.errors import StateUnknown
from consumer.log_reader import LogReader
from consumer.restore import reapply
from consumer.restore.reapply import Reapplication
from consumer.service import Service
from consumer.snapshots import SnapshotStore
from online_model.rows import SEGMENT_NONE
from tests.guides.markdown import blocks
from tests.online_model.test_rebuild import contents
from tests.service.conftest import Run, simulation, world_with_model
from tests.service.world import (
    PARTITIONS,
    Membership,
    World,
    check_chain,
    is_settled,
    published,
    snapshot_folder,
    turn_until,
)

pytestmark = pytest.mark.kafka


States = dict[int, list[list[Any]]]


def states(service: Service) -> States:
    """Everything that customers consist of, per partition."""
    return {number: contents(state) for number, state in service.core.engine.partitions.items()}


def sources(service: Service) -> Counter[str]:
    """What the partitions were restored from."""
    found: Counter[str] = Counter()
    for metric in service.metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == "segmenter_restores_total":
                found[sample.labels["source"]] += int(sample.value)
    return found


def restored(world: World, now_us: int) -> tuple[States, Counter[str]]:
    """The state a new process begins with."""
    with world.service(now_us) as service:
        turn_until(service, lambda: len(service.core.engine.partitions) == PARTITIONS)
        return states(service), sources(service)


@dataclass(slots=True, repr=False)
class Halfway:
    """A service that was stopped halfway, with two snapshots or more per partition."""

    world: World
    end_us: int
    before: States
    published: dict[bytes, Membership]
    folder: Path

    @property
    def store(self) -> SnapshotStore:
        """Its snapshots."""
        return SnapshotStore(self.world.config.snapshots.uri, self.world.config.app.name)

    def elsewhere(self) -> World:
        """The same topics with a copy of the snapshots."""
        folder = snapshot_folder()
        shutil.copytree(self.world.config.snapshots.uri, folder, dirs_exist_ok=True)
        snapshots = self.world.config.snapshots.model_copy(update={"uri": folder})
        return World(self.world.config.model_copy(update={"snapshots": snapshots}), self.world.names)


@pytest.fixture(scope="module")
def halfway(run: Run, kafka: Broker) -> Halfway:
    """Stopped after some commits that no snapshot holds, with closed and forgotten customers among them."""
    source = simulation(customers=300, days=20, seed=11)
    world = world_with_model(run, kafka, source, commit__max_events=300, snapshots__interval_s=1)
    end_us = source.settings.end_us
    with world.service(end_us) as service:
        store = SnapshotStore(world.config.snapshots.uri, world.config.app.name)

        def two_each() -> bool:
            consumed = service.recorder.totals.sum()
            return consumed > 4_000 and all(len(store.numbers(p)) == 2 for p in range(PARTITIONS))

        service.worker._parts.snapshots._interval_s = 0.1
        turn_until(service, two_each)
        for name in ("snapshots_total", "snapshot_bytes_total", "snapshot_cpu_seconds_total"):
            assert (service.metrics.registry.get_sample_value(f"segmenter_{name}") or 0) > 0
        service.worker._parts.snapshots.close()
        service.worker._parts.snapshots.follow([])
        for _ in range(6):
            service.worker.run_once()
        service.worker.finish()
        before, members = states(service), published(service.core)
    folder = Path(world.config.snapshots.uri) / world.config.app.name
    return Halfway(world, end_us, before, members, folder)


def test_a_snapshot_and_a_replay_are_the_state(halfway: Halfway) -> None:
    """All columns of all customers, what was published and the features of that moment included."""
    after, found = restored(halfway.elsewhere(), halfway.end_us)
    assert found == {"snapshot": PARTITIONS}
    assert all(len(rows) > 50 for rows in halfway.before.values())
    assert after == halfway.before


def spoil_file(folder: Path) -> None:
    """One bit of every newest file is wrong."""
    for path in newest(folder):
        file = path.parent / json.loads(path.read_text())["file"]
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


def lose_file(folder: Path) -> None:
    """The rows are gone, the manifest is there."""
    for path in newest(folder):
        (path.parent / json.loads(path.read_text())["file"]).unlink()


def cut_manifest(folder: Path) -> None:
    """The manifest ends in the middle."""
    for path in newest(folder):
        path.write_text(path.read_text()[:200])


def mix_files(folder: Path) -> None:
    """The newest manifest names the rows of another snapshot."""
    for path in newest(folder):
        older = min(path.parent.glob("n=*.json"), key=number)
        body = json.loads(path.read_text())
        path.write_text(json.dumps(body | {"file": json.loads(older.read_text())["file"]}))


def other_specification(folder: Path) -> None:
    """Made with other features."""
    for path in newest(folder):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"spec_hash": "other"}))


def from_the_future(folder: Path) -> None:
    """Of a commit that the audit log does not know."""
    for path in newest(folder):
        path.rename(path.parent / "n=999999999.json")


def later_format(folder: Path) -> None:
    """Written by a later version of the program."""
    for path in newest(folder):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


def number(path: Path) -> int:
    """Commit number of a manifest."""
    return int(path.stem.split("=")[1])


def newest(folder: Path) -> list[Path]:
    """The newest manifest of each partition."""
    return [max(part.glob("n=*.json"), key=number) for part in sorted(folder.glob("partition=*"))]


@pytest.mark.parametrize(
    "damage",
    [spoil_file, lose_file, cut_manifest, mix_files, other_specification, from_the_future, later_format],
)
def test_a_snapshot_that_cannot_be_trusted_is_passed_over(
    halfway: Halfway, damage: Callable[[Path], None]
) -> None:
    """The one before takes its place, and the state is the same."""
    world = halfway.elsewhere()
    damage(Path(world.config.snapshots.uri) / world.config.app.name)
    after, found = restored(world, halfway.end_us)
    assert found == {"snapshot": PARTITIONS}
    assert after == halfway.before


def test_without_any_snapshot_the_input_is_read_again(halfway: Halfway) -> None:
    """As long as every change is still there, the state is the same to the last bit."""
    world = halfway.elsewhere()
    shutil.rmtree(world.config.snapshots.uri)
    after, found = restored(world, halfway.end_us)
    assert found == {"input": PARTITIONS}
    assert after == halfway.before


def test_a_long_replay_holds_a_stretch_of_the_input_at_a_time(
    halfway: Halfway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever topic comes first, no more records are in memory than a stretch has; nothing is missed."""
    world, waiting, real = halfway.elsewhere(), [0], Reapplication._take
    shutil.rmtree(world.config.snapshots.uri)

    def measured(self: Reapplication, index: int) -> None:
        waiting.append(sum(len(queue) for queue in self._ahead))
        real(self, index)

    monkeypatch.setattr(Reapplication, "_take", measured)
    monkeypatch.setattr(reapply, "_STRETCH", 400)
    after, found = restored(world, halfway.end_us)
    assert found == {"input": PARTITIONS}
    assert after == halfway.before
    assert 300 <= max(waiting) <= 400 + halfway.world.config.commit.max_events


def test_without_old_changes_the_current_topic_tells_who_is_where(
    halfway: Halfway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segment, number, since and the segment left of everybody who is in one, without snapshots as well."""
    world, real = halfway.elsewhere(), LogReader.bounds
    shutil.rmtree(world.config.snapshots.uri)

    def gone(self: LogReader, topic: str, partition: int) -> tuple[int, int]:
        low, high = real(self, topic, partition)
        return (high, high) if topic == world.names.changes else (low, high)

    monkeypatch.setattr(LogReader, "bounds", gone)
    with world.service(halfway.end_us) as service:
        turn_until(service, lambda: len(service.core.engine.partitions) == PARTITIONS)
        found = published(service.core)
    members = {key: row for key, row in halfway.published.items() if row.segment != SEGMENT_NONE}
    assert sum(row.left > 0 for row in members.values()) > 5
    assert {key: found[key] for key in members} == members


def test_a_retention_shorter_than_the_snapshot_halts(
    halfway: Halfway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records between snapshot and last commit are gone: nobody guesses, and the message has the way out."""
    world, real = halfway.elsewhere(), LogReader.bounds

    def gone(self: LogReader, topic: str, partition: int) -> tuple[int, int]:
        low, high = real(self, topic, partition)
        return (high, high) if topic in world.names.inputs else (low, high)

    monkeypatch.setattr(LogReader, "bounds", gone)
    with pytest.raises(StateUnknown, match="no longer in the input topics") as failure:
        restored(world, halfway.end_us)
    assert "retention" in failure.value.fix


def test_the_newest_snapshots_of_all_partitions_make_one_table(
    halfway: Halfway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the guide for data scientists shows it."""
    monkeypatch.chdir(halfway.folder.parent)
    [block] = [one for one in blocks("deploy/guides/data-scientist.md") if "def newest" in one.text]
    names: dict[str, Any] = {}
    exec(block.text.replace("snapshots/segmenter", halfway.folder.name), names)
    assert names["state"]["customer_id"].is_unique
    rows = sum(json.loads(path.read_text())["rows"] for path in newest(halfway.folder))
    assert len(names["state"]) == rows > 150


def test_another_partition_count_is_refused(halfway: Halfway) -> None:
    """Customers would be looked for where they are not."""
    world = halfway.elsewhere()
    for path in newest(Path(world.config.snapshots.uri) / world.config.app.name):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"partition_count": 7}))
    with pytest.raises(StateUnknown, match=r"made with 7 partitions.*the topics have 3"):
        restored(world, halfway.end_us)


def test_files_are_readable_with_pandas(halfway: Halfway) -> None:
    """Small columns by name, large ones as bytes whose shape stands in the metadata."""
    path = newest(halfway.folder)[0]
    manifest = json.loads(path.read_text())
    frame = pd.read_parquet(path.parent / manifest["file"])
    assert len(frame) == manifest["rows"] > 0
    assert frame["customer_id"].is_unique
    assert set(frame["segment"]) <= {-3, -2, *range(10)}
    schema = pq.read_schema(path.parent / manifest["file"])
    assert schema.field("day32").metadata[b"shape"] == b"32,4"
    assert len(frame["day32"].iloc[0]) == 32 * 4 * 4


def test_old_snapshots_are_removed(halfway: Halfway) -> None:
    """Two are kept, each with its file."""
    for folder in sorted(halfway.folder.glob("partition=*")):
        manifests = list(folder.glob("n=*.json"))
        named = {json.loads(path.read_text())["file"] for path in manifests}
        assert len(manifests) == 2
        assert named <= {path.name for path in folder.glob("*.parquet")}
        assert not list(folder.glob("*.tmp"))


def test_it_goes_on_from_there(halfway: Halfway) -> None:
    """To the end, with every change following the one before."""
    with halfway.world.service(halfway.end_us) as service:
        turn_until(service, lambda: is_settled(service))
    erased = {r.key for r in halfway.world.read(halfway.world.names.current) if r.value is None}
    changes = halfway.world.read(halfway.world.names.changes)
    check_chain([record for record in changes if record.key not in erased])
    assert halfway.world.committed() == halfway.world.ends()
