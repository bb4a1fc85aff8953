"""Laws of the logs: stderr only, one JSON object per line, librdkafka's lines included."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog
from structlog.typing import EventDict

from consumer.kafka_clients import rdkafka_logger
from consumer.logs import RepeatFilter, RepeatLimit, configure_logging
from tests.consumer.fake_producer import FakeTime


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Take the set-up back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    rdkafka_logger().filters.clear()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours and librdkafka's lines have the same shape; lesser levels are left out."""
    configure_logging("info", "json")
    structlog.get_logger("loop").info("committed", events=3)
    structlog.get_logger("loop").debug("not seen")
    rdkafka_logger().warning("broker %s is down", "b1")
    captured = capsys.readouterr()
    ours, theirs = [json.loads(line) for line in captured.err.splitlines()]
    assert captured.out == ""
    assert (ours["event"], ours["events"], ours["level"], ours["logger"]) == ("committed", 3, "info", "loop")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("broker b1 is down", "warning", "rdkafka")
    assert ours["timestamp"].endswith("Z")


def test_a_repeated_line_is_written_now_and_then() -> None:
    """A client that cannot connect does not fill the disk; what is new is written at once."""
    now = FakeTime()
    repeats = RepeatFilter(30.0, now)

    def passes(text: str) -> bool:
        return repeats.filter(logging.LogRecord("rdkafka", logging.ERROR, "", 0, text, None, None))

    assert passes("b1: Connect failed (after 0ms in state CONNECT)")
    now.now_s += 29
    assert not passes("b1: Connect failed (after 12ms in state CONNECT)")
    assert passes("b2: Connect failed (after 0ms in state CONNECT)")
    now.now_s += 1
    assert passes("b1: Connect failed (after 1ms in state CONNECT, 30 identical error(s) suppressed)")


def test_an_exception_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """In JSON it is structured, on the console it is text."""
    configure_logging("info", "json")
    try:
        raise ValueError("wrong")
    except ValueError:
        structlog.get_logger("x").exception("failed")
    line = json.loads(capsys.readouterr().err)
    assert line["exception"][0]["exc_type"] == "ValueError"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_tells_no_secret(
    capsys: pytest.CaptureFixture[str], log_format: Literal["json", "console"]
) -> None:
    """Values of local variables stay out: settings hold passwords, records hold customers."""
    configure_logging("info", log_format)

    def connect(settings: dict[str, str]) -> None:
        raise ValueError(len(settings))

    try:
        connect({"sasl.password": "hush" + "hush"})
    except ValueError:
        structlog.get_logger("x").exception("failed")
    text = capsys.readouterr().err
    assert "connect" in text
    assert "hushhush" not in text


def test_the_last_configuration_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """Console lines are for people: no JSON, no colours outside a terminal."""
    configure_logging("error", "json")
    configure_logging("info", "console")
    structlog.get_logger("x").info("hello", a=1)
    text = capsys.readouterr().err
    assert "hello" in text
    assert "a=1" in text
    assert "\x1b[" not in text


def test_a_storm_of_warnings_is_counted() -> None:
    """Ten of an event in half a minute; the next one tells how many there were more. Others pass."""
    now = [100.0]
    limit, written = RepeatLimit(most=10, every_s=30.0, monotonic=lambda: now[0]), list[EventDict]()

    def say(level: str, event: str) -> None:
        with contextlib.suppress(structlog.DropEvent):
            written.append(limit(None, level, {"logger": "snapshots", "event": event}))

    for _ in range(25):
        say("warning", "snapshot failed")
    say("error", "recalibration failed")
    for _ in range(25):
        say("info", "partition restored")
    assert Counter(line["event"] for line in written) == {
        "snapshot failed": 10,
        "recalibration failed": 1,
        "partition restored": 25,
    }
    now[0] += 31.0
    written.clear()
    say("warning", "snapshot failed")
    say("warning", "snapshot failed")
    say("error", "recalibration failed")
    assert [line.get("suppressed") for line in written] == [15, None, None]
