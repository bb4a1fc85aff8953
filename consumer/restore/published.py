"""What the output topics say of the customers of a partition, where their changes are no longer all there."""

from __future__ import annotations

from typing import Final, NamedTuple, cast

import numpy as np
import structlog
from confluent_kafka import Message

from consumer.log_reader import LogReader
from consumer.restore.tail import number_of
from consumer.topics import TopicNames
from online_model.flaps import segment_left
from online_model.partition import PartitionState
from online_model.rows import SEGMENT_NONE
from schemas.batch import StringColumn
from schemas.outbox import Change, decode_change, decode_current
from schemas.times import parse_time

_log = structlog.get_logger("restore")

#: Keys looked up at once.
_BLOCK: Final = 50_000


class _Published(NamedTuple):
    """What is known of a customer from the output; `current`: from the current topic."""

    seq: int
    segment: int
    previous: int
    since_us: int
    provisional: bool
    effective_us: int
    current: bool


def read_published(log: LogReader, names: TopicNames, state: PartitionState) -> None:
    """The published segment of every customer, and `seq` also of those that have left.

    An erased customer's numbering starts again, so what was published before the erasure counts
    nothing.
    """
    latest: dict[bytes, _Published] = {}
    for message in log.all_of(names.changes, state.number):
        change = decode_change(_value(message))
        latest[_key(message)] = _published(change, change.effective_at, current=False)
    for message in log.all_of(names.current, state.number):
        key = _key(message)
        if message.value() is None:
            gone = latest.get(key)
            if gone is not None and (gone.current or gone.segment != SEGMENT_NONE):
                del latest[key]  # erased: an exit would be the last change
            continue
        record = decode_current(_value(message))
        known = latest.get(key)
        if known is None or known.seq <= record.seq:
            latest[key] = _published(record, record.since, current=True)
    kept = [key for key, item in latest.items() if not state.is_erased(key, item.effective_us)]
    for first in range(0, len(kept), _BLOCK):
        keys = kept[first : first + _BLOCK]
        _place(state, keys, [latest[key] for key in keys])


def _published(record: Change, since: str, *, current: bool) -> _Published:
    return _Published(
        record.seq,
        number_of(record.segment),
        number_of(record.previous_segment),
        parse_time(since) or 0,
        record.provisional,
        parse_time(record.effective_at) or 0,
        current,
    )


def _place(state: PartitionState, keys: list[bytes], items: list[_Published]) -> None:
    """Writes what was published into the rows; exits keep their number for the next life."""
    known = state.index.n
    rows = state.index.rows_of(StringColumn.from_bytes(keys), np.arange(len(keys), dtype=np.int64))
    state.store.reserve(state.index.n)
    if state.index.n > known:
        _log.warning(
            "customers with a segment but without input", partition=state.number, n=state.index.n - known
        )
    ours = np.flatnonzero(rows >= 0)  # below: of another partition count
    hot, at = state.store.rows.hot, rows[ours]
    segment = np.array([item.segment for item in items], np.int16)[ours]
    previous = np.array([item.previous for item in items], np.int16)[ours]
    hot["seq"][at] = np.array([item.seq for item in items], np.int32)[ours]
    hot["segment"][at] = segment
    state.store.rows.left[at] = segment_left(previous, segment)
    hot["since"][at] = np.array([item.since_us for item in items], np.int64)[ours]
    hot["provisional"][at] = np.array([item.provisional for item in items], np.uint8)[ours]


def _key(message: Message) -> bytes:
    return cast("bytes", message.key())


def _value(message: Message) -> bytes:
    return cast("bytes", message.value())
