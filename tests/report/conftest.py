"""One simulated month for all tests of the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from consumer.clock import FixedClock
from consumer.options import ReportOptions
from consumer.report import run_report
from consumer.simulator import Migration, Simulation, SimulationSettings, write_ndjson
from tests.report.scene import Scene, play

#: 2026-03-01 12:00 UTC.
NOW_US = 1_772_366_400_000_000


@dataclass(frozen=True)
class Month:
    """The scene, and the persona of each customer at its end."""

    scene: Scene
    personas: pd.Series[str]


@dataclass(frozen=True)
class Made:
    """A report: its page, the folder of its tables, and what was said meanwhile."""

    page: Path
    tables: Path
    said: list[str] = field(default_factory=list)

    @property
    def html(self) -> str:
        """The page."""
        return self.page.read_text(encoding="utf-8")


def make(options: ReportOptions) -> Made:
    """Makes a report as of `NOW_US`."""
    said: list[str] = []
    written = run_report(options, said.append, FixedClock(NOW_US))
    return Made(written.page, written.tables, said)


@pytest.fixture(scope="session")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """900 customers over six weeks, of whom some become another persona on the way."""
    folder = tmp_path_factory.mktemp("month")
    settings = SimulationSettings(customers=900, days=42, seed=3, activity=0.5, migration=Migration(0.15, 32))
    simulation = Simulation(settings)
    write_ndjson(simulation, folder / "events.ndjson")
    chosen = {"model__k": 8, "model__min_customers": 500, "scan__interval_s": 21_600}
    scene = play(folder / "events.ndjson", folder, 3, **chosen)
    return Month(scene, simulation.truth.customers.set_index("customer_id")["persona_after"])


@pytest.fixture(scope="session")
def made(month: Month, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The report of the month."""
    out = tmp_path_factory.mktemp("report") / "month.html"
    scene = month.scene
    return make(ReportOptions(scene.config, out, models=scene.models, title="A month & <more>"))
