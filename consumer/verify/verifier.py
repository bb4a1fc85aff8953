"""The whole verification: models and deltas once, then partition after partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Self

import msgspec

from consumer.config import Config
from consumer.models.files import load_spec, load_strategies
from consumer.registry import unframe_of
from consumer.topics import TopicNames
from consumer.verify import audit as audit_log
from consumer.verify.audit import Audit
from consumer.verify.dead_letters import DeadLetters
from consumer.verify.expected import Book
from consumer.verify.features import Features
from consumer.verify.findings import Finding, Report
from consumer.verify.log import Record, Source
from consumer.verify.model import Policy, Version
from consumer.verify.outputs import Outputs
from consumer.verify.partition import Clockwork, PartitionCheck
from consumer.verify.replica import Replica
from consumer.verify.streams import Changes, Current, Forward
from online_model.spec import FeatureSpec
from online_model.strategy import StrategyFile
from schemas.internal import COMMAND_KEY, PROPOSAL_KEY, DeltaRecord, from_json

_DAY_US: Final = 86_400_000_000

#: Told the partition, the input records taken since the last call, and those of its topics.
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What decisions depend on besides the log. It must be what the service ran with."""

    names: TopicNames
    application: str
    spec: FeatureSpec
    strategies: StrategyFile
    policy: Policy
    clockwork: Clockwork

    @classmethod
    def of(cls, config: Config, partitions: int) -> Self:
        """The rules of a service with these settings. Raises `SpecError` for files that cannot be used."""
        return cls(
            names=TopicNames.with_prefix(config.topics.prefix),
            application=config.app.name,
            spec=load_spec(config.model.spec),
            strategies=load_strategies(config.model.strategies),
            policy=Policy(
                config.decision.hysteresis,
                int(config.decision.min_dwell_days * _DAY_US),
                config.decision.dormant_after_days,
            ),
            clockwork=Clockwork(
                partitions=partitions,
                currency=config.currency,
                max_future_us=int(config.watermark.max_future_s * 1_000_000),
                backfill_lag_us=_DAY_US,
                unframe=unframe_of(config),
            ),
        )


class Verifier:
    """Verifies a log by rules; findings go to `report`."""

    def __init__(self, rules: Rules, source: Source, limit_findings: int = 1000) -> None:
        self._rules = rules
        self._source = source
        self.report = Report(limit_findings)
        self._versions: dict[int, Version] = {}

    def verify(
        self, partitions: Iterable[int] | None = None, progress: Progress = lambda _, __, ___: None
    ) -> Report:
        """Verifies `partitions`, all for None."""
        self._read_models()
        self._check_deltas()
        for partition in range(self._rules.clockwork.partitions) if partitions is None else partitions:
            self._verify_partition(partition, progress)
        return self.report

    # -- what is the same for all partitions -----------------------------------------------------

    def _read_models(self) -> None:
        """Every version; they are numbered from 1 and each is there once."""
        topic, columns = self._rules.names.models, [c.name for c in Features(self._rules.spec).columns]
        for record in self._source.records(topic, 0):
            if record.value is None or record.key == PROPOSAL_KEY:
                continue
            try:
                version = Version.parse(record.value)
            except (ValueError, KeyError, TypeError) as error:
                self._find(
                    "model", -1, topic, record.offset, "a model record", f"{type(error).__name__}: {error}"
                )
                continue
            want = max(self._versions, default=0) + 1
            if version.version != want and self._versions:
                self._find("model", -1, topic, record.offset, f"version {want}", version.version)
            if version.columns != columns or version.spec_hash != self._rules.spec.hash:
                self._find("model", -1, topic, record.offset, "columns of model.spec", "other columns")
                continue
            self._versions[version.version] = version

    def _check_deltas(self) -> None:
        """A partition reports a pass of the scan at most once under each version."""
        topic = self._rules.names.deltas
        seen: Counter[tuple[int, int, int]] = Counter()
        for record in self._source.records(topic, 0):
            if record.key == COMMAND_KEY:
                continue
            try:
                delta = from_json(record.value or b"", DeltaRecord)
            except msgspec.DecodeError as error:
                self._find("delta", -1, topic, record.offset, "a delta record", error)
                continue
            place = (delta.partition, delta.scan_id, delta.model_version)
            seen[place] += 1
            if seen[place] > 1:
                what = f"scan {delta.scan_id} under version {delta.model_version}"
                self._find("delta", delta.partition, topic, record.offset, f"{what} once", "again")
        self.report.counts["deltas"] = sum(seen.values())

    def _find(self, kind: str, partition: int, topic: str, offset: int, want: object, found: object) -> None:
        self.report.add(Finding(kind, partition, "", topic, offset, -1, str(want), str(found)))

    # -- a partition ---------------------------------------------------------------------------

    def _verify_partition(self, partition: int, progress: Progress) -> None:
        names, source = self._rules.names, self._source
        audits = self._read_audit(partition)
        first = next(audits, None)
        features = Features(self._rules.spec)
        book = Book(features, self._rules.strategies, names.inputs, self._rules.application)
        outputs = Outputs(
            partition=partition,
            names=names,
            changes=Changes(source.records(names.changes, partition)),
            current=Current(source.records(names.current, partition)),
            replica=Replica(features, book, self._rules.policy, names.inputs),
            report=self.report,
        )
        gone = None if first is None else self._gone(partition, *first)
        if gone is not None:
            self.report.unverified.append(f"partition {partition}: {gone}; only chains were checked")
            outputs.check_chain()
            return
        bounds = [source.bounds(topic, partition) for topic in names.inputs]
        total = sum(end - begin for begin, end in bounds)
        PartitionCheck(
            clockwork=self._rules.clockwork,
            versions=self._versions,
            inputs=[Forward(source.records(topic, partition)) for topic in names.inputs],
            letters=DeadLetters(source.records(names.dlq, partition), names.inputs),
            outputs=outputs,
            progress=lambda taken: progress(partition, taken, total),
        ).run(audits if first is None else chain([first], audits))

    def _read_audit(self, partition: int) -> Iterator[tuple[Record, Audit]]:
        topic = self._rules.names.audit
        for record in self._source.records(topic, partition):
            try:
                yield record, audit_log.parse(record.value or b"")
            except msgspec.DecodeError as error:
                self._find("audit", partition, topic, record.offset, "an audit record", error)

    def _gone(self, partition: int, record: Record, first: Audit) -> str | None:
        """Why the partition cannot be derived again: something it needs is no longer in the log."""
        names, source = self._rules.names, self._source
        if first.n > 1 and record.offset > 0:
            return f"the audit log begins with commit {first.n}, those before were compacted"
        for topic in (names.changes, names.dlq, *names.inputs):
            begin = source.bounds(topic, partition)[0]
            needed = first.from_offsets.get(topic, 0)
            if begin > needed:
                return f"{topic} begins at offset {begin}, what is needed begins at {needed}"
        return None
