"""Reading parts of TM Forum resources: times, money, quantities, characteristics, the customer.

What cannot be read raises `Unreadable`, which the adapter turns into a reject: it is the record's fault.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from consumer.adapters.tmf_mapping import UNITS, plain
from schemas.rejects import Reason
from schemas.times import format_time, parse_time

Document = dict[str, Any]

_QUANTITY: Final = re.compile(r"\s*([-+]?\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Unreadable(Exception):
    """A resource does not have what an event needs: the reason code and a line for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def text(document: Document, name: str) -> str:
    """A text that must be there."""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise Unreadable(Reason.SCHEMA, f"{name}: a text is required")
    return value


def objects(document: Document, name: str) -> list[Document]:
    """The objects of a list that may be missing."""
    value = document.get(name) or []
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def instant(document: Document, name: str) -> datetime:
    """A time with an offset, which must be there."""
    value = text(document, name)
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise Unreadable(Reason.BAD_TIME, f"{name}: {value!r} is not a time") from None
    if found.tzinfo is None:
        raise Unreadable(Reason.BAD_TIME, f"{name}: {value!r} does not say its offset from UTC")
    return found


def event_time(document: Document, name: str) -> str:
    """The same as the contract writes it. One that is in the contract's form stays as it is."""
    value = text(document, name)
    if parse_time(value) is not None:
        return value
    return format_time((instant(document, name) - _EPOCH) // timedelta(microseconds=1))


def money(value: Any, name: str) -> tuple[float, str]:
    """Amount and currency."""
    if not isinstance(value, dict) or not isinstance(value.get("unit"), str):
        raise Unreadable(Reason.SCHEMA, f"{name}: an object with unit and value is required")
    return number(value.get("value"), f"{name}.value"), value["unit"]


def number(value: Any, name: str) -> float:
    """A number, also one in a text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Unreadable(Reason.SCHEMA, f"{name}: {value!r} is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(Reason.SCHEMA, f"{name}: a number is required")
    if not math.isfinite(value):
        raise Unreadable(Reason.NON_FINITE, f"{name}: not a finite number")
    return value


def quantity(value: Any, kind: str, unit: str, name: str) -> float:
    """A quantity in the unit of `kind`: a number, a text with or without unit, or an object with both."""
    if isinstance(value, dict):
        unit = next((u for u in (value.get("units"), value.get("unit")) if isinstance(u, str)), unit)
        value = value.get("amount", value.get("value"))
    if isinstance(value, str):
        found = _QUANTITY.fullmatch(value)
        if found is None:
            raise Unreadable(Reason.SCHEMA, f"{name}: {value!r} is not a quantity")
        value, unit = float(found[1]), found[2] or unit
    factor = UNITS[kind].get(unit.lower())
    if factor is None:
        raise Unreadable(Reason.SCHEMA, f"{name}: {unit!r} is not a unit of {kind}")
    return number(value, name) * factor


def characteristics(documents: Iterable[Document]) -> dict[str, Any]:
    """Values by plain name."""
    return {plain(item["name"]): item.get("value") for item in documents if isinstance(item.get("name"), str)}


def first(values: dict[str, Any], names: Iterable[str]) -> Any:
    """The first of `names` that `values` (by plain name) has; None if it has none."""
    return next((values[plain(name)] for name in names if plain(name) in values), None)


def truth(value: Any, name: str) -> bool:
    """A truth value, also one in a text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "yes", "1", "false", "no", "0"}:
        return value.lower() in {"true", "yes", "1"}
    raise Unreadable(Reason.SCHEMA, f"{name}: true or false is required")


def customer_of(document: Document, roles: Iterable[str]) -> str:
    """Id of the related party that is the customer: v4 names it in place, v5 inside `partyOrPartyRole`."""
    wanted = {plain(role) for role in roles}
    for party in objects(document, "relatedParty"):
        inner = party.get("partyOrPartyRole")
        inner = inner if isinstance(inner, dict) else {}
        if (
            plain(str(party.get("role", ""))) in wanted
            or plain(str(party.get("@referredType", ""))) in wanted
        ):
            name = inner.get("id", party.get("id"))
            if isinstance(name, str) and name:
                return name
    raise Unreadable(Reason.SCHEMA, f"relatedParty: none with role {', '.join(roles)} and an id")


def day_after(value: datetime) -> date:
    """First day that is not in a period that ends at `value`: that day itself if it ends at its midnight.

    Days are those of the sender's calendar, in the offset of `value`.
    """
    at_midnight = value.time() == datetime.min.time()
    return value.date() + timedelta(days=0 if at_midnight else 1)
