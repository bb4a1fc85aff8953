"""A table of the report: what the page shows and what its files hold are made from the same rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.report.words import decimal, percent, sign, thousands
from consumer.results import OutputFile, make_directory

Kind = Literal["text", "time", "count", "share", "change", "number"]
Value = str | int | float | None

_ARROW: Final = {
    "text": pa.string(),
    "time": pa.string(),
    "count": pa.int64(),
    "share": pa.float64(),
    "change": pa.float64(),
    "number": pa.float64(),
}
#: Formats of the files beside the page.
FORMATS: Final = ("csv", "parquet", "json")


@dataclass(frozen=True, slots=True)
class Column:
    """`name` in files, `title` on the page. A share is 0..1, a change a difference of shares.

    On the page a null in a column with `hides` reads "<10" (too few customers), in others a dash.
    """

    name: str
    title: str
    kind: Kind = "text"
    hides: bool = False

    def text(self, value: Value) -> str:
        """`value` as the page shows it."""
        if value is None:
            return "<10" if self.hides else "-"
        if isinstance(value, str):
            return value
        match self.kind:
            case "count":
                return thousands(value)
            case "share":
                return percent(value)
            case "change":
                return sign(value)
            case _:
                return decimal(value)

    @property
    def is_number(self) -> bool:
        """Whether it is set flush right."""
        return self.kind not in ("text", "time")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values in the order of `columns`. `note` says what was counted, or what is sampled."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Value, ...]]
    note: str = ""

    def texts(self) -> list[list[str]]:
        """Rows as the page shows them."""
        return [
            [column.text(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows
        ]

    def files(self) -> dict[str, bytes]:
        """The table as CSV, Parquet and JSON, by format. What is not shown is empty or null."""
        names = [column.name for column in self.columns]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(self.rows)
        arrays = [
            pa.array([row[place] for row in self.rows], _ARROW[column.kind])
            for place, column in enumerate(self.columns)
        ]
        parquet = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(arrays, names), parquet)
        document: dict[str, Any] = {
            "table": self.name,
            "title": self.title,
            "note": self.note,
            "columns": [{"name": c.name, "title": c.title, "kind": c.kind} for c in self.columns],
            "rows": [dict(zip(names, row, strict=True)) for row in self.rows],
        }
        encoded = msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
        return {"csv": text.getvalue().encode(), "parquet": parquet.getvalue(), "json": encoded}


def write_tables(folder: Path, tables: Sequence[Table]) -> None:
    """`<name>.csv`, `.parquet` and `.json` of each table in `folder`. Raises `DataError`."""
    make_directory(folder)
    for table in tables:
        for kind, data in table.files().items():
            with OutputFile(folder / f"{table.name}.{kind}") as file:
                file.write(data)
