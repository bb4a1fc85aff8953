"""Change batches as records of the output topics.

First assignments write two records per customer, so everything that repeats (names, strategies,
times) is made once per batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from online_model.active_model import segment_id, segment_number
from online_model.catalog import FIXED_SEGMENTS
from online_model.change_batch import Cause, Change, ChangeBatch
from online_model.columns import Columns
from online_model.model import Model
from online_model.strategy import Strategy, StrategyFile, arm
from schemas import outbox
from schemas.batch import CONSENT_GIVEN, CONSENT_UNKNOWN
from schemas.changes import Cause as CauseName
from schemas.changes import ChangeKind
from schemas.outbox import (
    CHANGED_TYPE,
    CURRENT_TYPE,
    CloudEvents,
    Headers,
    Trigger,
    schema_id,
    subject_headers,
)
from schemas.times import format_time

_CHANGES: Final[dict[int, ChangeKind]] = {
    Change.ASSIGNED: "assigned",
    Change.MOVED: "moved",
    Change.EXITED: "exited",
}
_CAUSES: Final[dict[int, CauseName]] = {
    Cause.FIRST: "first",
    Cause.MODEL: "model",
    Cause.CORRECTION: "correction",
    Cause.BEHAVIOUR: "behaviour",
    Cause.TIME: "time",
    Cause.CONSENT: "consent",
    Cause.CLOSED: "closed",
}

#: Versions kept in memory: those that decided since the oldest snapshot, those that partitions are still
#: decided by (a pass keeps its own until it is finished), and some.
MODELS_KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one partition: parallel lists, for the changes topic and for the current one."""

    change_keys: list[bytes | None]
    change_values: list[bytes | None]
    change_headers: list[Headers]
    current_keys: list[bytes | None]
    current_values: list[bytes | None]
    current_headers: list[Headers]


class ChangeRecords:
    """Makes records; constant parts are prepared per model version."""

    def __init__(
        self,
        columns: Columns,
        strategies: StrategyFile,
        inputs: tuple[str, str, str],
        run_id: str,
        source: str,
    ) -> None:
        self._columns = columns
        self._strategies = {strategy.id: strategy for strategy in strategies.strategies}
        self._inputs = inputs
        self._changed = CloudEvents(CHANGED_TYPE, source, schema_id("segments.changes.v1"), run_id)
        self._current = CloudEvents(CURRENT_TYPE, source, schema_id("segments.current.v1"), run_id)
        self._models: dict[int, Model] = {}
        self._version = 0
        self._names: dict[str, str] = {segment.id: segment.name for segment in FIXED_SEGMENTS}
        self._typical: dict[int, list[float | None]] = {}
        self._segments: dict[int, outbox.Segment] = {}
        self._bound: dict[int, Strategy] = {}

    def learn(self, model: Model) -> None:
        """A version that partitions may be decided by from now on, each when it comes to it."""
        self._models[model.version] = model
        if forgotten := self._models.pop(model.version - MODELS_KEPT, None):
            self._names = _names_of(forgotten) | self._names

    def _use(self, version: int) -> None:
        """Names, profiles and strategies of `version`, which decides; names of retired segments stay."""
        for older in sorted(number for number in self._models if number < version):
            self._names |= _names_of(self._models[older])
        model = self._models[version]
        self._names |= _names_of(model)
        self._typical = {
            int(segment.id[1:]): [None if mean is None else _number(mean) for mean in segment.profile.mean]
            for segment in model.segments
            if segment.profile is not None
        }
        self._segments = {}
        bound = {segment: self._strategies.get(strategy) for segment, strategy in model.strategies.items()}
        self._bound = {segment_number(segment): found for segment, found in bound.items() if found}
        self._version = version

    def of(
        self, batch: ChangeBatch, partition: int, watermark_us: int, model_version: int, live: bool
    ) -> Records:
        """Records of `batch`, in order, with the names and offers of `model_version`.

        Raises KeyError for a version that was not learnt.
        """
        if model_version != self._version:
            self._use(model_version)
        records = Records([], [], [], [], [], [])
        time = format_time(watermark_us)
        time_bytes = time.encode()
        context = (time, "live" if live else "backfill", model_version)
        since = b',"since":"%b"}' % time_bytes
        topics, offsets = batch.trigger_topic.tolist(), batch.trigger_offset.tolist()
        for key, row in zip(batch.customer_ids, _rows(batch), strict=True):
            i = len(records.current_keys)
            trigger = None
            if topics[i] >= 0:
                trigger = Trigger(self._inputs[topics[i]], partition, offsets[i])
            records.current_keys.append(key)
            if row.change == Change.ERASED:
                # Nothing about an erased customer is written anywhere again, headers included.
                records.current_values.append(None)
                records.current_headers.append([])
                continue
            change = self._change(row, key, context).encode()
            about = subject_headers(key, row.seq, watermark_us, time_bytes, trigger)
            records.change_keys.append(key)
            records.change_values.append(change)
            records.change_headers.append(self._changed.headers(about))
            exited = row.change == Change.EXITED
            records.current_values.append(None if exited else _current(change, since))
            records.current_headers.append([] if exited else self._current.headers(about))
        return records

    def _change(self, row: _Row, customer: bytes, context: tuple[str, str, int]) -> outbox.Change:
        time, origin, model_version = context
        old = self._segment(row.old)
        previous = None
        if old is not None:
            previous = outbox.PreviousSegment(old.id, old.name, format_time(row.old_since_us))
        known = row.consent != CONSENT_UNKNOWN
        return outbox.Change(
            customer_id=customer.decode(),
            change=_CHANGES[row.change],
            seq=row.seq,
            segment=self._segment(row.new),
            previous_segment=previous,
            cause=_CAUSES[row.cause],
            actionable=row.actionable,
            provisional=row.provisional,
            confidence=None
            if math.isnan(row.margin)
            else outbox.Confidence(round(row.margin, 4), segment_id(row.runner_up)),
            drivers=self._drivers(row),
            effective_at=time,
            model_version=model_version,
            strategy=self._strategy(row.new, customer),
            consent=outbox.Consent(
                row.consent == CONSENT_GIVEN if known else None,
                format_time(row.consent_us) if known else None,
            ),
            origin=origin,
        )

    def _segment(self, number: int) -> outbox.Segment | None:
        """The segment of a number, made once per model version; None for no segment."""
        found = self._segments.get(number)
        if found is None and (name := segment_id(number)) is not None:
            found = self._segments[number] = outbox.Segment(name, self._names.get(name, name))
        return found

    def _drivers(self, row: _Row) -> tuple[outbox.Driver, ...]:
        made = []
        columns = self._columns
        typical = self._typical.get(row.new)
        for column, before, after, share in zip(
            row.driver, row.before, row.after, row.contribution, strict=True
        ):
            if column < 0:
                break
            was, now = _number(before), _number(after)
            usual = None if typical is None else typical[column]
            reference = was if was is not None else usual
            made.append(
                outbox.Driver(
                    columns.name[column],
                    columns.label[column],
                    columns.unit[column],
                    was,
                    now,
                    usual,
                    round(share, 4),
                    "down" if now is not None and reference is not None and now < reference else "up",
                )
            )
        return tuple(made)

    def _strategy(self, number: int, customer: bytes) -> outbox.Strategy | None:
        bound = self._bound.get(number)
        if bound is None:
            return None
        return outbox.Strategy(bound.id, bound.version, arm(customer, bound.id, bound.control_share))


def _names_of(model: Model) -> dict[str, str]:
    return {segment.id: segment.name for segment in model.segments}


class _Row(NamedTuple):
    """One change as Python values: reading them from the arrays one by one costs several times as much."""

    change: int
    cause: int
    old: int
    new: int
    old_since_us: int
    seq: int
    margin: float
    runner_up: int
    provisional: bool
    actionable: bool
    driver: list[int]
    before: list[float]
    after: list[float]
    contribution: list[float]
    consent: int
    consent_us: int


def _rows(batch: ChangeBatch) -> Iterator[_Row]:
    columns = [getattr(batch, name).tolist() for name in _Row._fields]
    return map(_Row._make, zip(*columns, strict=True))


def _current(change: bytes, since: bytes) -> bytes:
    """The current record of an encoded change: the same bytes as `outbox.Current` with `since` encodes to."""
    return change[:-1] + since


def _number(value: float) -> float | None:
    """Four significant digits for people; None for missing."""
    return None if math.isnan(value) else float(f"{value:.4g}")
