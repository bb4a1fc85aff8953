"""What is known of every segment that there ever was: where it came from, its size, its trend.

All of it is in the versions: whoever adopts them in order, whoever made them, knows the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from online_model.model import DORMANT, UNCLASSIFIED, Lineage
from online_model.model_head import Version
from online_model.plan import DAY_US
from online_model.timeline import Shares, Trend, add_daily, shares_of, trend

#: Event time that a trend looks back.
TREND_DAYS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Descent:
    """Of one segment: its last `name`, the first version with it, segments that it was split or merged from.

    `retired_version`: since when it is gone (None: it is there), to `successors`.
    """

    name: str
    since_version: int
    derived_from: tuple[str, ...] = ()
    retired_version: int | None = None
    successors: tuple[str, ...] = ()


class SegmentHistory:
    """Filled by `adopt`, version by version. Segments that are rules have no descent."""

    def __init__(self) -> None:
        self.descents: dict[str, Descent] = {}
        #: Customers by segment, the two that are rules included, at the newest scan since the last fit.
        self.members: dict[str, int] = {}
        self._shares: list[Shares] = []

    def adopt(self, model: Version) -> None:
        """Takes the next version in."""
        events = {event.segment_id: event for event in model.lineage}
        for segment in model.segments:
            known = self.descents.get(segment.id) or Descent(segment.name, model.version)
            derived = (*known.derived_from, *_sources(events.get(segment.id)))
            self.descents[segment.id] = Descent(
                segment.name, known.since_version, tuple(dict.fromkeys(derived))
            )
        present = {segment.id for segment in model.segments}
        for segment_id, known in self.descents.items():
            if segment_id not in present and known.retired_version is None:
                heirs = tuple(events[segment_id].to_ids) if segment_id in events else ()
                self.descents[segment_id] = replace(known, retired_version=model.version, successors=heirs)
        self._count(model)
        point = shares_of(model)
        add_daily(self._shares, point)
        while self._shares[0].at_us < point.at_us - (TREND_DAYS + 1) * DAY_US:
            del self._shares[0]

    def _count(self, model: Version) -> None:
        if model.is_new_fit:
            self.members = {}
        ids = [*(segment.id for segment in model.segments), DORMANT, UNCLASSIFIED]
        if model.observed is not None and len(model.observed.members) == len(ids):
            self.members = dict(zip(ids, model.observed.members, strict=True))

    def trend(self, segment_id: str) -> Trend | None:
        """Over `TREND_DAYS`, or as much of it as the segment has been there."""
        return trend(self._shares, segment_id, TREND_DAYS)


def _sources(event: Lineage | None) -> list[str]:
    if event is None or event.event not in ("split", "merged"):
        return []
    return [source for source in event.from_ids if source != event.segment_id]
