"""The model's columns: what one row of a feature matrix consists of.

A feature specification compiles to `D` columns (a numeric feature is one column, a one-hot feature
one column per level). Everything after the windows - scaler, k-means, drift, drivers, catalog -
works on matrices whose columns are described by a `Columns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


class Transform(IntEnum):
    """Transform of a raw value before scaling."""

    NONE = 0
    SIGNED_LOG1P = 1  # sign(x) * log(1 + |x|)
    ARCSINE = 2  # arcsin(sqrt(x)), x clipped to 0..1: makes the variance of a share even


class Missing(IntEnum):
    """What a missing (NaN) raw value means."""

    IGNORE = 0  # distance over the present columns, rescaled
    ZERO = 1  # the raw value is 0
    MEAN = 2  # the scaled value is 0


@dataclass(frozen=True, slots=True)
class Phrases:
    """Words of a column for people, as `online_model.spec.Words` has them; empty where none were given.

    `high` and `low` are for names, the others for sentences.
    """

    high: str = ""
    low: str = ""
    more: str = ""
    less: str = ""
    much: str = ""
    little: str = ""
    fact: str = ""
    unit: str = ""
    always: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """Descriptions of the `D` columns of a feature matrix, as parallel tuples and arrays.

    `name`: column name (`contract=two-year` for a level). `feature`: name of its feature.
    `label` and `unit`: words for people ("Data", "MB per 30 days"). `block`: block name per column.
    `weight` float64[D]: relative weight of the column's *feature* inside its block.
    `one_hot` bool[D]: the column is a level of a one-hot feature. `transform`, `missing` int8[D].
    `clip` bool[D]: clip at the calibration quantiles p0.1 / p99.9. `phrases`, `kinds`: as many, or none at
    all; `kinds`: the kinds of events that a column is about (for a share, those of the whole).
    """

    name: tuple[str, ...]
    feature: tuple[str, ...]
    label: tuple[str, ...]
    unit: tuple[str, ...]
    block: tuple[str, ...]
    weight: Float64Array
    one_hot: npt.NDArray[np.bool_]
    transform: npt.NDArray[np.int8]
    missing: npt.NDArray[np.int8]
    clip: npt.NDArray[np.bool_]
    phrases: tuple[Phrases, ...] = ()
    kinds: tuple[frozenset[str], ...] = ()

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.name)

    def phrases_of(self, j: int) -> Phrases:
        """Words of column `j`."""
        return self.phrases[j] if self.phrases else Phrases()

    def has_same_kinds(self, j: int, other: int) -> bool:
        """Whether two columns are about events of the same kind."""
        return bool(self.kinds) and not self.kinds[j].isdisjoint(self.kinds[other])

    def level(self, j: int) -> str:
        """Level of a one-hot column, in words."""
        return self.label[j].rpartition(": ")[2]
