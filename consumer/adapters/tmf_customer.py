"""TMF629 customer events as profiles, ends of contract and erasures."""

from __future__ import annotations

from typing import Any

from consumer.adapters.tmf_mapping import TmfMapping, plain
from consumer.adapters.tmf_values import (
    Document,
    Unreadable,
    characteristics,
    event_time,
    first,
    instant,
    number,
    objects,
    text,
    truth,
)
from schemas.rejects import Reason


def events_of(document: Document, resource: Document, mapping: TmfMapping) -> list[dict[str, Any]]:
    """The event of a customer event; none if it has nothing that a profile has. Raises `Unreadable`."""
    if "event" not in document:
        raise Unreadable(Reason.SCHEMA, "eventTime: a customer without an event has no time")
    common = {
        "event_id": text(document, "eventId"),
        "customer_id": text(resource, "id"),
        "event_time": event_time(document, "eventTime"),
    }
    kind = text(document, "eventType")
    if kind == "CustomerDeleteEvent":
        return [common | {"type": mapping.deleted}]
    state = resource.get("status")
    if isinstance(state, str) and plain(state) in map(plain, mapping.closed_states):
        reason = resource.get("statusReason")
        return [common | {"type": "closed"} | ({"reason": reason} if isinstance(reason, str) else {})]
    profile = _profile(resource, mapping)
    return [common | {"type": "profile"} | profile] if profile else []


def _profile(resource: Document, mapping: TmfMapping) -> dict[str, Any]:
    """Attributes that the customer carries: a null clears, what is absent is unchanged."""
    values = characteristics(objects(resource, "characteristic"))
    made: dict[str, Any] = {}
    for attribute, names in mapping.profile.items():
        if not any(plain(name) in values for name in names):
            continue
        value = first(values, names)
        made[attribute] = None if value is None else _attribute(attribute, value)
    valid = resource.get("validFor")
    if "activated_on" not in made and isinstance(valid, dict) and valid.get("startDateTime") is not None:
        made["activated_on"] = instant(valid, "startDateTime").date().isoformat()
    return made


def _attribute(attribute: str, value: Any) -> Any:
    if attribute == "age":
        found = number(value, attribute)
        return int(found) if found == int(found) else found
    if attribute == "income":
        return number(value, attribute)
    if attribute == "consent_profiling":
        return truth(value, attribute)
    if attribute == "services" and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value
