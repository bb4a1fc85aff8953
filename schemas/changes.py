"""Output contract v1: segment changes, current membership and the segment catalog.

The pydantic models are the published contract. The msgspec structs in
`schemas.outbox` are what the service encodes; a test validates their bytes with these models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.events import Id, Time

ChangeKind = Literal["assigned", "moved", "exited"]
Cause = Literal["first", "behaviour", "time", "model", "correction", "consent", "closed"]
Arm = Literal["treatment", "control"]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Published(BaseModel):
    # Readers of v1 must ignore fields that later minor versions add.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Segment(_Published):
    """A segment by its stable id; the name may be edited, the id is never reused."""

    id: Name
    name: Name


class PreviousSegment(Segment):
    """The segment the customer was in, since when."""

    since: Time


class Confidence(_Published):
    """How far the customer is from the next best segment."""

    margin: Number = Field(description="0 on the boundary, 1 at the segment's centre.")
    runner_up: Name | None = Field(description="Id of the next best segment.")


class Driver(_Published):
    """A feature that moved the customer, in real units."""

    feature: Name
    label: Name
    unit: str
    before: Number | None
    after: Number | None
    segment_typical: Number | None
    contribution: Number = Field(description="Share of the change that this feature explains.")
    direction: Literal["up", "down"]


class Strategy(_Published):
    """Marketing strategy bound to the segment, and the customer's experiment arm."""

    id: Name
    version: int
    arm: Arm


class Consent(_Published):
    """Profiling consent as known at the change."""

    profiling: bool | None
    as_of: Time | None


class SegmentChange(_Published):
    """One change of one customer's segment (topic `segments.changes.v1`, key = customer_id)."""

    customer_id: Id
    change: ChangeKind
    seq: Annotated[int, Field(ge=1)] = Field(description="Counts the customer's changes.")
    segment: Segment | None = Field(description="Null for exited.")
    previous_segment: PreviousSegment | None = Field(description="Null for assigned.")
    cause: Cause
    actionable: bool = Field(description="False for model, backfill and provisional changes.")
    provisional: bool = Field(description="The customer's history is still short.")
    confidence: Confidence | None
    drivers: list[Driver]
    effective_at: Time = Field(description="Event-time watermark at the change.")
    model_version: Annotated[int, Field(ge=0)]
    strategy: Strategy | None
    consent: Consent
    origin: Literal["live", "backfill"]


class CurrentSegment(SegmentChange):
    """Latest membership (topic `segments.current.v1`, compacted): the last change's fields.

    A null value means exited or erased. Drop changes with `seq` <= the current one.
    """

    since: Time = Field(description="When the customer entered the segment.")


class ProfileValue(_Published):
    """A feature of a segment in real units."""

    feature: Name
    label: Name
    unit: str
    typical: Number | None = Field(description="Mean of the members.")
    population: Number | None = Field(description="Mean of all customers.")


class StrategyBody(_Published):
    """The strategy as its owner wrote it."""

    id: Name
    version: int
    body: dict[str, str | int | float | bool | list[str]]


class SegmentTrend(_Published):
    """How a segment's share has changed."""

    direction: Literal["growing", "steady", "shrinking"]
    change: Number = Field(description="Share now less the share then.")
    days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="Event time between the two; 30 at most."
    )


class TypicalValue(_Published):
    """A feature of a segment's typical customer, in real units."""

    feature: Name
    label: Name
    unit: str
    value: Number = Field(description="To two significant digits; 1 for a category that applies.")


class CatalogEntry(_Published):
    """A segment (topic `segments.catalog.v1`, compacted, key = segment id).

    A retired segment keeps its last record: ids are never used again, and old changes name them. Of a segment
    with fewer than ten customers nothing is told but its name and strategy.
    """

    segment_id: Name
    name: Name
    status: Literal["active", "retired"]
    model_version: Annotated[int, Field(ge=0)] = Field(description="The version this record was made of.")
    customers: Annotated[int, Field(ge=0)] = Field(
        description="Nearest to its centre at the newest scan, or whom a new fit has looked at; "
        "0 also for one to nine."
    )
    share: Share = Field(description="Of all customers, the dormant and the unclassified included.")
    profile: list[ProfileValue]
    strategy: StrategyBody | None
    derived_from: list[Name] = Field(description="Segments it came from by a split or merge.")
    since_version: Annotated[int, Field(ge=0)] = Field(
        description="The first version with this id; 0: always there."
    )
    trend: SegmentTrend | None = Field(
        default=None, description="Null with less than a day between versions that have the segment."
    )
    typical_customer: list[TypicalValue] = Field(
        default=[],
        description="A real customer in the middle of the segment (its medoid) when it was fitted.",
    )
    separation: Number | None = Field(
        default=None,
        description="Mean place of its customers between the border to the nearest other segment (0) and its "
        "centre (1), when it was fitted.",
    )
    border_share: Share | None = Field(default=None, description="Share of its customers below 0.1 there.")
    nearest: Name | None = Field(
        default=None, description="Id of the segment that most of its customers would be in without it."
    )
    retired_version: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="The version that no longer has it."
    )
    successors: list[Name] = Field(
        default=[],
        description="Of a retired segment: where most of its customers are, or what it is part of.",
    )
