"""One valid record of every message of the contract, for the published documents.

Tests validate each of them with its model, its JSON Schema and the decoder.
"""

from __future__ import annotations

from typing import Any, Final

_USAGE: Final = {"customer_id": "c-102934", "event_time": "2026-03-01T12:00:00.250Z"}
_OFFICE: Final = {"customer_id": "c-102934", "event_time": "2026-03-02T08:30:00Z"}

#: Input events by type.
EVENTS: Final[dict[str, dict[str, Any]]] = {
    "data": {
        "event_id": "u-1", **_USAGE, "type": "data", "megabytes": 12.5, "roaming": False, "technology": "5g"
    },
    "voice": {
        "event_id": "u-2", **_USAGE, "type": "voice", "duration_seconds": 184, "direction": "outgoing",
        "international": True, "roaming": False,
    },
    "sms": {"event_id": "u-3", **_USAGE, "type": "sms", "count": 1, "direction": "incoming"},
    "correction": {
        "event_id": "u-1.1", **_USAGE, "type": "correction", "corrects_event_id": "u-1",
        "type_corrected": "data", "megabytes": -2.5, "technology": "5g",
    },
    "invoice": {
        "event_id": "b-1", **_OFFICE, "type": "invoice", "amount": 29.9, "currency": "EUR",
        "period_start": "2026-02-01", "period_end": "2026-03-01",
    },
    "payment": {
        "event_id": "p-1", **_OFFICE, "type": "payment", "amount": 29.9, "currency": "EUR", "days_late": 3
    },
    "topup": {"event_id": "t-1", **_OFFICE, "type": "topup", "amount": 10, "currency": "EUR"},
    "profile": {
        "event_id": "m-1", **_OFFICE, "type": "profile", "activated_on": "2020-01-01", "age": 41,
        "line_type": "postpaid", "services": ["fiber", "tv"], "consent_profiling": True, "region": None,
    },
    "care_contact": {
        "event_id": "m-2", **_OFFICE, "type": "care_contact", "channel": "phone", "reason": "invoice"
    },
    "closed": {"event_id": "m-3", **_OFFICE, "type": "closed", "reason": "moved abroad"},
    "forget": {"event_id": "m-4", **_OFFICE, "type": "forget"},
}  # fmt: skip

_DRIVER: Final = {
    "feature": "data_mb_30d", "label": "data use", "unit": "MB per 30 days", "before": 1200.0,
    "after": 9100.0, "segment_typical": 8800.0, "contribution": 0.57, "direction": "up",
}  # fmt: skip

#: A record of `segments.changes.v1`.
CHANGE: Final[dict[str, Any]] = {
    "customer_id": "c-102934",
    "change": "moved",
    "seq": 2,
    "segment": {"id": "s3", "name": "Heavy data"},
    "previous_segment": {"id": "s1", "name": "Talkers", "since": "2026-01-15T00:00:00.000Z"},
    "cause": "behaviour",
    "actionable": True,
    "provisional": False,
    "confidence": {"margin": 0.31, "runner_up": "s1"},
    "drivers": [_DRIVER],
    "effective_at": "2026-03-01T12:00:00.000Z",
    "model_version": 4,
    "strategy": {"id": "upsell", "version": 1, "arm": "treatment"},
    "consent": {"profiling": True, "as_of": "2025-05-01T00:00:00.000Z"},
    "origin": "live",
}

#: A record of `segments.current.v1`.
CURRENT: Final[dict[str, Any]] = {**CHANGE, "since": "2026-03-01T12:00:00.000Z"}

#: A record of `segments.catalog.v1`.
CATALOG_ENTRY: Final[dict[str, Any]] = {
    "segment_id": "s3",
    "name": "Heavy data",
    "status": "active",
    "model_version": 4,
    "customers": 182340,
    "share": 0.18,
    "profile": [
        {
            "feature": "data_mb_30d", "label": "data use", "unit": "MB per 30 days", "typical": 8800.0,
            "population": 2100.0,
        }
    ],
    "strategy": {"id": "upsell", "version": 1, "body": {"offer": "Unlimited data", "channel": "app"}},
    "derived_from": ["s1"],
    "since_version": 3,
    "trend": {"direction": "growing", "change": 0.021, "days": 30.0},
    "typical_customer": [
        {"feature": "data_mb_30d", "label": "data use", "unit": "MB per 30 days", "value": 8400.0}
    ],
    "separation": 0.41,
    "border_share": 0.06,
    "nearest": "s1",
    "retired_version": None,
    "successors": [],
}  # fmt: skip
