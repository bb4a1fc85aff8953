"""Recalibration in the running service: over snapshots, in a child, published once, and taken back."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from consumer import cli
from consumer.brokers import Broker
from consumer.kafka_clients import make_admin
from consumer.models.history import History, command, send
from consumer.service import Service
from consumer.snapshots import SnapshotStore
from consumer.verify import Rules, Verifier
from consumer.verify.log import KafkaSource
from online_model.model import Model
from schemas.internal import CommandRecord
from tests.service.conftest import Run, simulation, world_with_model
from tests.service.world import PARTITIONS, World, check_chain, is_settled, turn_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@dataclass(slots=True, repr=False)
class Kept:
    """A service that has recalibrated, was rolled back, and keeps a proposal until it is promoted."""

    world: World
    ids: list[str]
    versions: list[Model] = field(default_factory=list)
    proposal: Model | None = None
    causes: list[set[str]] = field(default_factory=list)


def carry_out(service: Service, record: CommandRecord) -> None:
    """Sends a command twice; turns until it is done and everybody has been looked at."""
    send(service.config, record)
    send(service.config, record)
    keeper, coordinator = service.keeper, service.worker._parts.coordinator
    assert coordinator is not None
    turn_until(service, lambda: record.id in keeper._settled and not coordinator.commands)
    turn_until(service, lambda: is_settled(service))
    coordinator._publishing.settle()  # what came of it is visible


@pytest.fixture(scope="module")
def kept(run: Run, kafka: Broker) -> Kept:
    """Recalibrated by command, rolled back, and with a proposal that was promoted, in this order."""
    source = simulation(customers=400, days=30, seed=11)
    world = world_with_model(
        run,
        kafka,
        source,
        snapshots__interval_s=1,
        model__recalibrate_days=None,
        model__max_moved=1.0,
        # Whoever is nearer to another centre moves: few would otherwise, of a few hundred customers.
        decision__hysteresis=0.0,
        decision__min_dwell_days=0.0,
    )
    store = SnapshotStore(world.config.snapshots.uri, world.config.app.name)
    with ExitStack() as stack:
        service = stack.enter_context(world.service(source.settings.end_us))
        turn_until(service, lambda: is_settled(service) and all(store.numbers(p) for p in range(PARTITIONS)))
        first = service.core.coordinator.model
        assert first is not None
        made = Kept(world, [segment.id for segment in first.segments])
        carry_out(service, command("recalibrate"))
        # A version that never was, so that somebody moves: its centres are those of the next segment.
        turned = dataclasses.replace(run.model, centroids=np.roll(run.model.centroids, 1, axis=0))
        carry_out(service, command("rollback", turned))
        # Below nobody: also a recalibration that moves nobody waits for a person.
        strict = world.config.model.model_copy(update={"max_moved": -1.0})
        service.core.config = world.config.model_copy(update={"model": strict})
        carry_out(service, command("recalibrate"))
        proposal = History.read(world.config).proposal
        assert proposal is not None
        made.proposal = proposal
        carry_out(service, command("promote", proposal))
    made.versions = [m for _, m in sorted(History.read(world.config).versions.items()) if m.kind != "folded"]
    return made


def test_each_command_makes_one_version(kept: Kept) -> None:
    """Sent twice, carried out once; numbers without a gap."""
    assert [model.kind for model in kept.versions] == [
        "calibrated",
        "recalibrated",
        "restored",
        "recalibrated",
    ]
    history = History.read(kept.world.config)
    assert sorted(history.versions) == list(range(1, max(history.versions) + 1))
    assert history.proposal is None


def test_segments_keep_their_ids(kept: Kept) -> None:
    """The population is the one of the calibration's kind: every segment survives."""
    recalibrated = kept.versions[1]
    assert recalibrated.transition is not None
    assert "asked for by" in recalibrated.transition.cause
    assert set(kept.ids) & {segment.id for segment in recalibrated.segments}
    assert [s.id for s in kept.versions[2].segments] == kept.ids


def test_what_needs_a_person_waits_for_one(kept: Kept) -> None:
    """Above the cap a recalibration is a proposal; promoted, it is the next version."""
    assert kept.proposal is not None
    assert kept.proposal.transition is not None
    assert "change their segment" in kept.proposal.transition.concerns[0]
    assert kept.versions[3].centroids.tolist() == kept.proposal.centroids.tolist()


def test_customers_move_because_of_the_model(kept: Kept) -> None:
    """Changes under new versions say so, are not actionable, and follow one another without a gap."""
    changes = [record.json for record in kept.world.read(kept.world.names.changes)]
    check_chain(kept.world.read(kept.world.names.changes))
    moved = [change for change in changes if change["cause"] == "model"]
    assert moved
    assert not any(change["actionable"] for change in moved)
    assert {change["model_version"] for change in moved} <= {m.version for m in kept.versions[1:]} | {
        m.version + 1 for m in kept.versions[1:]
    }


def test_it_can_be_derived_again(kept: Kept) -> None:
    """`verify` finds every change as it must be, under all versions."""
    rules = Rules.of(kept.world.config, PARTITIONS)
    report = Verifier(rules, KafkaSource(kept.world.config)).verify()
    assert report.kinds == {}
    assert report.unverified == []


def said(capsys: pytest.CaptureFixture[str], world: World, *arguments: str) -> Any:
    """The JSON document that a command prints."""
    settings = [
        part
        for name in ("kafka.bootstrap", "topics.prefix", "app.name", "snapshots.uri", "model.k")
        for part in ("--set", f"{name}={_value(world, name)}")
    ]
    assert cli.execute([*arguments, "--json", *settings]) == 0
    return json.loads(capsys.readouterr().out)


def _value(world: World, name: str) -> object:
    group, _, field_name = name.partition(".")
    return getattr(getattr(world.config, group), field_name)


def test_the_commands_show_it(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    """List, show, diff and a dry run, which changes nothing."""
    before = make_admin(kept.world.config).list_topics(timeout=10)
    assert kept.world.names.models in before.topics
    listed = said(capsys, kept.world, "models", "list")
    assert [row["version"] for row in listed][:4] == [model.version for model in kept.versions]
    shown = said(capsys, kept.world, "models", "show", str(kept.versions[1].version))
    assert [row["id"] for row in shown["segments"]] == [s.id for s in kept.versions[1].segments]
    assert sum(map(sum, shown["transition"]["customers"])) > 100
    different = said(capsys, kept.world, "models", "diff", "1", str(kept.versions[2].version))
    assert {row["state"] for row in different["segments"]} == {"stays"}
    assert different["same_scaler"]
    n_versions = len(History.read(kept.world.config).versions)
    dry = said(capsys, kept.world, "recalibrate", "--dry-run")
    assert dry["transition"]["cause"] == "a dry run"
    assert len(History.read(kept.world.config).versions) == n_versions
