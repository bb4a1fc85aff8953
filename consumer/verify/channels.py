"""What features are added up from: which events count, under which conditions, in which buckets."""

from __future__ import annotations

from typing import Final, NamedTuple

from consumer.verify.events import Event
from online_model.spec import FeatureSpec, Filter
from schemas.batch import normalise_category

DAY_US: Final = 86_400_000_000
HOUR_US: Final = 3_600_000_000

_LIMIT16, _LIMIT32 = 32_767, 2_147_483_647


class Source(NamedTuple):
    """Which events, and what of them: `measure` None counts them; `sign` 1: no credit note, -1: only them."""

    events: tuple[str, ...]
    where: Filter
    measure: str | None
    sign: int = 0


class Channel(NamedTuple):
    """Buckets of a source: `weekly` or daily, how many make a window, and whether the largest counts."""

    source: Source
    weekly: bool
    window: int
    is_max: bool

    @property
    def limit(self) -> int:
        """Where a bucket saturates: counts and days have two bytes, quantities four."""
        return _LIMIT16 if self.source.measure in {None, "days_late"} else _LIMIT32


class Facts(NamedTuple):
    """What of an event conditions are about; `credit` is a negative invoice."""

    bits: int
    category: str | None

    @classmethod
    def of(cls, event: Event, spec: FeatureSpec) -> Facts:
        """Facts of an event; night and weekend are those of the event time, UTC."""
        hour = event.us // HOUR_US % 24
        low, high = spec.night_from, spec.night_to
        night = (hour >= low or hour < high) if low > high else low <= hour < high
        weekend = (event.us // DAY_US + 3) % 7 >= 5  # 1970-01-01 was a Thursday
        credit = event.kind == "invoice" and event.value < 0
        bits = event.roaming | event.international << 1 | event.incoming << 2
        return cls(bits | night << 3 | weekend << 4 | credit << 5, event.category)


class Condition(NamedTuple):
    """Of the bits in `mask` those in `want` must be set; `category` None for any."""

    mask: int
    want: int
    category: str | None

    @classmethod
    def of(cls, source: Source, kind: str) -> Condition:
        """The condition of a source on events of `kind`."""
        where = source.where
        incoming = None if where.direction is None else where.direction == "incoming"
        credit = {0: None, 1: False, -1: True}[source.sign]
        if source.sign == -1 and kind != "invoice":
            credit = None
        wanted = (where.roaming, where.international, incoming, where.night, where.weekend, credit)
        mask = sum(1 << bit for bit, value in enumerate(wanted) if value is not None)
        want = sum(1 << bit for bit, value in enumerate(wanted) if value)
        level = {"data": where.technology, "care_contact": where.channel}.get(kind)
        return cls(mask, want, None if level is None else normalise_category(level))

    def holds(self, facts: Facts) -> bool:
        """Whether an event with these facts counts."""
        return facts.bits & self.mask == self.want and self.category in {None, facts.category}


def measured(source: Source, event: Event, scale: float) -> int:
    """The event's measure in whole steps, half to even."""
    return round((event.aux if source.measure == "days_late" else event.value) * scale)
