"""Simulated customers as event files, and replays of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from consumer.config_sources import load_config
from consumer.options import CalibrateWhen, MergeOrder, ReplayOptions
from consumer.replay import run_replay


@dataclass(frozen=True)
class Replayed:
    """What a replay wrote: the summary, and the files by name."""

    folder: Path
    summary: dict[str, Any]

    @property
    def customers(self) -> pd.DataFrame:
        """The table, by customer."""
        return pd.read_parquet(self.folder / "customers.parquet").set_index("customer_id").sort_index()

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The change events in order."""
        return self.lines("changes.ndjson")

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The objects of an NDJSON file."""
        return [json.loads(line) for line in (self.folder / name).read_bytes().splitlines()]


def replay(
    files: Path | list[Path],
    folder: Path,
    *,
    calibrate: CalibrateWhen = "end",
    merge: MergeOrder = "time",
    partitions: int = 1,
    **settings: Any,
) -> Replayed:
    """Replays `files` into `folder`; `settings` are of `model`, by their name."""
    names = tuple(map(str, files if isinstance(files, list) else [files]))
    config = load_config(None, {}, {f"model.{name}": value for name, value in settings.items()})
    summary = run_replay(ReplayOptions(config, names, folder, merge, calibrate, partitions))
    return Replayed(folder, summary)
