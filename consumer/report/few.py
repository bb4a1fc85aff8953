"""Shares of known groups: which of them would tell of one to nine customers, and what is said instead."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from online_model.columns import Columns
from online_model.exploration import MIN_GROUP

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]


def is_few(customers: npt.ArrayLike) -> BoolArray:
    """Whether numbers of customers are one to nine."""
    n = np.asarray(customers)
    return np.asarray((n > 0) & (n < MIN_GROUP))


def in_tens(customers: int) -> int:
    """A number of customers without its last digit, so that no difference to another one tells of few."""
    return customers // MIN_GROUP * MIN_GROUP


def share_shown(share: float | None, n: float) -> float | None:
    """A share of `n` customers; None if those who have it, or those who do not, are one to nine."""
    if share is None:
        return None
    having = round(share * n)
    return None if is_few([having, n - having]).any() else share


def share_words(having: float, n: float) -> str:
    """A share of `n` customers that is not shown, in a word."""
    if not having:
        return "none"
    if is_few(having):
        return "<10"
    if is_few(n - having):
        return "nearly all"
    return "all" if having == n else "most" if having * 2 >= n else "some"


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """How many have each level of each category: rows are the k segments, and last everybody.

    `having`, `known` int64[k + 1, D]: those with the level, and those whose category is known. `hidden`
    bool[k + 1, D]: shares that are not told, because they, or what is left of a whole, would tell of one to
    nine. Columns that are no levels are never hidden.
    """

    having: Int64Array
    known: Int64Array
    hidden: BoolArray

    @classmethod
    def of(cls, raw: Float64Array, codes: IntArray, columns: Columns, k: int) -> Self:
        """Of `raw` float64[m, D]; `codes` int[m]: segments, negative outside of all."""
        groups = [codes == code for code in range(k)] + [np.ones(len(codes), np.bool_)]
        having = np.array([(raw[group] == 1.0).sum(axis=0) for group in groups], np.int64)
        known = np.array([np.isfinite(raw[group]).sum(axis=0) for group in groups], np.int64)
        is_small = np.array([group.sum() < MIN_GROUP for group in groups])
        categories: dict[str, list[int]] = defaultdict(list)
        for j in np.flatnonzero(columns.one_hot):
            categories[columns.feature[j]].append(int(j))
        hidden = np.zeros(having.shape, np.bool_)
        for levels in categories.values():
            hidden[:, levels] = _hidden(having[:, levels], known[:, levels], is_small)[:, None]
        return cls(having, known, hidden)

    def is_beside_hidden(self, row: int, j: int) -> bool:
        """Whether a share beside that of everybody would tell either, where one of the two is hidden."""
        return bool(self.hidden[row, j] | self.hidden[-1, j])

    def words(self, row: int, j: int) -> str:
        """What is said of a share that is hidden; empty for others."""
        return share_words(self.having[row, j], self.known[row, j]) if self.hidden[row, j] else ""


def _hidden(having: Int64Array, known: Int64Array, is_small: BoolArray) -> BoolArray:
    """Of one category with levels int64[k + 1, levels]: rows bool[k + 1] of which no level is told.

    All levels of a row together, since they add up to a whole. As long as everybody is told, what the told
    segments leave of it must not be few either: then the smallest of them is hidden as well.
    """
    hidden = (is_few(having) | is_few(known - having)).any(axis=1) | is_small
    while not hidden[-1]:
        told = np.flatnonzero(~hidden[:-1])
        rest = having[-1] - having[told].sum(axis=0)
        without = known[-1] - known[told].sum(axis=0) - rest
        if not (is_few(rest) | is_few(without)).any():
            break
        smallest = told[np.argmin(known[told, 0])] if told.size else -1
        hidden[smallest] = True
    return np.asarray(hidden)
