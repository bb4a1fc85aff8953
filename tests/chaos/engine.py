"""The example campaign engine as a process of the chaos suite, which may die at a statement of its database.

CHAOS_MUTANT    name of a deliberate bug (`tests.chaos.engine_mutants`)
CHAOS_DIES_AT   number of the moment at which it is gone: every change of what it keeps has one before
and one after it, and so has the commit that ends it
"""

from __future__ import annotations

import os
import signal
import sqlite3
from types import TracebackType
from typing import Any, Final, Literal

from deploy.examples import campaign_engine
from tests.chaos.engine_mutants import ENGINE_MUTANTS
from tests.chaos.patching import patch

MUTANT: Final = "CHAOS_MUTANT"
DIES_AT: Final = "CHAOS_DIES_AT"


class _Mortal(sqlite3.Connection):
    """Counts moments down, and ends the process at zero. How far was read alone is not worth dying for."""

    left = 0
    changed = False

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql.split(maxsplit=1)[0] not in ("INSERT", "UPDATE", "DELETE"):
            return super().execute(sql, *parameters)
        self.changed = True
        self._moment()
        cursor = super().execute(sql, *parameters)
        self._moment()
        return cursor

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if not self.changed:
            return super().__exit__(kind, error, trace)
        self.changed = False
        self._moment()
        ended = super().__exit__(kind, error, trace)
        self._moment()
        return ended

    @classmethod
    def _moment(cls) -> None:
        _Mortal.left -= 1
        if _Mortal.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Runs the example with what the environment asks for."""
    if mutant := os.environ.get(MUTANT):
        ENGINE_MUTANTS[mutant][1]()
    if moment := os.environ.get(DIES_AT):
        _Mortal.left = int(moment)
        connect = sqlite3.connect
        patch(sqlite3, "connect", lambda database: connect(database, factory=_Mortal))
    campaign_engine.main(arguments)
    return 0
