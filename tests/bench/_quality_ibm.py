"""The IBM telco set as a stream: half of its customers are there, the others join in random order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from online_model.compile_plan import compile_plan
from online_model.plan import FeaturePlan
from online_model.spec import parse_spec
from tests.bench._quality_customers import Day, Int64Array
from tests.bench._quality_streams import Alarm
from tests.replay import ibm

_JOIN_DAYS: Final = 10


def is_here() -> bool:
    """Whether the set, which is not part of the project, is where the tests look for it."""
    return ibm.CSV.is_file()


class IbmStream:
    """Tenure and monthly charge of the set's customers, who never change."""

    name = "IBM set"
    alarm: Alarm = "either"
    k = 4
    sorted = False
    jumps = False

    def __init__(self) -> None:
        self._table = ibm.table()[["tenure", "MonthlyCharges"]].to_numpy(np.float64)
        self.plan: FeaturePlan = compile_plan(parse_spec(ibm.SPEC))

    def days(self, customers: int, days: int, seed: int) -> Iterator[Day]:
        """Day 0 and the `days` after it, with at most `customers` of the set."""
        rng = np.random.default_rng([seed, 100])
        table = rng.permutation(self._table)[:customers]
        for day in range(days + 1):
            n = len(table) // 2 + (len(table) - len(table) // 2) * min(day, _JOIN_DAYS) // _JOIN_DAYS
            nobody = np.full(n, -1)
            yield Day(table[:n], np.full(n, 1000.0), np.zeros(n), nobody, nobody)

    def order(self, day: Day, rng: np.random.Generator) -> Int64Array:
        """Rows in the order in which a learner of single points gets them."""
        return rng.permutation(len(day.raw))
