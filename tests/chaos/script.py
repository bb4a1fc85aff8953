"""What makes a run deterministic: where its commits end, what time it is, and which model is live when."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np


@dataclass(frozen=True, slots=True)
class Script:
    """Commit `j` of partition `p` reads offsets [`cuts[p][t][j]`, `cuts[p][t][j + 1]`) of each topic `t`.

    `adopted[v - 1]` is the number of the commit that is the first under model version v. `clock_us` is
    the time at which all of it happens.
    """

    cuts: list[list[list[int]]]
    adopted: list[int]
    clock_us: int

    @property
    def n_commits(self) -> int:
        """Commits of a partition."""
        return len(self.cuts[0][0]) - 1

    @property
    def ends(self) -> list[list[int]]:
        """Ends of the inputs per partition and topic."""
        return [[cuts[-1] for cuts in topics] for topics in self.cuts]

    @classmethod
    def by_time(
        cls, times_us: list[list[list[int]]], n_commits: int, adopted: list[int], end_us: int
    ) -> Self:
        """Every commit reads the same stretch of event time; `times_us` per partition, topic and offset."""
        start = min(times[0] for topics in times_us for times in topics if times)
        marks = np.linspace(start, end_us, n_commits + 1)[1:-1]

        def cut(times: list[int]) -> list[int]:
            reached = np.maximum.accumulate(
                np.array(times, np.int64)
            )  # what is late comes with its neighbours
            return [0, *np.searchsorted(reached, marks).tolist(), len(times)]

        return cls([[cut(times) for times in topics] for topics in times_us], adopted, end_us)

    def save(self, path: Path) -> None:
        """Writes it."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote."""
        return cls(**json.loads(path.read_text()))
