"""A TMF635 usage, or product usage as the resource is called since v5, as an event of the contract."""

from __future__ import annotations

from typing import Any, Final

from consumer.adapters.tmf_mapping import TmfMapping, UsageType, plain
from consumer.adapters.tmf_values import (
    Document,
    Unreadable,
    characteristics,
    customer_of,
    event_time,
    first,
    objects,
    quantity,
    text,
    truth,
)
from schemas.events import MEASURES
from schemas.rejects import Reason

#: Statuses of usage that does not count, or no longer: it was refused, or goes back to be guided again.
TAKEN_BACK: Final = frozenset({"rejected", "recycled"})

_DIRECTIONS: Final = {
    "outgoing": "outgoing", "out": "outgoing", "originating": "outgoing", "mo": "outgoing",
    "incoming": "incoming", "in": "incoming", "terminating": "incoming", "mt": "incoming",
}  # fmt: skip


def usage_of(resource: Document, mapping: TmfMapping) -> dict[str, Any]:
    """The event of a usage. Raises `Unreadable`."""
    kind = _kind(resource, mapping)
    names = mapping.usage[kind]
    # Both names, as the resource has both: the one of v5 goes before.
    values = characteristics(objects(resource, "usageCharacteristic"))
    values |= characteristics(objects(resource, "productUsageCharacteristic"))
    measured = first(values, names.measure)
    if measured is None and kind == "sms":
        measured = 1
    if measured is None:
        raise Unreadable(Reason.SCHEMA, f"usageCharacteristic: none of {', '.join(names.measure)}")
    amount = quantity(measured, kind, names.unit, "usageCharacteristic")
    event: dict[str, Any] = {
        "event_id": text(resource, "id"),
        "customer_id": customer_of(resource, mapping.customer_roles),
        "event_time": event_time(resource, "usageDate"),
        "type": kind,
        MEASURES[kind]: _whole(amount) if kind == "sms" else amount,
    }
    if (roaming := first(values, mapping.roaming)) is not None:
        event["roaming"] = truth(roaming, "roaming")
    if kind == "data":
        if (technology := first(values, mapping.technology)) is not None:
            event["technology"] = technology
        return event
    if (abroad := first(values, mapping.international)) is not None:
        event["international"] = truth(abroad, "international")
    if (direction := first(values, mapping.direction)) is not None:
        found = _DIRECTIONS.get(plain(str(direction)))
        if found is None:
            raise Unreadable(Reason.SCHEMA, f"direction: {direction!r} is none")
        event["direction"] = found
    return event


def _kind(resource: Document, mapping: TmfMapping) -> UsageType:
    specification = resource.get("usageSpecification")
    named = specification.get("name") if isinstance(specification, dict) else None
    for name in (resource.get("usageType"), named):
        for kind, names in mapping.usage.items():
            if isinstance(name, str) and plain(name) in map(plain, names.types):
                return kind
    said = resource.get("usageType") or named
    raise Unreadable(Reason.UNKNOWN_TYPE, f"usageType: {said!r} is not in the mapping")


def _whole(amount: float) -> int:
    if amount != int(amount):
        raise Unreadable(Reason.SCHEMA, f"usageCharacteristic: {amount} is not a number of messages")
    return int(amount)
