"""The frozen scaler: raw feature values to the coordinates distances are measured in.

A column becomes ``x = (clip(t(raw)) - center) * scale``. The scale is chosen so that each *block*
(usage, billing, ...) gets a budget of the total variance, whatever the number of its columns: plain
z-scored one-hot levels otherwise outvote usage. A scaler never learns after it was fitted; it is
replaced together with its model, because a scaler that moves also moves customers who did nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.columns import Columns, Missing, Transform
from online_model.transforms import TILE, arcsine_root, signed_log1p
from schemas.kernel import allocating

Float64Array = npt.NDArray[np.float64]
Int8Array = npt.NDArray[np.int8]

CLIP_QUANTILES: Final = (0.001, 0.999)

_LOG: Final = int(Transform.SIGNED_LOG1P)
_ARCSINE: Final = int(Transform.ARCSINE)
_ZERO: Final = int(Missing.ZERO)
_MEAN: Final = int(Missing.MEAN)


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """A fitted scaling of `D` columns.

    `center`, `scale`, `clip_low`, `clip_high` float64[D], in units of the transformed value;
    `-inf`/`+inf` where a column is not clipped; `scale` 0 silences a constant column.
    `transform`, `missing` int8[D]: `Transform` and `Missing` codes.
    `importance` float64[D]: the column's share of the total variance, sums to 1.
    """

    center: Float64Array
    scale: Float64Array
    clip_low: Float64Array
    clip_high: Float64Array
    transform: Int8Array
    missing: Int8Array
    importance: Float64Array

    @property
    def n(self) -> int:
        """Number of columns `D`."""
        return int(self.center.shape[0])

    def raw_bounds(self) -> tuple[Float64Array, Float64Array]:
        """Clip bounds float64[D] in raw units, widened by a relative 1e-9.

        A value that *is* the bound must not count as clipped after a round trip through log1p.
        """
        low = _untransform(self.clip_low, self.transform)
        high = _untransform(self.clip_high, self.transform)
        return low - 1e-9 * (1 + np.abs(low)), high + 1e-9 * (1 + np.abs(high))


@allocating
def _scale_rows(
    raw: Float64Array,
    out: Float64Array,
    scaling: tuple[Float64Array, Float64Array, Float64Array, Float64Array],
    transform: Int8Array,
    missing: Int8Array,
) -> None:
    """Scales tile by tile and column by column: over the rows of a tile the compiler vectorises."""
    center, scale, low, high = scaling
    n_rows, n_columns = raw.shape
    x, u, k = np.zeros(TILE), np.empty(TILE), np.empty(TILE)
    bits = u.view(np.int64)
    for start in range(0, n_rows, TILE):
        size = min(TILE, n_rows - start)
        for j in range(n_columns):
            if scale[j] == 0.0:
                for row in range(size):
                    out[start + row, j] = 0.0
                continue
            for row in range(size):
                value = raw[start + row, j]
                x[row] = value if math.isfinite(value) else 0.0
            if transform[j] == _LOG:
                signed_log1p(x, u, bits, k)
            elif transform[j] == _ARCSINE:
                arcsine_root(x)
            for row in range(size):
                value = x[row]
                value = low[j] if value < low[j] else value
                value = high[j] if value > high[j] else value
                value = (value - center[j]) * scale[j]
                if missing[j] != _ZERO and not math.isfinite(raw[start + row, j]):
                    value = 0.0 if missing[j] == _MEAN else np.nan
                out[start + row, j] = value


def apply(scaler: Scaler, raw: Float64Array) -> Float64Array:
    """Scaled values float64[n, D] of `raw` float64[n, D]; each row on its own.

    A non-finite raw value is missing: NaN out for `Missing.IGNORE`, 0 for `MEAN`, the scaled 0
    for `ZERO`. A column of scale 0 is 0 even when missing.

    Raises:
        ValueError: `raw` does not have `D` columns.
    """
    if raw.ndim != 2 or raw.shape[1] != scaler.n:
        raise ValueError(f"raw has shape {raw.shape}, the scaler expects (n, {scaler.n})")
    out = np.empty(raw.shape, dtype=np.float64)
    scaling = (scaler.center, scaler.scale, scaler.clip_low, scaler.clip_high)
    _scale_rows(np.ascontiguousarray(raw, dtype=np.float64), out, scaling, scaler.transform, scaler.missing)
    return out


def inverse(scaler: Scaler, x: Float64Array) -> Float64Array:
    """Real units float64[..., D] of scaled `x` float64[..., D]; NaN stays NaN.

    Clipping cannot be undone; a silenced column (scale 0) gives its centre.
    """
    divisor = np.where(scaler.scale == 0.0, 1.0, scaler.scale)
    value = np.where(scaler.scale == 0.0, 0.0, x / divisor) + scaler.center
    return _untransform(value, scaler.transform)


def fit_scaler(raw: Float64Array, columns: Columns, block_budgets: Mapping[str, float]) -> Scaler:
    """Fit a scaler to calibration rows `raw` float64[n, D] (NaN = missing).

    Block b's budget is shared by its features in proportion to their weights. A numeric feature's
    variance (ddof 0, after transform and clipping) becomes its share; the levels of a one-hot
    feature are centred and divided by one common number so that their variances add up to it.
    With one block, budget = number of features, equal weights, no transform and no clipping this
    is the standard z-score.

    Raises:
        ValueError: wrong shape, no rows, infinite values, or a block without a valid budget.
    """
    if raw.ndim != 2 or raw.shape[1] != columns.n or raw.shape[0] == 0:
        raise ValueError(f"raw has shape {raw.shape}, expected (n >= 1, {columns.n})")
    if np.isinf(raw).any():
        raise ValueError("raw contains infinite values; use NaN for missing ones")
    shares = _feature_shares(columns, block_budgets)
    low, high = np.full(columns.n, -np.inf), np.full(columns.n, np.inf)
    center, variance = np.zeros(columns.n), np.zeros(columns.n)
    for j in range(columns.n):
        value = _transformed(raw[:, j], int(columns.transform[j]), int(columns.missing[j]))
        if value.size == 0:
            continue
        if columns.clip[j]:
            low[j], high[j] = np.quantile(value, CLIP_QUANTILES)
            value = np.clip(value, low[j], high[j])
        center[j] = value.mean()
        variance[j] = _variance(value, float(center[j]))
    scale, importance = _scales(columns, shares, variance)
    return Scaler(
        center=center,
        scale=scale,
        clip_low=low,
        clip_high=high,
        transform=columns.transform.astype(np.int8),
        missing=columns.missing.astype(np.int8),
        importance=importance,
    )


def _feature_shares(columns: Columns, budgets: Mapping[str, float]) -> dict[str, float]:
    """Variance budget of each feature."""
    weights: dict[str, dict[str, float]] = {}
    for j in range(columns.n):
        block, feature, weight = columns.block[j], columns.feature[j], float(columns.weight[j])
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"column {columns.name[j]!r}: weight {weight} must be >= 0")
        if weights.setdefault(block, {}).setdefault(feature, weight) != weight:
            raise ValueError(f"feature {feature!r}: its columns have different weights")
    shares: dict[str, float] = {}
    for block, features in weights.items():
        budget = budgets.get(block, math.nan)
        if not (math.isfinite(budget) and budget >= 0):
            raise ValueError(f"block {block!r} needs a budget >= 0, got {budget}")
        total = sum(features.values())
        for feature, weight in features.items():
            if feature in shares:
                raise ValueError(f"feature {feature!r} belongs to more than one block")
            shares[feature] = budget * weight / total if total > 0 else 0.0
    return shares


def _scales(
    columns: Columns, shares: Mapping[str, float], variance: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Scale and importance, both float64[D], from shares and variances."""
    scale, importance = np.zeros(columns.n), np.zeros(columns.n)
    members: dict[str, list[int]] = {}
    for j, feature in enumerate(columns.feature):
        members.setdefault(feature, []).append(j)
    for feature, column_list in members.items():
        index = np.array(column_list)
        total = float(variance[index].sum())
        if total <= 0.0:
            continue
        share = shares[feature]
        if len(column_list) > 1 or bool(columns.one_hot[index[0]]):
            scale[index] = np.where(variance[index] > 0, math.sqrt(share) / math.sqrt(total), 0.0)
        else:
            scale[index] = math.sqrt(share) / np.sqrt(variance[index])
        importance[index] = share * variance[index] / total
    weight = float(importance.sum())
    if weight <= 0.0:
        return scale, np.full(columns.n, 1.0 / columns.n)
    return scale, importance / weight


def _variance(value: Float64Array, mean: float) -> float:
    """Population variance, 0 when it is only rounding noise around a constant."""
    variance = float(np.mean((value - mean) ** 2))
    noise = (10 * np.finfo(np.float64).eps * abs(mean)) ** 2 * value.size
    return 0.0 if variance <= noise else variance


def _transformed(raw: Float64Array, transform: int, missing: int) -> Float64Array:
    """Present transformed values of one column."""
    value = np.where(np.isnan(raw), 0.0, raw) if missing == _ZERO else raw[~np.isnan(raw)]
    if transform == _LOG:
        value = np.sign(value) * np.log1p(np.abs(value))
    elif transform == _ARCSINE:
        value = np.arcsin(np.sqrt(np.clip(value, 0.0, 1.0)))
    return np.asarray(value, dtype=np.float64)


def _untransform(value: Float64Array, transform: Int8Array) -> Float64Array:
    with np.errstate(over="ignore"):
        unlogged = np.sign(value) * np.expm1(np.abs(value))
    # Beyond the range of the arcsine a bound (also an infinite one) is that of a share.
    share = np.sin(np.clip(value, 0.0, np.pi / 2)) ** 2
    return np.select([transform == _LOG, transform == _ARCSINE], [unlogged, share], value)
