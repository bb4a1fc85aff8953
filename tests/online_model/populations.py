"""Small columns, populations and models that several tests share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from online_model.calibration import Calibration, CalibrationPolicy, Identity, calibrate, first_model
from online_model.columns import Columns, Missing, Transform
from online_model.model import Model
from online_model.strategy import default_strategies

Float64Array = npt.NDArray[np.float64]


def numeric_columns(
    *names: str,
    transform: Transform = Transform.NONE,
    missing: Missing = Missing.IGNORE,
    clip: bool = False,
) -> Columns:
    """Numeric columns of one block `all` with equal weights."""
    n = len(names)
    return Columns(
        name=names,
        feature=names,
        label=names,
        unit=("unit",) * n,
        block=("all",) * n,
        weight=np.ones(n),
        one_hot=np.zeros(n, dtype=np.bool_),
        transform=np.full(n, transform, dtype=np.int8),
        missing=np.full(n, missing, dtype=np.int8),
        clip=np.full(n, clip, dtype=np.bool_),
    )


def with_category(numeric: Columns, feature: str, levels: tuple[str, ...], block: str) -> Columns:
    """`numeric` and a one-hot feature in a block of its own."""
    n = len(levels)
    return Columns(
        name=(*numeric.name, *(f"{feature}={level}" for level in levels)),
        feature=(*numeric.feature, *(feature for _ in levels)),
        label=(*numeric.label, *(f"{feature}: {level}" for level in levels)),
        unit=(*numeric.unit, *("share of customers",) * n),
        block=(*numeric.block, *(block,) * n),
        weight=np.concatenate([numeric.weight, np.ones(n)]),
        one_hot=np.concatenate([numeric.one_hot, np.ones(n, dtype=np.bool_)]),
        transform=np.concatenate([numeric.transform, np.zeros(n, dtype=np.int8)]),
        missing=np.concatenate([numeric.missing, np.zeros(n, dtype=np.int8)]),
        clip=np.concatenate([numeric.clip, np.zeros(n, dtype=np.bool_)]),
    )


USAGE = numeric_columns("data_mb_30d", "mou_30d", "sms_30d", transform=Transform.SIGNED_LOG1P, clip=True)
LEVELS = np.array([[9.0, 4.0, 1.0], [4.0, 7.0, 1.0], [6.0, 2.0, 5.0], [2.0, 3.0, 3.0], [7.5, 6.5, 4.0]])


def personas(n: int = 1500, seed: int = 5) -> tuple[Float64Array, npt.NDArray[np.int64]]:
    """Log-normal usage float64[n, 3] of five clearly separate personas, and who is which int64[n]."""
    rng = np.random.default_rng(seed)
    persona = rng.integers(0, len(LEVELS), n)
    return np.exp(LEVELS[persona] + rng.normal(scale=0.3, size=(n, 3))), persona


def calibration(raw: Float64Array, k: int = 5) -> Calibration:
    """Calibration of usage rows at a fixed k."""
    policy = CalibrationPolicy(k=k, sample=1000)
    return calibrate(raw, USAGE, {"all": 3.0}, policy, np.random.default_rng(1))


def model(n: int = 1500) -> Model:
    """A model of the personas, version 1."""
    raw, _ = personas(n)
    identity = Identity(1, 1_000_000, "hash", np.array([np.nan, 0.25, np.nan]))
    return first_model(calibration(raw), raw, USAGE, identity, default_strategies())
