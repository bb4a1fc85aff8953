"""A log that was written by the service verifies clean; whatever is changed in it is found and named."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from consumer.output import ORIGIN_OFFSET, ORIGIN_TOPIC, REASON
from consumer.verify import Finding, Record
from tests.consumer.verify.book import PARTITIONS, Log, Service, live_month

P = 0


@pytest.fixture(scope="module")
def service() -> Service:
    """A month with several models and every way of leaving."""
    return live_month()


def body_of(record: Record) -> dict[str, Any]:
    """JSON of a record."""
    body: dict[str, Any] = msgspec.json.decode(record.value or b"{}")
    return body


def altered(record: Record, **fields: Any) -> Record:
    """The record with fields of its body replaced."""
    return record._replace(value=msgspec.json.encode(body_of(record) | fields))


def find_change(service: Service, wanted: Callable[[dict[str, Any]], bool]) -> int:
    """Position of a change of partition 0, late in the log."""
    records = service.log.topics[service.names.changes, P]
    return max(i for i, record in enumerate(records) if wanted(body_of(record)))


def is_move(body: dict[str, Any]) -> bool:
    """A move with confidence and drivers."""
    return body["change"] == "moved" and body["confidence"] is not None and len(body["drivers"]) > 1


def kinds_of(service: Service, log: Log) -> tuple[set[str], list[Finding]]:
    """Kinds of what is found in `log`, and the findings."""
    report = service.verify(log, [P])
    return set(report.kinds), report.findings


def test_an_untouched_log_is_clean(service: Service) -> None:
    """Every change of a month is derived again; every input record is accounted for exactly once."""
    report = service.verify()
    assert report.findings == []
    assert report.unverified == []
    names, log = service.names, service.log
    written = sum(len(log.topics[names.changes, p]) for p in range(PARTITIONS))
    assert report.counts["changes"] == written > 150
    for topic in names.inputs:
        for p in range(PARTITIONS):
            assert sum(report.inputs[p, topic].values()) == len(log.topics[topic, p])


def test_the_month_has_what_the_laws_are_about(service: Service) -> None:
    """Several versions, one of them promoted, and nearly every cause and outcome."""
    assert [m.kind for m in service.versions].count("folded") > 5
    assert [m.kind for m in service.versions].count("recalibrated") == 1
    changes = [body_of(r) for p in range(PARTITIONS) for r in service.log.topics[service.names.changes, p]]
    causes = Counter(change["cause"] for change in changes)
    assert causes.keys() >= {"first", "model", "behaviour", "closed", "consent"}
    outcomes: Counter[str] = sum(service.verify().inputs.values(), Counter())
    assert outcomes.keys() >= {"applied", "duplicate", "dropped", "late", "future", "misrouted", "schema"}


def test_a_dropped_change_is_missing(service: Service) -> None:
    """With the customer, and the commit that must have written it."""
    log, at = service.log.copy(), find_change(service, is_move)
    gone = log.topics[service.names.changes, P].pop(at)
    kinds, findings = kinds_of(service, log)
    assert {"missing", "crc"} <= kinds <= {"missing", "crc", "chain"}
    missing = next(f for f in findings if f.kind == "missing")
    assert missing.customer == (gone.key or b"").decode()
    assert missing.commit > 0


def test_a_doubled_change_is_additional(service: Service) -> None:
    """The second of two equal records is named by its offset."""
    log, at = service.log.copy(), find_change(service, is_move)
    records = log.topics[service.names.changes, P]
    copy = records[at]._replace(offset=records[at].offset + 1)
    records[at + 1 :] = [copy, *(r._replace(offset=r.offset + 1) for r in records[at + 1 :])]
    kinds, findings = kinds_of(service, log)
    assert "additional" in kinds
    assert kinds <= {"additional", "chain", "crc"}
    assert [(f.customer, f.offset) for f in findings if f.kind == "additional"] == [
        ((copy.key or b"").decode(), copy.offset)
    ]


ALTERATIONS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "segment": (lambda b: {"segment": b["segment"] | {"id": "s77"}}, "wrong segment.id"),
    "name": (lambda b: {"segment": b["segment"] | {"name": "Else"}}, "wrong segment.name"),
    "seq": (lambda b: {"seq": b["seq"] + 1}, "wrong seq"),
    "previous": (
        lambda b: {"previous_segment": b["previous_segment"] | {"id": "s77"}},
        "wrong previous_segment.id",
    ),
    "since": (
        lambda b: {"previous_segment": b["previous_segment"] | {"since": "2026-01-01T00:00:00.000Z"}},
        "wrong previous_segment.since",
    ),
    "cause": (lambda _: {"cause": "correction"}, "wrong cause"),
    "margin": (
        lambda b: {"confidence": b["confidence"] | {"margin": round(b["confidence"]["margin"] + 0.0002, 4)}},
        "wrong confidence.margin",
    ),
    "runner-up": (
        lambda b: {"confidence": b["confidence"] | {"runner_up": "s77"}},
        "wrong confidence.runner_up",
    ),
    "version": (lambda b: {"model_version": b["model_version"] + 1}, "wrong model_version"),
    "provisional": (lambda b: {"provisional": not b["provisional"]}, "wrong provisional"),
    "actionable": (lambda b: {"actionable": not b["actionable"]}, "wrong actionable"),
    "origin": (lambda _: {"origin": "backfill"}, "wrong origin"),
    "consent": (
        lambda _: {"consent": {"profiling": False, "as_of": "2026-01-01T00:00:00.000Z"}},
        "wrong consent.profiling",
    ),
    "strategy": (lambda b: {"strategy": b["strategy"] | {"version": 9}}, "wrong strategy.version"),
    "driver": (
        lambda b: {"drivers": [b["drivers"][0] | {"after": 1e9}, *b["drivers"][1:]]},
        "wrong drivers[0].after",
    ),
    "drivers": (lambda b: {"drivers": b["drivers"][:1]}, "wrong drivers"),
    "more": (lambda _: {"surprise": 1}, "wrong surprise"),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_field_is_named(service: Service, name: str) -> None:
    """With customer and offset, and as nothing but what it is."""
    alter, kind = ALTERATIONS[name]
    # An exit is actionable whatever its model: where the log does not tell the cause, a move may be or not.
    wanted = (lambda b: b["change"] == "exited") if name == "actionable" else is_move
    log, at = service.log.copy(), find_change(service, wanted)
    records = log.topics[service.names.changes, P]
    records[at] = altered(records[at], **alter(body_of(records[at])))
    kinds, findings = kinds_of(service, log)
    assert kind in kinds
    found = next(f for f in findings if f.kind == kind)
    assert (found.customer, found.offset) == ((records[at].key or b"").decode(), records[at].offset)
    assert "missing" not in kinds
    assert kinds <= {kind, "crc", "chain", "wrong consent.as_of"}


def test_an_altered_header_is_named(service: Service) -> None:
    """The trigger's offset, for example."""
    log = service.log.copy()
    records = log.topics[service.names.changes, P]
    at = max(i for i, r in enumerate(records) if "segmenter_trigger_offset" in dict(r.headers))
    headers = dict(records[at].headers) | {"segmenter_trigger_offset": b"1"}
    records[at] = records[at]._replace(headers=tuple(headers.items()))
    kinds, findings = kinds_of(service, log)
    assert kinds == {"wrong header segmenter_trigger_offset"}
    assert (findings[0].customer, findings[0].offset) == (
        (records[at].key or b"").decode(),
        records[at].offset,
    )


def test_two_records_swapped_are_out_of_order(service: Service) -> None:
    """The order inside a commit is canonical, and the checksum covers it."""
    log = service.log.copy()
    records = log.topics[service.names.changes, P]
    at = max(
        i
        for i in range(len(records) - 1)
        if body_of(records[i])["effective_at"] == body_of(records[i + 1])["effective_at"]
        and records[i].key != records[i + 1].key
    )
    a, b = records[at], records[at + 1]
    records[at], records[at + 1] = b._replace(offset=a.offset), a._replace(offset=b.offset)
    kinds, findings = kinds_of(service, log)
    told = "previous_version" in body_of(log.topics[service.names.audit, P][0])
    assert kinds == ({"order", "crc"} if told else {"crc"})
    assert all(f.offset in {a.offset, b.offset} or f.kind == "crc" for f in findings)


def test_a_stale_current_record_is_found(service: Service) -> None:
    """The last record of a customer on the current topic must be the last change."""
    log, names = service.log.copy(), service.names
    records = log.topics[names.current, P]
    last = {record.key: i for i, record in enumerate(records)}
    at = max(
        i
        for key, i in last.items()
        if records[i].value is not None and sum(r.key == key for r in records) > 1
    )
    gone = records.pop(at)
    kinds, findings = kinds_of(service, log)
    assert kinds <= {"current missing", "membership", "additional current"}
    assert "membership" in kinds
    assert {f.customer for f in findings} == {(gone.key or b"").decode()}


def test_a_compacted_current_topic_is_clean(service: Service) -> None:
    """Only the last record of each customer is left."""
    log = service.log.copy()
    for p in range(PARTITIONS):
        records = log.topics[service.names.current, p]
        last = {record.key: record for record in records}
        records[:] = [record for record in records if last[record.key] is record]
    assert service.verify(log).findings == []


def audit_at(service: Service, log: Log, wanted: Callable[[dict[str, Any]], bool]) -> int:
    """Position of an audit record of partition 0 in the middle of the log."""
    records = log.topics[service.names.audit, P]
    return next(i for i in range(len(records) // 2, len(records)) if wanted(body_of(records[i])))


def test_a_gap_in_the_audit_log_is_found(service: Service) -> None:
    """And what follows it is verified on."""
    log = service.log.copy()
    at = audit_at(service, log, lambda b: b["outputs"] > 0)
    gone = body_of(log.topics[service.names.audit, P].pop(at))
    kinds, findings = kinds_of(service, log)
    assert "audit gap" in kinds
    gap = next(f for f in findings if f.kind == "audit gap")
    assert (gap.expected, gap.commit) == (f"n {gone['n']}", gone["n"] + 1)


def test_a_repeated_audit_record_is_found(service: Service) -> None:
    """The same number twice."""
    log = service.log.copy()
    at = audit_at(service, log, lambda _: True)
    records = log.topics[service.names.audit, P]
    records.insert(at, records[at])
    assert kinds_of(service, log)[0] == {"audit repeated"}


def test_an_input_that_was_skipped_is_found(service: Service) -> None:
    """A commit that does not begin where the one before ended."""
    log = service.log.copy()
    at = audit_at(service, log, lambda b: b["from"] != b["to"])
    records, usage = log.topics[service.names.audit, P], service.names.usage
    body = body_of(records[at])
    records[at] = altered(records[at], **{"from": body["from"] | {usage: body["from"][usage] + 1}})
    kinds, findings = kinds_of(service, log)
    assert kinds == {"audit offsets"}
    assert (findings[0].topic, findings[0].commit) == (service.names.audit, body["n"])


def test_an_input_that_was_not_applied_is_found(service: Service) -> None:
    """A record that the service never saw although it was committed: what follows from it is wrong."""
    log, names = service.log.copy(), service.names
    records = log.topics[names.changes, P]
    at = max(
        i
        for i, r in enumerate(records)
        if body_of(r)["cause"] == "closed"
        and dict(r.headers)["segmenter_trigger_topic"] == names.customer.encode()
    )
    offset = int(dict(records[at].headers)["segmenter_trigger_offset"])
    inputs = log.topics[names.customer, P]
    inputs[:] = [r for r in inputs if r.offset != offset]
    kinds, findings = kinds_of(service, log)
    assert "additional" in kinds
    customer = (records[at].key or b"").decode()
    assert (customer, records[at].offset) in {(f.customer, f.offset) for f in findings}


def test_a_wrong_checksum_and_count_are_found(service: Service) -> None:
    """Of the audit record, with its commit."""
    for field in ("outputs_crc32", "outputs", "rejects"):
        log = service.log.copy()
        at = audit_at(service, log, lambda b: b["outputs"] > 0)
        records = log.topics[service.names.audit, P]
        body = body_of(records[at])
        records[at] = altered(records[at], **{field: body[field] + 1})
        kinds, findings = kinds_of(service, log)
        assert kinds == {"dead letters" if field == "rejects" else "crc"}
        assert findings[0].commit == body["n"]


def test_a_wrong_model_version_in_the_audit_is_found(service: Service) -> None:
    """The decisions do not follow from the version that it names."""
    log = service.log.copy()
    at = audit_at(service, log, lambda b: b["outputs"] > 0 and b["model_version"] > 2)
    records = log.topics[service.names.audit, P]
    records[at] = altered(records[at], model_version=1)
    kinds, findings = kinds_of(service, log)
    assert {"model", "crc"} < kinds
    assert next(f for f in findings if f.kind == "model").commit == body_of(records[at])["n"]


def test_models_are_numbered_without_gaps(service: Service) -> None:
    """A version that is missing is named, and so are the commits that it decided."""
    log = service.log.copy()
    gone = log.topics[service.names.models, 0].pop(3)
    report = service.verify(log)
    found = [f for f in report.findings if f.kind == "model"]
    assert found[0].expected == f"version {(gone.key or b'').decode()}"


def test_a_doubled_delta_is_found(service: Service) -> None:
    """A pass of the scan is reported once."""
    log = service.log.copy()
    records = log.topics[service.names.deltas, 0]
    records.append(records[-1]._replace(offset=records[-1].offset + 1))
    assert kinds_of(service, log)[0] == {"delta"}


def test_a_missing_dead_letter_is_found(service: Service) -> None:
    """A record that had to be refused, by customer and offset."""
    log, names = service.log.copy(), service.names
    letters = log.topics[names.dlq, P]
    at = next(i for i, r in enumerate(letters) if dict(r.headers)[REASON] == b"late")
    headers = dict(letters.pop(at).headers)
    kinds, findings = kinds_of(service, log)
    assert "dead letters" in kinds
    assert {"dead letter missing"} <= kinds
    missing = next(f for f in findings if f.kind == "dead letter missing")
    assert (missing.topic.encode(), missing.offset) == (headers[ORIGIN_TOPIC], int(headers[ORIGIN_OFFSET]))


def test_additional_dead_letters_are_found(service: Service) -> None:
    """A second one of a record, one of a good record, one of a record that is not there."""
    names = service.names
    letters = service.log.topics[names.dlq, P]
    last, refused = letters[-1], {int(dict(r.headers)[ORIGIN_OFFSET]) for r in letters}
    usage = service.log.topics[names.usage, P]
    good = next(r for r in usage if r.offset not in refused)
    for record, offset, expected in (
        (last, int(dict(last.headers)[ORIGIN_OFFSET]), "dead letter additional"),
        (good, good.offset, "dead letter wrong"),
        (last, 10**6, "dead letter additional"),
    ):
        log = service.log.copy()
        origin = {ORIGIN_OFFSET: b"%d" % offset, ORIGIN_TOPIC: names.usage.encode(), REASON: b"late"}
        headers = dict(last.headers) | (origin if record is good or offset == 10**6 else {})
        log.append(names.dlq, P, record.key, record.value, headers.items())
        kinds, findings = kinds_of(service, log)
        assert expected in kinds, kinds
        found = next(f for f in findings if f.kind == expected)
        assert found.offset == last.offset + 1


def test_a_dead_letter_with_other_bytes_is_found(service: Service) -> None:
    """The raw record must be kept as it was."""
    log = service.log.copy()
    letters = log.topics[service.names.dlq, P]
    letters[0] = letters[0]._replace(value=b"{}")
    kinds, findings = kinds_of(service, log)
    assert kinds == {"dead letter differs"}
    assert findings[0].offset == letters[0].offset


def test_what_retention_has_deleted_is_said(service: Service) -> None:
    """Without the first inputs nothing can be derived again; the chains are still checked."""
    log, names = service.log.copy(), service.names
    log.first[names.usage, P] = 10
    report = service.verify(log)
    assert report.is_clean
    assert [line for line in report.unverified if f"partition {P}: {names.usage} begins at offset 10" in line]
    records = log.topics[names.changes, P]
    at = find_change(service, is_move)
    records[at] = altered(records[at], seq=99)
    report = service.verify(log, [P])
    assert report.kinds.keys() == {"chain"}
    assert report.findings[0].offset == records[at].offset


def test_an_empty_log_is_clean() -> None:
    """Nothing was committed, so nothing is missing."""
    report = Service().verify()
    assert report.is_clean
    assert report.counts["commits"] == 0


def test_a_wrong_decision_is_one_finding(service: Service) -> None:
    """Where the checksum says that the service itself wrote it, what follows from it is not wrong as well."""
    log = service.log.copy()
    records = log.topics[service.names.changes, P]
    at = find_change(service, lambda b: is_move(b) and b["cause"] == "behaviour")
    body = body_of(records[at])
    records[at] = altered(records[at], cause="time")
    audits = log.topics[service.names.audit, P]
    for i, audit in enumerate(audits):
        same = [r for r in records if body_of(r)["effective_at"] == body["effective_at"]]
        told = body_of(audit)
        if told["outputs"] == len(same) and told["outputs_crc32"] == crc(service, body["effective_at"]):
            audits[i] = altered(audit, outputs_crc32=zlib.crc32(b"".join(r.value or b"" for r in same)))
    kinds, findings = kinds_of(service, log)
    assert kinds == {"wrong cause"}
    assert (findings[0].expected, findings[0].found) == ("behaviour", "time")


def crc(service: Service, time: str) -> int:
    """Checksum of the untouched changes of partition 0 that are effective at `time`."""
    records = service.log.topics[service.names.changes, P]
    return zlib.crc32(b"".join(r.value or b"" for r in records if body_of(r)["effective_at"] == time))
