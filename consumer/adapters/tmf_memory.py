"""What an adapter has made of each TM Forum resource, so that the next version of it becomes a difference.

SQLite, in memory or in a file that the next run goes on with. Erasing a customer takes their rows away, bytes
included.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Self

from consumer.errors import DataError


@dataclass(frozen=True, slots=True)
class Known:
    """A resource: the event that tells its present state, and how many events came before it."""

    event: dict[str, Any]
    revision: int


class TmfMemory:
    """Known resources by kind (usage, bill, payment) and id. A context manager; `save` keeps what was put."""

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        try:
            self._base = sqlite3.connect(path or ":memory:")
            self._base.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten, not only let go
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS resource (kind TEXT, id TEXT, customer TEXT, event TEXT, "
                "revision INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID"
            )
            self._base.execute("CREATE INDEX IF NOT EXISTS by_customer ON resource (customer)")
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def get(self, kind: str, name: str) -> Known | None:
        """What is known of a resource. Raises `DataError` for a file that cannot be used, as all calls."""
        try:
            row = self._base.execute(
                "SELECT event, revision FROM resource WHERE kind = ? AND id = ?", (kind, name)
            ).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        return None if row is None else Known(json.loads(row[0]), row[1])

    def put(self, kind: str, name: str, known: Known) -> None:
        """Takes the place of what was known."""
        row = (kind, name, known.event["customer_id"], json.dumps(known.event), known.revision)
        try:
            self._base.execute("INSERT OR REPLACE INTO resource VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def forget(self, customer: str) -> int:
        """Takes away what is known of a customer; how many resources that was."""
        try:
            return self._base.execute("DELETE FROM resource WHERE customer = ?", (customer,)).rowcount
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def save(self) -> None:
        """Keeps everything so far. Call it after what was made of it has been written."""
        try:
            self._base.commit()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: sqlite3.Error) -> DataError:
        return DataError(
            f"the state file {self._path} cannot be used: {error}",
            "give another --state, on a disk with room",
        )
