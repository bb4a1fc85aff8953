"""Erasure from the file that an adapter remembers resources in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consumer.adapters import TmfAdapter, TmfMemory
from consumer.cli import execute
from consumer.exit_codes import ExitCode
from tests.adapters.test_tmf import MAPPING, bill, events, usage


def test_a_customer_is_erased_from_a_state_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command, and only them; without a file, or beside files to read, it says what it wants."""
    path = tmp_path / "state"
    with TmfMemory(str(path)) as memory:
        adapting = TmfAdapter(MAPPING, memory, "EUR")
        events(adapting, usage(10))
        events(adapting, bill())
        events(
            adapting, usage(10) | {"id": "u-2", "relatedParty": [{"id": "somebody-else", "role": "customer"}]}
        )
        memory.save()
    line = ["adapt", "tmf", "--state", str(path), "--forget", "c-1"]
    capsys.readouterr()
    assert execute(line) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["erased"] == 2
    assert b"c-1" not in path.read_bytes()
    assert b"somebody-else" in path.read_bytes()
    assert execute(line[:2] + line[4:]) == ExitCode.CONFIG
    assert execute([*line, "more.ndjson"]) == ExitCode.CONFIG
    assert execute(["adapt", "tmf"]) == ExitCode.CONFIG
    assert execute([*line[:3], str(tmp_path / "none"), *line[4:]]) == ExitCode.DATA
