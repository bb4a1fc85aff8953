"""What is changed in the audit log, the models, the inputs and the dead letters is found and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consumer.output import ORIGIN_OFFSET, ORIGIN_TOPIC, REASON
from tests.consumer.verify.book import (
    Log,
    P,
    Service,
    altered,
    body_of,
    find_change,
    is_move,
    kinds_of,
)


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
    """The decisions do not follow from the version that it names (of a commit with many of them)."""
    log = service.log.copy()
    records = log.topics[service.names.audit, P]
    later = [body["outputs"] for record in records if (body := body_of(record))["model_version"] > 2]
    at = audit_at(service, log, lambda b: b["outputs"] == max(later) and b["model_version"] > 2)
    records[at] = altered(records[at], model_version=1)
    kinds, findings = kinds_of(service, log)
    assert {"model", "missing", "wrong model_version"} < kinds
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
