"""The whole demo, as `segmenter demo` runs it."""

from __future__ import annotations

import multiprocessing

import pytest

from consumer.config import Config
from consumer.demo import run_demo
from consumer.exit_codes import ExitCode
from consumer.options import DemoOptions


@pytest.mark.slow
def test_a_short_demo_finds_what_was_planted(capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 with a summary on stdout, nothing on stderr, and no process left."""
    options = DemoOptions(Config(), customers=600, seconds=5.0, seed=7, plain=True)
    assert run_demo(options) == ExitCode.OK
    out, err = capfd.readouterr()
    assert "The demo succeeded" in out
    assert "planted migrations published" in out
    assert err == ""
    assert not [p for p in multiprocessing.active_children() if p.name == "simulator"]
