"""The contract applied to one record with stdlib JSON and the published models.

This is what `schemas.decode` must agree with. It runs only for records the hot path refused, to find
the reason and the words for it (tens of microseconds each).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas import events, limits
from schemas.rejects import Reason

#: Longest detail text.
_DETAIL_LENGTH: Final = 200

#: Integers with more digits become floats: every field with such a value is refused either way.
_INTEGER_DIGITS: Final = 300

_REASON_OF_ERROR: Final = {
    "finite_number": Reason.NON_FINITE,
    "greater_than_equal": Reason.OUT_OF_RANGE,
    "less_than_equal": Reason.OUT_OF_RANGE,
    "bad_time": Reason.BAD_TIME,
}
_RANK: Final = {reason: rank for rank, reason in enumerate(Reason)}
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record is refused, and the field and its problem in words."""

    reason: Reason
    detail: str


def check(value: bytes | None, key: bytes | None, topic: int, base_currency: str) -> BaseModel | Refusal:
    """The event in the record, or the first reason (in the order of `Reason`) why there is none."""
    document = parse(value)
    if isinstance(document, Refusal):
        return document
    kind = document.get("type")
    if not isinstance(kind, str):
        return Refusal(Reason.SCHEMA, "type: a string is required")
    home = events.TOPIC_OF_TYPE.get(kind)
    if home is None:
        return Refusal(Reason.UNKNOWN_TYPE, f"type: {_quote(kind)} is not in contract v1")
    if home != topic:
        return Refusal(Reason.WRONG_TOPIC, f"type: {kind} belongs to the {home.name.lower()} topic")
    try:
        event: BaseModel = events.EVENT.validate_python(document)
    except ValidationError as error:
        return _refusal(error.errors(include_url=False, include_context=False))
    return _check_record(event, document["customer_id"], key, base_currency)


def _check_record(
    event: BaseModel, customer_id: str, key: bytes | None, base_currency: str
) -> BaseModel | Refusal:
    """What a valid event must still match: the configured currency and the record key."""
    currency = getattr(event, "currency", base_currency)
    if currency != base_currency:
        return Refusal(Reason.CURRENCY, f"currency: {currency}, this instance uses {base_currency}")
    if key is None:
        return Refusal(Reason.MISSING_KEY, "the record key must be the customer_id")
    if customer_id.encode() != key:
        text = _quote(key.decode(errors="replace"))
        return Refusal(Reason.KEY_MISMATCH, f"customer_id: differs from the record key {text}")
    return event


def parse(value: bytes | None) -> dict[str, Any] | Refusal:
    """The JSON object in `value`. Stricter than `json.loads`: UTF-8, no NaN, no lone surrogates."""
    if not value:
        return Refusal(Reason.MALFORMED_JSON, "empty record")
    if nesting(value) > limits.NESTING:
        return Refusal(Reason.MALFORMED_JSON, f"nested deeper than {limits.NESTING}")
    try:
        document = _DECODER.decode(value.decode())
        if b"\\u" in value:  # a lone surrogate escape is no character: raises UnicodeEncodeError
            json.dumps(document, ensure_ascii=False).encode()
    except ValueError as error:
        return Refusal(Reason.MALFORMED_JSON, str(error)[:_DETAIL_LENGTH])
    if not isinstance(document, dict):
        return Refusal(Reason.SCHEMA, "the record is not a JSON object")
    return document


def nesting(value: bytes) -> int:
    """Depth of nested arrays and objects, brackets in strings left out."""
    if value.count(b"[") + value.count(b"{") <= limits.NESTING:
        return 0
    signs = np.frombuffer(_STRING.sub(b"", value), np.uint8)
    opened = (signs == ord("[")) | (signs == ord("{"))
    closed = (signs == ord("]")) | (signs == ord("}"))
    depth = np.cumsum(opened.astype(np.int64) - closed)
    return int(depth.max(initial=0))


def _refusal(errors: list[ErrorDetails]) -> Refusal:
    reasons = [_REASON_OF_ERROR.get(error["type"], Reason.SCHEMA) for error in errors]
    first = min(range(len(errors)), key=lambda at: _RANK[reasons[at]])
    # the location starts with the discriminator; what follows names the field
    field = ".".join(str(step) for step in errors[first]["loc"][1:])
    message = errors[first]["msg"]
    detail = f"{field}: {message}" if field else message
    return Refusal(reasons[first], detail[:_DETAIL_LENGTH])


def _quote(text: str) -> str:
    return json.dumps(text[: limits.ID_LENGTH], ensure_ascii=False)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS else float(digits)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_not_json, parse_int=_integer)
