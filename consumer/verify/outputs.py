"""The output topics of a partition held against what its commits must have written."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from consumer.topics import TopicNames
from consumer.verify.audit import Audit
from consumer.verify.customer import Published
from consumer.verify.expected import Expected, differences, parse_body
from consumer.verify.findings import Finding, Report
from consumer.verify.log import Record
from consumer.verify.replica import NEVER, Replica
from consumer.verify.streams import Change, Changes, Current
from schemas.times import format_time, parse_time


@dataclass(slots=True)
class Outputs:
    """Changes and current of one partition."""

    partition: int
    names: TopicNames
    changes: Changes
    current: Current
    replica: Replica
    report: Report
    _chain: dict[bytes, tuple[int, str | None]] = field(default_factory=dict)
    #: `ce_source` of each process: the application may have had another name before, but one per process.
    _sources: dict[str, bytes] = field(default_factory=dict)

    def published(self, audit: Audit) -> dict[bytes, list[Any]]:
        """Bodies that the commit may have published, by customer. What older commits left is reported."""
        if audit.watermark_us == NEVER:
            return {}
        time = format_time(audit.watermark_us)
        for change in self.changes.before(time):
            self._additional(change, audit.n)
        found: dict[bytes, list[Any]] = defaultdict(list)
        for change in self.changes.at(time):
            found[change.record.key or b""].append(change.body)
        return found

    def compare(self, record: Record, audit: Audit, expected: Sequence[Expected]) -> None:
        """Holds the records of a commit, whose audit record is `record`, against the expected changes."""
        window = [] if audit.watermark_us == NEVER else self.changes.at(format_time(audit.watermark_us))
        pairs = _pairs(expected, window)
        matched = {change.record.offset for _, change in pairs if change is not None}
        mine = [c for c in window if c.record.offset <= max(matched, default=-1)]
        self.changes.take({c.record.offset for c in mine})
        crc = 0
        for change in mine:
            crc = zlib.crc32(change.record.value or b"", crc)
        as_written = (len(mine), crc) == (audit.outputs, audit.outputs_crc32)
        wrong = 0
        for change in mine:
            if change.record.offset not in matched:
                wrong += 1
                self._additional(change, audit.n)
                if as_written:
                    self.adopt(change, audit.run_id)
        for e, there in pairs:
            wrong += self._compare_one(e, there, audit, as_written)
            self._compare_current(e, audit)
        self._check_order(pairs, audit)
        for e in expected:
            if e.body is None:  # erased: the numbering begins again, maybe in this commit
                self._chain.pop(e.customer, None)
        for change in mine:
            self._link(change, audit.n)
        if not as_written:
            first = mine[0].record if mine else record
            self.find(
                "crc",
                (first.key or b"").decode(errors="replace") if mine else "",
                self.names.changes if mine else self.names.audit,
                first.offset,
                audit.n,
                f"{audit.outputs} records, crc {audit.outputs_crc32}",
                f"{len(mine)} records, crc {crc}",
            )
        self.report.counts["changes"] += len(mine) - wrong
        self.report.counts["commits"] += 1

    def _compare_one(self, e: Expected, change: Change | None, audit: Audit, as_written: bool) -> int:
        """1 if there is a finding."""
        if e.body is None:
            return 0
        if change is None:
            what = f"{e.body['change']} to {(e.body['segment'] or {}).get('id')}, seq {e.seq}"
            self.find("missing", e.customer, self.names.changes, -1, audit.n, what, "no record")
            if as_written:
                self.replica.restore(e.customer, e.was)
            return 1
        found = [
            *self._differences(e, change.body, {}),
            *self._header_differences(e, change.record, audit, current=False),
        ]
        for path, want, is_there in found:
            self.find(
                "wrong " + path, e.customer, self.names.changes, change.record.offset, audit.n, want, is_there
            )
        if found and as_written:
            self.adopt(change, audit.run_id)
        return int(bool(found))

    def _differences(
        self, e: Expected, body: dict[str, Any], more: dict[str, Any]
    ) -> list[tuple[str, Any, Any]]:
        want = {name: value for name, value in (e.body or {}).items() if name not in e.unknown} | more
        there = {name: value for name, value in body.items() if name not in e.unknown}
        return list(differences(want, there))

    def _header_differences(
        self, e: Expected, record: Record, audit: Audit, *, current: bool
    ) -> list[tuple[str, Any, Any]]:
        want = self.replica.book.headers(e, audit.run_id, self.partition, current=current)
        there = dict(record.headers)
        source = there.get("ce_source") or b""
        if source.startswith(b"/"):
            source = self._sources.setdefault(audit.run_id, source)
            want = [(name, source if name == "ce_source" else value) for name, value in want]
        if list(record.headers) == want:
            return []
        wrong = [(name, value, there.get(name)) for name, value in want if there.get(name) != value]
        return [(f"header {n}", w, f) for n, w, f in wrong] or [("headers", want, list(record.headers))]

    def _compare_current(self, e: Expected, audit: Audit) -> None:
        """The current record of a change, unless compaction has taken it."""
        found = self.current.next(e.customer)
        topic = self.names.current
        if found is None:
            if not e.is_exit:  # tombstones are deleted in the end; the last membership is not
                self.find("current missing", e.customer, topic, -1, audit.n, f"seq {e.seq}", "no record")
            return
        if e.is_exit or found.value is None:
            if e.is_exit and found.value is None:
                self.current.take(e.customer)
                if found.headers:
                    self.find(
                        "wrong current", e.customer, topic, found.offset, audit.n, "no headers", found.headers
                    )
            return
        body = parse_body(found)
        time = format_time(e.watermark_us)
        if (body.get("seq"), body.get("effective_at")) != (e.seq, time):
            return  # a later one: compacted, or reported at the end
        self.current.take(e.customer)
        wrong = [
            *self._differences(e, body, {"since": time}),
            *self._header_differences(e, found, audit, current=True),
        ]
        for path, want, is_there in wrong:
            self.find(f"wrong current {path}", e.customer, topic, found.offset, audit.n, want, is_there)

    def _check_order(self, pairs: Sequence[tuple[Expected, Change | None]], audit: Audit) -> None:
        """Within a commit: exits as they came, then by the customer's hash (older records: by appearance)."""
        if audit.previous_version is None:
            return
        there = [(e, change) for e, change in pairs if change is not None]
        for (_, before), (e, change) in pairwise(there):
            if change.record.offset < before.record.offset:
                after = f"after offset {before.record.offset}"
                self.find(
                    "order", e.customer, self.names.changes, change.record.offset, audit.n, after, "before it"
                )

    def _additional(self, change: Change, commit: int) -> None:
        record, body = change.record, change.body
        what = f"{body.get('change')} to {(body.get('segment') or {}).get('id')}, seq {body.get('seq')}"
        self.find(
            "additional", record.key or b"", self.names.changes, record.offset, commit, "no record", what
        )

    def _link(self, change: Change, commit: int, *, after_erasure: bool = False) -> None:
        """Per customer `seq` counts from 1 and a change begins where the one before ended.

        `after_erasure`: the customer may have been erased before, so that the chain begins again.
        """
        key, body = change.record.key or b"", change.body
        seq, segment = self._chain.get(key, (0, None))
        previous = (body.get("previous_segment") or {}).get("id")
        there = (body.get("seq"), previous)
        is_known = key in self._chain or there[0] == 1
        if after_erasure and there == (1, None):
            is_known = False
        if is_known and there != (seq + 1, segment):
            want, found = (f"seq {s}, previous {p}" for s, p in ((seq + 1, segment), there))
            self.find("chain", key, self.names.changes, change.record.offset, commit, want, found)
        self._chain[key] = (int(body.get("seq") or 0), (body.get("segment") or {}).get("id"))

    def skip(self, audit: Audit) -> None:
        """Takes what commits before `audit` that are not known have published as it is."""
        if audit.watermark_us == NEVER:
            return
        for change in self.changes.before(format_time(audit.watermark_us)):
            self._link(change, audit.n, after_erasure=True)
            self.adopt(change, "")
            key = change.record.key or b""
            found = self.current.next(key)
            if found is not None and (found.value is None) == (change.body.get("segment") is None):
                self.current.take(key)

    def adopt(self, change: Change, run_id: str) -> None:
        """What the service wrote counts from now on, right or wrong: later changes follow from it."""
        key, body = change.record.key or b"", change.body
        segment = (body.get("segment") or {}).get("id")
        since = parse_time(change.time) or 0
        self.replica.restore(key, Published(segment, int(body.get("seq") or 0), since, None, run_id))

    def finish(self, commit: int) -> None:
        """Nothing may be left, and the current topic ends with everybody's membership."""
        for change in self.changes.before(None):
            self._additional(change, commit)
        topic = self.names.current
        for record in self.current.rest():
            key = record.key or b""
            body = parse_body(record)
            what = "null" if record.value is None else f"seq {body.get('seq')}"
            self.find("additional current", key, topic, record.offset, commit, "no record", what)
        for id, c in self.replica.customers.items():
            last = self.current.last.get(id)
            body = {} if last is None else parse_body(last)
            found = ((body.get("segment") or {}).get("id"), body.get("seq"))
            want = (c.published.segment, c.published.seq if c.published.segment is not None else None)
            if found != want:
                offset = -1 if last is None else last.offset
                self.find("membership", id, topic, offset, commit, want, found)
            self.report.counts["customers"] += c.published.segment is not None

    def check_chain(self) -> None:
        """Only that changes form chains: where what they were derived from is gone."""
        for change in self.changes.before(None):
            self._link(change, -1, after_erasure=True)
            self.report.counts["changes"] += 1

    def find(  # noqa: PLR0913 - the columns of a finding
        self, kind: str, customer: bytes | str, topic: str, offset: int, commit: int, want: Any, found: Any
    ) -> None:
        """Adds a finding."""
        name = customer if isinstance(customer, str) else customer.decode(errors="replace")
        self.report.add(Finding(kind, self.partition, name, topic, offset, commit, str(want), str(found)))


def _pairs(expected: Sequence[Expected], window: Sequence[Change]) -> list[tuple[Expected, Change | None]]:
    """For each change expected its record: the one with its number, else the customer's next."""
    left: dict[bytes, list[Change]] = defaultdict(list)
    for change in window:
        left[change.record.key or b""].append(change)
    found: list[tuple[Expected, Change | None]] = []
    for e in expected:
        mine = left[e.customer]
        if e.body is None or not mine:
            found.append((e, None))
            continue
        at = next((i for i, change in enumerate(mine) if change.body.get("seq") == e.seq), 0)
        found.append((e, mine.pop(at)))
    return found
