"""Customer id to row: an open-addressing table over the exact id bytes.

A slot of the table packs 32 hash bits and the row, so a look-up touches three cache lines: the slot,
the place of the id and the id. The id bytes decide a match: no two ids ever share a row, whatever
their hashes. About 50 bytes per customer; a dict of Python strings takes several times as much and is
several times slower.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from online_model.rowtable import grow, reserved, use_huge_pages
from schemas.batch import Int32Array, Int64Array, StringColumn, UInt8Array
from schemas.kernel import AHEAD, allocating, inlined, prefetch

UInt64Array = npt.NDArray[np.uint64]

#: Row of an id whose record is on a partition that its key does not hash to.
MISROUTED = -2

#: An empty slot of the table.
EMPTY = -1

_K1 = np.uint64(0x9E3779B97F4A7C15)
_K2 = np.uint64(0xC2B2AE3D27D4EB4F)
_K3 = np.uint64(0xFF51AFD7ED558CCD)


@inlined
def hash_bytes(data: UInt8Array, start: int, stop: int) -> np.uint64:
    """64-bit hash of ``data[start:stop]`` (multiply, rotate and the murmur3 finaliser)."""
    h = np.uint64(stop - start) * _K1
    i = start
    while i + 8 <= stop:
        word = (
            np.uint64(data[i])
            | (np.uint64(data[i + 1]) << np.uint64(8))
            | (np.uint64(data[i + 2]) << np.uint64(16))
            | (np.uint64(data[i + 3]) << np.uint64(24))
            | (np.uint64(data[i + 4]) << np.uint64(32))
            | (np.uint64(data[i + 5]) << np.uint64(40))
            | (np.uint64(data[i + 6]) << np.uint64(48))
            | (np.uint64(data[i + 7]) << np.uint64(56))
        )
        h ^= word * _K2
        h = ((h << np.uint64(29)) | (h >> np.uint64(35))) * _K1
        i += 8
    word = np.uint64(0)
    shift = np.uint64(0)
    while i < stop:
        word |= np.uint64(data[i]) << shift
        shift += np.uint64(8)
        i += 1
    h ^= word * _K2
    h ^= h >> np.uint64(33)
    h *= _K3
    h ^= h >> np.uint64(33)
    h *= _K2
    return h ^ (h >> np.uint64(33))


@allocating
def murmur2(data: UInt8Array, start: int, stop: int) -> int:
    """Kafka's murmur2 of ``data[start:stop]`` as uint32 (org.apache.kafka.common.utils.Utils.murmur2)."""
    mask = np.int64(0xFFFFFFFF)
    m = np.int64(0x5BD1E995)
    length = stop - start
    h = (np.int64(0x9747B28C) ^ length) & mask
    i = start
    while i + 4 <= stop:
        k = (
            np.int64(data[i])
            | np.int64(data[i + 1]) << 8
            | np.int64(data[i + 2]) << 16
            | np.int64(data[i + 3]) << 24
        )
        k = (k * m) & mask
        k ^= k >> 24
        k = (k * m) & mask
        h = ((h * m) & mask) ^ k
        i += 4
    rest = stop - i
    if rest == 3:
        h ^= np.int64(data[i + 2]) << 16
    if rest >= 2:
        h ^= np.int64(data[i + 1]) << 8
    if rest >= 1:
        h ^= np.int64(data[i])
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    return int(h ^ (h >> 15))


@allocating
def hash_strings(data: UInt8Array, ends: Int64Array) -> UInt64Array:
    """Hashes of all strings of a column."""
    out = np.empty(len(ends) - 1, np.uint64)
    for i in range(len(out)):
        out[i] = hash_bytes(data, ends[i], ends[i + 1])
    return out


@inlined
def _same(data: UInt8Array, start: int, length: int, arena: UInt8Array, at: int) -> bool:
    for j in range(length):
        if data[start + j] != arena[at + j]:
            return False
    return True


@allocating
def _find(
    data: UInt8Array,
    ends: Int64Array,
    events: Int64Array,
    table: Int64Array,
    hashes: UInt64Array,
    arena: UInt8Array,
    places: Int64Array,
    rows: Int32Array,
    hash_of: UInt64Array,
) -> int:
    """Rows of the known ids among `events` into `rows` (-1: unknown); returns how many are unknown."""
    mask = np.uint64(len(table) - 1)
    missing = 0
    for i in range(-3 * AHEAD, len(events)):
        # Three loads ahead of the comparison: the slot of an id, what it points to, and the bytes there.
        coming, nearer, nearest = i + 3 * AHEAD, i + 2 * AHEAD, i + AHEAD
        if coming < len(events):
            e = events[coming]
            hash_of[coming] = hash_bytes(data, ends[e], ends[e + 1])
            prefetch(table, np.int64(hash_of[coming] & mask), 0, 8)
        if 0 <= nearer < len(events):
            entry = table[np.int64(hash_of[nearer] & mask)]
            if entry != EMPTY:
                prefetch(places, entry & 0xFFFFFFFF, 0, 8)
        if 0 <= nearest < len(events):
            entry = table[np.int64(hash_of[nearest] & mask)]
            if entry != EMPTY:
                place = places[entry & 0xFFFFFFFF]
                prefetch(arena, place >> 16, 0, place & 0xFFFF)
        if i < 0:
            continue
        e = events[i]
        a = ends[e]
        n = ends[e + 1] - a
        h = hash_of[i]
        tag = np.int64(h >> np.uint64(33))
        slot = np.int64(h & mask)
        row = -1
        while True:
            entry = table[slot]
            if entry == EMPTY:
                missing += 1
                break
            if (entry >> 32) == tag:
                candidate = entry & 0xFFFFFFFF
                place = places[candidate]
                if (place & 0xFFFF) == n and _same(data, a, n, arena, place >> 16):
                    row = candidate
                    break
            slot = np.int64(np.uint64(slot + 1) & mask)
        rows[i] = row
    return missing


@allocating
def _insert(
    data: UInt8Array,
    ends: Int64Array,
    events: Int64Array,
    table: Int64Array,
    hashes: UInt64Array,
    arena: UInt8Array,
    places: Int64Array,
    rows: Int32Array,
    hash_of: UInt64Array,
    used: int,
    arena_used: int,
    partition: int,
    partition_count: int,
) -> tuple[int, int]:
    """Gives the unknown ids (row -1) rows in order of appearance; returns the new row and arena counts."""
    mask = np.uint64(len(table) - 1)
    for i in range(len(events)):
        if rows[i] != -1:
            continue
        e = events[i]
        a = ends[e]
        n = ends[e + 1] - a
        h = hash_of[i]
        tag = np.int64(h >> np.uint64(33))
        slot = np.int64(h & mask)
        row = -1
        while table[slot] != EMPTY:
            candidate = table[slot] & 0xFFFFFFFF
            place = places[candidate]
            if (table[slot] >> 32) == tag and (place & 0xFFFF) == n and _same(data, a, n, arena, place >> 16):
                row = candidate
                break
            slot = np.int64(np.uint64(slot + 1) & mask)
        if row < 0:
            # An id is checked once: one that has a row was on the right partition.
            if partition_count > 0 and (murmur2(data, a, a + n) & 0x7FFFFFFF) % partition_count != partition:
                rows[i] = MISROUTED
                continue
            row = used
            used += 1
            table[slot] = (tag << 32) | row
            hashes[row] = h
            places[row] = (arena_used << 16) | n
            for j in range(n):
                arena[arena_used + j] = data[a + j]
            arena_used += n
        rows[i] = row
    return used, arena_used


@allocating
def _gather(arena: UInt8Array, places: Int64Array, ends: Int64Array, out: UInt8Array) -> None:
    """The bytes at `places` one after the other; string i ends at ``ends[i + 1]``."""
    for i in range(len(places)):
        start = places[i] >> 16
        for j in range(ends[i + 1] - ends[i]):
            out[ends[i] + j] = arena[start + j]


@allocating
def _rehash(table: Int64Array, hashes: UInt64Array, places: Int64Array, used: int) -> None:
    mask = np.uint64(len(table) - 1)
    for row in range(used):
        if places[row] & 0xFFFF == 0:
            continue  # erased: all of them have the same hash
        slot = np.int64(hashes[row] & mask)
        while table[slot] != EMPTY:
            slot = np.int64(np.uint64(slot + 1) & mask)
        table[slot] = (np.int64(hashes[row] >> np.uint64(33)) << 32) | row


class IdIndex:
    """Rows of one partition's customers, numbered from 0 in order of first appearance.

    With `partition_count` > 0 a new id must hash (murmur2, as Kafka's clients do) to `partition`;
    otherwise its row is `MISROUTED` and nothing is stored.
    """

    def __init__(self, partition: int = 0, partition_count: int = 0) -> None:
        self.partition = partition
        self.partition_count = partition_count
        self.n = 0
        self.hashes = reserved((), np.uint64)
        self._table = np.full(1 << 12, EMPTY, np.int64)
        self._places = reserved((), np.int64)  # start in the arena << 16 | length
        self._arena = reserved((16,), np.uint8).reshape(-1)
        self._arena_used = 0

    def rows_of(self, ids: StringColumn, events: Int64Array) -> Int32Array:
        """Rows int32[m] of the ids at positions `events` int64[m]; unknown ids get the next rows."""
        rows = np.empty(len(events), np.int32)
        hash_of = np.empty(len(events), np.uint64)
        missing = _find(ids.data, ids.ends, events, *self._arrays(), rows, hash_of)
        if missing:
            self._reserve(missing, int((ids.ends[events + 1] - ids.ends[events])[rows < 0].sum()))
            self.n, self._arena_used = _insert(
                ids.data, ids.ends, events, *self._arrays(), rows, hash_of,
                self.n, self._arena_used, self.partition, self.partition_count,
            )  # fmt: skip
        return rows

    def find(self, ids: StringColumn) -> Int32Array:
        """Rows int32[n] of `ids`; -1 for those that have none."""
        rows, events = np.empty(len(ids.ends) - 1, np.int32), np.arange(len(ids.ends) - 1, dtype=np.int64)
        _find(ids.data, ids.ends, events, *self._arrays(), rows, np.empty(len(rows), np.uint64))
        return rows

    def ids(self, rows: Int32Array | Int64Array) -> list[bytes]:
        """Id bytes of `rows`."""
        places = self._places[rows].tolist()
        return [self._arena[p >> 16 : (p >> 16) + (p & 0xFFFF)].tobytes() for p in places]

    def erase(self, row: int) -> None:
        """Overwrites the id bytes of `row`; the row stays taken but no id leads to it any more."""
        place = int(self._places[row])
        start, length = place >> 16, place & 0xFFFF
        mask = len(self._table) - 1
        slot = int(self.hashes[row]) & mask
        while self._table[slot] != EMPTY:
            if int(self._table[slot]) & 0xFFFFFFFF == row:
                self._table[slot] = row  # stays taken, without its bits of the hash
                break
            slot = (slot + 1) & mask
        self._arena[start : start + length] = 0
        self._places[row] = start << 16  # length 0: no id is empty, so nothing matches
        self.hashes[row] = 0  # made without a key: it would find the id again among all phone numbers

    def export(self, low: int, high: int) -> tuple[StringColumn, UInt64Array]:
        """Copies of the ids (empty where erased) and hashes of the rows from `low` to `high`."""
        places = self._places[low:high]
        ends = np.zeros(high - low + 1, np.int64)
        np.cumsum(places & 0xFFFF, out=ends[1:])
        data = np.empty(int(ends[-1]), np.uint8)
        _gather(self._arena, places, ends, data)
        return StringColumn(data, ends), self.hashes[low:high].copy()

    def load(self, ids: StringColumn, hashes: UInt64Array) -> None:
        """Appends rows as they were exported. They are found after `finish_load` only."""
        n, lengths = len(hashes), np.diff(ids.ends)
        self._grow(n, len(ids.data))
        self.hashes[self.n : self.n + n] = hashes
        self._places[self.n : self.n + n] = ((ids.ends[:-1] + self._arena_used) << 16) | lengths
        self._arena[self._arena_used : self._arena_used + len(ids.data)] = ids.data
        self._arena_used += len(ids.data)
        self.n += n

    def finish_load(self) -> None:
        """Makes the loaded rows be found."""
        size = len(self._table)
        while self.n * 10 > size * 6:
            size *= 2
        self._table = np.full(size, EMPTY, np.int64)
        _rehash(self._table, self.hashes, self._places, self.n)

    @property
    def nbytes(self) -> int:
        """Bytes that the index uses."""
        return self._table.nbytes + self.n * 16 + self._arena_used

    def _arrays(self) -> tuple[Int64Array, UInt64Array, UInt8Array, Int64Array]:
        return self._table, self.hashes, self._arena, self._places

    def _reserve(self, rows: int, id_bytes: int) -> None:
        needed = self.n + rows
        self._grow(rows, id_bytes)
        if needed * 10 > len(self._table) * 6:
            size = len(self._table)
            while needed * 10 > size * 6:
                size *= 2
            self._table = np.full(size, EMPTY, np.int64)
            _rehash(self._table, self.hashes, self._places, self.n)

    def _grow(self, rows: int, id_bytes: int) -> None:
        needed = self.n + rows
        self.hashes, self._places = grow(self.hashes, needed), grow(self._places, needed)
        use_huge_pages((self.hashes, self._places), self.n, needed)
        used = self._arena_used + id_bytes
        self._arena = grow(self._arena, used)
        use_huge_pages((self._arena,), self._arena_used, used)
