"""What the features of a specification are added up from, and their values: one customer at a time.

A channel is one accumulator: a dictionary of buckets (event-time days or weeks) per customer. It keeps
what the service's ring buffers keep: fixed-point integers that saturate, and no bucket older than the
ring is long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from consumer.verify.channels import DAY_US, Channel, Condition, Facts, Source, measured
from consumer.verify.customer import Customer
from consumer.verify.events import Event
from online_model.compile_plan import vocabulary_of
from online_model.spec import Feature, FeatureSpec, Filter
from schemas.batch import normalise_category

#: Steps per unit in a bucket.
SCALE: Final = {"megabytes": 1024.0, "duration_seconds": 10.0, "count": 1.0, "amount": 100.0}
#: Steps per unit of last values and lifetime sums.
MILLION: Final = 1e6
LASTING_DAYS: Final = 90
LONGEST_MONTH_DAYS: Final = 31
#: Profiles, closings and erasures are practically never late.
ENDLESS_DAYS: Final = 400 * 366


class Column(NamedTuple):
    """A column of the model: its feature, level and how its value is computed."""

    feature: Feature
    level: str
    value: Callable[[Customer, int, float], float]

    @property
    def name(self) -> str:
        """Name in models."""
        return f"{self.feature.name}={self.level}" if self.level else self.feature.name

    @property
    def label(self) -> str:
        """Words for people."""
        label = self.feature.label or self.feature.name
        return f"{label}: {self.level}" if self.level else label


@dataclass(slots=True)
class Features:
    """The channels, last values and lifetime sums that a specification needs, and its columns."""

    spec: FeatureSpec
    channels: list[Channel] = field(default_factory=list)
    lasts: list[Source] = field(default_factory=list)
    lifetimes: list[Source] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    activity: int = -1
    day_slots: int = 0
    week_slots: int = 0
    horizon_us: dict[str, int] = field(default_factory=dict)
    _by_kind: dict[str, list[list[tuple[int, Condition]]]] = field(default_factory=dict)
    #: By channel, for the customer that is being evaluated.
    _inside: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = vocabulary_of(self.spec).levels["services"]
        self._known = frozenset(known)
        for feature in self.spec.features:
            self.columns += _Builder(self, feature).columns()
        if self.spec.dormancy_feature is not None:
            chosen = next(f for f in self.spec.features if f.name == self.spec.dormancy_feature)
            self.activity = self.last(Source(chosen.events, chosen.where, None))
        days = max((c.window for c in self.channels if not c.weekly), default=0)
        weeks = max((c.window for c in self.channels if c.weekly), default=0)
        self.day_slots, self.week_slots = _power_of_two(days + 2), _power_of_two(weeks + 2)
        self.horizon_us = self._horizons()

    _known: frozenset[str] = frozenset()

    def channel(self, channel: Channel) -> int:
        """Number of `channel`, which features share."""
        if channel not in self.channels:
            self.channels.append(channel)
        return self.channels.index(channel)

    def last(self, source: Source) -> int:
        """Number of the last value of `source`."""
        if source not in self.lasts:
            self.lasts.append(source)
        return self.lasts.index(source)

    def lifetime(self, source: Source) -> int:
        """Number of the lifetime sum of `source`."""
        if source not in self.lifetimes:
            self.lifetimes.append(source)
        return self.lifetimes.index(source)

    def _horizons(self) -> dict[str, int]:
        days: dict[str, int] = {}
        for channel in self.channels:
            for event in channel.source.events:
                days[event] = max(days.get(event, 0), channel.window * (7 if channel.weekly else 1))
        for source in [*self.lifetimes, *(source for source in self.lasts if source.sign)]:
            for event in source.events:
                days[event] = max(days.get(event, 0), LASTING_DAYS)
        for kind in ("data", "voice", "sms", "invoice", "payment", "topup", "care_contact"):
            days.setdefault(kind, LASTING_DAYS)
        days |= dict.fromkeys(("profile", "closed", "forget"), ENDLESS_DAYS)
        return {kind: n * DAY_US for kind, n in days.items()}

    # -- evaluating ----------------------------------------------------------------------------

    def values(self, customer: Customer, watermark_us: int, priors: Sequence[float]) -> list[float]:
        """Raw values of every column (NaN missing); moves the rings of the customer to the watermark."""
        self.advance(customer, watermark_us // DAY_US)
        self._inside = {}
        return [
            column.value(customer, watermark_us, prior)
            for column, prior in zip(self.columns, priors, strict=True)
        ]

    def observed_days(self, customer: Customer, watermark_us: int) -> float:
        """Days since the first event or the activation, whichever is later."""
        return max(watermark_us - customer.start_us, 0) / DAY_US

    def silent_days(self, customer: Customer, watermark_us: int) -> float:
        """Days since the last activity."""
        if self.activity < 0:
            return 0.0
        last = customer.lasts[self.activity]
        since = customer.start_us if last is None else max(customer.start_us, last[0])
        return max(watermark_us - since, 0) / DAY_US

    def window(self, customer: Customer, number: int, watermark_us: int) -> list[int]:
        """The buckets inside the window of a channel; features share channels, so once per evaluation."""
        found = self._inside.get(number)
        if found is None:
            channel = self.channels[number]
            now = bucket_of(watermark_us, channel.weekly)
            # Nothing of before the start of the customer: the days observed are counted from there.
            first = max(now - channel.window + 1, bucket_of(customer.start_us, channel.weekly))
            found = self._inside[number] = [
                value for bucket, value in customer.buckets[number].items() if first <= bucket <= now
            ]
        return found

    # -- applying ------------------------------------------------------------------------------

    def advance(self, customer: Customer, day: int) -> None:
        """Moves the newest bucket of the rings to `day`; what falls off the end is gone."""
        if customer.head_day is None or day > customer.head_day:
            customer.head_day = day
            self._drop(customer, weekly=False, oldest=day - self.day_slots)
        week = day // 7
        if customer.head_week is None or week > customer.head_week:
            customer.head_week = week
            self._drop(customer, weekly=True, oldest=week - self.week_slots)

    def _drop(self, customer: Customer, *, weekly: bool, oldest: int) -> None:
        for channel, buckets in zip(self.channels, customer.buckets, strict=True):
            if channel.weekly == weekly and buckets:
                for bucket in [bucket for bucket in buckets if bucket <= oldest]:
                    del buckets[bucket]

    def add(self, customer: Customer, event: Event) -> None:
        """Adds an admitted event to everything that it feeds."""
        facts, day = Facts.of(event, self.spec), event.us // DAY_US
        rings, lasts, lifetimes = self._taps(event.kind)
        if rings:
            self.advance(customer, day)
        for number, condition in rings:
            if condition.holds(facts):
                self._bucket(customer, number, event, day)
        for number, condition in () if event.correction else lasts:
            last = customer.lasts[number]
            if (last is None or event.us >= last[0]) and condition.holds(facts):
                customer.lasts[number] = (event.us, measured(self.lasts[number], event, MILLION), event.aux)
        for number, condition in lifetimes:
            if condition.holds(facts):
                customer.lifetimes[number] += measured(self.lifetimes[number], event, MILLION)

    def _taps(self, kind: str) -> list[list[tuple[int, Condition]]]:
        """Channels, lasts and lifetime sums that events of `kind` feed, with their conditions."""
        found = self._by_kind.get(kind)
        if found is None:
            lists = ([channel.source for channel in self.channels], self.lasts, self.lifetimes)
            found = self._by_kind[kind] = [
                [(i, Condition.of(s, kind)) for i, s in enumerate(sources) if kind in s.events]
                for sources in lists
            ]
        return found

    def _bucket(self, customer: Customer, number: int, event: Event, day: int) -> None:
        channel = self.channels[number]
        source = channel.source
        if event.correction and (source.measure is None or channel.is_max):
            return
        bucket, head = (day // 7, customer.head_week) if channel.weekly else (day, customer.head_day)
        if head is not None and head - bucket >= (self.week_slots if channel.weekly else self.day_slots):
            return
        amount = 1 if source.measure is None else measured(source, event, SCALE.get(source.measure, 1.0))
        old = customer.buckets[number].get(bucket, 0)
        new = max(old, amount) if channel.is_max else old + amount
        limit = channel.limit
        customer.buckets[number][bucket] = limit if new > limit else max(new, -limit)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def bucket_of(us: int, weekly: bool) -> int:
    """Number of the day or week that `us` is in."""
    return us // DAY_US // (7 if weekly else 1)


def exposure(watermark_us: int, start_us: int, window: int, bucket_days: int) -> float:
    """Factor from a window's sum to a full window: its days over those observed, one at least."""
    length = bucket_days * DAY_US
    opens = (watermark_us // length - window + 1) * length
    covered = (watermark_us - max(opens, start_us)) / DAY_US
    return window * bucket_days / max(covered, 1.0)


class _Builder:
    """The columns of one feature."""

    def __init__(self, features: Features, feature: Feature) -> None:
        self._all, self._f = features, feature
        self._weekly = feature.bucket == "week"
        days = feature.window_days or 0
        self._window = -(-days // 7) if self._weekly else days
        self._unit = 1.0 / SCALE.get(feature.field or "", 1.0) / feature.per
        self._per = 1.0 / feature.per

    def columns(self) -> list[Column]:
        """One column, or one per level."""
        f = self._f
        if f.aggregate != "one_hot":
            return [Column(f, "", getattr(self, "_" + f.aggregate)())]
        return [Column(f, level, self._level(level)) for level in f.levels]

    def _sums(self, source: Source, *, is_max: bool = False) -> Callable[[Customer, int], list[int]]:
        number = self._all.channel(Channel(source, self._weekly, self._window, is_max))
        return lambda customer, us: self._all.window(customer, number, us)

    def _source(self, measure: str | None) -> Source:
        return Source(self._f.events, self._f.where, measure)

    def _scaled(self, total: float, customer: Customer, us: int) -> float:
        if not self._f.rate:
            return total
        days = 7 if self._weekly else 1
        # Buckets count whole: of a start in mid-week the whole week, unless the first event came in it.
        counted_us = bucket_of(customer.start_us, self._weekly) * days * DAY_US
        return total * exposure(us, max(counted_us, customer.first_us or 0), self._window, days)

    def _sum(self) -> Callable[[Customer, int, float], float]:
        inside = self._sums(self._source(self._f.field))
        return lambda c, us, _: self._scaled(float(sum(inside(c, us))), c, us) * self._unit

    def _count(self) -> Callable[[Customer, int, float], float]:
        inside = self._sums(self._source(None))
        return lambda c, us, _: self._scaled(float(sum(inside(c, us))), c, us) * self._unit

    def _max(self) -> Callable[[Customer, int, float], float]:
        inside = self._sums(self._source(self._f.field), is_max=True)
        return lambda c, us, _: max(inside(c, us), default=0) * self._unit

    def _mean(self) -> Callable[[Customer, int, float], float]:
        total, count = self._sums(self._source(self._f.field)), self._sums(self._source(None))

        def value(c: Customer, us: int, _: float) -> float:
            n = sum(count(c, us))
            return sum(total(c, us)) * self._unit / n if n > 0 else math.nan

        return value

    def _share(self) -> Callable[[Customer, int, float], float]:
        f = self._f
        part = self._sums(self._source(None))
        whole = self._sums(Source(f.of or f.events, Filter(), None))

        def value(c: Customer, us: int, prior: float) -> float:
            a, b = sum(part(c, us)), sum(whole(c, us))
            if math.isnan(prior):
                return a / b * self._per if b > 0 else math.nan
            weight = b + f.shrink
            return (a + f.shrink * prior) / weight * self._per if weight > 0 else math.nan

        return value

    def _active_days(self) -> Callable[[Customer, int, float], float]:
        inside = self._sums(self._source(None))

        def value(c: Customer, us: int, _: float) -> float:
            return self._scaled(float(sum(n != 0 for n in inside(c, us))), c, us) * self._per

        return value

    def _days_since(self) -> Callable[[Customer, int, float], float]:
        number = self._all.last(self._source(None))

        def value(c: Customer, us: int, _: float) -> float:
            last = c.lasts[number]
            return max(us - (c.start_us if last is None else last[0]), 0) // DAY_US * self._per

        return value

    def _last(self) -> Callable[[Customer, int, float], float]:
        number = self._all.last(self._source(self._f.field))

        def value(c: Customer, us: int, _: float) -> float:
            last = c.lasts[number]
            return math.nan if last is None else last[1] * (1.0 / MILLION / self._f.per)

        return value

    def _lifetime_sum(self) -> Callable[[Customer, int, float], float]:
        number = self._all.lifetime(self._source(self._f.field))
        return lambda c, us, _: c.lifetimes[number] * (1.0 / MILLION / self._f.per)

    def _revenue(self) -> Callable[[Customer, int, float], float]:
        f, unit = self._f, 1.0 / MILLION / self._f.per
        bill = self._all.last(Source(("invoice",), Filter(), "amount", 1))
        inside = self._sums(Source(("topup", "invoice"), f.where, "amount", -1))
        days = self._window * (7 if self._weekly else 1)
        valid = self._all.spec.bill_valid_days
        # A bill counts for its period and as long after it as a month's bill does, never less than usual.
        grace = max(0, valid - LONGEST_MONTH_DAYS)

        def value(c: Customer, us: int, _: float) -> float:
            total = self._scaled(sum(inside(c, us)) * unit * 1e4, c, us)
            last = c.lasts[bill]
            if last is not None:
                dated = last[2] > 0  # NaN: the bill names no period
                valid_days = max(valid, int(last[2]) + grace) if dated else valid
                if us - last[0] <= valid_days * DAY_US:
                    total += last[1] * unit * (days / last[2] if dated else 1.0)
            return total

        return value

    def _tenure(self) -> Callable[[Customer, int, float], float]:
        in_months = self._f.field == "months"
        return lambda c, us, _: c.tenure(us // DAY_US, in_months=in_months) * self._per

    def _attribute(self) -> Callable[[Customer, int, float], float]:
        name = self._f.attribute or ""
        if name == "service_count":
            return lambda c, us, _: self._services(c)

        def value(c: Customer, us: int, _: float) -> float:
            found = c.attributes.get(name)
            return math.nan if found is None else found * self._per

        return value

    def _services(self, c: Customer) -> float:
        named = c.attributes.get("services")
        if named is None:
            return math.nan
        known = self._all._known
        return (len(named & known) + bool(named - known)) * self._per

    def _level(self, level: str) -> Callable[[Customer, int, float], float]:
        name, wanted = self._f.attribute or "", normalise_category(level)

        def value(c: Customer, us: int, _: float) -> float:
            found = c.attributes.get(name)
            if found is None:
                return math.nan
            return float(wanted in found if name == "services" else wanted == found)

        return value
