"""One commit: everything a step made visible, with the audit record, in one transaction.

The audit record of a partition holds every input of its decisions that is not in the input log. The
payload is kept until the transaction is committed, so that an aborted one can be written again as it was.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import TopicPartition

from consumer.change_records import ChangeRecords
from consumer.core import delta_of
from consumer.failpoints import failpoint
from consumer.ports import Headers
from consumer.topics import TopicNames
from consumer.transaction import TransactionalOutput
from online_model.engine import PartitionStep, Step
from online_model.rows import NEVER
from schemas.internal import AuditRecord, ScanSlice, to_json
from schemas.rejects import Rejects

#: Headers of dead letters, with the names of Kafka Streams.
ORIGIN_TOPIC: Final = "__streams.errors.topic"
ORIGIN_PARTITION: Final = "__streams.errors.partition"
ORIGIN_OFFSET: Final = "__streams.errors.offset"
REASON: Final = "x-reason"
MESSAGE: Final = "__streams.errors.message"
_EXCEPTION: Final = "__streams.errors.exception"

#: All of them, in the order of a record.
DEAD_LETTER_HEADERS: Final = (_EXCEPTION, MESSAGE, ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET, REASON)

_REJECTED: Final = b"org.telecom.segmenter.RejectedRecord"


@dataclass(slots=True)
class Batch:
    """Records of one topic and partition."""

    topic: str
    partition: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers] | None = None


@dataclass(slots=True)
class Payload:
    """What one transaction writes; `offsets` are the next input offsets of its partitions."""

    batches: list[Batch] = field(default_factory=list)
    offsets: list[TopicPartition] = field(default_factory=list)
    changes: int = 0
    rejects: int = 0

    def write(self, output: TransactionalOutput) -> None:
        """Adds all records to the transaction."""
        for batch in self.batches:
            output.produce_many(batch.topic, batch.partition, batch.keys, batch.values, batch.headers)
        failpoint("produce.all")


class PayloadMaker:
    """Turns steps into payloads. `commits` counts the audit records per partition (their `n`)."""

    def __init__(self, names: TopicNames, records: ChangeRecords, run_id: str, scan_interval_us: int) -> None:
        self._names = names
        self._records = records
        self._run_id = run_id
        self._scan_interval_us = scan_interval_us
        self.commits: dict[int, int] = {}

    def make(self, step: Step, live: dict[int, bool]) -> Payload | None:
        """Payload of `step`, None if nothing happened; `live` tells live partitions from backfilling ones."""
        payload = Payload()
        for part in step.partitions:
            if not part.is_empty:
                self._add(payload, step, part, live[part.partition])
                failpoint("payload.partition")
        return payload if payload.batches else None

    def _add(self, payload: Payload, step: Step, part: PartitionStep, live: bool) -> None:
        names, number = self._names, part.partition
        count, crc = 0, 0
        if part.changes is not None:
            made = self._records.of(part.changes, number, part.watermark_us, part.model_version, live)
            payload.batches.append(
                Batch(names.changes, number, made.change_keys, made.change_values, made.change_headers)
            )
            payload.batches.append(
                Batch(names.current, number, made.current_keys, made.current_values, made.current_headers)
            )
            for value in made.change_values:
                crc = zlib.crc32(value or b"", crc)
            count = len(made.change_values)
            payload.changes += count
        if part.rejects.n:
            payload.batches.append(dead_letters(part.rejects, names))
            payload.rejects += part.rejects.n
        if part.scanned is not None and part.scanned.completed is not None:
            delta = delta_of(number, part.scanned, part.model_version, self._scan_interval_us)
            payload.batches.append(Batch(names.deltas, 0, [str(number).encode()], [to_json(delta)]))
        self.commits[number] = self.commits.get(number, 0) + 1
        payload.batches.append(self._audit(step, part, count, crc))
        # Also where nothing was read: the offsets carry the generation that fences a former owner.
        payload.offsets += [
            TopicPartition(topic, number, int(part.end[code])) for code, topic in enumerate(names.inputs)
        ]

    def _audit(self, step: Step, part: PartitionStep, outputs: int, crc: int) -> Batch:
        """The partition's audit record: last, so that it covers everything before it."""
        scanned, scan = part.scanned, part.scan
        inputs = self._names.inputs
        record = AuditRecord(
            partition=part.partition,
            n=self.commits[part.partition],
            from_offsets={topic: int(offset) for topic, offset in zip(inputs, part.start, strict=True)},
            to_offsets={topic: int(offset) for topic, offset in zip(inputs, part.end, strict=True)},
            now_us=step.now_us,
            watermark_us=part.watermark_us,
            model_version=part.model_version,
            previous_version=part.previous_version,
            frontiers={
                topic: (_known(newest), _known(applied))
                for topic, (newest, applied) in zip(inputs, part.frontiers, strict=True)
            },
            scan=None
            if scan.id < 0
            else ScanSlice(
                scan.id,
                scan.cursor if scanned is None else scanned.low,
                scan.cursor,
                scan.learns,
                scan.unseen,
            ),
            outputs=outputs,
            outputs_crc32=crc,
            rejects=part.rejects.n,
            run_id=self._run_id,
        )
        return Batch(self._names.audit, part.partition, [str(part.partition).encode()], [to_json(record)])


def _known(time_us: int) -> int | None:
    return None if time_us == NEVER else time_us


def dead_letters(rejects: Rejects, names: TopicNames) -> Batch:
    """Raw records for the dead-letter topic, with the header names of Kafka Streams and our reason code."""
    exception = (_EXCEPTION, _REJECTED)
    origins = [(ORIGIN_TOPIC, topic.encode()) for topic in names.inputs]
    headers: list[Headers] = [
        [
            exception,
            (MESSAGE, detail.encode("utf-8", "replace")),
            origins[topic],
            (ORIGIN_PARTITION, str(partition).encode()),
            (ORIGIN_OFFSET, str(offset).encode()),
            (REASON, reason.value.encode()),
        ]
        for topic, partition, offset, reason, detail in zip(
            rejects.topic.tolist(),
            rejects.partition.tolist(),
            rejects.offset.tolist(),
            rejects.reasons,
            rejects.details,
            strict=True,
        )
    ]
    return Batch(names.dlq, int(rejects.partition[0]), rejects.keys, rejects.values, headers)
