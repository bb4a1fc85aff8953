"""Laws of the command line: one clear message, the right exit code, data on stdout only."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import structlog

from consumer import __version__, kafka_clients, topics
from consumer.brokers import Broker
from consumer.cli import execute, main
from consumer.config import SETTINGS
from consumer.exit_codes import ExitCode
from consumer.simulator import Truth

NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands set logging up; take it back, and keep the caller's environment out."""
    monkeypatch.delenv("SEGMENTER_CONFIG", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def failing(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and message of a command that must fail: nothing on stdout, no traceback."""
    code = execute(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert '"logger"' not in captured.err
    return code, captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "--set", "kafka.botstrap=x"), ExitCode.CONFIG, "did you mean kafka.bootstrap?"),
        (("run", "--set", "http.port"), ExitCode.CONFIG, "NAME=VALUE"),
        (("run", "--config", "/absent.yaml"), ExitCode.CONFIG, "/absent.yaml cannot be read"),
        (("run", "--no-such-option"), ExitCode.CONFIG, "No such option"),
        (("run", "-b", "no host"), ExitCode.CONFIG, "host:port, comma separated"),
        (("run", "--set", "kafka.client={nonsense: 1}"), ExitCode.CONFIG, '"nonsense"'),
        (("topics", "check", "--set", "kafka.client={stats_cb: 1}"), ExitCode.CONFIG, "kafka.client"),
        (("topics", "create", "--set", "kafka.client={security.protocol: x}"), ExitCode.CONFIG, '"x"'),
        (("simulate", "--kafka", "--set", "kafka.client={nonsense: 1}"), ExitCode.CONFIG, '"nonsense"'),
        (("topics", "check", "-b", NOBODY), ExitCode.BROKER, f"answered at {NOBODY}"),
        (("run", "-b", NOBODY), ExitCode.BROKER, "refused"),
        (("coordinate", "-b", NOBODY), ExitCode.BROKER, "kafka.bootstrap"),
        (("coordinate", "--set", "model.learner=river"), ExitCode.CONFIG, "model.learner"),
        (("run", "--no-coordinate", "--set", "model.learner=river"), ExitCode.CONFIG, "--coordinate"),
        (("topics", "create", "-b", NOBODY), ExitCode.BROKER, "kafka.bootstrap"),
        (("simulate", "--kafka", "-b", NOBODY), ExitCode.BROKER, "kafka.bootstrap"),
        (("simulate",), ExitCode.CONFIG, "either --out FILE or --kafka"),
        (("simulate", "-o", "-", "--rate", "5"), ExitCode.CONFIG, "--kafka"),
        (("simulate", "-o", "-", "--migrate-day", "1", "--migrate-to", "nobody"), ExitCode.CONFIG, "nobody"),
        (("simulate", "-o", "-", "--days", "9", "--migrate-day", "9"), ExitCode.CONFIG, "after the 9 days"),
        (("simulate", "-o", "-", "--days", "9", "--drift-day", "9.5"), ExitCode.CONFIG, "after the 9 days"),
        (("simulate", "-o", "-", "--currency", "euro"), ExitCode.CONFIG, "'euro'"),
        (("simulate", "-o", "-", "--start", "9999-12-30"), ExitCode.CONFIG, "1990 and 2185"),
        (("simulate", "--kafka", "--rate", "1", "--speed", "2"), ExitCode.CONFIG, "one of them"),
        (("simulate", "--kafka", "--follow", "1", "--start", "2026-01-05"), ExitCode.CONFIG, "--start out"),
        (("simulate", "-o", "/dev/null/x", "--customers", "5"), ExitCode.DATA, "/dev/null/x cannot"),
        (("replay", "/absent.ndjson", "-o", "out"), ExitCode.DATA, "/absent.ndjson does not exist"),
        (("replay", "-", "-", "-o", "out"), ExitCode.DATA, "given twice"),
        (("demo", "--broker", "nonsense"), ExitCode.CONFIG, "nonsense"),
        (("replay", "/dev", "-o", "out"), ExitCode.DATA, "/dev is a directory"),
        (("replay", "/dev/null", "-o", "/dev/null"), ExitCode.DATA, "/dev/null cannot be written"),
        (("schemas", "export", "/dev/null"), ExitCode.DATA, "/dev/null cannot be written"),
    ],
)
def test_a_mistake_is_one_message_with_its_fix(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: ExitCode, words: str
) -> None:
    """Expected errors name what is wrong and what to do, and exit as documented."""
    got, message = failing(capsys, *arguments)
    assert got == code
    assert words in message


def test_the_doctor_goes_on_without_a_client(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Client settings that librdkafka refuses are a finding among others."""
    arguments = ["doctor", "--json", "--set", "kafka.client={nonsense: 1}", "--set", "http.port=0"]
    arguments += ["--set", f"snapshots.uri={tmp_path}/snapshots"]
    assert execute(arguments) == ExitCode.CHECK_FAILED
    checks = {c["check"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    assert "nonsense" in checks["connection"]["detail"]
    assert checks["snapshots"]["verdict"] == "ok"
    assert [name for name, c in checks.items() if c["verdict"] == "failed"] == ["connection"]
    assert {name for name, c in checks.items() if c["verdict"] == "skipped"} == {
        *("topics", "transactions", "clock")
    }


def test_a_bug_is_logged_with_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything unexpected exits with 1, and the log has everything."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("consumer.config_sources.rows_for_display", broken)
    assert execute(["config", "show"]) == ExitCode.UNEXPECTED
    captured = capsys.readouterr()
    assert "ZeroDivisionError" in captured.err
    assert captured.out == ""


def test_a_bug_before_the_settings_are_read_goes_to_stderr_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it shows no values of local variables."""

    def broken(*_: Any) -> None:
        secret = "hush" + "hush"
        raise ZeroDivisionError(len(secret))

    structlog.reset_defaults()
    monkeypatch.setattr("consumer.config_sources.load_with_origins", broken)
    assert execute(["config", "show"]) == ExitCode.UNEXPECTED
    captured = capsys.readouterr()
    assert "ZeroDivisionError" in captured.err
    assert "hushhush" not in captured.err
    assert captured.out == ""


def test_config_show_tells_value_and_origin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """File, environment and option can be told apart, for people and for programs."""
    path = tmp_path / "c.yaml"
    path.write_text("commit: {interval_ms: 250}\n")
    monkeypatch.setenv("SEGMENTER_HTTP__PORT", "0")
    arguments = ["config", "show", "-c", str(path), "-b", "a:1"]
    assert execute([*arguments, "--json"]) == ExitCode.OK
    rows = {r["setting"]: r for r in json.loads(capsys.readouterr().out)}
    assert rows.keys() == SETTINGS.keys()
    assert (rows["commit.interval_ms"]["value"], rows["commit.interval_ms"]["origin"]) == (
        250,
        f"file {path}",
    )
    assert (rows["http.port"]["value"], rows["http.port"]["origin"]) == (0, "env SEGMENTER_HTTP__PORT")
    assert rows["kafka.bootstrap"]["value"] == "a:1"
    assert execute(arguments) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(SETTINGS)
    assert all(line.count("\t") == 3 for line in lines)


def test_simulate_writes_only_events_to_stdout(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """With `-o -` every line of stdout is an event; the same seed gives the same bytes."""
    arguments = ["simulate", "--customers", "20", "--days", "2", "-o", "-"]
    assert execute(arguments) == ExitCode.OK
    first = capfdbinary.readouterr().out
    assert execute(arguments) == ExitCode.OK
    assert capfdbinary.readouterr().out == first
    assert all(json.loads(line)["event_id"] for line in first.splitlines())


def test_simulate_writes_the_truth_beside(tmp_path: Path) -> None:
    """events.ndjson gets events.truth.json, with planted faults and migrations counted."""
    out = tmp_path / "events.ndjson"
    arguments = ["--customers", "60", "--days", "6", "--migrate-day", "3", "--migrate-share", "0.5"]
    faults = ["--faults", "realistic", "--duplicates", "0.2", "--malformed", "0.1", "--drift-day", "2"]
    assert execute(["simulate", *arguments, *faults, "-o", str(out)]) == ExitCode.OK
    truth = Truth.read(tmp_path / "events.truth.json")
    assert truth.sent.total == len(out.read_bytes().split(b"\n")) - 1
    assert truth.customers["migrated_at"].notna().sum() > 10


def test_schemas_export_writes_the_contracts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A JSON Schema file per published topic and the AsyncAPI document, named on stdout."""
    assert execute(["schemas", "export", str(tmp_path)]) == ExitCode.OK
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {p.name for p in paths} >= {"telecom.usage.v1.schema.json", "segments.changes.v1.schema.json"}
    assert all(json.loads(p.read_text())["$schema"] for p in paths if p.suffix == ".json")
    assert (tmp_path / "asyncapi.yaml") in paths


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """One version everywhere."""
    assert execute(["version", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["segmenter"] == __version__
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert f'version = "{__version__}"' in project.read_text()


def test_help_lists_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The contract with supervisors is where people look for it."""
    assert execute(["--help"]) == ExitCode.OK
    text = " ".join(capsys.readouterr().out.split())
    assert [c for c in ExitCode if f"{c.value} {c.meaning}" not in text] == []


def test_the_command_line_starts_without_heavy_imports() -> None:
    """Help and completion stay quick: numpy, pydantic and Kafka load inside the commands."""
    heavy = ["numpy", "numba", "pandas", "pydantic", "confluent_kafka", "structlog", "sklearn"]
    code = f"import sys, consumer.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.kafka
def test_topics_and_doctor_and_simulate_on_kafka(
    kafka: Broker, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Missing topics are found (4, 6), created, found good (0), and filled with every simulated event."""
    prefix = f"{tmp_path.name}{id(tmp_path)}."
    where = ["-b", kafka.bootstrap, "--set", f"topics.prefix={prefix}", "--set", "http.port=0"]
    assert execute(["topics", "check", *where, "--json"]) == ExitCode.TOPICS
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert len(findings) == 10
    assert all("topics create" in f["fix"] for f in findings)
    assert execute(["simulate", "--kafka", *where]) == ExitCode.TOPICS
    assert execute(["doctor", *where, "--json"]) == ExitCode.CHECK_FAILED
    assert not json.loads(capsys.readouterr().out)["ok"]

    assert execute(["topics", "create", *where, "--partitions", "3", "--json"]) == ExitCode.OK
    assert len(json.loads(capsys.readouterr().out)["created"]) == 10
    assert execute(["topics", "check", *where]) == ExitCode.OK
    assert execute(["doctor", *where]) == ExitCode.OK
    capsys.readouterr()

    truth = tmp_path / "truth.json"
    run = ["--customers", "50", "--days", "3", "--faults", "realistic", "--truth", str(truth)]
    assert execute(["simulate", *where, *run, "--rate", "20000"]) == ExitCode.OK
    assert _records(kafka, prefix) == Truth.read(truth).sent.total > 500
    follow = ["--customers", "50", "--days", "3", "--follow", "3"]
    assert execute(["simulate", *where, *follow]) == ExitCode.OK
    assert _records(kafka, prefix) == Truth.read(truth).sent.total, "what is there is not sent again"
    today = pd.Timestamp.now("UTC").normalize()
    first = Truth.read(truth).customers["activated_at"].min()
    assert first in (today - pd.Timedelta(days=3), today - pd.Timedelta(days=4)), "not of the last days"


def _records(kafka: Broker, prefix: str) -> int:
    """Records in the input topics."""
    from confluent_kafka import TopicPartition

    from consumer import kafka_clients
    from consumer.config_sources import load_config

    config = load_config(None, {}, {"kafka.bootstrap": kafka.bootstrap})
    reader = kafka_clients.make_consumer(kafka_clients.reader_settings(config, committed_only=False))
    places = [TopicPartition(t, p) for t in topics.TopicNames.with_prefix(prefix).inputs for p in range(3)]
    marks = [reader.get_watermark_offsets(place, timeout=10, cached=False) for place in places]
    reader.close()
    return sum(high - low for low, high in marks)


@pytest.mark.parametrize("left", [False, True])
def test_the_process_ends_at_once_while_clients_are_left(
    left: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the code: the interpreter's own end would let go of them."""
    ends: list[int] = []
    monkeypatch.setattr(kafka_clients, "_left", [object()] if left else [])
    monkeypatch.setattr(sys, "argv", ["segmenter", "version"])
    monkeypatch.setattr(os, "_exit", ends.append)
    with pytest.raises(SystemExit):
        main()
    assert ends == ([0] if left else [])
    assert capsys.readouterr().out.strip()
