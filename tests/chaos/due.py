"""Which messages the changes topic implies, as a plain reading of it, and what an engine made of them."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.service.world import World

#: Findings of one kind that are worth reading.
_FEW: Final = 3


@dataclass(frozen=True, slots=True)
class Due:
    """A change that a message is to be made of, at `place` (partition, offset).

    `stays`: the customer has not left or been erased since. Else the message was made or not, depending on
    when that was read, and its row names nobody any more.
    """

    customer: str
    seq: int
    segment: str
    strategy: str
    arm: str
    place: tuple[int, int]
    stays: bool

    @property
    def content(self) -> tuple[str, int, str, str]:
        """What is handed over."""
        return self.customer, self.seq, self.segment, self.strategy


def due_of(world: World) -> list[Due]:
    """All of them, per partition in order: actionable, with a strategy, with consent."""
    last_life: dict[bytes | None, set[tuple[int, str]]] = defaultdict(set)
    for record in world.read(world.names.current):
        if record.value is None:
            last_life[record.key].clear()
        else:
            last_life[record.key].add((record.json["seq"], record.json["effective_at"]))
    found = []
    for record in world.read(world.names.changes):
        body = record.json
        if not body["actionable"] or body["strategy"] is None or body["consent"]["profiling"] is not True:
            continue
        found.append(
            Due(
                body["customer_id"],
                body["seq"],
                body["segment"]["id"],
                body["strategy"]["id"],
                body["strategy"]["arm"],
                (record.partition, record.offset),
                (body["seq"], body["effective_at"]) in last_life[record.key],
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Made:
    """What an engine made: rows of its messages, and what it handed over, as often as it did."""

    rows: list[tuple[int, str | None, int, str, str, str]]
    told: list[dict[str, Any]]

    @classmethod
    def of(cls, database: Path, logs: Iterable[Path]) -> Made:
        """From its database and the outputs of all its lives."""
        with closing(sqlite3.connect(database)) as store:
            rows = store.execute("SELECT id, customer, seq, segment, strategy, arm FROM messages").fetchall()
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return cls(rows, [json.loads(line) for line in lines if line.startswith('{"message"')])

    def problems(self, due: list[Due], since: Mapping[int, int], deaths: int) -> list[str]:
        """Of an engine that is at the end and was there from offset `since` of each partition on."""
        return [*self._of_rows(due, since), *self._of_told(due, deaths)]

    def _of_rows(self, due: list[Due], since: Mapping[int, int]) -> list[str]:
        """One row per change that counts; of one who joined late, from some change of each customer on."""
        wanted = {(one.content, one.arm): one for one in due if one.stays}
        mine = Counter(
            ((customer, seq, segment, strategy), arm)
            for _, customer, seq, segment, strategy, arm in self.rows
            if customer is not None
        )
        problems = [f"{key} made {n} times" for key, n in mine.items() if n > 1][:_FEW]
        problems += [f"{key} is not due" for key in mine if key not in wanted][:_FEW]
        begun: set[str] = set()
        missing = []
        for key, one in wanted.items():
            if key in mine:
                begun.add(one.customer)
            elif one.customer in begun or one.place[1] >= since[one.place[0]]:
                missing.append(f"{key} at {one.place} is missing")
        return problems + missing[:_FEW]

    def _of_told(self, due: list[Due], deaths: int) -> list[str]:
        """Only those to be treated, all of them, each under one number; again only where it died."""
        may = Counter(one.content for one in due if one.arm == "treatment")
        by_number: dict[int, set[tuple[str, int, str, str]]] = defaultdict(set)
        for one in self.told:
            by_number[one["message"]].add((one["customer"], one["seq"], one["segment"], one["strategy"]))
        problems = [f"message {n} says {said}" for n, said in by_number.items() if len(said) > 1]
        numbers = Counter(content for said in by_number.values() for content in said)
        problems += [f"{said} told as {numbers[said]} messages, due {may[said]}" for said in (numbers - may)]
        made = {
            (customer, seq, segment, strategy)
            for _, customer, seq, segment, strategy, arm in self.rows
            if customer is not None and arm == "treatment"
        }
        problems += [f"{content} was never handed over" for content in made - numbers.keys()]
        again = len(self.told) - len(by_number)
        if again > deaths:
            problems.append(f"{again} messages handed over again, after {deaths} deaths")
        return problems[:_FEW]
