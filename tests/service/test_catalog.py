"""The catalog topic of a running service, names that people give, and a partition without customers."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import pytest

from consumer import cli
from consumer.brokers import Broker
from consumer.exit_codes import ExitCode
from consumer.models.history import History, command, send
from consumer.service import Service
from consumer.snapshots import SnapshotStore
from consumer.verify import Rules, Verifier
from consumer.verify.log import KafkaSource
from online_model.model import Model
from schemas.changes import CatalogEntry
from schemas.internal import CommandRecord
from schemas.times import format_time
from tests.online_model.streams import partition_of
from tests.service.world import PARTITIONS, World, is_settled, turn_until

pytestmark = pytest.mark.kafka

DAY_US: Final = 86_400_000_000
START_US: Final = 1_772_323_200_000_000  # 2026-03-01
DAYS: Final = 10
END_US: Final = START_US + DAYS * DAY_US
#: Nobody is in this partition.
EMPTY: Final = 2
#: The name that somebody gives.
GIVEN: Final = "Night owls"


def events() -> list[dict[str, Any]]:
    """Eighty customers of two kinds: half of them use ten times as much data."""
    rng, made = random.Random(4), []
    names = [f"c{number}" for number in range(200)]
    chosen = [name for name in names if partition_of(name, PARTITIONS) != EMPTY][:80]
    for day in range(DAYS):
        for number, name in enumerate(chosen):
            heavy = number % 2 == 0
            at_us = START_US + day * DAY_US + number * 1_000_000
            body = {"event_id": f"{name}-{day}", "customer_id": name, "event_time": format_time(at_us)}
            megabytes = rng.uniform(400, 600) if heavy else rng.uniform(20, 60)
            made.append({**body, "type": "data", "megabytes": round(megabytes, 1)})
    return made


@dataclass(slots=True, repr=False)
class Kept:
    """A service that has calibrated, renamed a segment and recalibrated; then a snapshot went away."""

    world: World
    first: Model
    rows: dict[int, int] = field(default_factory=dict)
    versions: list[Model] = field(default_factory=list)


def carry_out(service: Service, record: CommandRecord) -> None:
    """Sends a command and turns until it is done."""
    send(service.config, record)
    coordinator = service.worker._parts.coordinator
    assert coordinator is not None
    turn_until(service, lambda: record.id in service.keeper._settled and not coordinator.commands)
    turn_until(service, lambda: is_settled(service))
    coordinator._publishing.settle()


@pytest.fixture(scope="module", params=[None, 300.0], ids=["watermark stays", "watermark follows the clock"])
def kept(request: pytest.FixtureRequest, kafka: Broker) -> Kept:
    """In the empty partition nothing is ever committed, or scans are, according to its watermark."""
    world = World.make(
        kafka,
        watermark__idle_grace_s=request.param,
        model__k=2,
        model__min_customers=60,
        model__min_history_days=5,
        model__max_moved=1.0,
        snapshots__interval_s=1,
    )
    world.send([(world.names.inputs[0], body) for body in events()])
    store = SnapshotStore(world.config.snapshots.uri, world.config.app.name)

    def has_snapshots() -> bool:
        return all(store.numbers(partition) for partition in range(PARTITIONS))

    with world.service(END_US) as service:
        turn_until(service, lambda: is_settled(service) and has_snapshots())
        first = service.core.coordinator.model
        assert first is not None
        made = Kept(world, first)
        made.rows = {p: store.manifest(p, store.numbers(p)[0]).rows for p in range(PARTITIONS)}
        carry_out(service, command("rename", segment_id=first.segments[1].id, name=GIVEN))
        carry_out(service, command("recalibrate"))
    with world.service(END_US) as service:  # in one of the two worlds there is a snapshot and no audit record
        turn_until(service, lambda: is_settled(service))
        made.versions = list(History.read(world.config).versions.values())
    folder = Path(world.config.snapshots.uri) / world.config.app.name / f"partition={EMPTY}"
    shutil.move(folder, folder.with_name("away"))
    return made


def catalog(world: World) -> dict[str, list[CatalogEntry]]:
    """What has been written of each segment, oldest first; every record is valid."""
    found: dict[str, list[CatalogEntry]] = {}
    for record in world.read(world.names.catalog):
        entry = CatalogEntry.model_validate_json(cast("bytes", record.value), strict=True)
        assert record.key == entry.segment_id.encode()
        found.setdefault(entry.segment_id, []).append(entry)
    return found


def test_an_empty_partition_has_a_snapshot_and_blocks_nothing(kept: Kept) -> None:
    """A recalibration is made while there is nobody in it."""
    assert [kept.rows[p] > 0 for p in range(PARTITIONS)] == [p != EMPTY for p in range(PARTITIONS)]
    assert [m.kind for m in kept.versions if m.kind != "folded"] == ["calibrated", "renamed", "recalibrated"]


def test_a_given_name_outlives_a_recalibration(kept: Kept) -> None:
    """In versions, in the catalog and in what is published about customers."""
    renamed, recalibrated = (m for m in kept.versions if m.kind in ("renamed", "recalibrated"))
    segment_id = kept.first.segments[1].id
    for model in (renamed, recalibrated):
        assert {s.id: s.name for s in model.segments}[segment_id] == GIVEN
    entries = catalog(kept.world)[segment_id]
    assert next(entry.name for entry in entries) == kept.first.segments[1].name
    assert entries[-1].name == GIVEN
    changes = [record.json for record in kept.world.read(kept.world.names.changes)]
    assert not [change for change in changes if change["model_version"] == renamed.version]


def test_the_catalog_is_written_with_what_is_new(kept: Kept) -> None:
    """Beside each version that was no scan, all segments at once; sizes and place are told."""
    found = catalog(kept.world)
    ids = [segment.id for segment in kept.first.segments]
    assert set(found) == {*ids, "dormant", "unclassified"}
    fits = [m.version for m in kept.versions if m.kind != "folded"]
    for entries in found.values():
        written = [entry.model_version for entry in entries]
        assert set(fits) <= set(written)
        assert written == sorted(written)
        assert {entry.status for entry in entries} == {"active"}
    for segment_id in ids:
        newest = found[segment_id][-1]
        other = next(i for i in ids if i != segment_id)
        assert (newest.nearest, newest.since_version, newest.customers) == (other, 1, 40)
        assert newest.separation is not None
        assert newest.separation > 0.5
        assert {value.feature for value in newest.typical_customer} >= {"data_mb_30d"}
        assert newest.share == 0.5


def test_it_can_be_derived_again(kept: Kept) -> None:
    """A name is no change of anybody's segment."""
    report = Verifier(Rules.of(kept.world.config, PARTITIONS), KafkaSource(kept.world.config)).verify()
    assert report.kinds == {}


def settings(world: World) -> list[str]:
    """Options that lead a command to this world."""
    return [
        part
        for name in ("kafka.bootstrap", "topics.prefix", "app.name", "snapshots.uri", "model.k")
        for part in (
            "--set",
            f"{name}={getattr(getattr(world.config, name.split('.')[0]), name.split('.')[1])}",
        )
    ]


def test_the_command_refuses_what_the_service_would(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows the name that is there."""
    assert cli.execute(["models", "rename", "s1", GIVEN.upper(), *settings(kept.world)]) == ExitCode.CONFIG
    assert f"is called '{GIVEN}' already" in capsys.readouterr().err
    assert cli.execute(["models", "rename", "s7", "Students", *settings(kept.world)]) == ExitCode.CONFIG
    assert "no segment 's7'" in capsys.readouterr().err
    assert cli.execute(["models", "show", *settings(kept.world)]) == 0
    assert GIVEN in capsys.readouterr().out


def test_a_missing_snapshot_is_not_taken_for_an_empty_partition(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is none, customers may be: then there is no recalibration."""
    assert cli.execute(["recalibrate", "--dry-run", *settings(kept.world)]) != 0
    assert f"partition {EMPTY} has no snapshot" in capsys.readouterr().err
