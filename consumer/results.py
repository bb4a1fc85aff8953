"""The files a replay writes. Each is written beside its place and renamed when it is complete."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.catalog_records import catalog_entries
from consumer.core import Core
from consumer.errors import DataError
from consumer.replay_feed import Places
from online_model.active_model import ActiveModel, segment_id
from online_model.decision import Candidates, decide
from online_model.distance import distances
from online_model.evaluate import evaluate
from online_model.model import Model
from online_model.model_json import to_json
from online_model.partition import PartitionState
from online_model.rows import NEVER
from online_model.scaler import apply as scale
from online_model.scan import KEYS
from online_model.services import services
from schemas.rejects import Rejects

#: Customers per row group of the table, so that memory does not grow with the population.
_GROUP_ROWS: Final = 50_000


class OutputFile:
    """A file that appears under `path` when it is closed, and not at all after an error.

    Raises `DataError` if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self.stream: BinaryIO
        self.lines = 0

    def __enter__(self) -> OutputFile:
        try:
            self.stream = self._partial.open("wb")
        except OSError as error:
            raise unwritable(self.path, error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self.publish()
        self.stream.close()
        self._partial.unlink(missing_ok=True)

    def publish(self) -> None:
        """The file is complete and takes its place, whatever happens after."""
        if self.stream.closed:
            return
        try:
            self.stream.close()
            self._partial.replace(self.path)
        except OSError as problem:
            raise unwritable(self.path, problem) from None

    def write_lines(self, values: Sequence[bytes | None]) -> None:
        """One line per value."""
        if values:
            self.lines += len(values)
            self.write(b"\n".join(value or b"" for value in values) + b"\n")

    def write(self, data: bytes) -> None:
        """`data` as it is."""
        try:
            self.stream.write(data)
        except OSError as error:
            raise unwritable(self.path, error) from None


def unwritable(path: Path, error: OSError) -> DataError:
    """The error of a place that cannot be written to."""
    return DataError(f"{path} cannot be written: {error.strerror}", "give a writable directory with --out")


def make_directory(path: Path) -> None:
    """Creates the output directory with its parents. Raises `DataError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def write_document(path: Path, document: Any) -> None:
    """`document` as indented JSON; NaN becomes null."""
    with OutputFile(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def write_model(folder: Path, model: Model, core: Core) -> None:
    """`model.json` and `catalog.json`: the model record, and its catalog records as one list."""
    with OutputFile(folder / "model.json") as file:
        file.write(to_json(model) + b"\n")
    entries = catalog_entries(model, core.plan.columns, core.strategies)
    write_document(folder / "catalog.json", [msgspec.Raw(value) for _, value in entries])


def reject_lines(
    rejects: Rejects, places: Places, files: Sequence[str], topics: Sequence[str]
) -> list[bytes]:
    """Refused records as JSON: why, where in which file, and the text (odd bytes as escapes)."""
    lines = []
    for i in range(rejects.n):
        partition, topic, offset = (
            int(column[i]) for column in (rejects.partition, rejects.topic, rejects.offset)
        )
        file, number = places.of(partition, topic, offset)
        record = {
            "reason": rejects.reasons[i].value,
            "detail": rejects.details[i],
            "file": files[file],
            "line": number,
            "topic": topics[topic],
            "partition": partition,
            "offset": offset,
            "raw": (rejects.values[i] or b"").decode("utf-8", "backslashreplace"),
        }
        lines.append(json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace"))
    return lines


class CustomerTable:
    """`customers.parquet`: every live customer with features, services, segment, distance and margin.

    `segments` counts the customers per segment, `inertia` adds up the squared distances to the own
    centroid.
    """

    def __init__(self, core: Core, active: ActiveModel) -> None:
        self._core = core
        self._active = active
        columns = core.plan.columns.name
        self._schema = pa.schema(
            [
                ("customer_id", pa.string()),
                *((f"raw_{name}", pa.float64()) for name in columns),
                *((f"x_{name}", pa.float64()) for name in columns),
                ("services", pa.list_(pa.string())),
                ("segment_id", pa.string()),
                ("distance", pa.float64()),
                ("margin", pa.float64()),
            ]
        )
        self.segments: Counter[str] = Counter()
        self.inertia = 0.0
        self.customers = 0

    def write(self, path: Path) -> None:
        """Writes partition after partition. Raises `DataError`."""
        with OutputFile(path) as file, pq.ParquetWriter(file.stream, self._schema) as writer:
            for _, state in sorted(self._core.engine.partitions.items()):
                if state.watermark_us == NEVER:
                    continue
                rows = state.live_rows(0, KEYS)
                for start in range(0, len(rows), _GROUP_ROWS):
                    writer.write_table(self._table(state, rows[start : start + _GROUP_ROWS]))

    def _table(self, state: PartitionState, rows: np.ndarray[Any, np.dtype[np.int32]]) -> pa.Table:
        core, active, model = self._core, self._active, self._active.model
        seen = evaluate(state.store.rows, rows, state.watermark_us, core.plan, model.share_priors)
        x = scale(model.scaler, seen.raw)
        hot = state.store.rows.hot
        own = active.codes(hot["segment"][rows])
        squared = distances(x, model.centroids, model.scaler.importance)
        distance = np.sqrt(squared[np.arange(len(rows)), np.maximum(own, 0)])
        distance[own < 0] = np.nan
        candidates = Candidates(own, hot["since"][rows], seen.silent_days)
        decisions = decide(
            x,
            candidates,
            model.centroids,
            model.scaler.importance,
            state.watermark_us,
            core.engine.settings.policy,
        )
        # Whoever hysteresis keeps in a segment that is no longer the nearest has no margin left.
        margin = np.where(own < 0, np.nan, np.where(own == decisions.nearest, decisions.margin, 0.0))
        ids = [segment_id(int(number)) for number in hot["segment"][rows]]
        self.segments.update(name for name in ids if name is not None)
        self.inertia += float(np.nansum(distance**2))
        self.customers += len(rows)
        arrays = [
            pa.array([customer.decode() for customer in state.index.ids(rows)]),
            *(_column(values) for values in seen.raw.T),
            *(_column(values) for values in x.T),
            pa.array(services(state.store.rows, rows, core.plan.vocabulary), pa.list_(pa.string())),
            pa.array(ids, pa.string()),
            _column(distance),
            _column(margin),
        ]
        return pa.Table.from_arrays(arrays, schema=self._schema)


def _column(values: np.ndarray[Any, np.dtype[np.float64]]) -> pa.Array:
    """Missing values are null in the table."""
    return pa.array(values, from_pandas=True)
