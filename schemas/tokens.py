"""Kernels that read one token of plain JSON: ASCII without escapes, numbers without exponents.

Each gets the text of a batch, where to read, and where the record ends, and returns what it read and
where it stopped. A token that is not plain "stops at `end`" (or after it), where no record can go on:
the caller finds out at its next step. Numba checks no bounds: characters are read before `end` only,
words of eight characters from before `end`, and the text goes on for `PADDING` characters after the
last record.

What costs is waiting for the position of the next token. So positions come from branches, which the
processor foresees in records that are alike, and never from arithmetic on what was read.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas import limits
from schemas.batch import UInt8Array
from schemas.kernel import inlined
from schemas.times import FIRST_MONTH, MONTH_DAYS, MONTH_START_US

# Numba compiles no `ord`: characters are constants.
QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_SPACE, _TILDE = ord(" "), ord("~")
_ZERO, _NINE, _POINT = ord("0"), ord("9"), ord(".")
_TO_LOWER = 0x20  # the distance between the cases of a letter
_UPPER_A, _UPPER_Z, _LOWER_A, _LOWER_Z = ord("A"), ord("Z"), ord("a"), ord("z")
_DASH, _COLON, _PLUS, _T, _Z = ord("-"), ord(":"), ord("+"), ord("T"), ord("Z")

_SHORTEST_TIME: Final = len("1970-01-01T00:00:00Z")

_WORD: Final = 8
#: Most characters of a name or a category.
SHORT: Final = 2 * _WORD
#: To append to a text: words may be read up to 16 characters after the last record.
PADDING: Final = bytes(SHORT)

_ONES: Final = np.uint64(0x01_01_01_01_01_01_01_01)
_HIGHS: Final = np.uint64(0x80_80_80_80_80_80_80_80)
_SPACES, _QUOTES = np.uint64(_ONES * _SPACE), np.uint64(_ONES * QUOTE)
_BACKSLASHES, _DELETES = np.uint64(_ONES * _BACKSLASH), np.uint64(_ONES * 0x7F)

#: Up to 15 digits are below 2**53, and powers of ten up to 22 are exact: one division rounds once, so it
#: gives the nearest double (Clinger 1990, the fast path of every parser of numbers).
_DIGITS: Final = 15
_POWERS_OF_TEN: Final = np.array([10.0**power for power in range(_DIGITS + 1)])
#: Microseconds of a unit in the last of up to six digits after the second.
_MICROSECONDS: Final = np.array([10 ** (6 - digits) for digits in range(7)], np.int64)


Words = tuple[np.uint64, np.uint64]


class Literal(NamedTuple):
    """A text to compare with: its two words, ones where it has characters, and its length."""

    first: np.uint64
    first_mask: np.uint64
    second: np.uint64
    second_mask: np.uint64
    length: int


class Text(NamedTuple):
    """Characters, uint8[m], and the words that begin at each of them, [m - 7] of packed uint64."""

    data: UInt8Array
    words: npt.NDArray[Any]


def text_of(data: UInt8Array) -> Text:
    """`data` (contiguous, padded with `PADDING`) as characters and words, both on the same memory."""
    # a field of a packed record: numba then knows that the number is not aligned
    word = np.dtype([("word", "<u8")])
    return Text(data, np.ndarray((len(data) - _WORD + 1,), word, data.data, 0, (1,)))


def words(text: str) -> Words:
    """The two words of an ASCII text of at most 16 characters, first character lowest, zeros after it."""
    data = text.encode("ascii")
    return np.uint64(int.from_bytes(data[:_WORD], "little")), np.uint64(
        int.from_bytes(data[_WORD:], "little")
    )


def literal(text: str) -> Literal:
    """`text` (ASCII, at most 16 characters) to compare with."""
    first, second = words(text)
    n, more = min(len(text), _WORD), max(len(text) - _WORD, 0)
    return Literal(first, np.uint64(256**n - 1), second, np.uint64(256**more - 1), len(text))


_TRUE, _FALSE, _NULL = literal("true"), literal("false"), literal("null")

# Results of `constant`.
TRUE, FALSE, NULL, NO_CONSTANT = 1, 0, 2, -1


@inlined
def sign_at(text: Text, at: int) -> int:
    """Character at `at`; an unsigned index spares looking for negative ones."""
    sign: int = text.data[np.uint64(at)]
    return sign


@inlined
def _word_at(text: Text, at: int) -> np.uint64:
    """The eight characters from `at` on."""
    word: np.uint64 = text.words[np.uint64(at)].word
    return word


@inlined
def skip(text: Text, at: int, end: int) -> int:
    """The first character from `at` on that is no white space."""
    while at < end and sign_at(text, at) <= _SPACE:
        sign = sign_at(text, at)
        if sign != _SPACE and sign != 10 and sign != 13 and sign != 9:
            break
        at += 1
    return at


@inlined
def is_at(text: Text, at: int, end: int, sign: int) -> bool:
    """Whether `sign` is at `at`."""
    return at < end and sign_at(text, at) == sign


@inlined
def ahead(text: Text, at: int, end: int) -> Words:
    """The 16 characters after the one at `at`."""
    if at >= end:
        return np.uint64(0), np.uint64(0)
    return _word_at(text, at + 1), _word_at(text, at + 1 + _WORD)


@inlined
def begins(found: Words, wanted: Literal) -> bool:
    """Whether `found` begins with `wanted`."""
    if found[0] & wanted.first_mask != wanted.first:
        return False
    return bool(found[1] & wanted.second_mask == wanted.second)


@inlined
def after_text(text: Text, at: int, end: int, length: int) -> int:
    """After a quoted text of this length at `at`, if it has this length."""
    last = at + 1 + length
    if is_at(text, at, end, QUOTE) and is_at(text, last, end, QUOTE):
        return last + 1
    return end


@inlined
def constant(text: Text, at: int, end: int) -> tuple[int, int]:
    """`TRUE`, `FALSE` or `NULL`; after it."""
    if at >= end:
        return NO_CONSTANT, end
    found = _word_at(text, at), np.uint64(0)
    if begins(found, _FALSE):
        return FALSE, at + 5
    if begins(found, _TRUE):
        return TRUE, at + 4
    if begins(found, _NULL):
        return NULL, at + 4
    return NO_CONSTANT, end


@inlined
def category(text: Text, at: int, end: int) -> tuple[Words, int]:
    """The words of a quoted text of 1 to 16 letters and digits, in lower case; after the closing quote.

    Of such texts lower case is all that `normalise_category` changes.
    """
    first, second = np.uint64(0), np.uint64(0)
    if not is_at(text, at, end, QUOTE):
        return (first, second), end
    start = at + 1
    at = start
    while at < end and at - start < SHORT:
        sign = sign_at(text, at)
        if _UPPER_A <= sign <= _UPPER_Z:
            sign += _TO_LOWER
        if not (_LOWER_A <= sign <= _LOWER_Z or _ZERO <= sign <= _NINE):
            break
        if at - start < _WORD:
            first |= np.uint64(sign) << np.uint64(8 * (at - start))
        else:
            second |= np.uint64(sign) << np.uint64(8 * (at - start - _WORD))
        at += 1
    if at == start or not is_at(text, at, end, QUOTE):
        return (first, second), end
    return (first, second), at + 1


@inlined
def number(text: Text, at: int, end: int) -> tuple[int, int, int]:
    """Digits of an unsigned number as an integer, how many of them are decimals; after the number.

    At most 15 digits. The value is `quotient(digits, decimals)`.
    """
    start, digits, decimals = at, 0, 0
    while at < end and at - start <= _DIGITS and _ZERO <= sign_at(text, at) <= _NINE:
        digits = digits * 10 + (sign_at(text, at) - _ZERO)
        at += 1
    n_digits = at - start
    if n_digits == 0 or (n_digits > 1 and sign_at(text, start) == _ZERO):
        return digits, decimals, end
    if is_at(text, at, end, _POINT):
        at += 1
        start = at
        while at < end and at - start <= _DIGITS and _ZERO <= sign_at(text, at) <= _NINE:
            digits = digits * 10 + (sign_at(text, at) - _ZERO)
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
def _is_plain(word: np.uint64) -> bool:
    """Whether all eight characters are printable ASCII and neither quotes nor backslashes.

    Subtracting n from every byte borrows into the highest bit of those below n; that a borrow from one
    byte reaches the next does not matter where none may.
    """
    quote, backslash, delete = word ^ _QUOTES, word ^ _BACKSLASHES, word ^ _DELETES
    marks = ((quote - _ONES) & ~quote) | ((backslash - _ONES) & ~backslash) | ((delete - _ONES) & ~delete)
    return bool((marks | ((word - _SPACES) & ~word) | word) & _HIGHS == 0)


@inlined
def identifier(text: Text, at: int, end: int) -> tuple[int, int, int]:
    """Start and length of a quoted identifier of printable ASCII; after the closing quote."""
    if not is_at(text, at, end, QUOTE):
        return at, 0, end
    start = at + 1
    at = start
    while at < end and at - start <= limits.ID_LENGTH and _is_plain(_word_at(text, at)):
        at += _WORD
    while at < end and at - start <= limits.ID_LENGTH:
        sign = sign_at(text, at)
        if sign < _SPACE or sign > _TILDE or sign == QUOTE or sign == _BACKSLASH:
            break
        at += 1
    length = at - start
    if length == 0 or length > limits.ID_LENGTH or not is_at(text, at, end, QUOTE):
        return start, 0, end
    return start, length, at + 1


@inlined
def is_equal(text: Text, start: int, other: Text, other_start: int, length: int) -> bool:
    """Whether the `length` characters from `start` on are the same in the other text."""
    for place in range(0, length, _WORD):
        difference = _word_at(text, start + place) ^ _word_at(other, other_start + place)
        rest = length - place
        if rest < _WORD:
            difference <<= np.uint64(8 * (_WORD - rest))
        if difference != 0:
            return False
    return True


@inlined
def copy(text: Text, start: int, target: Text, at: int, length: int) -> None:
    """Copies characters to `at` in words: up to seven characters after them are overwritten too."""
    for place in range(0, length, _WORD):
        target.words[np.uint64(at + place)].word = _word_at(text, start + place)


@inlined
def _pair(text: Text, at: int) -> int:
    """The number of two digits at `at`, a negative one if they are none; the caller knows they exist."""
    tens, ones = sign_at(text, at) - _ZERO, sign_at(text, at + 1) - _ZERO
    if 0 <= tens <= 9 and 0 <= ones <= 9:
        return tens * 10 + ones
    return -10_000


@inlined
def time(text: Text, at: int, end: int) -> tuple[int, int]:
    """Microseconds since the epoch of a quoted time as in `schemas.times`; after the closing quote."""
    at += 1
    if at + _SHORTEST_TIME >= end or sign_at(text, at - 1) != QUOTE:
        return 0, end
    month = (_pair(text, at) * 100 + _pair(text, at + 2)) * 12 + _pair(text, at + 5) - FIRST_MONTH
    day, hour = _pair(text, at + 8), _pair(text, at + 11)
    minute, second = _pair(text, at + 14), _pair(text, at + 17)
    is_dated = (
        sign_at(text, at + 4) == _DASH and sign_at(text, at + 7) == _DASH and sign_at(text, at + 10) == _T
    )
    is_timed = sign_at(text, at + 13) == _COLON and sign_at(text, at + 16) == _COLON
    if not (is_dated and is_timed and 0 <= month < len(MONTH_DAYS) and 1 <= _pair(text, at + 5) <= 12):
        return 0, end
    if not (1 <= day <= MONTH_DAYS[month] and 0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return 0, end
    whole = ((day * 24 + hour) * 60 + minute) * 60 + second
    fraction, at = _fraction(text, at + 19, end)
    return MONTH_START_US[month] + whole * 1_000_000 + fraction, _utc(text, at, end)


@inlined
def _fraction(text: Text, at: int, end: int) -> tuple[int, int]:
    """Microseconds of an optional point and 1 to 9 digits; after them."""
    if not is_at(text, at, end, _POINT):
        return 0, at
    at += 1
    start, digits, kept = at, 0, 0
    while at < end and at - start < 9 and _ZERO <= sign_at(text, at) <= _NINE:
        if kept < 6:  # digits below a microsecond are dropped
            digits = digits * 10 + (sign_at(text, at) - _ZERO)
            kept += 1
        at += 1
    if at == start:
        return 0, end
    return digits * _MICROSECONDS[kept], at


@inlined
def _utc(text: Text, at: int, end: int) -> int:
    """After ``Z"`` or ``+00:00"``."""
    if at + 1 < end and sign_at(text, at) == _Z and sign_at(text, at + 1) == QUOTE:
        return at + 2
    if (
        at + 6 >= end
        or sign_at(text, at + 6) != QUOTE
        or sign_at(text, at) != _PLUS
        or sign_at(text, at + 3) != _COLON
    ):
        return end
    return at + 7 if _pair(text, at + 1) == 0 and _pair(text, at + 4) == 0 else end
