"""`segmenter features`: every customer of the newest snapshots as a row of numbers, for analysis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consumer.config import Config
from consumer.core import Core
from consumer.customer_table import CustomerTable
from consumer.errors import DataError, SpecError
from consumer.models.history import History
from consumer.report.replay_source import read_models
from consumer.results import make_directory
from consumer.snapshots import NewestSnapshots, SnapshotStore
from online_model.active_model import ActiveModel
from online_model.model import Model
from online_model.rows import LIVE


@dataclass(frozen=True, slots=True)
class Extract:
    """What was written: live customers, also per segment; `as_of_us` in event time; what is `missing`."""

    customers: int
    segments: Counter[str]
    model_version: int
    as_of_us: int
    missing: tuple[str, ...]


def write_features(config: Config, out: Path, models: Path | None, say: Callable[[str], None]) -> Extract:
    """Writes the table of `consumer.customer_table` to `out`, by the newest model.

    `models`: file with versions in place of the models topic. Each partition is as of its own snapshot.
    Raises `DataError` without snapshots or where a file cannot be used, `ConfigError` without a model,
    `SpecError` if the specification is another one, `BrokerUnreachable`.
    """
    if out.is_dir():
        raise DataError(f"{out} is a directory", "give a file name, for example --out customers.parquet")
    model = History.read(config).newest if models is None else read_models(models)[-1]
    core = Core(config, 1)
    active = _active(model, core)
    newest = NewestSnapshots(SnapshotStore(config.snapshots.uri, config.app.name), core.plan)
    make_directory(out.parent)
    with CustomerTable(out, core, active) as table:
        for manifest in newest.manifests:
            say(f"reading partition {manifest.partition}: {manifest.rows:,} rows")
            for part in newest.parts(manifest):
                chosen = np.flatnonzero(part.rows.hot["status"] == LIVE).astype(np.int32)
                table.add(part.rows, chosen, part.ids.take(chosen).to_bytes(), manifest.watermark_us)
    return Extract(table.customers, table.segments, model.version, newest.as_of_us, tuple(newest.missing))


def _active(model: Model, core: Core) -> ActiveModel:
    if model.spec_hash != core.spec.hash:
        raise SpecError(
            f"the model is of specification {model.spec_hash}, this is {core.spec.hash} ({core.spec.name})",
            "give the specification that the model was made with (model.spec)",
        )
    return ActiveModel.of(model, core.plan.columns)
