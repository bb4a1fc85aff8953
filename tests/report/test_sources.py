"""Where a report comes from, and what is said when it cannot be made."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow.parquet as pq
import pytest

from consumer.cli import execute
from consumer.config import Config
from consumer.config_sources import load_config
from consumer.errors import DataError, SegmenterError
from consumer.exit_codes import ExitCode
from consumer.options import ReplayOptions, ReportOptions
from consumer.replay import run_replay
from consumer.report.replay_source import ReplaySource, read_models
from consumer.report.snapshot_source import SnapshotSource
from consumer.snapshots import SnapshotStore
from tests.report.conftest import Made, Month, make
from tests.report.large import multiply

SPEC = """
version: 1
name: calls
provisional_days: 0
dormancy_feature: null
blocks: {all: {budget: 1.0}}
features:
  - {name: calls, aggregate: count, events: [voice], window_days: 30, block: all}
  - {name: days, aggregate: tenure, block: all}
"""


def call(customer: str, day: int, number: int) -> str:
    """A call."""
    body = {
        "event_id": f"{customer}-{day}-{number}",
        "customer_id": customer,
        "event_time": f"2026-01-{day:02}T10:00:{number:02}Z",
        "type": "voice",
        "duration_seconds": 60,
    }
    return json.dumps(body)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay of 60 customers who call once and 40 who call often, with a specification of two features."""
    folder = tmp_path_factory.mktemp("replayed")
    lines = [
        call(f"c{customer}", day, number)
        for day in (1, 8, 15, 22)
        for customer in range(100)
        for number in range(1 if customer < 60 else 15 + customer % 7)
    ]
    (folder / "events.ndjson").write_text("\n".join(lines) + "\n")
    (folder / "spec.yaml").write_text(SPEC)
    config = load_config(None, {}, {"model.spec": str(folder / "spec.yaml"), "model.k": 2})
    run_replay(ReplayOptions(config, (str(folder / "events.ndjson"),), folder / "out"))
    return folder


def test_a_replay_is_reported_without_kafka(replayed: Path, tmp_path: Path) -> None:
    """By the command, with a specification of its own and no labels, no unit and one category less."""
    out = tmp_path / "deep" / "calls.html"
    arguments = ["--replay", str(replayed / "out"), "--spec", str(replayed / "spec.yaml")]
    assert execute(["report", "--out", str(out), *arguments]) == ExitCode.OK
    segments = pd.read_parquet(tmp_path / "deep" / "calls_tables" / "segments.parquet")
    assert sorted(segments["customers"].tolist()) == [40, 60]
    assert segments["share"].tolist() == [0.6, 0.4]
    page = out.read_text()
    assert "The segments were made only once so far" in page
    assert "Moves of the last 30 days: nothing yet." in page
    assert "15 of 18 strategies are about features that these customers do not have" in page
    assert "No customer moved" in page
    assert "<h2>Segment cards</h2>" in page


def test_the_report_and_the_catalog_say_the_same(replayed: Path, tmp_path: Path) -> None:
    """Size, separation, nearest segment and typical customer of a model that was just fitted."""
    config = load_config(None, {}, {"model.spec": str(replayed / "spec.yaml")})
    report = make(ReportOptions(config, tmp_path / "calls.html", replay=replayed / "out"))
    table = pd.read_parquet(report.tables / "segments.parquet").set_index("segment_id")
    entries = [
        entry for entry in json.loads((replayed / "out" / "catalog.json").read_bytes()) if entry["profile"]
    ]
    names = {entry["segment_id"]: entry["name"] for entry in entries}
    assert len(entries) == 2
    for entry in entries:
        row = table.loc[entry["segment_id"]]
        assert (row["segment"], row["customers"]) == (entry["name"], entry["customers"])
        assert row["separation"] == pytest.approx(entry["separation"], abs=1e-4)
        assert row["border_share"] == pytest.approx(entry["border_share"], abs=1e-4)
        assert row["nearest"] == names[entry["nearest"]]
        assert entry["trend"] is None
        assert entry["typical_customer"]
        for value in entry["typical_customer"]:
            assert f"{value['value']:g}" in report.html


def test_a_replay_of_a_month_counts_the_same_moves(month: Month, made: Made, tmp_path: Path) -> None:
    """The change events say what the snapshots say: each customer's last move."""
    scene = month.scene
    scene.replay.write_results(scene.models.parent)
    (scene.models.parent / "summary.json").write_text(json.dumps(scene.replay.summary()))
    other = make(ReportOptions(scene.config, tmp_path / "other.html", replay=scene.models.parent))
    keys = ["from_id", "to_id"]
    mine, theirs = (
        pd.read_parquet(report.tables / "moves.parquet").sort_values(keys).reset_index(drop=True)
        for report in (made, other)
    )
    pd.testing.assert_frame_equal(mine, theirs)
    sizes = [pd.read_parquet(report.tables / "segments.parquet")["customers"] for report in (made, other)]
    assert sizes[0].tolist() == sizes[1].tolist()


def test_of_many_customers_a_sample_has_features(month: Month, tmp_path: Path) -> None:
    """100,000 customers are counted, 5,000 looked at, and the page says so and stays small."""
    config = multiply(month.scene.config, tmp_path / "many", 100_000)
    options = ReportOptions(config, tmp_path / "many.html", models=month.scene.models, sample=5000)
    report = make(options)
    segments = pd.read_parquet(report.tables / "segments.parquet")
    live = segments["customers"].sum()
    assert 90_000 < live <= 100_000
    assert "Of a sample of " in report.html
    histogram = pd.read_parquet(report.tables / "histograms.parquet")
    assert 4000 < histogram[histogram["feature"] == "age"]["customers"].sum() < 6000
    assert len(report.html.encode()) < 8_000_000
    assert max(len(pd.read_parquet(path)) for path in report.tables.glob("*.parquet")) < 5000


def test_both_sources_know_the_services(month: Month) -> None:
    """By name, of the same customers; the table of an older replay has none."""
    scene = month.scene
    core, model = scene.replay.core, scene.replay.versions[-1]
    scene.replay.write_results(scene.models.parent)
    (scene.models.parent / "summary.json").write_text(json.dumps(scene.replay.summary()))
    store = SnapshotStore(scene.config.snapshots.uri, scene.config.app.name)
    mine = SnapshotSource(store, core.plan, model).read(10_000, 30.0, lambda _: None)
    theirs = ReplaySource(scene.models.parent, model).read(10_000, 30.0, lambda _: None)
    counted = [
        Counter(zip(c.segments, [tuple(names or ()) for names in c.services], strict=True))
        for c in (mine, theirs)
    ]
    assert counted[0] == counted[1]
    assert {"tv", "sms-flat", "roaming-pass"} <= {name for names in mine.services for name in names or ()}
    path = scene.models.parent / "customers.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["services"]), path)
    assert ReplaySource(scene.models.parent, model).read(10_000, 30.0, lambda _: None).services == []


Spoil = Callable[[Config, Path], ReportOptions]


def no_snapshots(config: Config, folder: Path) -> ReportOptions:
    """Another application."""
    app = config.app.model_copy(update={"name": "nobody"})
    return ReportOptions(config.model_copy(update={"app": app}), folder / "x.html")


def another_specification(config: Config, folder: Path) -> ReportOptions:
    """Not that of the model."""
    (folder / "spec.yaml").write_text(SPEC)
    model = config.model.model_copy(update={"spec": str(folder / "spec.yaml")})
    return ReportOptions(config.model_copy(update={"model": model}), folder / "x.html")


def a_directory(config: Config, folder: Path) -> ReportOptions:
    """In place of a file."""
    return ReportOptions(config, folder)


def damage(config: Config, partition: int, number: int) -> None:
    """Makes the file of a snapshot shorter than its manifest says."""
    store = SnapshotStore(config.snapshots.uri, config.app.name)
    file = store.manifest(partition, number).file
    path = Path(config.snapshots.uri) / config.app.name / f"partition={partition}" / file
    path.write_bytes(path.read_bytes()[:-1])


def damaged_snapshots(config: Config, folder: Path) -> ReportOptions:
    """All of them."""
    changed = multiply(config, folder / "damaged", 300)
    for partition in range(3):
        damage(changed, partition, 5)
    return ReportOptions(changed, folder / "x.html")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_snapshots, ("there are none", "snapshots.uri and app.name")),
        (another_specification, ("the model is of specification", "--spec FILE")),
        (a_directory, ("is a directory", "--out report.html")),
        (damaged_snapshots, ("partition 1 is left out", "n=5 that cannot be read: it has")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_reported_is_said_with_its_fix(
    spoil: Spoil, words: Sequence[str], month: Month, tmp_path: Path
) -> None:
    """And nothing is written."""
    options = spoil(month.scene.config, tmp_path)
    whole = ReportOptions(options.config, options.out, models=month.scene.models)
    with pytest.raises(SegmenterError) as caught:
        make(whole)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "x.html").exists()
    assert not (tmp_path / "x_tables").exists()


def test_a_partition_without_a_snapshot_is_named(month: Month, tmp_path: Path) -> None:
    """The report is of the others, and says so; an unreadable manifest is a reason, too."""
    config = multiply(month.scene.config, tmp_path / "some", 300)
    folder = tmp_path / "some" / config.app.name
    for path in (folder / "partition=1").iterdir():
        path.unlink()
    (folder / "partition=1").rmdir()
    (folder / "partition=2" / "n=5.json").write_text("{}")
    report = make(ReportOptions(config, tmp_path / "some.html", models=month.scene.models))
    assert "partition 1 has no snapshot" in report.html
    assert "partition 2 has a manifest n=5 that cannot be read" in report.html
    assert len(pd.read_parquet(report.tables / "freshness.parquet")) == 1


def newer(config: Config, partition: int) -> None:
    """A snapshot after commit 9 beside the one after commit 5: the same rows in a file of its own."""
    store = SnapshotStore(config.snapshots.uri, config.app.name)
    manifest = store.manifest(partition, 5)
    folder = Path(config.snapshots.uri) / config.app.name / f"partition={partition}"
    shutil.copy(folder / manifest.file, folder / "9-newer.parquet")
    store.publish(msgspec.structs.replace(manifest, n=9, file="9-newer.parquet"))


def test_an_older_snapshot_stands_in_for_a_damaged_one(month: Month, tmp_path: Path) -> None:
    """As in a restore: the same report as if the damaged one had not been, and the page says so."""
    config = multiply(month.scene.config, tmp_path / "some", 300)
    plain = make(ReportOptions(config, tmp_path / "plain.html", models=month.scene.models))
    newer(config, 1)
    newer(config, 2)
    damage(config, 1, 9)
    report = make(ReportOptions(config, tmp_path / "some.html", models=month.scene.models))
    said = "partition 1 has a snapshot n=9 that cannot be read: it has"
    assert said in report.html
    assert "the older one n=5 stands in for it" in report.html
    assert any(line.startswith(said) for line in report.said)
    assert "partition 2 has" not in report.html
    for table in ("segments", "moves", "profiles", "freshness"):
        mine, theirs = (pd.read_parquet(made.tables / f"{table}.parquet") for made in (report, plain))
        pd.testing.assert_frame_equal(mine, theirs)


def test_a_partition_that_cannot_be_read_is_left_out_whole(month: Month, tmp_path: Path) -> None:
    """Also where the damage is found after some of its rows were counted."""
    config = multiply(month.scene.config, tmp_path / "some", 30_000)
    store = SnapshotStore(config.snapshots.uri, config.app.name)
    whole = store.manifest(1, 5)
    first, last = whole.parts
    short = msgspec.structs.replace(last, rows=last.rows - 1)
    store.publish(msgspec.structs.replace(whole, rows=whole.rows - 1, parts=[first, short]))
    report = make(ReportOptions(config, tmp_path / "some.html", models=month.scene.models))
    assert "partition 1 is left out: none of its snapshots can be read" in report.html
    others = pd.read_parquet(report.tables / "freshness.parquet")
    assert others["part"].tolist() == ["partition 0", "partition 2"]
    segments = pd.read_parquet(report.tables / "segments.parquet")
    assert segments["customers"].sum() <= 20_000


@pytest.mark.parametrize(
    ("content", "words"), [("", "is empty"), ("\n{}\n", "line 2"), ("no model", "is no model record")]
)
def test_a_file_of_models_is_checked(content: str, words: str, tmp_path: Path) -> None:
    """Line by line."""
    (tmp_path / "models.ndjson").write_text(content)
    with pytest.raises(DataError, match=words):
        read_models(tmp_path / "models.ndjson")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), ExitCode.CONFIG, "--out"),
        (("--out", "x.html", "--replay", "a", "--models", "b"), ExitCode.CONFIG, "do not go together"),
        (("--out", "x.html", "--replay", "/absent"), ExitCode.DATA, "/absent/model.json cannot be read"),
        (("--out", "x.html", "--models", "/absent"), ExitCode.DATA, "records of the models topic"),
        (("--out", "x.html", "-b", "127.0.0.1:1"), ExitCode.BROKER, "127.0.0.1:1"),
        (("--out", "x.html", "--sample", "3"), ExitCode.CONFIG, "1000"),
    ],
)
def test_a_mistake_on_the_command_line(
    arguments: Sequence[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message with its fix, and the exit code of its kind."""
    assert execute(["report", *arguments]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert "Traceback" not in said.err
