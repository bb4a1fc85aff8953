"""The slow oracle of windows and features: dictionaries, lists, plain integers; no numpy, no rings.

It keeps every event of a customer's life and works every feature out from scratch.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from online_model.spec import Feature, FeatureSpec, Filter
from tests.online_model.streams import DAY, TOPIC_OF, Event

SCALE = {"megabytes": 1024, "duration_seconds": 10, "count": 1, "amount": 100, "days_late": 1}
PROFILE = ("activated_on", "age", "income", "gender", "line_type", "contract", "services", "region", "plan")
REACH = 400 * DAY
#: In the first step, without a watermark, events may be this much older than nearly all others.
FIRST_REACH = 3650 * DAY


@dataclass
class Customer:
    """What is remembered of a customer: the events of this life and its attributes with their times."""

    status: str = "live"
    cut: float = -math.inf
    begun: float = math.inf
    events: list[Event] = field(default_factory=list)
    attributes: dict[str, tuple[int, Any]] = field(default_factory=dict)
    consent: tuple[float, bool | None] = (-math.inf, None)
    seen: dict[int, deque[str]] = field(default_factory=lambda: {t: deque(maxlen=16) for t in range(3)})

    def end_life(self, status: str) -> None:
        """Forgets the life; who may come back, and when, stays."""
        self.status, self.begun, self.events, self.attributes = status, math.inf, [], {}


class Oracle:
    """Customers by id; `apply` returns the outcome of an event by name."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self.customers: dict[str, Customer] = {}

    def apply(self, event: Event, watermark: float, latest: int) -> str:
        """Applies one event as of the watermark at the start of its step."""
        us = event["us"]
        if us > latest:
            return "future"
        if us < watermark - self.horizon(kind_of(event)):
            return "late"
        customer = self.customers.setdefault(event["customer_id"], Customer())
        seen = customer.seen[TOPIC_OF[event["type"]]]
        if event["event_id"] in seen:
            return "duplicate"
        seen.append(event["event_id"])
        refused = _refusal(customer, event)
        if refused:
            return refused
        customer.status = "live"
        self._live(customer, event, watermark)
        return "accepted"

    def _live(self, customer: Customer, event: Event, watermark: float) -> None:
        us, kind = event["us"], event["type"]
        if kind in {"closed", "forget"}:
            customer.cut = us
            customer.end_life(kind)
            return
        dated = event.get("activated_on") is not None
        begun = max(us, watermark - REACH) if kind == "profile" and not dated else us
        customer.begun = min(customer.begun, begun)
        if kind == "profile":
            second = us // 1_000_000
            for name in PROFILE:
                if name in event and second >= customer.attributes.get(name, (-math.inf, None))[0]:
                    customer.attributes[name] = (second, event[name])
            if "consent_profiling" in event and second >= customer.consent[0]:
                customer.consent = (second, event["consent_profiling"])
            if customer.consent[1] is False:
                customer.end_life("withdrawn")
            return
        customer.events.append(event)

    def horizon(self, kind: str) -> float:
        """How late an event of `kind` may come, us."""
        if kind in {"profile", "closed", "forget"}:
            return 400 * 366 * DAY
        days = 0
        for f in self.spec.features:
            window = _bucket(f)[1] * _bucket(f)[0]
            reads = {*f.events, *f.of}
            if f.aggregate == "revenue":
                reads = {"topup", "invoice"}
                days = max(days, 90 if kind == "invoice" else 0)
            if f.aggregate == "lifetime_sum" and kind in f.events:
                days = max(days, 90)
            if kind in reads and f.window_days:
                days = max(days, window)
        return (days or 90) * DAY

    def features(self, name: str, watermark: int, priors: Sequence[float]) -> list[float]:
        """Every column of a live customer."""
        out: list[float] = []
        for f in self.spec.features:
            out += _Sheet(self.spec, self.customers[name], watermark).values(f, priors[len(out)])
        return out

    def observed(self, name: str, watermark: int) -> float:
        """Days since the start of the life or the activation, whichever is later."""
        return max(watermark - self.start(name), 0) / DAY

    def start(self, name: str) -> float:
        """The start of the life or the activation, whichever is later, us."""
        return _Sheet(self.spec, self.customers[name], 0).start


def first_watermark(times: Sequence[int]) -> float:
    """What lateness is judged against in the first step: ten years before the 5 % quantile of its times."""
    if not times:
        return -math.inf
    return sorted(times)[math.ceil(0.05 * (len(times) - 1))] - FIRST_REACH


def kind_of(event: Event) -> str:
    """Type of the event, of the corrected one for a correction."""
    return str(event.get("type_corrected", event["type"]))


def _refusal(customer: Customer, event: Event) -> str | None:
    if event["us"] <= customer.cut:
        return "closed"
    if customer.status in {"closed", "forget"}:
        customer.consent = (-math.inf, None)
    if customer.status == "withdrawn" and event["type"] not in {"closed", "forget"}:
        said = event["us"] // 1_000_000
        speaks = event["type"] == "profile" and "consent_profiling" in event
        if not speaks or said < customer.consent[0]:
            return "consent"
        if event["consent_profiling"] is False:
            customer.consent = (said, False)
            return "consent"
        customer.cut = event["us"] - 1
    return None


def _bucket(f: Feature) -> tuple[int, int]:
    """Days per bucket and buckets of the window."""
    length = 7 if f.bucket == "week" else 1
    return length, -(-(f.window_days or 0) // length)


def _months(day: date) -> int:
    return day.year * 12 + day.month


@dataclass
class _Sheet:
    """One customer at one watermark."""

    spec: FeatureSpec
    customer: Customer
    watermark: int

    @property
    def start(self) -> float:
        """Start of what can be observed."""
        day = self.attribute("activated_on")
        if day is None:
            return self.customer.begun
        return max(self.customer.begun, (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY)

    def attribute(self, name: str) -> Any:
        """Value or None."""
        return self.customer.attributes.get(name, (0, None))[1]

    def holds(self, event: Event, where: Filter) -> bool:
        """Whether the event meets every condition."""
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event["us"])
        low, high = self.spec.night_from, self.spec.night_to
        night = (when.hour >= low or when.hour < high) if low > high else low <= when.hour < high
        facts = {
            "roaming": event.get("roaming", False),
            "international": event.get("international", False),
            "direction": event.get("direction", "outgoing"),
            "night": night,
            "weekend": when.weekday() >= 5,
        }
        kind = kind_of(event)
        if kind == "data":
            facts["technology"] = event.get("technology")
        if kind == "care_contact":
            facts["channel"] = event.get("channel")
        wanted = {name: value for name, value in where.model_dump().items() if value is not None}
        return all(facts[name] == value for name, value in wanted.items() if name in facts)

    def inside(self, f: Feature, events: Sequence[str], where: Filter) -> list[Event]:
        """Events in the buckets of the window, none of which is before that of the start."""
        length, n = _bucket(f)
        now = self.watermark // DAY // length
        begun = self.start // DAY // length
        return [
            e
            for e in self.customer.events
            if kind_of(e) in events
            and now - n < e["us"] // DAY // length <= now
            and e["us"] // DAY // length >= begun
            and self.holds(e, where)
        ]

    def count(self, f: Feature, events: Sequence[str], where: Filter) -> int:
        """Events in the window; a correction is not one."""
        return sum(e["type"] != "correction" for e in self.inside(f, events, where))

    def exposure(self, f: Feature) -> float:
        """Window over the observed part of it."""
        if not f.rate:
            return 1.0
        length, n = _bucket(f)
        opens = (self.watermark // DAY // length - n + 1) * length * DAY
        counted = self.start // (length * DAY) * (length * DAY)
        return n * length / max((self.watermark - max(opens, counted, self.customer.begun)) / DAY, 1.0)

    def newest(self, f: Feature, events: Sequence[str], where: Filter) -> Event | None:
        """Newest event, the later record of equals."""
        found = None
        for e in self.customer.events:
            fits = kind_of(e) in events and e["type"] != "correction" and self.holds(e, where)
            if fits and (found is None or e["us"] >= found["us"]):
                found = e
        return found

    def values(self, f: Feature, prior: float) -> list[float]:
        """Values of the columns of feature `f`."""
        if f.aggregate == "one_hot":
            return self.levels(f)
        return [getattr(self, "_" + f.aggregate)(f, prior) / f.per]

    def levels(self, f: Feature) -> list[float]:
        """One column per level."""
        value = self.attribute(f.attribute or "")
        if f.attribute == "services":
            if "services" not in self.customer.attributes:
                return [math.nan] * len(f.levels)
            return [float(level in {_plain(s) for s in value or []}) for level in f.levels]
        return [math.nan if value is None else float(_plain(value) == level) for level in f.levels]

    def _sum(self, f: Feature, _: float) -> float:
        return self.total(f) / SCALE[f.field or ""] * self.exposure(f)

    def total(self, f: Feature) -> int:
        """Sum of the measure in its fixed-point steps."""
        name = f.field or ""
        return sum(round(e.get(name, 0) * SCALE[name]) for e in self.inside(f, f.events, f.where))

    def _count(self, f: Feature, _: float) -> float:
        return self.count(f, f.events, f.where) * self.exposure(f)

    def _mean(self, f: Feature, _: float) -> float:
        n = self.count(f, f.events, f.where)
        return self.total(f) / SCALE[f.field or ""] / n if n else math.nan

    def _max(self, f: Feature, _: float) -> float:
        inside = [e for e in self.inside(f, f.events, f.where) if e["type"] != "correction"]
        scale = SCALE[f.field or ""]
        return float(max([0, *(round(e[f.field or ""] * scale) for e in inside)]) / scale)

    def _share(self, f: Feature, prior: float) -> float:
        a, b = self.count(f, f.events, f.where), self.count(f, f.of or f.events, Filter())
        if math.isnan(prior):
            return a / b if b else math.nan
        return (a + f.shrink * prior) / (b + f.shrink) if b + f.shrink > 0 else math.nan

    def _active_days(self, f: Feature, _: float) -> float:
        inside = [e for e in self.inside(f, f.events, f.where) if e["type"] != "correction"]
        return len({e["us"] // DAY // _bucket(f)[0] for e in inside}) * self.exposure(f)

    def _days_since(self, f: Feature, _: float) -> float:
        newest = self.newest(f, f.events, f.where)
        return max(self.watermark - (newest["us"] if newest else self.start), 0) // DAY

    def _last(self, f: Feature, _: float) -> float:
        newest = self.newest(f, f.events, f.where)
        return math.nan if newest is None else round(newest.get(f.field or "", 0) * 1e6) / 1e6

    def _lifetime_sum(self, f: Feature, _: float) -> float:
        fits = [e for e in self.customer.events if kind_of(e) in f.events and self.holds(e, f.where)]
        return float(sum(round(e.get(f.field or "", 0) * 1e6) for e in fits) / 1e6)

    def _revenue(self, f: Feature, _: float) -> float:
        money = self.inside(f, ("topup", "invoice"), f.where)
        parts = [round(e["amount"] * 100) for e in money if e["type"] == "topup" or e["amount"] < 0]
        total = sum(parts) / 100 * self.exposure(f)
        bills = [e for e in self.customer.events if e["type"] == "invoice" and e["amount"] >= 0]
        bill = max(bills, key=lambda e: int(e["us"]), default=None)
        if bill is not None:
            days = period = _bucket(f)[0] * _bucket(f)[1]
            counts = self.spec.bill_valid_days
            if "period_end" in bill:
                first, end = (date.fromisoformat(bill[f"period_{name}"]) for name in ("start", "end"))
                period = (end - first).days
                # A bill of 31 days counts `bill_valid_days`; what that is beyond its period is everybody's.
                counts = max(counts, period, period + counts - 31)
            if self.watermark - bill["us"] <= counts * DAY:
                total += bill["amount"] * days / period
        return float(total)

    def _tenure(self, f: Feature, _: float) -> float:
        today = date(1970, 1, 1) + timedelta(days=self.watermark // DAY)
        given = self.attribute("activated_on")
        day = (
            date.fromisoformat(given)
            if given
            else date(1970, 1, 1) + timedelta(days=self.customer.begun // DAY)
        )
        if f.field == "months":
            return max(_months(today) - _months(day) - (today.day < day.day), 0)
        return max((today - day).days, 0)

    def _attribute(self, f: Feature, _: float) -> float:
        if f.attribute == "service_count":
            if "services" not in self.customer.attributes:
                return math.nan
            return len({_plain(s) for s in self.attribute("services") or []})
        value = self.attribute(f.attribute or "")
        return math.nan if value is None else float(value)


def _plain(text: str) -> str:
    return text.lower().replace("_", "-")
