"""Kernels that read one token of plain JSON: ASCII without escapes, numbers without exponents.

Each gets the text of a batch, where to read, and where the record ends, and returns what it read and
where it stopped. A token that is not plain "stops at `end`" (or after it), where no record can go on:
the caller finds out at its next step. Numba checks no bounds: characters are read before `end` only,
words of eight characters from before `end`, and the text goes on for `PADDING` characters after the
last record.

Eight characters are one number, so that names are compared, and quotes found, eight characters at a
time (a third of the time of a loop over characters).
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
_TO_LOWER = np.uint64(0x20)  # the bit between the cases of a letter
_UPPER_A, _UPPER_Z, _LOWER_A, _LOWER_Z = ord("A"), ord("Z"), ord("a"), ord("z")
_DASH, _COLON, _PLUS, _T, _Z = ord("-"), ord(":"), ord("+"), ord("T"), ord("Z")

_SHORTEST_TIME: Final = len("1970-01-01T00:00:00Z")

_WORD: Final = 8
#: Most characters of a short text.
SHORT: Final = 2 * _WORD
#: Characters to append to a text: a short text is looked for up to 16 characters after the record.
PADDING: Final = bytes(SHORT)

_ONE: Final = np.uint64(1)
_BYTE: Final = np.uint64(8)
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


class Text(NamedTuple):
    """Characters, uint8[m], and the words that begin at each of them, [m - 7] of packed uint64."""

    data: UInt8Array
    words: npt.NDArray[Any]


def text_of(data: UInt8Array) -> Text:
    """`data` (contiguous, padded with `PADDING`) as characters and words, both on the same memory."""
    # a field of a packed record: numba then knows that the number is not aligned
    word = np.dtype([("word", "<u8")])
    return Text(data, np.ndarray((len(data) - _WORD + 1,), word, data.data, 0, (1,)))


def _word(data: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(data, "little"))


def words(text: str) -> Words:
    """The two words of a short ASCII text, first character lowest.

    The closing quote belongs to it, as far as there is room, and zeros follow: without the quote a text
    that ends in NUL would have the words of a shorter one.
    """
    data = text.encode("ascii") + b'"'
    return _word(data[:_WORD]), _word(data[_WORD:SHORT])


TRUE, FALSE, NULL = 1, 2, 3
_TRUE, _FALSE, _NULL = _word(b"true"), _word(b"false"), _word(b"null")
_FOUR, _FIVE = np.uint64(2**32 - 1), np.uint64(2**40 - 1)


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
def _up_to(marks: np.uint64) -> np.uint64:
    """Ones in all bits up to and with the first character that has its highest bit set in `marks`."""
    return marks ^ (marks - _ONE)


@inlined
def _before(marks: np.uint64) -> int:
    """Number of characters before the first that has its highest bit set in `marks`."""
    return int(np.int64(((_up_to(marks) & _ONES) * _ONES) >> np.uint64(56))) - 1


@inlined
def _to_quote(word: np.uint64) -> tuple[np.uint64, int]:
    """The characters up to the first quote, zeros in place of those after it, and the number before it."""
    zero_at_quotes = word ^ _QUOTES
    marks = (zero_at_quotes - _ONES) & ~zero_at_quotes & _HIGHS  # the lowest mark is exact
    if marks == 0:
        return word, _WORD
    return word & _up_to(marks), _before(marks)


@inlined
def short_text(text: Text, at: int, end: int) -> tuple[Words, int]:
    """The words of a quoted text, whatever its characters; after the closing quote."""
    first, second = np.uint64(0), np.uint64(0)
    if not is_at(text.data, at, end, QUOTE):
        return (first, second), end
    first, length = _to_quote(text.words[at + 1].word)
    if length == _WORD:
        second, more = _to_quote(text.words[at + 1 + _WORD].word)
        length += more
    at += 1 + length
    if not is_at(text.data, at, end, QUOTE):
        return (first, second), end
    return (first, second), at + 1


@inlined
def category(text: Text, at: int, end: int) -> tuple[Words, int]:
    """The words of a quoted text of letters and digits, in lower case; after the closing quote.

    Of such texts lower case is all that `normalise_category` changes.
    """
    (first, second), after = short_text(text, at, end)
    if after - at < 3:  # quotes and nothing between them
        return (first, second), end
    for place in range(after - at - 2):
        sign = text.data[at + 1 + place]
        is_upper = _UPPER_A <= sign <= _UPPER_Z
        if not (is_upper or _LOWER_A <= sign <= _LOWER_Z or _ZERO <= sign <= _NINE):
            return (first, second), end
        if is_upper and place < _WORD:
            first |= _TO_LOWER << (_BYTE * np.uint64(place))
        elif is_upper:
            second |= _TO_LOWER << (_BYTE * np.uint64(place - _WORD))
    return (first, second), after


@inlined
def literal(text: Text, at: int, end: int) -> tuple[int, int]:
    """`TRUE`, `FALSE` or `NULL`; after it."""
    if at < end:
        word = text.words[at].word
        if word & _FIVE == _FALSE:
            return FALSE, at + 5
        if word & _FOUR == _TRUE:
            return TRUE, at + 4
        if word & _FOUR == _NULL:
            return NULL, at + 4
    return 0, end


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
def _plain(word: np.uint64) -> int:
    """Number of characters before the first that is no printable ASCII, a quote or a backslash."""
    quote, backslash, delete = word ^ _QUOTES, word ^ _BACKSLASHES, word ^ _DELETES
    marks = ((quote - _ONES) & ~quote) | ((backslash - _ONES) & ~backslash) | ((delete - _ONES) & ~delete)
    marks = (marks | ((word - _SPACES) & ~word) | word) & _HIGHS
    return _WORD if marks == 0 else _before(marks)


@inlined
def identifier(text: Text, at: int, end: int) -> tuple[int, int, int]:
    """Start and length of a quoted identifier of printable ASCII; after the closing quote."""
    if not is_at(text.data, at, end, QUOTE):
        return at, 0, end
    start = at + 1
    at, step = start, _WORD
    while step == _WORD and at < end and at - start <= limits.ID_LENGTH:
        step = _plain(text.words[at].word)
        at += step
    length = at - start
    if length == 0 or length > limits.ID_LENGTH or not is_at(text.data, at, end, QUOTE):
        return start, 0, end
    return start, length, at + 1


@inlined
def is_equal(text: Text, start: int, other: Text, other_start: int, length: int) -> bool:
    """Whether the `length` characters from `start` on are the same in the other text."""
    for place in range(0, length, _WORD):
        difference = text.words[start + place].word ^ other.words[other_start + place].word
        rest = length - place
        if rest < _WORD:
            difference <<= _BYTE * np.uint64(_WORD - rest)
        if difference != 0:
            return False
    return True


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
