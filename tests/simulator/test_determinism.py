"""The same settings give the same bytes, whoever asks and however."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from consumer.simulator import Drift, Faults, Migration, Simulation, SimulationSettings
from tests.simulator.frames import digest

SMALL = SimulationSettings(
    customers=60, days=5, faults=Faults.realistic(), migration=Migration(0.2, 2), drift=Drift(1.0, 2.0, 1.0)
)


def test_same_settings_same_bytes() -> None:
    """Two runs, and two passes over one run, are equal to the byte."""
    assert digest(SMALL) == digest(SMALL)
    simulation = Simulation(SMALL)
    first = [value for chunk in simulation.chunks() for value in chunk.value]
    again = [value for chunk in simulation.chunks() for value in chunk.value]
    assert first == again
    assert simulation.truth.sent.total == len(again)


def test_two_interleaved_passes_do_not_disturb_each_other() -> None:
    """The state of a pass is its own."""
    simulation = Simulation(SMALL)
    pairs = list(zip(simulation.chunks(), simulation.chunks(), strict=True))
    assert all(a.value == b.value for a, b in pairs)


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    """No set or dict order gets into a run."""
    code = (
        "from tests.simulator.frames import digest; from tests.simulator.test_determinism import SMALL;"
        "print(digest(SMALL))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(SMALL)


@pytest.mark.parametrize("change", [{"seed": 8}, {"activity": 0.5}, {"customers": 61}])
def test_settings_matter(change: dict[str, int]) -> None:
    """Another seed, activity or population gives another run."""
    assert digest(replace(SMALL, **change)) != digest(SMALL)  # type: ignore[arg-type]


def test_arrivals_ascend_over_the_whole_run() -> None:
    """Records come in order of arrival, each in the chunk of its arrival."""
    settings = replace(SMALL, chunk_hours=3, faults=Faults(late=0.2, out_of_order=0.2, duplicates=0.3))
    last = settings.start_us
    for chunk in Simulation(settings).chunks():
        assert (np.diff(chunk.arrival_us) >= 0).all()
        assert chunk.n == 0 or last <= chunk.arrival_us[0]
        assert chunk.n == 0 or chunk.arrival_us[-1] < chunk.end_us
        last = chunk.end_us
    assert last == settings.end_us


def test_chunks_are_bounded() -> None:
    """A large population gets shorter chunks, so memory does not grow with the run."""
    assert SimulationSettings(customers=1_000_000).hours_per_chunk == 1
    assert SimulationSettings(customers=3_000).hours_per_chunk == 24
    assert SimulationSettings(customers=100_000).hours_per_chunk * 100_000 * 12 / 24 <= 300_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"customers": 0},
        {"days": 0},
        {"activity": 0.0},
        {"chunk_hours": 5},
        {"personas": ()},
        {"closed_share": 1.5},
        {"migration": Migration(0.1, 1, "nobody")},
        {"start": SimulationSettings().start.replace(hour=3)},
        {"start": SimulationSettings().start.replace(tzinfo=None)},
    ],
)
def test_settings_refuse_nonsense(wrong: dict[str, object]) -> None:
    """A wrong setting is an error when the settings are made."""
    with pytest.raises(ValueError, match=r"simulation|migration"):
        SimulationSettings(**wrong)  # type: ignore[arg-type]
