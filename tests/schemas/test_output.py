"""Output contract, internal records and JSON Schema files."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from schemas import changes, export, internal, outbox

EVENT_TIME_US = 1_772_366_400_000_000
GOLDEN = Path(__file__).parent / "golden"


def moved() -> outbox.Current:
    """A move with every field filled."""
    return outbox.Current(
        customer_id="c1",
        change="moved",
        seq=2,
        segment=outbox.Segment("s3", "Heavy data"),
        previous_segment=outbox.PreviousSegment("s1", "Talkers", "2026-01-01T00:00:00.000Z"),
        cause="behaviour",
        actionable=True,
        provisional=False,
        confidence=outbox.Confidence(0.4, "s1"),
        drivers=(outbox.Driver("data_mb_30d", "data use", "MB per 30 days", 10.0, 900.0, 800.0, 0.7, "up"),),
        effective_at="2026-03-01T12:00:00.000Z",
        model_version=4,
        strategy=outbox.Strategy("upsell", 1, "control"),
        consent=outbox.Consent(True, "2025-05-01T00:00:00.000Z"),
        origin="live",
        since="2026-03-01T12:00:00.000Z",
    )


def bare() -> outbox.Current:
    """A change with every nullable field null."""
    return msgspec.structs.replace(
        moved(),
        change="exited",
        segment=None,
        previous_segment=None,
        cause="closed",
        confidence=None,
        drivers=(),
        strategy=None,
        consent=outbox.Consent(None, None),
    )


@pytest.mark.parametrize("record", [moved(), bare()])
def test_encoded_changes_fit_the_published_model(record: outbox.Current) -> None:
    """The msgspec structs and the pydantic models have the same fields and values."""
    value = record.encode()
    model = changes.CurrentSegment.model_validate_json(value, strict=True)
    assert json.loads(model.model_dump_json()) == json.loads(value)
    assert outbox.decode_current(value) == record
    schema = json.loads(export.documents()["segments.current.v1.schema.json"])
    jsonschema.validate(json.loads(value), schema)
    assert outbox.decode_change(value).seq == record.seq


def test_change_bytes_of_v1_do_not_change() -> None:
    """Subscribers parse these bytes; a new minor version may only add fields."""
    assert moved().encode() == (GOLDEN / "change.v1.json").read_bytes().rstrip()


def test_headers_are_cloudevents() -> None:
    """Binary mode: required attributes, a deterministic id, provenance."""
    events = outbox.CloudEvents(outbox.CHANGED_TYPE, "/segmenter", "urn:schema", "run-1")
    trigger = outbox.Trigger("telecom.usage.v1", 3, 42)
    time, customer = b"2026-03-01T12:00:00.000Z", "c\u00e9".encode()
    headers = events.headers(outbox.subject_headers(customer, 2, EVENT_TIME_US, time, trigger))
    assert headers == events.headers(outbox.subject_headers(customer, 2, EVENT_TIME_US, time, trigger))
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"org.telecom.segment.changed.v1",
        "ce_source": b"/segmenter",
        "ce_dataschema": b"urn:schema",
        "content-type": b"application/json",
        "segmenter_run_id": b"run-1",
        "ce_id": "c\u00e9/2/1772366400000000".encode(),
        "ce_subject": "c\u00e9".encode(),
        "ce_time": b"2026-03-01T12:00:00.000Z",
        "segmenter_trigger_topic": b"telecom.usage.v1",
        "segmenter_trigger_partition": b"3",
        "segmenter_trigger_offset": b"42",
    }
    assert len(outbox.subject_headers(b"c", 1, 0, time)) == len(headers) - 6 - 3


def test_internal_records_round_trip() -> None:
    """Equal records have equal bytes, integers beyond 64 bits included."""
    audit = internal.AuditRecord(
        partition=1, n=7, from_offsets={"b": 1, "a": 0}, to_offsets={"a": 5, "b": 9},
        now_us=1, watermark_us=0, model_version=2, previous_version=1,
        frontiers={"a": (1, 2), "b": (None, None)},
        scan=internal.ScanSlice(1, 0, 2**63, True, False),
        outputs=3, outputs_crc32=9, rejects=0, run_id="r",
    )  # fmt: skip
    delta = internal.DeltaRecord(
        partition=1, scan_id=2, boundary_us=3, model_version=2, customers=1, counts=[1],
        sums=[[2**70, -(2**70)]], sq_error=[4], statistics={"missing": [0, 1]},
    )  # fmt: skip
    command = internal.CommandRecord(
        id="1", command="rollback", model_version=3, issued_us=5, issued_by="ops"
    )
    assert json.loads(internal.to_json(audit))["from"] == {"a": 0, "b": 1}
    assert internal.from_json(internal.to_json(audit), internal.AuditRecord) == audit
    assert internal.from_json(internal.to_json(delta), internal.DeltaRecord) == delta
    assert internal.from_json(internal.to_json(command), internal.CommandRecord) == command


def test_schema_files_are_current(tmp_path: Path) -> None:
    """`schemas/json` is what the models generate; a stale or missing file is reported."""
    assert export.outdated() == []
    export.write(tmp_path)
    (tmp_path / "segments.changes.v1.schema.json").write_text("{}")
    (tmp_path / "old.schema.json").write_text("{}")
    assert export.outdated(tmp_path) == ["old.schema.json", "segments.changes.v1.schema.json"]


@pytest.mark.parametrize("name", sorted(export.documents()))
def test_schema_files_are_json_schema(name: str) -> None:
    """Valid draft 2020-12."""
    jsonschema.Draft202012Validator.check_schema(json.loads(export.documents()[name]))
