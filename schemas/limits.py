"""Bounds of the input contract, shared by the published models and the wire structs."""

from __future__ import annotations

from typing import Final

ID_LENGTH: Final = 64
TEXT_LENGTH: Final = 64
LONG_TEXT_LENGTH: Final = 256
MEGABYTES: Final = 1e9
SECONDS: Final = 1e7
COUNT: Final = 1_000_000
#: Of money, either sign; also of a profile's income.
AMOUNT: Final = 1e9
DAYS_LATE: Final = 3650
AGE: Final = 130
SERVICES: Final = 32
#: Deeper JSON is refused: parsers recurse, and how deep they get depends on their caller.
NESTING: Final = 200

#: Identifiers: 1 to 64 characters, no control characters.
ID_PATTERN: Final = r"^[^\x00-\x1f\x7f]{1,64}$"
CURRENCY_PATTERN: Final = r"^[A-Z]{3}$"
