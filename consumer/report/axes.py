"""Axes of features: positions on the transformed scale, ticks in real units."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from consumer.report.words import Units, decimal
from online_model.columns import Transform
from online_model.exploration import on_axis

Float64Array = npt.NDArray[np.float64]

_LOG: Final = (0.0, 1.0, 3.0, *(m * 10.0**e for e in range(1, 9) for m in (1.0, 3.0)))
_SHARES: Final = (0.0, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
_MOST: Final = 6


def ticks(units: Units, j: int, low: float, high: float) -> dict[str, Any]:
    """Plotly's tick settings for column `j` between `low` and `high` on the transformed scale.

    Empty where the scale is linear and Plotly chooses well by itself.
    """
    transform = int(units.columns.transform[j])
    if transform == Transform.NONE:
        return {"tickformat": ".0%"} if units.unit(j).startswith("share") else {}
    values = np.array(_LOG if transform == Transform.SIGNED_LOG1P else _SHARES)
    if transform == Transform.SIGNED_LOG1P:
        values = np.concatenate([-values[:0:-1], values])
    at = on_axis(values, transform)
    margin = 0.02 * (high - low)
    inside = (at >= low - margin) & (at <= high + margin)
    values, at = values[inside], at[inside]
    if len(values) < 2:
        return {}
    if len(values) > _MOST:
        step = -(-len(values) // _MOST)
        values, at = values[::step], at[::step]
    return {"tickmode": "array", "tickvals": at.tolist(), "ticktext": [_tick(units, j, v) for v in values]}


def _tick(units: Units, j: int, value: float) -> str:
    unit = units.unit(j)
    if unit.startswith("share"):
        return f"{value:.0%}"
    if unit.startswith("MB") and abs(value) >= 1000:
        return f"{decimal(value / 1000)} GB"
    return decimal(value)


def title(units: Units, j: int) -> str:
    """Label and unit of column `j`."""
    unit = units.unit(j)
    if unit.startswith("MB"):
        unit = f"MB or GB{unit.removeprefix('MB')}"
    return f"{units.label(j)} ({unit})" if unit else units.label(j)
