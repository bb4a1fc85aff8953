"""The files a replay writes. Each is written beside its place and renamed when it is complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec

from consumer.catalog_records import Catalog
from consumer.core import Core
from consumer.errors import DataError
from consumer.replay_feed import Places
from online_model.model import Model
from online_model.model_json import to_json
from schemas.rejects import Rejects


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
    entries = Catalog(core.plan.columns, core.strategies, core.coordinator.segments).entries(model)
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
