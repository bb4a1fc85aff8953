"""A TMF678 customer bill as an invoice, and the payments applied to it."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from typing import Any, Final

from consumer.adapters.tmf_mapping import TmfMapping
from consumer.adapters.tmf_values import (
    Document,
    Unreadable,
    customer_of,
    day_after,
    event_time,
    instant,
    money,
    objects,
    text,
)
from schemas.limits import ID_LENGTH
from schemas.rejects import Reason

_DAY_S: Final = 86_400


def bill_of(resource: Document, mapping: TmfMapping) -> dict[str, Any]:
    """The invoice. Raises `Unreadable`."""
    name = next((name for name in mapping.bill.amount if resource.get(name) is not None), None)
    if name is None:
        raise Unreadable(Reason.SCHEMA, f"none of {', '.join(mapping.bill.amount)} is there")
    amount, currency = money(resource[name], name)
    event: dict[str, Any] = {
        "event_id": text(resource, "id"),
        "customer_id": customer_of(resource, mapping.customer_roles),
        "event_time": event_time(resource, "billDate"),
        "type": "invoice",
        "amount": amount,
        "currency": currency,
    }
    period = resource.get("billingPeriod")
    if isinstance(period, dict):
        # The sender's days: in UTC a month that begins at midnight in Berlin begins a day earlier.
        event["period_start"] = instant(period, "startDateTime").date().isoformat()
        event["period_end"] = day_after(instant(period, "endDateTime")).isoformat()
    return event


def payments_of(resource: Document, document: Document, invoice: dict[str, Any]) -> list[dict[str, Any]]:
    """Payments applied to the bill, at the time of the event that tells of them, else of its last update.

    A reference to a payment has no time of its own. A payment may cover several bills, or be applied to one
    in parts: each part is an event. Raises `Unreadable` where there is no time at all.
    """
    applied = objects(resource, "appliedPayment")
    if not applied:
        return []
    source, name = (document, "eventTime") if "event" in document else (resource, "lastUpdate")
    if source.get(name) is None:
        raise Unreadable(Reason.SCHEMA, f"{name}: needed as the time of appliedPayment")
    time = event_time(source, name)
    late = 0.0
    if resource.get("paymentDueDate") is not None:
        due = instant(resource, "paymentDueDate")
        late = max(0, (instant(source, name) - due).total_seconds() // _DAY_S)
    made = []
    parts: Counter[str] = Counter()
    for item in applied:
        payment = item.get("payment")
        paid_by = text(payment if isinstance(payment, dict) else {}, "id")
        parts[paid_by] += 1
        amount, currency = money(item.get("appliedAmount"), "appliedPayment.appliedAmount")
        made.append(
            {
                "event_id": part_id(invoice["event_id"], paid_by, parts[paid_by]),
                "customer_id": invoice["customer_id"],
                "event_time": time,
                "type": "payment",
                "amount": amount,
                "currency": currency,
                "days_late": late,
            }
        )
    return made


def part_id(bill: str, payment: str, part: int) -> str:
    """Event id of the `part`th part (from 1 on) of what `payment` pays of `bill`, whenever it is sent."""
    digest = sha256(json.dumps([bill, payment, part]).encode()).hexdigest()
    made = f"{payment}.{digest[:16]}"
    return made if len(made) <= ID_LENGTH else digest[:40]
