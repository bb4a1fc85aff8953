"""Customers from what `segmenter replay --out` has written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.errors import DataError
from consumer.report.customers import Customers, Part, Say
from online_model.model import DORMANT, Model, ModelError
from online_model.model_json import from_json
from online_model.plan import DAY_US
from schemas.times import parse_time

_FIX: Final = "give the directory that segmenter replay --out has filled"
_RULES: Final = ("dormant", "unclassified")


class _Ref(msgspec.Struct):
    id: str


class _Change(msgspec.Struct):
    """What of a change says who went where."""

    customer_id: str
    effective_at: str
    segment: _Ref | None = None
    previous_segment: _Ref | None = None


def read_models(path: Path) -> list[Model]:
    """Versions from a file of model records, one per line or a single one. Raises `DataError`."""
    fix = "give a replay's model.json, or records of the models topic, one per line"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", fix) from None
    found: dict[int, Model] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            model = from_json(line)
        except ModelError as error:
            raise DataError(f"line {number} of {path} is no model record: {error}", fix) from None
        found[model.version] = model
    if not found:
        raise DataError(f"{path} is empty", fix)
    return [found[version] for version in sorted(found)]


class ReplaySource:
    """`customers.parquet`, `changes.ndjson` and `summary.json` of `folder`."""

    def __init__(self, folder: Path, model: Model) -> None:
        self._folder = folder
        self._model = model

    def read(self, sample: int, days: float, say: Say) -> Customers:
        """About `sample` customers with features, and moves of the last `days` of event time.

        Raises `DataError` if a file is missing or not of this model.
        """
        found = Customers(source=f"the replay in {self._folder}")
        as_of_us, written = self._as_of()
        columns = [f"raw_{name}" for name in self._model.columns]
        try:
            with pq.ParquetFile(self._folder / "customers.parquet") as file:
                rows = file.metadata.num_rows
                say(f"reading {rows:,} customers")
                step = max(1, -(-rows // sample))
                parts = [np.empty((0, len(columns)))]
                optional = [name for name in ("services",) if name in file.schema_arrow.names]
                for number in range(file.num_row_groups):
                    table = file.read_row_group(number, [*columns, *optional, "segment_id"])
                    parts.append(self._add(table, step, found))
        except FileNotFoundError:
            raise DataError(f"{self._folder} has no customers.parquet", _FIX) from None
        except (OSError, pa.ArrowException, KeyError) as error:
            raise DataError(
                f"customers.parquet in {self._folder} cannot be used: {error}",
                "replay again; the table must be of the model beside it",
            ) from None
        found.raw = np.concatenate(parts)
        found.parts.append(Part("replay", found.total, as_of_us, written))
        say("counting moves")
        self._count_moves(as_of_us - int(days * DAY_US), found)
        return found

    def _add(self, table: pa.Table, step: int, found: Customers) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Counts the customers of a row group; features of every `step`-th of all."""
        segments = table["segment_id"].to_pylist()
        found.by_segment.update(segments)
        first = -found.total % step
        found.total += len(segments)
        found.segments += segments[first::step]
        if "services" in table.column_names:
            found.services += table["services"].take(np.arange(first, len(segments), step)).to_pylist()
        columns = [table[f"raw_{name}"].to_numpy() for name in self._model.columns]
        return np.stack(columns, axis=1)[first::step].astype(np.float64)

    def _as_of(self) -> tuple[int, str]:
        path = self._folder / "summary.json"
        try:
            last = msgspec.json.decode(path.read_bytes())["event_time"]["last"]
            return _time(last), ""
        except FileNotFoundError:
            raise DataError(f"{self._folder} has no summary.json", _FIX) from None
        except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} cannot be used: {error}", _FIX) from None

    def _count_moves(self, from_us: int, found: Customers) -> None:
        """Each customer's last change, if it is a move between segments since `from_us`."""
        last: dict[str, tuple[str, str] | None] = {}
        for change in self._changes(from_us):
            before, now = change.previous_segment, change.segment
            last[change.customer_id] = None if before is None or now is None else (before.id, now.id)
        moves = Counter(move for move in last.values() if move is not None)
        found.fell_silent = sum(n for (_, now), n in moves.items() if now == DORMANT)
        found.moves.update({pair: n for pair, n in moves.items() if not set(pair) & set(_RULES)})

    def _changes(self, from_us: int) -> Iterator[_Change]:
        path, decoder = self._folder / "changes.ndjson", msgspec.json.Decoder(_Change)
        try:
            with path.open("rb") as lines:
                for line in lines:
                    change = decoder.decode(line)
                    if _time(change.effective_at) >= from_us:
                        yield change
        except FileNotFoundError:
            raise DataError(f"{self._folder} has no changes.ndjson", _FIX) from None
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            raise DataError(f"{path} cannot be used: {error}", _FIX) from None


def _time(text: str) -> int:
    """Microseconds of an RFC 3339 time. Raises ValueError."""
    found = parse_time(text)
    if found is None:
        raise ValueError(f"{text!r} is no time")
    return found
