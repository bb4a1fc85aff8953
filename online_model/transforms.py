"""The transforms of raw values, over tiles of rows that the compiler vectorises.

The C library's log1p and arcsine work on one value at a time and differ in the last bit between
machines; these are additions, multiplications, divisions and roots only, so the bits depend on the
data alone. Within 2 units in the last place of the exact value (`tests/online_model/test_transforms.py`).

The reductions and coefficients are those of fdlibm (`s_log1p.c`, `e_asin.c`, Sun Microsystems 1993).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.kernel import inlined

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

#: Rows per tile.
TILE: Final = 64

# log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)), s = f / (2 + f)
_L1, _L2, _L3, _L4 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
)
_L5, _L6, _L7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10

# asin(s) = s + s P(s^2) / Q(s^2) up to 1/2
_P0, _P1, _P2 = 1.66666666666666657415e-01, -3.25565818622400915405e-01, 2.01212532134862925881e-01
_P3, _P4, _P5 = -4.00555345006794114027e-02, 7.91534994289814532176e-04, 3.47933107596021167570e-05
_Q1, _Q2, _Q3, _Q4 = (
    -2.40339491173441421878e00,
    2.02094576023350569471e00,
    -6.88283971605453293030e-01,
    7.70381505559019352791e-02,
)
_HALF_PI = math.pi / 2

#: Bits of the double sqrt(1/2), rounded down to its upper half: where the mantissa's interval begins.
_ROOT_HALF: Final = 0x3FE6A09E00000000
_ONE: Final = 0x3FF0000000000000
_MANTISSA: Final = 0x000FFFFFFFFFFFFF


@inlined
def signed_log1p(x: Float64Array, u: Float64Array, bits: Int64Array, k: Float64Array) -> None:
    """``sign(x) log(1 + |x|)`` of the finite `x` float64[TILE], in place.

    Scratch: `u`, `k` float64[TILE], and `bits`, the same memory as `u` seen as int64.
    """
    for i in range(TILE):
        u[i] = 1.0 + abs(x[i])
    for i in range(TILE):
        # 1 + |x| = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2)
        shifted = bits[i] + (_ONE - _ROOT_HALF)
        k[i] = float((shifted >> 52) - 1023)
        bits[i] = (shifted & _MANTISSA) + _ROOT_HALF
    for i in range(TILE):
        a = abs(x[i])
        whole = 1.0 + a
        # What the addition of 1 rounded away.
        lost = (1.0 - (whole - a) if k[i] >= 2.0 else a - (whole - 1.0)) / whole
        f = u[i] - 1.0
        s = f / (2.0 + f)
        z = s * s
        w = z * z
        r = z * (_L1 + w * (_L3 + w * (_L5 + w * _L7))) + w * (_L2 + w * (_L4 + w * _L6))
        half = 0.5 * f * f
        value = s * (half + r) + (k[i] * _LN2_LOW + lost) - half + f + k[i] * _LN2_HIGH
        x[i] = value if x[i] >= 0.0 else -value


@inlined
def arcsine_root(x: Float64Array) -> None:
    """``asin(sqrt(x))`` of the finite `x` float64[TILE], clipped to 0..1, in place."""
    for i in range(TILE):
        a = 0.0 if x[i] < 0.0 else x[i]
        a = 1.0 if a > 1.0 else a
        root = math.sqrt(a)
        # Beyond sin(30 degrees) by the half angle.
        small = a < 0.25
        z = a if small else 0.5 * (1.0 - a) / (1.0 + root)
        s = root if small else math.sqrt(z)
        p = z * (_P0 + z * (_P1 + z * (_P2 + z * (_P3 + z * (_P4 + z * _P5)))))
        q = 1.0 + z * (_Q1 + z * (_Q2 + z * (_Q3 + z * _Q4)))
        value = s + s * (p / q)
        x[i] = value if small else _HALF_PI - 2.0 * value
