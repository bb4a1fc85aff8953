"""One customer as the verification remembers it: the life under way, and what was published."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from consumer.verify.events import Event

_DAY_US = 86_400_000_000
_SECOND_US = 1_000_000
#: A profile without `activated_on` may begin a life so far before the watermark.
PROFILE_REACH_US = 400 * _DAY_US
#: Event ids remembered per topic.
DUPLICATE_HORIZON = 16
_EPOCH = date(1970, 1, 1)

LIVE, UNBORN, CLOSED, FORGOTTEN, WITHDRAWN = "live", "unborn", "closed", "forgotten", "withdrawn"
_ENDS = {"closed": CLOSED, "forget": FORGOTTEN}


@dataclass(frozen=True, slots=True)
class Published:
    """Membership after the last change; `segment` None: in none. `before`: features then, None not known.

    `run_id` of the process that published it: another one need not remember `before`.
    """

    segment: str | None = None
    seq: int = 0
    since_us: int = 0
    before: tuple[float, ...] | None = None
    run_id: str = ""


@dataclass(slots=True)
class Customer:
    """State of a customer. The numbers of channels, lasts and lifetimes are those of `Features`."""

    id: bytes
    shape: tuple[int, int, int]
    cut_us: int | None = None
    status: str = UNBORN
    seen: tuple[deque[str], ...] = field(
        default_factory=lambda: tuple(deque(maxlen=DUPLICATE_HORIZON) for _ in range(3))
    )
    first_us: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    written_s: dict[str, int] = field(default_factory=dict)
    consent: bool | None = None
    consent_s: int | None = None
    head_day: int | None = None
    head_week: int | None = None
    buckets: list[dict[int, int]] = field(default_factory=list)
    lasts: list[tuple[int, int, float] | None] = field(default_factory=list)
    lifetimes: list[int] = field(default_factory=list)
    published: Published = field(default_factory=Published)

    def __post_init__(self) -> None:
        self._start_life()

    def _start_life(self) -> None:
        channels, lasts, lifetimes = self.shape
        self.first_us = None
        self.attributes, self.written_s = {}, {}
        self.head_day = self.head_week = None
        self.buckets = [{} for _ in range(channels)]
        self.lasts, self.lifetimes = [None] * lasts, [0] * lifetimes
        was = self.published
        self.published = Published(was.segment, was.seq, was.since_us, None, was.run_id)

    @property
    def start_us(self) -> int:
        """Since when there is something to observe."""
        begun = self.first_us if self.first_us is not None else 0
        day = self.attributes.get("activated_on")
        return begun if day is None else max(begun, day * _DAY_US)

    def is_repeat(self, event: Event) -> bool:
        """Whether the event's id is among the last of its topic; remembers it otherwise."""
        seen = self.seen[event.topic]
        if event.event_id in seen:
            return True
        seen.append(event.event_id)
        return False

    def admits(self, event: Event) -> bool:
        """Whether the event belongs to this life or starts one; otherwise it is dropped."""
        if self.cut_us is not None and event.us <= self.cut_us:
            return False
        if self.status == LIVE:
            return True
        if self.status == WITHDRAWN:
            if event.kind in _ENDS:
                return True
            if "consent_profiling" not in event.attributes:
                return False
            second = event.us // _SECOND_US
            if self.consent_s is not None and second < self.consent_s:
                return False
            if event.attributes["consent_profiling"] is False:
                self.consent_s = second  # withdrawn once more: earlier returns do not count
                return False
            # Nothing that happened before this moment may be counted any more.
            self.cut_us = event.us - 1
        elif self.status != UNBORN:
            self.consent, self.consent_s = None, None
        self.status = LIVE
        return True

    def end_of_life(self, event: Event) -> str | None:
        """Ends the life if the event is such an end; returns the new status then."""
        if event.kind in _ENDS:
            self.cut_us = event.us
            self.status = _ENDS[event.kind]
        elif self.consent is False and event.kind == "profile":
            self.status = WITHDRAWN
        else:
            return None
        self._start_life()
        return self.status

    def begin(self, event: Event, watermark_us: int | None) -> None:
        """Lets an admitted event set the beginning of the life, and write its profile."""
        begun = event.us
        undated = event.kind == "profile" and event.attributes.get("activated_on") is None
        if undated and watermark_us is not None:
            begun = max(begun, watermark_us - PROFILE_REACH_US)
        if self.first_us is None or begun < self.first_us:
            self.first_us = begun
        second = event.us // _SECOND_US
        for name, value in event.attributes.items():
            if name == "consent_profiling":
                if self.consent_s is None or second >= self.consent_s:
                    self.consent, self.consent_s = value, second
            elif second >= self.written_s.get(name, second):
                self.written_s[name] = second
                self.attributes[name] = value

    def tenure(self, today: int, *, in_months: bool) -> int:
        """Whole days or calendar months since the activation or the first event."""
        day = self.attributes.get("activated_on")
        if day is None:
            day = (self.first_us or 0) // _DAY_US
        if not in_months:
            return max(today - day, 0)
        now, then = _EPOCH + timedelta(days=today), _EPOCH + timedelta(days=day)
        return max((now.year - then.year) * 12 + now.month - then.month - (now.day < then.day), 0)
