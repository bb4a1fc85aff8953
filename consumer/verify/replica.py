"""A partition once more: what its commits must have published.

A `Replica` applies the events of a commit in canonical order (topic, then offset), looks at the customers
that the commit looked at, and returns the changes in the order in which they must be in the log.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from consumer.verify.audit import Audit
from consumer.verify.customer import FORGOTTEN, LIVE, WITHDRAWN, Customer, Published
from consumer.verify.events import Event
from consumer.verify.expected import AnyOf, Book, Expected, Rounded, two_bytes
from consumer.verify.features import Features
from consumer.verify.hashing import customer_hash, scan_key
from consumer.verify.model import UNCLASSIFIED, Decision, Policy, Version
from schemas.times import format_time

#: Watermark of a partition that has none yet.
NEVER: Final = -(1 << 63)


class Look(NamedTuple):
    """What a commit decided with: its record, the model, the one before (None: none), and who was unseen.

    `unseen` None: the record does not tell.
    """

    audit: Audit
    version: Version
    previous: Version | None
    unseen: bool | None
    is_live: bool


@dataclass(slots=True)
class _Touch:
    """What events did to a customer in a commit."""

    corrections_only: bool
    event: Event


@dataclass(slots=True)
class Applied:
    """Customers that a commit's events touched, in order, and those that left: (event, status) in order."""

    touched: dict[bytes, _Touch] = field(default_factory=dict)
    exits: list[tuple[Event, str]] = field(default_factory=list)


@dataclass(slots=True)
class Replica:
    """Customers of one partition. `undecided` counts decisions that only rounding decides."""

    features: Features
    book: Book
    policy: Policy
    inputs: Sequence[str]
    customers: dict[bytes, Customer] = field(default_factory=dict)
    undecided: int = 0
    _keys: list[tuple[int, bytes]] = field(default_factory=list)
    _erased: dict[bytes, int | None] = field(default_factory=dict)

    def customer(self, customer: bytes) -> Customer:
        """State of a customer; a new one where there is none."""
        found = self.customers.get(customer)
        if found is None:
            f = self.features
            shape = (len(f.channels), len(f.lasts), len(f.lifetimes))
            found = Customer(customer, shape, cut_us=self._erased.get(customer))
            self.customers[customer] = found
            insort(self._keys, (scan_key(customer), customer))
        return found

    # -- events --------------------------------------------------------------------------------

    def apply(self, event: Event, watermark_us: int | None, applied: Applied) -> str:
        """Applies an event as of the watermark at the commit's start; returns its outcome."""
        c = self.customer(event.customer)
        if c.is_repeat(event):
            return "duplicate"
        if not c.admits(event):
            return "dropped"
        if event.kind not in {"closed", "forget"}:
            c.begin(event, watermark_us)
        status = c.end_of_life(event)
        if status is not None:
            applied.exits.append((event, status))
            return "applied"
        self.features.add(c, event)
        touch = applied.touched.get(event.customer)
        takes_back = event.correction or (event.kind == "invoice" and event.value < 0)
        alone = takes_back and (touch is None or touch.corrections_only)
        applied.touched[event.customer] = _Touch(alone, event)
        return "applied"

    # -- changes -------------------------------------------------------------------------------

    def decide(
        self,
        applied: Applied,
        audit: Audit,
        look: Look | None,
        found: Mapping[bytes, Sequence[Any]],
        live: bool,
    ) -> list[Expected]:
        """The changes of a commit after its events. `found`: bodies published by it, to settle near-ties."""
        changes = self._exits(applied, audit, live)
        if look is None or audit.watermark_us == NEVER:
            return changes
        rows = {id for id in applied.touched if self._is_live(id)}
        if audit.scan is not None and audit.scan.lo < audit.scan.hi:
            rows |= set(self._slice(audit.scan.lo, audit.scan.hi))
        for id in sorted(rows, key=lambda id: (customer_hash(id), id)):
            change = self._look_at(self.customers[id], applied.touched.get(id), look, found.get(id, ()))
            if change is not None:
                changes.append(change)
        return changes

    def _is_live(self, id: bytes) -> bool:
        c = self.customers.get(id)
        return c is not None and c.status == LIVE

    def _slice(self, low: int, high: int) -> list[bytes]:
        first, last = bisect_left(self._keys, (low, b"")), bisect_left(self._keys, (high, b""))
        return [id for _, id in self._keys[first:last] if self.customers[id].status == LIVE]

    def _exits(self, applied: Applied, audit: Audit, live: bool) -> list[Expected]:
        """One per customer that left; an erasure outweighs whatever else happened."""
        chosen: dict[bytes, tuple[int, Event, str]] = {}
        for at, (event, status) in enumerate(applied.exits):
            known = chosen.get(event.customer)
            if known is None or (status == FORGOTTEN and known[2] != FORGOTTEN):
                chosen[event.customer] = (at, event, status)
        made = []
        for _, event, status in sorted(chosen.values(), key=lambda item: item[0]):
            c = self.customers[event.customer]
            was = c.published
            if status == FORGOTTEN:
                made.append(Expected(c.id, None, was.seq + 1, audit.watermark_us, None, was))
            elif was.segment is not None:
                cause = "consent" if status == WITHDRAWN else "closed"
                body = self._body(c, audit, "exited", None) | {
                    "cause": cause,
                    "actionable": live,
                    "provisional": False,
                    "confidence": None,
                    "drivers": [],
                    "strategy": None,
                    "origin": "live" if live else "backfill",
                }
                made.append(Expected(c.id, body, was.seq + 1, audit.watermark_us, self._trigger(event), was))
            else:
                continue
            c.published = Published(None, was.seq + 1, audit.watermark_us, was.before, audit.run_id)
        self._bury([event.customer for event, status in applied.exits if status == FORGOTTEN])
        return made

    def _bury(self, erased: Sequence[bytes]) -> None:
        """An erased customer's numbering begins again, and only the time of the cut stays."""
        for id in erased:
            c = self.customers.get(id)
            if c is None:
                continue
            c.published = Published()
            if c.status == FORGOTTEN:
                self._erased[id] = c.cut_us
                del self.customers[id]
                self._keys.remove((scan_key(id), id))

    def restore(self, customer: bytes, published: Published) -> None:
        """What was published of a customer is known from elsewhere."""
        self.customer(customer).published = published

    def forget_exits(self, applied: Applied) -> None:
        """After events whose commit is not known: who left is in no segment."""
        for event, _ in applied.exits:
            c = self.customers[event.customer]
            was = c.published
            c.published = Published(None, was.seq, was.since_us, None, was.run_id)
        self._bury([event.customer for event, status in applied.exits if status == FORGOTTEN])

    def _look_at(
        self, c: Customer, touch: _Touch | None, look: Look, found: Sequence[Any]
    ) -> Expected | None:
        audit, version, us = look.audit, look.version, look.audit.watermark_us
        was = c.published
        raw = self.features.values(c, us, version.priors)
        x = version.scale(raw)
        decision = self._decision(c, version, x, us)
        target, certain = decision.target, not decision.others
        if not certain:
            self.undecided += 1
            target = _settled(decision, was, found)
        if target == was.segment:
            return None
        provisional = self.features.observed_days(c, us) < self.features.spec.provisional_days
        causes = self._causes(c, touch, look)
        news = [
            cause != "model" and not provisional and target != UNCLASSIFIED and look.is_live
            for cause in causes
        ]
        forgotten = was.run_id != audit.run_id
        drivers, in_order = self.book.drivers((was.segment, target), x, raw, was.before, forgotten)
        body = self._body(c, audit, "assigned" if was.segment is None else "moved", target) | {
            "cause": _one_of(causes),
            "actionable": _one_of(news),
            "provisional": provisional,
            "confidence": None
            if decision.margin is None
            else {"margin": Rounded(decision.margin), "runner_up": decision.runner_up},
            "drivers": drivers,
            "strategy": self.book.strategy(target, c.id),
            "origin": "live" if look.is_live else "backfill",
        }
        c.published = Published(target, was.seq + 1, us, tuple(map(two_bytes, raw)), audit.run_id)
        unknown = {"drivers"} if not in_order else set()
        unknown |= set() if certain else {"confidence", "drivers", "cause", "actionable"}
        trigger = None if touch is None else self._trigger(touch.event)
        return Expected(c.id, body, was.seq + 1, us, trigger, was, frozenset(unknown))

    def _decision(self, c: Customer, version: Version, x: Sequence[float], us: int) -> Decision:
        was = c.published
        silent = self.features.silent_days(c, us)
        return version.decide(x, (was.segment, was.since_us), silent, us, self.policy)

    def _causes(self, c: Customer, touch: _Touch | None, look: Look) -> list[str]:
        """Why `c` moved; two reasons where the log does not tell which."""
        if c.published.segment is None:
            return ["first"]
        own = "time" if touch is None else "correction" if touch.corrections_only else "behaviour"
        scan, previous = look.audit.scan, look.previous
        in_pass = scan is not None and scan.lo < scan.hi
        seen = in_pass and scan is not None and scan_key(c.id) < scan.lo
        if previous is None or look.unseen is False or seen:
            return [own]
        us = look.audit.watermark_us
        x = previous.scale(self.features.values(c, us, previous.priors))
        decision = self._decision(c, previous, x, us)
        stays = c.published.segment in {decision.target, *decision.others}
        if not stays:
            return [own]
        return ["model"] if look.unseen and not decision.others else ["model", own]

    def _body(self, c: Customer, audit: Audit, change: str, target: str | None) -> dict[str, Any]:
        """The fields that need no decision."""
        was = c.published
        previous = self.book.segment(was.segment)
        if previous is not None:
            previous["since"] = format_time(was.since_us)
        known = c.consent is not None
        return {
            "customer_id": c.id.decode(),
            "change": change,
            "seq": was.seq + 1,
            "segment": self.book.segment(target),
            "previous_segment": previous,
            "effective_at": format_time(audit.watermark_us),
            "model_version": audit.model_version,
            "consent": {
                "profiling": c.consent,
                "as_of": format_time((c.consent_s or 0) * 1_000_000) if known else None,
            },
        }

    def _trigger(self, event: Event) -> tuple[str, int]:
        return self.inputs[event.topic], event.offset


def _settled(decision: Decision, was: Published, found: Sequence[Any]) -> str:
    """Of the segments that a near-tie allows the one that was published."""
    allowed = {decision.target, *decision.others}
    for body in found:
        segment = (body.get("segment") or {}).get("id")
        if segment in allowed:
            return str(segment)
    return was.segment if was.segment is not None and was.segment in allowed else decision.target


def _one_of(values: Sequence[Any]) -> Any:
    distinct = tuple(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else AnyOf(distinct)
