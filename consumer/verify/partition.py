"""One partition from its first commit to its last: derive, compare, report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.registry import Unframe
from consumer.verify.audit import Audit, unseen_before
from consumer.verify.dead_letters import DeadLetters, Times, is_copy, judge, reason_of
from consumer.verify.events import Event, decode, repeats_a_field
from consumer.verify.hashing import partition_of
from consumer.verify.log import Record
from consumer.verify.model import Version
from consumer.verify.outputs import Outputs
from consumer.verify.replica import NEVER, Applied, Look, Replica
from consumer.verify.streams import Forward
from schemas.reference import Refusal
from schemas.rejects import Reason

#: Before a partition has a watermark, an event may be so much older than the others of its commit.
_FIRST_REACH_US: Final = 3650 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class Clockwork:
    """Settings that decisions depend on."""

    partitions: int
    currency: str
    max_future_us: int
    backfill_lag_us: int
    unframe: Unframe | None = None

    def decode(self, record: Record, topic: int) -> Event | Refusal:
        """The event in `record`, or why it is refused."""
        plain = self.plain(record.value)
        if isinstance(plain, Refusal):
            return plain
        return decode(record._replace(value=plain), topic, self.currency)

    def plain(self, value: bytes | None) -> bytes | Refusal | None:
        """The JSON in `value`."""
        return value if self.unframe is None else self.unframe(value)


@dataclass(slots=True)
class PartitionCheck:
    """Re-executes the commits of a partition. `progress` is told how many input records were taken."""

    clockwork: Clockwork
    versions: Mapping[int, Version]
    inputs: Sequence[Forward]
    letters: DeadLetters
    outputs: Outputs
    progress: Callable[[int], None]
    _before: Audit | None = None
    _model: int = 0
    _previous: int = 0

    def run(self, audits: Iterable[tuple[Record, Audit]]) -> None:
        """Every commit, from the first one on."""
        for record, audit in audits:
            if self._follows(record, audit):
                self._commit(record, audit)
                self._before = audit
        self._finish()

    @property
    def _replica(self) -> Replica:
        return self.outputs.replica

    # -- the audit log -------------------------------------------------------------------------

    def _follows(self, record: Record, audit: Audit) -> bool:
        """Checks that the record continues the log; what a gap hides is applied without a verdict."""
        before, find = self._before, self.outputs.find
        n, topic = 1 if before is None else before.n + 1, self.outputs.names.audit
        if audit.n < n:
            find("audit repeated", "", topic, record.offset, audit.n, f"n {n}", f"n {audit.n}")
            return False
        if audit.n > n:
            find("audit gap", "", topic, record.offset, audit.n, f"n {n}", f"n {audit.n}")
            self._skip_to(audit)
            return True
        if before is not None:
            for name, end in before.to_offsets.items():
                begin = audit.from_offsets.get(name)
                if begin != end:
                    find(
                        "audit offsets",
                        "",
                        topic,
                        record.offset,
                        audit.n,
                        f"{name} from {end}",
                        f"from {begin}",
                    )
        return True

    def _skip_to(self, audit: Audit) -> None:
        """Applies what commits that are not known have read, and takes what they published as it is."""
        applied = Applied()
        before_us = None if self._before is None else self._before.watermark_us
        for code, topic in enumerate(self.outputs.names.inputs):
            for record in self.inputs[code].below(audit.from_offsets[topic]):
                letters = self.letters.take(code, record.offset)
                event = self.clockwork.decode(record, code)
                if isinstance(event, Event) and not letters:
                    self._replica.apply(event, before_us, applied)
                self.outputs.report.outcome(self.outputs.partition, topic, "unverified")
        self._replica.forget_exits(applied)
        self.outputs.skip(audit)

    # -- a commit ------------------------------------------------------------------------------

    def _commit(self, record: Record, audit: Audit) -> None:
        found = self.outputs.published(audit)
        applied = self._apply(record, audit)
        live = audit.watermark_us != NEVER and (
            audit.now_us - audit.watermark_us <= self.clockwork.backfill_lag_us
        )
        look = self._look(record, audit, live)
        expected = self._replica.decide(applied, audit, look, found, live)
        self.outputs.compare(record, audit, expected)

    def _look(self, record: Record, audit: Audit, live: bool) -> Look | None:
        """The model of the commit, and the one before it."""
        number = audit.model_version
        if number and number not in self.versions:
            topic = self.outputs.names.audit
            self.outputs.find("model", "", topic, record.offset, audit.n, "a version of the log", number)
        version = self.versions.get(number)
        if version is None:
            return None
        if number != self._model:
            if self._model > number:
                topic = self.outputs.names.audit
                self.outputs.find("model", "", topic, record.offset, audit.n, f">= {self._model}", number)
            self._model, self._previous = (
                number,
                self._model or max((v for v in self.versions if v < number), default=0),
            )
            older = [self.versions[v] for v in sorted(self.versions) if v < number]
            self._replica.book.use(version, older)
        previous = self._previous if audit.previous_version is None else audit.previous_version
        unseen = unseen_before(audit, self._before, version.is_new_fit)
        return Look(audit, version, self.versions.get(previous), unseen, live)

    # -- its input -----------------------------------------------------------------------------

    def _apply(self, record: Record, audit: Audit) -> Applied:
        """Applies the commit's records that were not refused, and checks those that were."""
        names, partition = self.outputs.names, self.outputs.partition
        taken: list[tuple[int, Record, Event | Refusal]] = []
        for code, topic in enumerate(names.inputs):
            begin = audit.from_offsets.get(topic, 0)
            for item in self.inputs[code].below(audit.to_offsets.get(topic, 0)):
                if item.offset < begin and self._before is None:
                    key = item.key or b""
                    self.outputs.find(
                        "input skipped", key, topic, item.offset, audit.n, "read", f"from {begin}"
                    )
                taken.append((code, item, self.clockwork.decode(item, code)))
        times = self._times(audit, [event for _, _, event in taken])
        applied = Applied()
        refused = 0
        for code, item, event in taken:
            letters = self._judge(code, item, event, times, audit)
            refused += len(letters)
            if letters:
                outcome = reason_of(letters[0])
            elif isinstance(event, Refusal):
                outcome = event.reason.value
            else:
                outcome = self._replica.apply(event, times.before_us, applied)
            self.outputs.report.outcome(partition, names.inputs[code], outcome)
        if refused != audit.rejects:
            self.outputs.find(
                "dead letters", "", names.audit, record.offset, audit.n, f"{audit.rejects} in audit", refused
            )
        self.progress(len(taken))
        return applied

    def _plain(self, record: Record) -> bytes | None:
        plain = self.clockwork.plain(record.value)
        return None if isinstance(plain, Refusal) else plain

    def _times(self, audit: Audit, events: Sequence[Event | Refusal]) -> Times:
        latest = audit.now_us + self.clockwork.max_future_us
        before = self._before
        if before is not None and before.watermark_us != NEVER:
            return Times(latest, before.watermark_us, audit.watermark_us)
        # The first commit: nothing but a clock that is far behind all others is late.
        times = sorted(event.us for event in events if isinstance(event, Event))
        first = times[math.ceil(0.05 * (len(times) - 1))] if times else None
        reach = None if first is None or before is not None else first - _FIRST_REACH_US
        return Times(latest, reach, audit.watermark_us if reach is None else reach)

    def _judge(
        self, code: int, record: Record, event: Event | Refusal, times: Times, audit: Audit
    ) -> list[Record]:
        """The dead letters of an input record, after checking them."""
        letters, find = self.letters.take(code, record.offset), self.outputs.find
        names, key = self.outputs.names, record.key or b""
        home, horizon = True, 0
        if isinstance(event, Event):
            horizon = self._replica.features.horizon_us[event.kind]
            home = event.customer in self._replica.customers or (
                partition_of(event.customer, self.clockwork.partitions) == self.outputs.partition
            )
        right = judge(event, times, horizon, at_home=home)
        place = f"{names.inputs[code]} offset {record.offset}"
        if right.must and not letters:
            why = " or ".join(sorted(right.reasons))
            find(
                "dead letter missing", key, names.inputs[code], record.offset, audit.n, why, "no dead letter"
            )
        for letter in letters[1:]:
            find(
                "dead letter additional",
                key,
                names.dlq,
                letter.offset,
                audit.n,
                f"one for {place}",
                "another",
            )
        for letter in letters[:1]:
            reason = reason_of(letter)
            twice = reason == Reason.MALFORMED_JSON and repeats_a_field(self._plain(record))
            if reason not in right.reasons and not twice:
                why = " or ".join(sorted(right.reasons)) if right.must else "accepted"
                find("dead letter wrong", key, names.dlq, letter.offset, audit.n, f"{why} ({place})", reason)
            if not is_copy(letter, record, self.outputs.partition):
                find("dead letter differs", key, names.dlq, letter.offset, audit.n, place, "other bytes")
        return letters

    def _finish(self) -> None:
        commit = -1 if self._before is None else self._before.n
        names = self.outputs.names
        for code, offset, letter in self.letters.rest():
            what = f"{names.inputs[code]} offset {offset}"
            self.outputs.find(
                "dead letter additional", letter.key or b"", names.dlq, letter.offset, commit, "none", what
            )
        for letter in self.letters.foreign:
            self.outputs.find(
                "dead letter additional",
                letter.key or b"",
                names.dlq,
                letter.offset,
                commit,
                "an origin",
                "none",
            )
        self.outputs.report.counts["undecided"] += self._replica.undecided
        self.outputs.finish(commit)
