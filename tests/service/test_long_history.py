"""A models topic with more versions than are kept whole, as commands and starts read it."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import uuid4

import pytest

from consumer import cli
from consumer.brokers import Broker
from consumer.change_records import MODELS_KEPT
from consumer.kafka_clients import make_producer, plain_producer_settings
from consumer.models.history import History
from consumer.models.log import ModelReader
from online_model.model import Model
from online_model.model_json import to_json
from online_model.recalibration import restored
from online_model.renaming import names_of, renamed
from tests.online_model.tiny import model
from tests.service.world import World

pytestmark = pytest.mark.kafka

SCANS = MODELS_KEPT + 60
#: A version that somebody asked for among the old ones.
RENAMED = 9


@pytest.fixture(scope="module")
def world(kafka: Broker) -> World:
    """Scans, and a rename among the oldest."""
    world, newest = World.make(kafka), model()
    records = [newest]
    for number in range(2, SCANS + 1):
        is_renamed = number == RENAMED
        newest = renamed(newest, "s1", "Students") if is_renamed else scan_of(newest)
        records.append(newest)
    write(world, [to_json(version) for version in records])
    return world


def write(world: World, values: list[bytes]) -> None:
    """Records of the models topic."""
    producer = make_producer(plain_producer_settings(world.config))
    for value in values:
        producer.produce(world.names.models, value, uuid4().bytes, 0)
    assert producer.flush(30) == 0


def scan_of(before: Model) -> Model:
    """The next version after a scan."""
    return replace(before, version=before.version + 1, parent=before.version, kind="folded", lineage=())


def test_a_start_reads_all_of_them_in_order(world: World) -> None:
    """The newest and the rename whole, of the others the head."""
    reader = ModelReader(world.config, world.names)
    found = list(reader.read_to_end())
    assert [version.version for version in found] == list(range(1, SCANS + 1))
    whole = [version.version for version in found if isinstance(version, Model)]
    assert whole == [1, RENAMED, *range(SCANS - MODELS_KEPT + 1, SCANS + 1)]
    assert reader.lag == 0
    assert reader.poll() == []
    reader.close()


def test_a_damaged_record_is_passed_over(kafka: Broker) -> None:
    """Also among the newest; the others are read."""
    world = World.make(kafka)
    write(world, [to_json(model()), b"{}", to_json(scan_of(model())), b"no JSON"])
    reader = ModelReader(world.config, world.names)
    assert [version.version for version in reader.read_to_end()] == [1, 2]
    reader.close()


def test_commands_read_what_they_look_at(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A version by number is whole, a list has all; what is new is read on from there."""
    history = History.read(world.config, "7", "newest")
    assert [version.version for version in history.everything] == list(range(1, SCANS + 1))
    assert history.get("7").centroids.tolist() == model().centroids.tolist()
    assert history.newest.version == SCANS
    assert names_of(history.newest) == {"s1": "Students", "s2": "s2"}
    assert history.before(history.get("7")) is history.overtaken[6]
    prefix = f"topics.prefix={world.config.topics.prefix}"
    bootstrap = ["--bootstrap", world.config.kafka.bootstrap, "--set", prefix]
    assert cli.execute(["models", "list", "--folds", "--json", *bootstrap]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["version"] for row in listed] == list(range(1, SCANS + 1))
    assert {row["k"] for row in listed} == {2}
    assert cli.execute(["models", "diff", "7", "8", *bootstrap]) == 0
    assert "stays" in capsys.readouterr().out
    assert cli.execute(["models", "list", *bootstrap]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["1", "calibrated"],
        [str(RENAMED), "renamed"],
        [str(SCANS), "folded"],
    ]
    again = history.read_on(world.config)
    assert (again.versions, again.end) == (history.versions, history.end)
    back = restored(history.get("1"), history.newest)
    write(world, [to_json(back)])
    after = again.read_on(world.config)
    assert (after.newest.version, after.newest.kind) == (SCANS + 1, "restored")
    assert names_of(after.newest) == {"s1": "Students", "s2": "s2"}
    assert after.end > again.end
