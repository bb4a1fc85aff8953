"""Kernels that read one token of plain JSON: ASCII without escapes, numbers without exponents.

Each gets the bytes of a batch, where to read, and where the record ends, and returns what it read and
where it stopped. Numba checks no bounds, so nothing is read at or after `end`; a token that is not
plain "stops at `end`", where no record can go on: every caller finds out at its next step.

A short text is two words of eight characters each, first character lowest: names and categories of at
most 16 characters compare like numbers.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas import limits
from schemas.batch import UInt8Array
from schemas.kernel import inlined
from schemas.times import FIRST_MONTH, MONTH_DAYS, MONTH_START_US

# Numba compiles no `ord`: characters are constants.
QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_SPACE, _TILDE = ord(" "), ord("~")
_ZERO, _NINE, _POINT = ord("0"), ord("9"), ord(".")
_TO_LOWER = ord(" ")  # the bit between letters
_UPPER_A, _UPPER_Z, _LOWER_A, _LOWER_Z = ord("A"), ord("Z"), ord("a"), ord("z")
_DASH, _COLON, _PLUS, _T, _Z = ord("-"), ord(":"), ord("+"), ord("T"), ord("Z")

_SHORTEST_TIME: Final = len("1970-01-01T00:00:00Z")

#: Most characters of a short text.
SHORT: Final = 16
_WORD: Final = 8

#: Up to 15 digits are below 2**53, and powers of ten up to 22 are exact: one division rounds once, so it
#: gives the nearest double (Clinger 1990, the fast path of every parser of numbers).
_DIGITS: Final = 15
_POWERS_OF_TEN: Final = np.array([10.0**power for power in range(_DIGITS + 1)])
#: Microseconds of a unit in the last of up to six digits after the second.
_MICROSECONDS: Final = np.array([10 ** (6 - digits) for digits in range(7)], np.int64)


Words = tuple[int, int]


def words(text: str) -> Words:
    """The two words of a short ASCII text."""
    data = text.encode("ascii")
    return int.from_bytes(data[:_WORD], "little"), int.from_bytes(data[_WORD:SHORT], "little")


TRUE, FALSE, NULL = words("true")[0], words("false")[0], words("null")[0]


@inlined
def skip(data: UInt8Array, at: int, end: int) -> int:
    """The first character from `at` on that is no white space."""
    while at < end and (data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9):
        at += 1
    return at


@inlined
def is_at(data: UInt8Array, at: int, end: int, sign: int) -> bool:
    """Whether `sign` is at `at`."""
    return at < end and data[at] == sign


@inlined
def short_text(data: UInt8Array, at: int, end: int) -> tuple[Words, int]:
    """The words of a quoted text, whatever its characters; after the closing quote."""
    first = second = 0
    if not is_at(data, at, end, QUOTE):
        return (first, second), end
    start = at + 1
    for shift in range(SHORT + 1):
        at = start + shift
        if at >= end:
            break
        if data[at] == QUOTE:
            return (first, second), at + 1
        if shift < _WORD:
            first |= int(data[at]) << (8 * shift)
        elif shift < SHORT:
            second |= int(data[at]) << (8 * (shift - _WORD))
    return (first, second), end


@inlined
def category(data: UInt8Array, at: int, end: int) -> tuple[Words, int]:
    """The words of a quoted text of letters and digits, in lower case; after the closing quote.

    Of such texts lower case is all that `normalise_category` changes.
    """
    (first, second), after = short_text(data, at, end)
    if after - at < 3:  # quotes and nothing between them
        return (first, second), end
    for place in range(at + 1, after - 1):
        sign = data[place]
        is_upper = _UPPER_A <= sign <= _UPPER_Z
        if not (is_upper or _LOWER_A <= sign <= _LOWER_Z or _ZERO <= sign <= _NINE):
            return (first, second), end
        if is_upper:
            shift = place - at - 1
            if shift < _WORD:
                first |= _TO_LOWER << (8 * shift)
            else:
                second |= _TO_LOWER << (8 * (shift - _WORD))
    return (first, second), after


@inlined
def literal(data: UInt8Array, at: int, end: int) -> tuple[int, int]:
    """Word of `true`, `false` or `null`; after it."""
    word = 0
    for shift in range(6):
        if at >= end or not _LOWER_A <= data[at] <= _LOWER_Z:
            break
        word |= int(data[at]) << (8 * shift)
        at += 1
    if word == TRUE or word == FALSE or word == NULL:
        return word, at
    return word, end


@inlined
def number(data: UInt8Array, at: int, end: int) -> tuple[int, int, int]:
    """Digits of an unsigned number as an integer, how many of them are decimals; after the number.

    At most 15 digits. The value is `quotient(digits, decimals)`.
    """
    start, digits, decimals = at, 0, 0
    while at < end and at - start <= _DIGITS and _ZERO <= data[at] <= _NINE:
        digits = digits * 10 + (int(data[at]) - _ZERO)
        at += 1
    n_digits = at - start
    if n_digits == 0 or (n_digits > 1 and data[start] == _ZERO):
        return digits, decimals, end
    if is_at(data, at, end, _POINT):
        at += 1
        start = at
        while at < end and at - start <= _DIGITS and _ZERO <= data[at] <= _NINE:
            digits = digits * 10 + (int(data[at]) - _ZERO)
            at += 1
        decimals = at - start
        if decimals == 0:
            return digits, decimals, end
    if n_digits + decimals > _DIGITS:
        return digits, 0, end
    return digits, decimals, at


@inlined
def quotient(digits: int, decimals: int) -> float:
    """The double nearest to `digits` / 10 ** `decimals`."""
    value: float = digits / _POWERS_OF_TEN[decimals]
    return value


@inlined
def identifier(data: UInt8Array, at: int, end: int) -> tuple[int, int, int]:
    """Start and length of a quoted identifier of printable ASCII; after the closing quote."""
    if not is_at(data, at, end, QUOTE):
        return at, 0, end
    start = at + 1
    at = start
    while at < end and at - start <= limits.ID_LENGTH:
        sign = data[at]
        if sign == QUOTE:
            break
        if sign < _SPACE or sign > _TILDE or sign == _BACKSLASH:
            return start, 0, end
        at += 1
    length = at - start
    if at >= end or length == 0 or length > limits.ID_LENGTH:
        return start, length, end
    return start, length, at + 1


@inlined
def _pair(data: UInt8Array, at: int) -> int:
    """The number of two digits at `at`, a negative one if they are none; the caller knows they exist."""
    tens, ones = int(data[at]) - _ZERO, int(data[at + 1]) - _ZERO
    if 0 <= tens <= 9 and 0 <= ones <= 9:
        return tens * 10 + ones
    return -10_000


@inlined
def time(data: UInt8Array, at: int, end: int) -> tuple[int, int]:
    """Microseconds since the epoch of a quoted time as in `schemas.times`; after the closing quote."""
    at += 1
    if at + _SHORTEST_TIME >= end or data[at - 1] != QUOTE:
        return 0, end
    month = (_pair(data, at) * 100 + _pair(data, at + 2)) * 12 + _pair(data, at + 5) - FIRST_MONTH
    day, hour = _pair(data, at + 8), _pair(data, at + 11)
    minute, second = _pair(data, at + 14), _pair(data, at + 17)
    is_dated = data[at + 4] == _DASH and data[at + 7] == _DASH and data[at + 10] == _T
    is_timed = data[at + 13] == _COLON and data[at + 16] == _COLON
    if not (is_dated and is_timed and 0 <= month < len(MONTH_DAYS) and 1 <= _pair(data, at + 5) <= 12):
        return 0, end
    if not (1 <= day <= MONTH_DAYS[month] and 0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return 0, end
    whole = ((day * 24 + hour) * 60 + minute) * 60 + second
    fraction, at = _fraction(data, at + 19, end)
    return MONTH_START_US[month] + whole * 1_000_000 + fraction, _utc(data, at, end)


@inlined
def _fraction(data: UInt8Array, at: int, end: int) -> tuple[int, int]:
    """Microseconds of an optional point and 1 to 9 digits; after them."""
    if not is_at(data, at, end, _POINT):
        return 0, at
    at += 1
    start, digits, kept = at, 0, 0
    while at < end and at - start < 9 and _ZERO <= data[at] <= _NINE:
        if kept < 6:  # digits below a microsecond are dropped
            digits = digits * 10 + (int(data[at]) - _ZERO)
            kept += 1
        at += 1
    if at == start:
        return 0, end
    return digits * _MICROSECONDS[kept], at


@inlined
def _utc(data: UInt8Array, at: int, end: int) -> int:
    """After ``Z"`` or ``+00:00"``."""
    if at + 1 < end and data[at] == _Z and data[at + 1] == QUOTE:
        return at + 2
    if at + 6 >= end or data[at + 6] != QUOTE or data[at] != _PLUS or data[at + 3] != _COLON:
        return end
    return at + 7 if _pair(data, at + 1) == 0 and _pair(data, at + 4) == 0 else end
