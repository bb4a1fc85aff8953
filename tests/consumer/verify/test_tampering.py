"""A log that was written by the service verifies clean; whatever is changed in it is found and named."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.consumer.verify.book import (
    PARTITIONS,
    P,
    Service,
    altered,
    body_of,
    find_change,
    is_move,
    kinds_of,
)


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
