"""Input records as plain events, by the published models."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from consumer.verify.log import Record
from schemas import reference
from schemas.batch import Attribute, normalise_category
from schemas.reference import Refusal
from schemas.times import parse_day, parse_time

_MEASURES = {"data": "megabytes", "voice": "duration_seconds", "sms": "count"}
_ATTRIBUTES = tuple(attribute.name.lower() for attribute in Attribute)
_CATEGORIES = ("gender", "region", "plan", "contract", "line_type", "payment_method")


@dataclass(slots=True)
class Event:
    """One event. `kind` is that of the corrected event for a correction; `attributes` only of a profile.

    `value`: megabytes, seconds, count or amount; `aux`: billed days (NaN unknown) or days late.
    """

    topic: int
    offset: int
    event_id: str
    customer: bytes
    us: int
    kind: str
    correction: bool = False
    roaming: bool = False
    international: bool = False
    incoming: bool = False
    category: str | None = None
    value: float = 0.0
    aux: float = 0.0
    attributes: dict[str, Any] = field(default_factory=dict)


def decode(record: Record, topic: int, currency: str) -> Event | Refusal:
    """The event in `record`, or why it is refused."""
    checked = reference.check(record.value, record.key, topic, currency)
    return checked if isinstance(checked, Refusal) else _event(checked, topic, record.offset)


def repeats_a_field(value: bytes | None) -> bool:
    """Whether a JSON object in `value` has a field twice: every occurrence must fit the contract."""
    found = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or len(dict(pairs)) < len(pairs)
        return dict(pairs)

    try:
        json.loads(value or b"", object_pairs_hook=look)
    except ValueError:
        return False
    return found


def _event(model: BaseModel, topic: int, offset: int) -> Event:
    m: Any = model
    time = parse_time(m.event_time)
    if time is None:
        raise ValueError(f"a checked event has no time: {m.event_time}")
    event = Event(topic, offset, m.event_id, m.customer_id.encode(), time, m.type)
    if m.type == "correction":
        event.kind, event.correction = m.type_corrected, True
    kind = event.kind
    if kind in _MEASURES:
        event.value, event.roaming = float(getattr(m, _MEASURES[kind])), m.roaming
        if kind == "data":
            event.category = _category(m.technology)
        else:
            event.international, event.incoming = m.international, m.direction == "incoming"
    elif kind in {"invoice", "payment", "topup"}:
        event.value = float(m.amount)
        if kind == "payment":
            event.aux = float(m.days_late)
        elif kind == "invoice":
            event.aux = _period(m.period_start, m.period_end)
    elif kind == "care_contact":
        event.category, event.value = _category(m.channel), 1.0
    elif kind == "profile":
        event.attributes = {name: _attribute(name, getattr(m, name)) for name in _carried(m)}
    return event


def _carried(model: BaseModel) -> list[str]:
    """Attributes that the record carries, null included."""
    return [name for name in _ATTRIBUTES if name in model.model_fields_set]


def _attribute(name: str, value: Any) -> Any:
    if value is None:
        return frozenset() if name == "services" else None
    if name == "activated_on":
        return parse_day(value)
    if name == "income":  # kept in four bytes
        return struct.unpack("f", struct.pack("f", value))[0]
    if name == "services":
        return frozenset(normalise_category(service) for service in value)
    return normalise_category(value) if name in _CATEGORIES else value


def _category(text: str | None) -> str | None:
    return None if text is None else normalise_category(text)


def _period(start: str | None, end: str | None) -> float:
    if start is None or end is None:
        return math.nan
    first, last = parse_day(start), parse_day(end)
    return math.nan if first is None or last is None else float(last - first)
