"""Events from NDJSON files as raw records: lines in, batches of parallel columns out.

Files are read a block at a time and merged in blocks, so memory depends on the number of files and
not on their size. A line is never judged here: what does not parse goes on as a record that the
core refuses with the right reason.

The topic of a line is that of its `type`; lines without a known type count as usage. A file that is
named after an input topic (``telecom.billing.v1.ndjson``) is that topic, whatever its lines say, so
that a record on the wrong topic is refused as it would be on Kafka.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
import numpy.typing as npt

from consumer.errors import DataError
from online_model.rows import NEVER
from schemas.batch import Int32Array, Int64Array, Topic, UInt8Array
from schemas.events import TOPIC_OF_TYPE
from schemas.times import NO_TIME, parse_times

#: Bytes of all files that are in memory before they are merged, and the least per file.
_BUFFERED_BYTES: Final = 8 << 20
_LEAST_BYTES: Final = 1 << 16

#: How many of the next records have to confirm an event time, and how exactly.
_WITNESSES: Final = 8
_CONFIRMATIONS: Final = 3
_SLACK_US: Final = 300_000_000
_DAY_US: Final = 86_400_000_000

#: Name of stdin on the command line.
STDIN: Final = "-"


class _Head(msgspec.Struct, gc=False):
    """The fields that decide where a line goes; anything at all, because nothing is checked here."""

    type: Any = None
    customer_id: Any = None
    event_time: Any = None


_DECODER: Final = msgspec.json.Decoder(_Head)
_NO_HEAD: Final = _Head()


@dataclass(frozen=True, slots=True)
class Lines:
    """`n` lines in order, as columns.

    `values`: the bytes without the line end; `keys`: the customer id, None where there is none;
    `topic` uint8[n]; `order_us` int64[n]: event time up to which the file had come (never falls
    within a file, `NEVER` if no time is known); `file` int32[n]: which file; `number`
    int64[n]: line number in it, from 1.
    """

    values: list[bytes]
    keys: list[bytes | None]
    topic: UInt8Array
    order_us: Int64Array
    file: Int32Array
    number: Int64Array

    @property
    def n(self) -> int:
        """Number of lines."""
        return len(self.values)

    def take(self, at: npt.NDArray[np.intp] | slice) -> Lines:
        """The lines at `at`, in that order."""
        if isinstance(at, slice):
            values, keys = self.values[at], self.keys[at]
        else:
            rows = at.tolist()
            values, keys = [self.values[row] for row in rows], [self.keys[row] for row in rows]
        return Lines(values, keys, self.topic[at], self.order_us[at], self.file[at], self.number[at])

    @classmethod
    def concat(cls, parts: Sequence[Lines]) -> Lines:
        """All of `parts` (at least one), one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            [value for part in parts for value in part.values],
            [key for part in parts for key in part.keys],
            np.concatenate([part.topic for part in parts]),
            np.concatenate([part.order_us for part in parts]),
            np.concatenate([part.file for part in parts]),
            np.concatenate([part.number for part in parts]),
        )


class EventFile:
    """One open file: its lines block by block.

    How far the file has come in event time is what its lines agree on (`progress`), so a record with a
    bad clock neither holds the rest of the file back in a merge nor moves the clock of the replay.
    The last lines of a block wait for the next one, which confirms them or not.
    """

    def __init__(
        self, stream: BinaryIO, name: str, number: int, topics: Sequence[str], latest_us: int
    ) -> None:
        self.name = name
        self.exhausted = False
        self.bytes_read = 0
        self._stream = stream
        self._number = number
        self._latest_us = latest_us
        self._next_line = 1
        self._newest_us: int = NEVER
        self._held: list[bytes] = []
        stem = Path(name).name.removesuffix(".ndjson")
        self._topic = topics.index(stem) if stem in topics else None

    def read(self, size: int) -> Lines:
        """The next lines of about `size` bytes; none at the end. Raises `DataError`."""
        try:
            values = self._stream.readlines(size)
        except OSError as error:
            raise DataError(
                f"event file {self.name} cannot be read: {error.strerror}", "check the file and its disk"
            ) from None
        count = sum(map(len, values))
        self.bytes_read += count
        self.exhausted = count < size
        values = self._held + [value.rstrip(b"\r\n") for value in values]
        heads = [_head(value) for value in values]
        order_us, n = self._order(heads)
        self._held = values[n:]
        number = np.arange(self._next_line, self._next_line + n, dtype=np.int64)
        self._next_line += n
        return Lines(
            values=values[:n],
            keys=[_key(head) for head in heads[:n]],
            topic=self._topics(heads[:n]),
            order_us=order_us,
            file=np.full(n, self._number, np.int32),
            number=number,
        )

    def _topics(self, heads: list[_Head]) -> UInt8Array:
        if self._topic is not None:
            return np.full(len(heads), self._topic, np.uint8)
        return np.array([_topic(head) for head in heads], np.uint8)

    def _order(self, heads: list[_Head]) -> tuple[Int64Array, int]:
        """Event time up to which the file had come at each line, and how many lines that is known of."""
        texts = [head.event_time if isinstance(head.event_time, str) else "" for head in heads]
        times = parse_times(texts)
        timed = np.flatnonzero((times != NO_TIME) & (times <= self._latest_us))
        n = len(times)
        if not self.exhausted and len(timed):
            n = int(timed[max(len(timed) - _WITNESSES, 0)])
        order = np.full(len(times), self._newest_us, np.int64)
        order[timed] = progress(times[timed], self._newest_us, self.exhausted)
        order = np.maximum.accumulate(order)[:n]
        if n:
            self._newest_us = int(order[-1])
        return order, n


def progress(times: Int64Array, newest_us: int, complete: bool) -> Int64Array:
    """Event time int64[n] up to which a stream had come at each record, given `times` in arrival order.

    A time counts if `_CONFIRMATIONS` of the next `_WITNESSES` records are not before it (give or take
    `_SLACK_US`): late records are before it, and a bad clock is ahead of all others. `newest_us`: how
    far it had come before. If the stream is `complete` the last records are confirmed by those that are
    left, and the very last ones unless they jump further than the stream ever did, and than a day.
    """
    n = len(times)
    confirmed = np.zeros(n, np.int64)
    for distance in range(1, min(_WITNESSES, n - 1) + 1):
        confirmed[:-distance] += times[distance:] >= times[:-distance] - _SLACK_US
    left = np.arange(n - 1, -1, -1)
    believed = confirmed >= (np.minimum(left, _CONFIRMATIONS) if complete else _CONFIRMATIONS)
    tail = max(n - _CONFIRMATIONS, 0) if complete else n
    came_to = np.maximum.accumulate(np.where(believed[:tail], times[:tail], newest_us))
    came_to = np.maximum(came_to, newest_us)
    steps = np.diff(came_to)
    furthest = max(int(steps.max()), _DAY_US) if (steps > 0).any() else None
    newest = int(came_to[-1]) if tail else newest_us
    rest = []
    for time, is_believed in zip(times[tail:].tolist(), believed[tail:].tolist(), strict=True):
        if is_believed and (newest == NEVER or furthest is None or time - newest <= furthest):
            newest = max(newest, time)
        rest.append(newest)
    return np.concatenate([came_to, np.array(rest, np.int64)])


def _head(value: bytes) -> _Head:
    try:
        return _DECODER.decode(value)
    except (ValueError, RecursionError):
        return _NO_HEAD


def _key(head: _Head) -> bytes | None:
    # JSON may spell a lone surrogate, which no bytes stand for: the record is refused for its id.
    return head.customer_id.encode(errors="replace") if isinstance(head.customer_id, str) else None


def _topic(head: _Head) -> int:
    return TOPIC_OF_TYPE.get(head.type, Topic.USAGE) if isinstance(head.type, str) else Topic.USAGE


class EventFiles:
    """Event files, opened together. A context manager; `lines` reads them once.

    `topics` are the names of the input topics, `latest_us` the time after which no event is believed.
    `on_read` may be set; it is told the bytes of all files read so far.
    """

    def __init__(
        self,
        names: Sequence[str],
        topics: Sequence[str],
        latest_us: int,
    ) -> None:
        self.names = tuple(names)
        self.on_read: Callable[[int], None] = lambda _: None
        self._block = max(_LEAST_BYTES, _BUFFERED_BYTES // max(len(names), 1))
        with ExitStack() as opened:
            self._files = [
                EventFile(_open(name, opened), name, number, topics, latest_us)
                for number, name in enumerate(names)
            ]
            self._opened = opened.pop_all()

    @property
    def total_bytes(self) -> int | None:
        """Size of all files, None if it is not known (stdin)."""
        if STDIN in self.names:
            return None
        return sum(Path(name).stat().st_size for name in self.names)

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return sum(file.bytes_read for file in self._files)

    def __enter__(self) -> EventFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def in_order_given(self) -> Iterator[Lines]:
        """Blocks of lines, one file after the other."""
        for file in self._files:
            while not file.exhausted:
                block = self._read(file)
                if block.n:
                    yield block

    def by_time(self) -> Iterator[Lines]:
        """Blocks of lines merged by event time; equal times in the order of the files.

        Lines of one file keep their order, late ones included: a line goes where its file had come to.
        """
        if len(self._files) == 1:
            yield from self.in_order_given()
            return
        buffers = {number: self._read(file) for number, file in enumerate(self._files)}
        while buffers:
            merged = _merge(buffers, {n for n in buffers if not self._files[n].exhausted})
            if merged.n:
                yield merged
            for number in list(buffers):
                if not buffers[number].n and self._files[number].exhausted:
                    del buffers[number]
                elif not buffers[number].n:
                    buffers[number] = self._read(self._files[number])

    def _read(self, file: EventFile) -> Lines:
        """The next lines of `file`; none only at its end, because a merge has to know what comes next."""
        while True:
            block = file.read(self._block)
            self.on_read(self.bytes_read)
            if block.n or file.exhausted:
                return block


def _merge(buffers: dict[int, Lines], unfinished: set[int]) -> Lines:
    """Takes from `buffers` (shortened in place) the lines that nothing still unread can precede."""
    last = min(
        ((int(buffers[number].order_us[-1]), number) for number in unfinished if buffers[number].n),
        default=None,
    )
    parts = []
    for number, lines in sorted(buffers.items()):
        stop = lines.n
        if last is not None:
            # Equal times go in the order of the files: one after the file that ends must wait for it.
            side: Any = "right" if number <= last[1] else "left"
            stop = int(np.searchsorted(lines.order_us, last[0], side=side))
        parts.append(lines.take(slice(0, stop)))
        buffers[number] = lines.take(slice(stop, None))
    taken = Lines.concat(parts)
    return taken.take(np.argsort(taken.order_us, kind="stable"))


def _open(name: str, opened: ExitStack) -> BinaryIO:
    if name == STDIN:
        return sys.stdin.buffer
    try:
        return opened.enter_context(Path(name).open("rb"))
    except OSError as error:
        raise DataError(
            f"event file {name} cannot be read: {error.strerror}",
            "give readable NDJSON files, or - for stdin",
        ) from None
