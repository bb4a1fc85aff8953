"""TM Forum usage (TMF635), customer bills (TMF678) and customer events (TMF629) as events of the contract.

A document is a resource, or an event with one inside (`{"eventId", "eventType", "event": {...}}`). What
counts is how a resource differs from what is known of it: the first version is an event, a later one a signed
correction of usage or a credit note, and one that says nothing new is no event at all. So an interface that
sends a usage again when it is rated, re-rated or billed counts once.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from consumer.adapters import tmf_customer
from consumer.adapters.tmf_bill import bill_of, payments_of
from consumer.adapters.tmf_mapping import TmfMapping
from consumer.adapters.tmf_memory import Known, TmfMemory
from consumer.adapters.tmf_usage import TAKEN_BACK, usage_of
from consumer.adapters.tmf_values import Document, Unreadable, text
from schemas import reference
from schemas.events import MEASURES, TOPIC_OF_TYPE
from schemas.limits import ID_LENGTH
from schemas.rejects import Reason

Event = dict[str, Any]

#: Reasons of this adapter beside those of the contract.
UNKNOWN_ORIGINAL: Final = "unknown_original"

#: Resources by their name in an event, by `@type`, and for bare ones by a field that only they have.
_NAMES: Final = {
    "usage": "usage", "productUsage": "usage", "customerBill": "bill", "customer": "customer",
    "Usage": "usage", "ProductUsage": "usage", "CustomerBill": "bill", "Customer": "customer",
}  # fmt: skip
_TELLING: Final = {"usageDate": "usage", "usageType": "usage", "billDate": "bill", "billNo": "bill"}


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a document became no event."""

    reason: str
    detail: str


@dataclass(slots=True)
class TmfAdapter:
    """Adapts document after document; `counts` has what became of them.

    Keys of `counts`: documents = adapted + unchanged + waiting (bills that may still change) + rejected;
    events.
    """

    mapping: TmfMapping
    memory: TmfMemory
    currency: str
    counts: Counter[str] = field(default_factory=Counter)

    def adapt(self, value: bytes) -> list[Event] | Rejected:
        """The events that `value`, a JSON document, adds to what is known; none if it says nothing new."""
        self.counts["documents"] += 1
        waiting = self.counts["waiting"]
        try:
            events = self._events(value)
        except Unreadable as error:
            self.counts["rejected"] += 1
            return Rejected(error.reason, error.detail)
        except OverflowError as error:  # numbers and times beyond what Python's own types hold
            self.counts["rejected"] += 1
            return Rejected(Reason.OUT_OF_RANGE, str(error))
        self.counts["events"] += len(events)
        if events:
            self.counts["adapted"] += 1
        elif self.counts["waiting"] == waiting:
            self.counts["unchanged"] += 1
        return events

    def _events(self, value: bytes) -> list[Event]:
        document = reference.parse(value)
        if isinstance(document, reference.Refusal):
            raise Unreadable(document.reason, document.detail)
        kind, resource = _resource(document)
        if kind == "usage":
            events = self._usage(resource)
        elif kind == "bill":
            events = self._bill(resource, document)
        else:
            events = self._customer(document, resource)
        return events

    def _customer(self, document: Document, resource: Document) -> list[Event]:
        made = []
        for event in tmf_customer.events_of(document, resource, self.mapping):
            self._check(event)
            name, customer = event["event_id"], event["customer_id"]
            if event["type"] == "forget":
                self.memory.forget(customer)
            elif self.memory.get("event", name) is not None:
                continue
            else:  # that it was there is enough: a profile is nobody's to keep here
                self.memory.put("event", name, Known({"customer_id": customer}, 0))
            made.append(event)
        return made

    # -- usage ---------------------------------------------------------------------------------

    def _usage(self, resource: Document) -> list[Event]:
        name, status = text(resource, "id"), str(resource.get("status", "received")).lower()
        known = self.memory.get("usage", name)
        if status in TAKEN_BACK:
            if known is None:
                raise Unreadable("status", f"status: a usage that is {status} was not used")
            return self._changed(name, known, None)
        event = usage_of(resource, self.mapping)
        self._check(event)
        if known is None:
            if status == "rerated":
                raise Unreadable(
                    UNKNOWN_ORIGINAL, "status: rerated, and the usage was not seen before; give its --state"
                )
            self.memory.put("usage", name, Known(event, 0))
            return [event]
        return self._changed(name, known, event)

    def _changed(self, name: str, known: Known, event: Event | None) -> list[Event]:
        """Corrections that lead from the known usage to `event` (None: it was not used)."""
        before = known.event
        kind = before["type"]
        measure = MEASURES[kind]
        same = event is not None and all(event[f] == before[f] for f in ("type", "customer_id"))
        attributes = ("event_time", *(f for f in ATTRIBUTES if f in before or (event and f in event)))
        made: list[Event] = []
        revision = known.revision
        if event is not None and same and all(event.get(f) == before.get(f) for f in attributes):
            steps = [(before, event[measure] - before[measure])]
        else:
            steps = [(before, -before[measure])]
            if event is not None and same:
                steps.append((event, event[measure]))
        for base, difference in steps:
            if difference:
                revision += 1
                made.append(_correction(name, revision, base, difference))
        after = event
        if event is not None and not same:  # another customer or type: what was there is gone, this is new
            revision += 1
            made.append(event | {"event_id": revision_id(name, revision)})
        if after is None:
            after = before | {measure: 0}
        for correction in made:
            self._check(correction)
        self.memory.put("usage", name, Known(after, revision))
        return made

    # -- bills ---------------------------------------------------------------------------------

    def _bill(self, resource: Document, document: Document) -> list[Event]:
        if resource.get("state") not in self.mapping.bill.states:
            self.counts["waiting"] += 1
            return []
        event = bill_of(resource, self.mapping)
        self._check(event)
        name = event["event_id"]
        known = self.memory.get("bill", name)
        made = []
        if known is None:
            made, revision = [event], 0
        elif event["customer_id"] != known.event["customer_id"]:
            raise Unreadable(Reason.SCHEMA, f"relatedParty: bill {name} was {known.event['customer_id']}'s")
        else:
            revision = known.revision
            difference = round(event["amount"] - known.event["amount"], 6)
            if difference:
                revision += 1
                made = [known.event | {"event_id": revision_id(name, revision), "amount": difference}]
        payments = payments_of(resource, document, event)
        fresh = [p for p in payments if self.memory.get("payment", p["event_id"]) is None]
        for part in (*made, *fresh):
            self._check(part)
        self.memory.put("bill", name, Known(event, revision))
        for payment in fresh:
            self.memory.put("payment", payment["event_id"], Known(payment, 0))
        return made + fresh

    def _check(self, event: Event) -> None:
        """Raises `Unreadable` with the contract's own words if `event` does not fit it."""
        value, key = json.dumps(event).encode(), str(event["customer_id"]).encode(errors="replace")
        topic = int(TOPIC_OF_TYPE[event["type"]])
        checked = reference.check(value, key, topic, self.currency)
        if isinstance(checked, reference.Refusal):
            raise Unreadable(checked.reason, checked.detail)


#: What a usage may say beside its measure.
ATTRIBUTES: Final = ("roaming", "international", "direction", "technology")


def revision_id(name: str, revision: int) -> str:
    """Event id of a later version of the resource `name`: the same for the same version."""
    made = f"{name}.{revision}"
    if len(made) <= ID_LENGTH:
        return made
    return f"{sha256(name.encode()).hexdigest()[:40]}.{revision}"


def _correction(name: str, revision: int, base: Event, difference: float) -> Event:
    measure = MEASURES[base["type"]]
    signed = int(difference) if measure == "count" else round(difference, 9)
    return {
        "event_id": revision_id(name, revision),
        "customer_id": base["customer_id"],
        "event_time": base["event_time"],
        "type": "correction",
        "corrects_event_id": name,
        "type_corrected": base["type"],
        measure: signed,
        **{attribute: base[attribute] for attribute in ATTRIBUTES if attribute in base},
    }


def _resource(document: Document) -> tuple[str, Document]:
    """Which resource a document is or holds."""
    inner = document.get("event")
    if isinstance(inner, dict):
        for name, kind in _NAMES.items():
            if isinstance(inner.get(name), dict):
                return kind, inner[name]
        raise Unreadable(Reason.UNKNOWN_TYPE, f"event: none of {', '.join(_NAMES)} is in it")
    kind = _NAMES.get(str(document.get("@type", "")), "")
    kind = kind or next((kind for name, kind in _TELLING.items() if name in document), "")
    if not kind:
        raise Unreadable(Reason.UNKNOWN_TYPE, "neither an event nor a usage, customer bill or customer")
    return kind, document
