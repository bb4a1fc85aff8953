"""Native events as TM Forum documents: what an operator's interfaces would have sent instead."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from random import Random
from typing import Any

Document = dict[str, Any]

_TYPES = {"data": ("Internet", "volume"), "voice": ("Voice Call", "duration"), "sms": ("text", "count")}
_MEASURE = {"data": "megabytes", "voice": "duration_seconds", "sms": "count"}


class Twin:
    """Makes documents in different shapes, chosen by a seed; events without a counterpart stay native."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def of(self, event: Document) -> Document | None:
        """The document of an event; None if none of the three interfaces has it."""
        if event["type"] in _TYPES:
            return self.usage(event)
        if event["type"] == "invoice" and event["amount"] >= 0:
            return self.bill(event)
        if event["type"] == "closed":
            customer = {"id": event["customer_id"], "status": "Closed", "statusReason": event.get("reason")}
            return self._event(event, "CustomerStateChangeEvent", "customer", customer)
        if event["type"] == "profile":
            return self._profile(event)
        return None

    def usage(self, event: Document, status: str = "rated") -> Document:
        """A usage, bare or in an event, of v4 or v5."""
        name, measure = _TYPES[event["type"]]
        values = {measure: event.get(_MEASURE[event["type"]], 1)}
        values |= {
            key: event[key] for key in ("roaming", "international", "direction", "technology") if key in event
        }
        newer = self._random.random() < 0.5
        items = [{"name": key, "value": value} for key, value in values.items()]
        self._random.shuffle(items)
        usage = {
            "id": event["event_id"], "usageDate": event["event_time"], "usageType": name, "status": status,
            "usageCharacteristic": items, "relatedParty": self._parties(event["customer_id"], newer),
        }  # fmt: skip
        if self._random.random() < 0.5:
            return usage
        kind = "ProductUsageCreateEvent" if newer else "UsageCreateEvent"
        return self._event(event, kind, "productUsage" if newer else "usage", usage)

    def bill(self, event: Document, amount: float | None = None) -> Document:
        """A bill for the invoice."""
        value = event["amount"] if amount is None else amount
        bill: Document = {
            "id": event["event_id"], "billNo": "n", "billDate": event["event_time"], "state": "sent",
            "taxIncludedAmount": {"unit": event["currency"], "value": value},
            "relatedParty": self._parties(event["customer_id"], self._random.random() < 0.5),
        }  # fmt: skip
        if "period_start" in event:
            last = datetime.fromisoformat(event["period_end"]) - timedelta(seconds=1)
            bill["billingPeriod"] = {
                "startDateTime": f"{event['period_start']}T00:00:00Z", "endDateTime": f"{last.isoformat()}Z",
            }  # fmt: skip
        return bill

    def _profile(self, event: Document) -> Document:
        names = {key: key.replace("_", " ").title() for key in event}
        skip = {"event_id", "customer_id", "event_time", "type"}
        items = [{"name": names[key], "value": value} for key, value in event.items() if key not in skip]
        customer = {"id": event["customer_id"], "status": "active", "characteristic": items}
        return self._event(event, "CustomerAttributeValueChangeEvent", "customer", customer)

    def _parties(self, customer: str, newer: bool) -> list[Document]:
        dealer = {"role": "dealer", "id": "d-1"}
        own: Document = {"role": "Customer", "id": customer}
        if newer:
            own = {"role": "customer", "partyOrPartyRole": {"id": customer, "@type": "PartyRoleRef"}}
        return [dealer, own]

    def _event(self, event: Document, kind: str, name: str, resource: Document) -> Document:
        return {
            "eventId": event["event_id"], "eventTime": event["event_time"], "eventType": kind,
            "event": {name: resource},
        }  # fmt: skip


def lines(documents: list[Document]) -> bytes:
    """NDJSON."""
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)
