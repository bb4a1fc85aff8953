"""TM Forum documents replay to exactly the features of the native events."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from consumer.adapters import TmfAdapter, TmfMemory, load_mapping
from consumer.adapters.run import NdjsonSink, adapt_files
from consumer.cli import execute
from consumer.exit_codes import ExitCode
from consumer.simulator import Simulation, SimulationSettings, write_ndjson
from tests.adapters.twin import Document, Twin, lines
from tests.replay.simulated import replay

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "examples" / "tmf"
NATIVE = ROOT / "tests" / "golden" / "tmf" / "native.ndjson"


def read(path: Path) -> list[Document]:
    """The objects of an NDJSON file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def adapted(paths: list[Path], out: Path) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Adapts files into `out`; what became of the documents, and the rejects."""
    refused = io.BytesIO()
    with TmfMemory() as memory, out.open("wb") as stream:
        adapter = TmfAdapter(load_mapping(), memory, "EUR")
        adapt_files(adapter, [str(path) for path in paths], NdjsonSink(stream), refused)
    return adapter.counts, [json.loads(line) for line in refused.getvalue().splitlines()]


def features(customers: pd.DataFrame) -> pd.DataFrame:
    """The columns of features in real units."""
    return customers[[name for name in customers if name.startswith("raw_")]]


def test_the_examples_replay_to_the_features_of_their_twins(tmp_path: Path) -> None:
    """The shipped examples, with a re-rated usage, one taken back, a credit note and a payment among them."""
    names = ["customers.ndjson", "usage.ndjson", "bills.ndjson"]
    counts, refused = adapted([EXAMPLES / name for name in names], tmp_path / "events.ndjson")
    assert refused == []
    assert counts["documents"] == counts["adapted"] + counts["unchanged"]
    ours = {event["event_id"]: event for event in read(tmp_path / "events.ndjson")}
    assert ours == {event["event_id"]: event for event in read(NATIVE)}
    assert Counter(event["type"] for event in ours.values())["correction"] == 2
    one = replay(tmp_path / "events.ndjson", tmp_path / "tmf", k=2)
    other = replay(NATIVE, tmp_path / "native", k=2)
    assert one.summary["accepted"] == other.summary["accepted"] == len(ours)
    pd.testing.assert_frame_equal(features(one.customers), features(other.customers), check_exact=True)
    assert one.customers["segment_id"].equals(other.customers["segment_id"])
    assert one.customers.loc["c-1", "raw_revenue_30d"] != one.customers.loc["c-2", "raw_revenue_30d"]


def test_every_refused_example_says_why(tmp_path: Path) -> None:
    """One per reason, none of them an event."""
    counts, refused = adapted([EXAMPLES / "refused.ndjson"], tmp_path / "events.ndjson")
    assert (tmp_path / "events.ndjson").read_bytes() == b""
    assert counts["rejected"] == counts["documents"] == len(refused)
    reasons = ["bad_time", "unknown_type", "schema", "out_of_range", "unknown_original", "status", "schema"]
    assert [reject["reason"] for reject in refused] == [*reasons, "currency", "unknown_type"]
    assert [reject["document"] for reject in refused] == list(range(1, 10))
    assert all(json.loads(reject["raw"]) and reject["detail"] for reject in refused)


def test_the_commands_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those about TM Forum, as they stand there."""
    text = (ROOT / "README.md").read_text("utf-8")
    block = text[text.index("### From TM Forum") :].split("```sh\n", 1)[1].split("```", 1)[0]
    commands = [line.split()[1:] for line in block.splitlines() if line.startswith("segmenter ")]
    assert len(commands) == 2
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    monkeypatch.chdir(tmp_path)
    assert [execute(command) for command in commands] == [ExitCode.OK, ExitCode.OK]
    assert (tmp_path / "refused.ndjson").read_bytes() == b""
    assert (tmp_path / "out" / "customers.parquet").exists()


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """Events of simulated customers."""
    path = tmp_path_factory.mktemp("month") / "events.ndjson"
    write_ndjson(Simulation(SimulationSettings(customers=150, days=33, seed=4, activity=0.2)), path)
    return read(path)


def test_a_simulated_month_replays_to_the_same_features(month: list[Document], tmp_path: Path) -> None:
    """Every interface and shape, documents sent again and re-rated, credit notes: features equal exactly."""
    twin, native, documents, rest = Twin(5), list[Document](), list[Document](), list[Document]()
    for number, event in enumerate(month):
        native.append(event)
        document = twin.of(event)
        if document is None:
            rest.append(event)
            continue
        documents.append(document)
        if number % 7 == 0:  # sent again: the same, as usage is when it is billed
            documents.append(document)
        if event["type"] == "data" and number % 5 == 0:
            less = round(event["megabytes"] / 2, 3)
            documents.append(twin.usage(event | {"megabytes": less}, "rerated"))
            native.append(correction(event, round(less - event["megabytes"], 9)))
        if event["type"] == "invoice" and number % 3 == 0:
            documents.append(twin.bill(event, event["amount"] - 2))
            amount = round(event["amount"] - 2 - event["amount"], 6)
            native.append(event | {"event_id": f"{event['event_id']}.1", "amount": amount})
    assert {event["type"] for event in rest} <= {"payment", "topup", "care_contact"}
    assert len(documents) > 3000
    for name, content in {"native": native, "documents": documents, "rest": rest}.items():
        (tmp_path / f"{name}.ndjson").write_bytes(lines(content))
    counts, refused = adapted([tmp_path / "documents.ndjson"], tmp_path / "tmf.ndjson")
    assert refused == []
    assert counts["events"] + len(rest) == len(native)
    one = replay([tmp_path / "tmf.ndjson", tmp_path / "rest.ndjson"], tmp_path / "one", k=5)
    other = replay(tmp_path / "native.ndjson", tmp_path / "other", k=5)
    assert one.summary["accepted"] == other.summary["accepted"] == len(native)
    pd.testing.assert_frame_equal(features(one.customers), features(other.customers), check_exact=True)


def correction(event: Document, difference: float) -> Document:
    """A native correction of a data event."""
    names = ("customer_id", "event_time", "roaming", "technology")
    return {key: event[key] for key in names if key in event} | {
        "event_id": f"{event['event_id']}.1", "type": "correction", "corrects_event_id": event["event_id"],
        "type_corrected": "data", "megabytes": difference,
    }  # fmt: skip
