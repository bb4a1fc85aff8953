"""Usage events straight from bytes to columns: the plain form of `data`, `voice` and `sms`.

Nearly all traffic is of these three types and written by machines in the same plain way. `Scanner`
takes a record only where it is certain that `schemas.structs` would, with the same columns; it never
refuses one. Whatever is unusual (escapes, unknown or repeated fields, exponents, another type) or wrong
is left over, and `Scan.merged` puts what others made of that back between the records taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas import tokens
from schemas.batch import EventBatch, Int64Array, ProfileColumns, StringColumn, Topic, UInt8Array, Vocabulary
from schemas.kernel import kernel
from schemas.records import RawRecords
from schemas.tokens import Text
from schemas.usage_scan import Rows, Source, scan_records

#: Words of a level that no plain text is equal to: no ASCII.
_NO_WORDS: Final = (np.uint64(2**64 - 1), np.uint64(0))


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in `records`: columns by record, their joined values, and their keys."""

    records: RawRecords
    rows: Rows
    text: Text
    keys: StringColumn

    def left_over(self) -> Int64Array:
        """Rows of the records that were not taken."""
        return np.flatnonzero(~self.rows.taken)

    def merged(self, at: Int64Array, events: EventBatch) -> EventBatch:
        """The events taken and `events`, which are of the rows `at`, in order of arrival.

        Writes into the columns of the scan: to be called once.
        """
        rows, records = self.rows, self.records
        rows.kind[at], rows.flags[at], rows.category[at] = events.kind, events.flags, events.category
        rows.value[at], rows.time_us[at] = events.value, events.event_time_us
        rows.id_length[at] = np.diff(events.event_ids.ends)
        aux = np.zeros(records.n, np.float64)
        aux[at] = events.aux
        ok = rows.taken.copy()
        ok[at] = True
        every = len(at) == records.n - np.count_nonzero(rows.taken)
        kept: Any = slice(None) if every else ok
        return EventBatch(
            kind=rows.kind[kept],
            topic=records.topic[kept],
            partition=records.partition[kept],
            offset=records.offset[kept],
            event_time_us=rows.time_us[kept],
            flags=rows.flags[kept],
            category=rows.category[kept],
            value=rows.value[kept],
            aux=aux[kept],
            event_ids=self._event_ids(ok, events.event_ids),
            # of every event the key is the customer
            customer_ids=self.keys if every else self.keys.where(ok),
            profiles=_renumbered(events.profiles, at, ok),
        )

    def _event_ids(self, ok: npt.NDArray[np.bool_], others: StringColumn) -> StringColumn:
        """Event ids where `ok`: from the values where taken, else the next of `others`."""
        ends = np.zeros(len(ok) + 1, np.int64)
        np.cumsum(self.rows.id_length * ok, out=ends[1:])
        data = np.empty(ends[-1] + len(tokens.PADDING), np.uint8)
        _copy_ids(self.rows, self.text, others.data, ends, tokens.text_of(data))
        data = data[: ends[-1]]
        return StringColumn(data, ends if ok.all() else ends[np.concatenate(([True], ok))])


class Scanner:
    """Scans usage events for one vocabulary. Holds a table only."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        levels = vocabulary.levels.get("technology", ())
        table = [tokens.words(level) if _is_plain(level) else _NO_WORDS for level in levels]
        self._technologies = np.array(table, np.uint64).reshape(-1, 2)

    def scan(self, records: RawRecords) -> Scan:
        """What can be taken of `records`. Never raises for any bytes."""
        values, keys, n = _joined(records.values), _joined(records.keys), records.n
        rows = Rows(
            taken=records.topic == Topic.USAGE,
            kind=np.zeros(n, np.uint8),
            flags=np.zeros(n, np.uint8),
            category=np.zeros(n, np.uint8),
            value=np.ones(n, np.float64),  # an sms without a count is one
            time_us=np.zeros(n, np.int64),
            id_start=np.zeros(n, np.int64),
            id_length=np.zeros(n, np.int64),
        )
        text, key_text = tokens.text_of(values.data), tokens.text_of(keys.data)
        scan_records(Source(text, values.ends, key_text, keys.ends, self._technologies), rows)
        return Scan(records, rows, text, StringColumn(keys.data[: keys.ends[n]], keys.ends[: n + 1]))


def _is_plain(level: str) -> bool:
    """Whether a scanned text can be equal to `level`."""
    return level.isascii() and level.isalnum() and len(level) <= tokens.SHORT


def _joined(strings: list[bytes | None]) -> StringColumn:
    """`strings` with `tokens.PADDING` after the last; missing ones are empty, as no event or key is."""
    try:
        return StringColumn.from_bytes([*strings, tokens.PADDING])  # type: ignore[list-item]
    except TypeError:
        return StringColumn.from_bytes([*(string or b"" for string in strings), tokens.PADDING])


def _renumbered(profiles: ProfileColumns, at: Int64Array, ok: npt.NDArray[np.bool_]) -> ProfileColumns:
    """`profiles` of the events of the rows `at`, numbered among all rows where `ok`."""
    if len(profiles.event) == 0:
        return profiles
    number = np.cumsum(ok, dtype=np.int32) - np.int32(1)
    return replace(profiles, event=number[at[profiles.event]])


@kernel
def _copy_ids(rows: Rows, text: Text, others: UInt8Array, ends: Int64Array, ids: Text) -> None:
    """Fill `ids` with the ids that end at `ends` (int64[n + 1]): of `text` where taken, or of `others`."""
    other = 0
    for row in range(len(rows.taken)):
        begin, length = ends[row], ends[row + 1] - ends[row]
        if rows.taken[row]:
            tokens.copy(text, rows.id_start[row], ids, begin, length)
        else:
            for place in range(length):
                ids.data[begin + place] = others[other + place]
            other += length
