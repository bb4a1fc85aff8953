"""Outgoing records as msgspec structs, and their CloudEvents headers (binary mode).

Field meanings are documented in `schemas.changes`. A first assignment writes a record per customer,
so constant header parts are made once.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.changes import Arm, Cause, ChangeKind

Headers = list[tuple[str, bytes]]

CHANGED_TYPE: Final = "org.telecom.segment.changed.v1"
CURRENT_TYPE: Final = "org.telecom.segment.current.v1"
CATALOG_TYPE: Final = "org.telecom.segment.catalog.v1"


def schema_id(topic: str) -> str:
    """`$id` of the JSON Schema of a topic of the contract (its name without a prefix).

    An absolute URI: CloudEvents asks for one in `ce_dataschema`.
    """
    return f"urn:telecom-segmenter:{topic}"


_encode = msgspec.json.Encoder().encode


class Segment(msgspec.Struct, frozen=True, gc=False):
    """A segment."""

    id: str
    name: str


class PreviousSegment(msgspec.Struct, frozen=True, gc=False):
    """The segment before; `since` is RFC 3339."""

    id: str
    name: str
    since: str


class Confidence(msgspec.Struct, frozen=True, gc=False):
    """Margin and next best segment id."""

    margin: float
    runner_up: str | None


class Driver(msgspec.Struct, frozen=True, gc=False):
    """A feature that moved the customer; `direction` is up or down."""

    feature: str
    label: str
    unit: str
    before: float | None
    after: float | None
    segment_typical: float | None
    contribution: float
    direction: str


class Strategy(msgspec.Struct, frozen=True, gc=False):
    """Strategy and arm."""

    id: str
    version: int
    arm: Arm


class Consent(msgspec.Struct, frozen=True, gc=False):
    """Profiling consent; `as_of` is RFC 3339."""

    profiling: bool | None
    as_of: str | None


class Change(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A segment change; `effective_at` is RFC 3339."""

    customer_id: str
    change: ChangeKind
    seq: int
    segment: Segment | None
    previous_segment: PreviousSegment | None
    cause: Cause
    actionable: bool
    provisional: bool
    confidence: Confidence | None
    drivers: tuple[Driver, ...]
    effective_at: str
    model_version: int
    strategy: Strategy | None
    consent: Consent
    origin: str

    def encode(self) -> bytes:
        """The record value. Numbers must be finite: NaN would be written as null."""
        return _encode(self)


class Current(Change, frozen=True, gc=False, kw_only=True):
    """Latest membership: the last change and since when the segment holds."""

    since: str


_CURRENT: Final = msgspec.json.Decoder(Current)
_CHANGE: Final = msgspec.json.Decoder(Change)


def decode_current(value: bytes) -> Current:
    """A record of our own `segments.current.v1`. Raises `msgspec.DecodeError` for foreign bytes."""
    return _CURRENT.decode(value)


def decode_change(value: bytes) -> Change:
    """A record of our own `segments.changes.v1`. Raises `msgspec.DecodeError` for foreign bytes."""
    return _CHANGE.decode(value)


def encode_entry(entry: dict[str, Any]) -> bytes:
    """Value of a catalog record; the shape is `schemas.changes.CatalogEntry`."""
    return _encode(entry)


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """The input record a change followed from."""

    topic: str
    partition: int
    offset: int


def subject_headers(
    subject: bytes, seq: int, time_us: int, time: bytes, trigger: Trigger | None = None
) -> Headers:
    """Headers about one change of `subject` (customer or segment id) at `time_us`, `time` in RFC 3339.

    `trigger` is None for scans. The id is a function of the arguments, so that a repeated derivation has
    the same one; the time is part of it because `seq` starts again after an erasure.
    """
    headers = [
        ("ce_id", b"%b/%d/%d" % (subject, seq, time_us)),
        ("ce_subject", subject),
        ("ce_time", time),
    ]
    if trigger is not None:
        headers += (
            ("segmenter_trigger_topic", trigger.topic.encode()),
            ("segmenter_trigger_partition", b"%d" % trigger.partition),
            ("segmenter_trigger_offset", b"%d" % trigger.offset),
        )
    return headers


class CloudEvents:
    """Headers of one record type of one run: CloudEvents 1.0 attributes and our provenance."""

    def __init__(self, ce_type: str, source: str, schema: str, run_id: str) -> None:
        self._before: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", ce_type.encode()),
            ("ce_source", source.encode()),
            ("ce_dataschema", schema.encode()),
            ("content-type", b"application/json"),
            ("segmenter_run_id", run_id.encode()),
        ]

    def headers(self, subject: Headers) -> Headers:
        """The constant headers and those of the subject, which records of both types share."""
        return self._before + subject
