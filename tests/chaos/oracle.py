"""What must hold after a run, whatever happened in it.

Deterministic runs are compared with the failure-free run of their seed, byte for byte. What differs
between any two runs, and is left out, is this and nothing else:

    header segmenter_run_id, header ce_source, run_id of audit records: they name the run
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import msgspec

from consumer.topics import TopicNames
from online_model.active_model import segment_number
from schemas.internal import AuditRecord
from schemas.internal import from_json as record_from_json
from tests.chaos.observer import Observer, checksum
from tests.service.world import PARTITIONS, Record, World

RUN_HEADERS: Final = frozenset({"segmenter_run_id", "ce_source"})

#: Findings of one kind that are worth reading.
_FEW: Final = 3

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a run left behind: records by topic, committed offsets, final states of the workers."""

    names: TopicNames
    records: dict[str, list[Record]]
    committed: dict[tuple[str, int], int]
    state: State

    @classmethod
    def read(cls, world: World, states: Sequence[State]) -> Outcome:
        """Of a run that has ended; `states` are the dumps of its workers."""
        names = world.names
        topics = (names.changes, names.current, names.dlq, names.audit, names.models)
        joined: State = {"features": {}, "published": {}, "partitions": {}}
        for state in states:
            for part in joined:
                joined[part] |= state[part]
        return cls(names, {topic: world.read(topic) for topic in topics}, world.committed(), joined)

    def audits(self, partition: int) -> list[AuditRecord]:
        """Audit records of a partition in order."""
        return [
            record_from_json(record.value or b"", AuditRecord)
            for record in self.records[self.names.audit]
            if record.partition == partition
        ]


def same_outcome(found: Outcome, expected: Outcome) -> list[str]:
    """Differences between a deterministic run and the failure-free one."""
    problems = []
    pairs = zip(_outputs(found.names), _outputs(expected.names), strict=True)
    for kind, (mine, theirs) in zip(("changes", "current", "dlq", "audit"), pairs, strict=True):
        for partition in range(PARTITIONS):
            ours = _comparable(found, mine, partition)
            wanted = _comparable(expected, theirs, partition)
            problems += _difference(f"{kind} [{partition}]", ours, wanted)
    if found.committed != expected.committed:
        problems.append(f"committed offsets {found.committed}, expected {expected.committed}")
    return problems + same_state(found.state, expected.state, ("features", "published", "partitions"))


def same_state(found: State, expected: State, parts: Sequence[str]) -> list[str]:
    """Differences of final states, each by its first customers."""
    problems = []
    for part in parts:
        mine, theirs = found[part], expected[part]
        wrong = [key for key in sorted(mine.keys() | theirs.keys()) if mine.get(key) != theirs.get(key)]
        if wrong:
            problems.append(f"{part} of {len(wrong)} differ, first {wrong[:_FEW]}")
    return problems


def _outputs(names: TopicNames) -> tuple[str, str, str, str]:
    return names.changes, names.current, names.dlq, names.audit


def _comparable(outcome: Outcome, topic: str, partition: int) -> list[tuple[Any, ...]]:
    made = []
    for record in outcome.records[topic]:
        if record.partition != partition:
            continue
        headers = {name: value for name, value in record.headers.items() if name not in RUN_HEADERS}
        value: Any = record.value
        if topic == outcome.names.audit:
            value = record.json
            del value["run_id"]
        made.append((record.key, json.dumps(value) if isinstance(value, dict) else value, headers))
    return made


def _difference(what: str, found: list[Any], expected: list[Any]) -> list[str]:
    if found == expected:
        return []
    at = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), None)
    if at is None:
        return [f"{what}: {len(found)} records, expected {len(expected)}"]
    return [f"{what}: record {at} of {len(found)}: {_pair(found[at], expected[at])}"]


def _pair(found: tuple[Any, ...], expected: tuple[Any, ...]) -> str:
    """The parts of two records that differ; of values only the fields."""
    (key, value, headers), (their_key, their_value, their_headers) = found, expected
    if key != their_key:
        return f"of {key!r}, expected of {their_key!r}"
    if value != their_value and isinstance(value, str) and isinstance(their_value, str):
        ours, theirs = json.loads(value), json.loads(their_value)
        value = {name: item for name, item in ours.items() if item != theirs.get(name)}
        their_value = {name: theirs.get(name) for name in value}
    if value != their_value:
        return f"of {key!r}: {value!r}, expected {their_value!r}"
    return f"of {key!r}: headers {headers}, expected {their_headers}"


def invariants(outcome: Outcome, ends: list[list[int]], erased: frozenset[bytes]) -> list[str]:
    """What holds in every run: audit chain, change chain per customer, conservation, versions.

    `erased`: whose chain may begin again.
    """
    names, problems = outcome.names, []
    for partition in range(PARTITIONS):
        problems += _audit_chain(outcome, partition, ends[partition])
    problems += change_chain(outcome.records[names.changes], erased)
    problems += _latest(outcome, erased)
    wanted = {(topic, p): ends[p][t] for p in range(PARTITIONS) for t, topic in enumerate(names.inputs)}
    if outcome.committed != wanted:
        problems.append(f"committed offsets {outcome.committed}, inputs end at {wanted}")
    keys = [record.key or b"0" for record in outcome.records[names.models]]
    versions = [int(key) for key in keys if key.isdigit()]  # beside them there may be a proposal
    if versions != list(range(1, len(versions) + 1)):
        problems.append(f"model versions {versions}")
    return problems


def _audit_chain(outcome: Outcome, partition: int, ends: list[int]) -> list[str]:
    names, audits = outcome.names, outcome.audits(partition)
    where = f"audit [{partition}]"
    if [a.n for a in audits] != list(range(1, len(audits) + 1)):
        return [f"{where}: numbers {[a.n for a in audits]}"]
    problems = [
        f"{where}: commit {after.n} from {after.from_offsets}, the one before to {before.to_offsets}"
        for before, after in pairwise(audits)
        if after.from_offsets != before.to_offsets
    ][:_FEW]
    if not audits or list(audits[0].from_offsets.values()) != [0, 0, 0]:
        return [*problems, f"{where}: does not begin at the beginning"]
    if [audits[-1].to_offsets[topic] for topic in names.inputs] != ends:
        problems.append(f"{where}: ends at {audits[-1].to_offsets}, the inputs at {ends}")
    mine = {
        topic: [r for r in outcome.records[topic] if r.partition == partition] for topic in outcome.records
    }
    for topic, counted in ((names.changes, "outputs"), (names.dlq, "rejects")):
        total = sum(getattr(a, counted) for a in audits)
        if total != len(mine[topic]):
            problems.append(f"{where}: {total} {counted}, {topic} has {len(mine[topic])}")
    refused = Counter(
        (r.headers["__streams.errors.topic"], r.headers["__streams.errors.offset"]) for r in mine[names.dlq]
    )
    problems += [f"{place} is a dead letter {n} times" for place, n in refused.items() if n > 1][:_FEW]
    return problems + _checksums(where, audits, mine[names.changes])


def _checksums(where: str, audits: list[AuditRecord], changes: list[Record]) -> list[str]:
    """Each commit's changes are those that its audit record has the checksum of."""
    import zlib

    at = 0
    for audit in audits:
        crc = 0
        for record in changes[at : at + audit.outputs]:
            crc = zlib.crc32(record.value or b"", crc)
        at += audit.outputs
        if crc != audit.outputs_crc32:
            return [f"{where}: the changes of commit {audit.n} are not those it wrote"]
    return []


def change_chain(changes: Sequence[Record], erased: frozenset[bytes]) -> list[str]:
    """Per customer `seq` is consecutive and a change begins in the segment where the one before ended.

    Once, in those who are `erased`, it begins again.
    """
    problems = []
    begin_again: set[bytes | None] = {*erased}
    last: dict[bytes | None, dict[str, Any]] = {}
    for record in changes:
        body, before = record.json, last.get(record.key)
        if before is not None and body["seq"] == 1 and record.key in begin_again:
            begin_again.discard(record.key)
            before = None
        previous, segment = body["previous_segment"], before and before["segment"]
        wanted = 1 if before is None else before["seq"] + 1
        if body["seq"] != wanted:
            problems.append(f"{record.key!r}: seq {body['seq']} instead of {wanted}")
        elif (previous and previous["id"]) != (segment and segment["id"]):
            problems.append(f"{record.key!r}: seq {wanted} begins in {previous}, was in {segment}")
        last[record.key] = body
    return problems[:_FEW]


def _latest(outcome: Outcome, erased: frozenset[bytes]) -> list[str]:
    """The current topic's last record per customer says what the last change says, and so does the state.

    Of those who are `erased` nothing is left, or what came after.
    """
    last: dict[bytes | None, dict[str, Any]] = {}
    for record in outcome.records[outcome.names.changes]:
        last[record.key] = record.json
    current: dict[bytes | None, bytes | None] = {}
    for record in outcome.records[outcome.names.current]:
        current[record.key] = record.value
    problems = []
    gone: set[bytes | None] = set()
    for key, body in last.items():
        value = current.get(key)
        if key in erased and value is None:
            gone.add(key)
            continue
        held = None if value is None else msgspec.json.decode(value)
        if body["segment"] is None:
            if held is not None:
                problems.append(f"{key!r} has left and is still current")
        elif held is None or (held["seq"], held["segment"]) != (body["seq"], body["segment"]):
            problems.append(f"{key!r}: current is {held}, the last change {body}")
    for customer, row in outcome.state["published"].items():
        body = {"seq": 0} if customer.encode() in gone else last.get(customer.encode(), {"seq": 0})
        if row[1] != body["seq"]:
            problems.append(f"{customer}: seq {row[1]} in memory, {body['seq']} published")
        elif row[1] and row[3] != _left(body):
            problems.append(f"{customer}: left {row[3]} in memory, {_left(body)} by the last change")
    return problems[:_FEW]


def _left(change: dict[str, Any]) -> int:
    """The segment left, if `change` is a move between two segments with a centroid."""
    before, after = (
        0 if change[name] is None else segment_number(change[name]["id"])
        for name in ("previous_segment", "segment")
    )
    return before if before > 0 and after > 0 else 0


def same_readers(observer: Observer, outcome: Outcome) -> list[str]:
    """The concurrent reader and the final one have seen the same records."""
    final: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for topic in (outcome.names.changes, outcome.names.audit):
        for record in outcome.records[topic]:
            seen = (record.offset, checksum(record.key, record.value))
            final[topic, record.partition].append(seen)
    observer.settle({place: records[-1][0] for place, records in final.items()})
    return [
        f"readers of {place} disagree: {len(observer.seen[place])} and {len(final[place])} records"
        for place in observer.seen
        if observer.seen[place] != final[place]
    ]
