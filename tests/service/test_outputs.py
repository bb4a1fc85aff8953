"""End to end on real Kafka: conservation, dead letters, changes, catalog, models, audit."""

from __future__ import annotations

import re
import zlib
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from consumer.metric_table import METRICS, Outcome, Stage
from consumer.output import ORIGIN_OFFSET, ORIGIN_PARTITION, ORIGIN_TOPIC, REASON
from online_model.model_json import from_json
from schemas.changes import CatalogEntry, CurrentSegment, SegmentChange
from schemas.internal import AuditRecord
from schemas.internal import from_json as record_from_json
from schemas.times import format_time
from tests.service.conftest import Run, load_json
from tests.service.world import Record, check_chain

pytestmark = pytest.mark.kafka

DAY_US = 86_400_000_000
_COLUMN = {outcome: column for column, outcome in enumerate(Outcome)}


def dead_letters(run: Run) -> list[Record]:
    """The dead-letter topic."""
    return run.records[run.world.names.dlq]


def place(letter: Record) -> tuple[str, int, int]:
    """Topic, partition and offset of the record that a dead letter repeats."""
    topic, partition, offset = (letter.headers[h] for h in (ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET))
    return topic.decode(), int(partition), int(offset)


def changes(run: Run) -> list[Record]:
    """The changes topic."""
    return run.records[run.world.names.changes]


def audits(run: Run) -> dict[int, list[AuditRecord]]:
    """Audit records by partition."""
    found: dict[int, list[AuditRecord]] = defaultdict(list)
    for record in run.records[run.world.names.audit]:
        found[record.partition].append(record_from_json(cast("bytes", record.value), AuditRecord))
    return found


def test_every_record_sent_is_accounted_for(run: Run) -> None:
    """Accepted + duplicate + late + rejected + dropped is what the simulator sent, per topic."""
    sent = run.truth.sent
    names = ("telecom.usage.v1", "telecom.billing.v1", "telecom.customer.v1")
    # A record in the wrong topic was sent to that one.
    assert run.totals.sum() == sent.total
    assert run.totals.sum(axis=1).tolist() == [len(run.records[topic]) for topic in run.world.names.inputs]
    assert sum(sent.by_topic[name] for name in names) == sent.total
    assert run.totals[:, _COLUMN[Outcome.ACCEPTED]].sum() > 0.97 * sent.total
    assert run.committed == run.ends


def test_dead_letters_are_exactly_the_refused(run: Run) -> None:
    """The dead-letter topic holds every late and rejected record once, and nothing else."""
    refused = run.totals[:, [_COLUMN[Outcome.LATE], _COLUMN[Outcome.REJECTED]]].sum()
    origins = [place(r) for r in dead_letters(run)]
    assert len(origins) == len(set(origins)) == refused


def test_a_dead_letter_leads_back_to_its_record(run: Run) -> None:
    """Origin headers name the record whose key and bytes the dead letter repeats."""
    originals = {
        (topic, r.partition, r.offset): (r.key, r.value)
        for topic in run.world.names.inputs
        for r in run.records[topic]
    }
    for letter in dead_letters(run):
        assert originals[place(letter)] == (letter.key, letter.value)
        assert letter.partition == place(letter)[1]
        assert letter.headers[REASON]
        assert letter.headers["__streams.errors.message"]


def test_planted_faults_are_found_with_their_reason(run: Run) -> None:
    """Misrouted and malformed records are all there, by as many as were planted."""
    reasons = Counter(r.headers[REASON].decode() for r in dead_letters(run))
    planted = run.truth.sent.by_fault
    assert reasons["misrouted"] == planted["misrouted"]
    assert reasons["currency"] == planted.get("wrong_currency", 0)
    malformed = [
        *("broken_json", "missing_field", "wrong_type", "negative", "empty", "unknown_type"),
        *("wrong_topic", "key_mismatch", "wrong_currency"),
    ]
    decoded = sum(reasons.values()) - reasons["misrouted"] - reasons["late"] - reasons["future"]
    assert decoded == sum(planted.get(name, 0) for name in malformed)


def test_bad_clocks_are_refused(run: Run) -> None:
    """Every clock at 1970 is late, every clock years ahead is of the future, and no good clock is refused.

    Days ahead may be within what is believed; erasures, closings and profiles are never late.
    """
    planted = run.truth.sent.by_fault
    reasons = {place(r): r.headers[REASON] for r in dead_letters(run)}
    old, years_ahead = [], []
    for topic in run.world.names.inputs:
        for record in run.records[topic]:
            clock = re.search(rb'"event_time":"([^"]+)"', record.value or b"")
            reason = reasons.get((topic, record.partition, record.offset))
            if clock and clock[1] < b"1971":
                old.append((record.json["type"] in ("profile", "closed", "forget"), reason))
            if clock and clock[1].decode() > format_time(run.end_us + 100 * DAY_US):
                years_ahead.append(reason)
    assert len(old) == planted["clock_1970"]
    assert [reason for never_late, reason in old if reason != (None if never_late else b"late")] == []
    assert years_ahead == [b"future"] * planted["clock_years_ahead"]
    refused = Counter(reasons.values())
    assert refused[b"late"] <= planted["clock_1970"] + planted["late_window"]
    assert refused[b"future"] <= planted["clock_years_ahead"] + planted["clock_days_ahead"]


def test_every_change_is_what_the_contract_says(run: Run) -> None:
    """Each value validates; key, partition and CloudEvents headers belong to the customer."""
    home = {
        r.key: r.partition
        for topic in run.world.names.inputs
        for r in run.records[topic]
        if r.key and r.key in run.published and run.published[r.key][1]
    }
    misrouted = {
        (r.headers[ORIGIN_TOPIC], r.headers[ORIGIN_OFFSET], r.partition)
        for r in dead_letters(run)
        if r.headers[REASON] == b"misrouted"
    }
    for topic in run.world.names.inputs:
        for r in run.records[topic]:
            if (topic.encode(), str(r.offset).encode(), r.partition) not in misrouted and r.key in home:
                home[r.key] = r.partition
    ids = set()
    for record in changes(run):
        change = SegmentChange.model_validate_json(cast("bytes", record.value))
        assert change.customer_id.encode() == record.key
        assert home[record.key] == record.partition
        headers = record.headers
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_subject"] == record.key
        assert headers["ce_type"] == b"org.telecom.segment.changed.v1"
        assert {"ce_source", "ce_time", "ce_dataschema", "content-type"} <= headers.keys()
        ids.add(headers["ce_id"])
    assert len(ids) == len(changes(run)) >= 450


def test_changes_form_a_chain_per_customer(run: Run) -> None:
    """`seq` is 1, 2, 3... and the previous segment is the one of the change before."""
    check_chain(changes(run))
    assert sum(run.changes.values()) == len(changes(run))


def test_current_agrees_with_the_last_change(run: Run) -> None:
    """The compacted view of a customer is the last change, or null after an exit."""
    last = {record.key: record.json for record in changes(run)}
    current: dict[bytes | None, dict[str, Any] | None] = {}
    for record in run.records[run.world.names.current]:
        current[record.key] = None if record.value is None else record.json
        if record.value is not None:
            CurrentSegment.model_validate_json(record.value)
    assert current.keys() == last.keys()
    for key, body in last.items():
        seen = current[key]
        if body["change"] == "exited":
            assert seen is None
        else:
            assert seen is not None
            assert {name: seen[name] for name in body} == body
            assert seen["since"] == body["effective_at"]


def test_the_catalog_describes_every_segment(run: Run) -> None:
    """Each segment of a change has a catalog entry that validates, with its strategy's body."""
    entries = {
        (r.key or b"").decode(): CatalogEntry.model_validate_json(cast("bytes", r.value))
        for r in run.records[run.world.names.catalog]
    }
    used = {r.json["segment"]["id"] for r in changes(run) if r.json["segment"]}
    assert used <= entries.keys() >= {"dormant", "unclassified"}
    named = {s.id: entries[s.id] for s in run.model.segments}
    assert len(named) == run.model.k == 5
    for segment in run.model.segments:
        entry = named[segment.id]
        assert (entry.segment_id, entry.name) == (segment.id, segment.name)
        assert entry.strategy is not None
        assert entry.strategy.body
        assert entry.profile
    assert sum(entry.share for entry in named.values()) == pytest.approx(1.0)


def test_the_model_record_is_the_model(run: Run) -> None:
    """The models topic holds version 1 under its key, and it loads."""
    newest = run.records[run.world.names.models][-1]
    model = from_json(cast("bytes", newest.value))
    assert newest.key == str(model.version).encode()
    assert model.version == run.model.version
    assert (model.centroids == run.model.centroids).all()


def test_the_audit_log_has_no_gap(run: Run) -> None:
    """Per partition `n` is 1, 2, 3... and each commit begins where the one before ended."""
    for partition, records in audits(run).items():
        assert [r.n for r in records] == list(range(1, len(records) + 1))
        assert all(r.partition == partition for r in records)
        for before, after in pairwise(records):
            assert after.from_offsets == before.to_offsets
            assert after.watermark_us >= before.watermark_us
        ends = {(topic, partition): offset for topic, offset in records[-1].to_offsets.items()}
        assert ends.items() <= run.ends.items()


def test_the_audit_log_vouches_for_the_outputs(run: Run) -> None:
    """Numbers and checksums of the audit are those of the changes read back."""
    for partition, records in audits(run).items():
        values = [r.value for r in changes(run) if r.partition == partition]
        at = 0
        for record in records:
            crc = 0
            for value in values[at : at + record.outputs]:
                crc = zlib.crc32(value or b"", crc)
            assert crc == record.outputs_crc32
            at += record.outputs
        assert at == len(values)
        assert sum(r.rejects for r in records) == sum(r.partition == partition for r in dead_letters(run))


def test_a_topic_far_ahead_is_held_and_applied_in_the_end(run: Run) -> None:
    """A topic more than a bucket ahead of the others was paused, and its records were all applied."""
    assert run.held
    assert run.totals.sum() == run.truth.sent.total


def test_readiness_follows_the_model(run: Run) -> None:
    """Not ready before calibration, with the reason; ready after it; alive all the time."""
    status, body = run.answers["/readyz before"]
    assert status == 503
    assert load_json(body)["waiting_for"]
    assert run.answers["/readyz"][0] == run.answers["/livez"][0] == 200
    assert run.answers["/nowhere"][0] == 404


#: Counters of what did not happen in the run.
#: Nothing failed, and the run is over before a snapshot is due (`test_snapshots` counts those).
_QUIET = {
    "segment_moves_total",  # nobody moves in this month: the model comes at its end
    "aborts_total",
    "recalibrations_total",  # within the day after the calibration
    "producer_rebuilds_total",
    "snapshots_total",
    "snapshot_failures_total",
    "snapshot_bytes_total",
    "snapshot_cpu_seconds_total",
}


def test_metrics_are_the_totals(run: Run) -> None:
    """/metrics parses, and its counters are what the service counted."""
    status, text = run.answers["/metrics"]
    assert status == 200
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    counted = [s for s in samples if s.name == "segmenter_events_total"]
    for topic, row in zip(run.world.names.inputs, run.totals.tolist(), strict=True):
        for outcome, n in zip(Outcome, row, strict=True):
            labels = {"topic": topic, "outcome": outcome.value}
            assert [s.value for s in counted if s.labels == labels] == [n]
    published = {
        (s.labels["change"], s.labels["cause"]): s.value
        for s in samples
        if s.name == "segmenter_changes_total"
    }
    assert published == run.changes
    assert sum(s.value for s in samples if s.name == "segmenter_consumer_lag_records") == 0
    moving = {s.name for s in samples if s.value > 0}
    for metric in METRICS:
        if metric.kind == "counter" and metric.name not in _QUIET:
            assert f"segmenter_{metric.name}" in moving, metric.name
    stages = {s.labels["stage"]: s.value for s in samples if s.name.endswith("stage_duration_seconds_count")}
    assert stages.keys() == {stage.value for stage in Stage}
    assert min(stages.values()) > 0


def test_the_status_page_tells_where_it_stands(run: Run) -> None:
    """/status is JSON with model, segment sizes and positions."""
    body = load_json(run.answers["/status"][1])
    assert body["ready"]
    assert body["model"]["version"] == run.model.version
    assert sum(body["segments"].values()) == sum(row.segment != 0 for row in run.published.values())
    places = {
        (topic, int(partition)): offset
        for partition, state in body["partitions"].items()
        for topic, offset in zip(run.world.names.inputs, state["next_offset"], strict=True)
    }
    assert places == run.ends
