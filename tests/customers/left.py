"""Where bytes of somebody are left: files, records, snapshots, the memory of a process."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.kafka_clients import make_consumer, reader_settings
from consumer.log_reader import LogReader
from online_model.id_index import hash_bytes
from tests.service.world import World

#: Found bytes, by what they are, then by where.
Left = dict[str, Counter[str]]


@dataclass(frozen=True, slots=True)
class Needles:
    """What to look for: the id, the hash of the index made of it, and a mark in all of the events."""

    by_name: Mapping[str, bytes]

    @classmethod
    def of(cls, customer: str, mark: str) -> Needles:
        """The hash as 8 bytes in either order, and as text."""
        key = np.frombuffer(customer.encode(), np.uint8)
        hashed = int(hash_bytes(key, 0, len(key)))
        return cls(
            {
                "id": customer.encode(),
                "mark": mark.encode(),
                "hash": hashed.to_bytes(8, "little"),
                "hash, big-endian": hashed.to_bytes(8, "big"),
                "hash in hexadecimal": b"%016x" % hashed,
                "hash in decimal": b"%d" % hashed,
                "hash in decimal, signed": b"%d" % int(np.int64(np.uint64(hashed))),
            }
        )

    def within(self, chunks: Iterator[tuple[str, bytes]]) -> Left:
        """How often each is found, by the names of the chunks."""
        found: Left = {}
        for where, data in chunks:
            for name, needle in self.by_name.items():
                if n := data.count(needle):
                    found.setdefault(name, Counter())[where] += n
        return found


def in_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file as it is on the disk; those that go meanwhile are gone."""
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file():
                yield str(path.relative_to(folder)), path.read_bytes()
        except FileNotFoundError:
            continue


def in_topic(world: World, topic: str, partitions: int) -> Iterator[tuple[str, bytes]]:
    """Every record that a reader can get, committed or not: key, value and headers."""
    with LogReader(lambda _: make_consumer(reader_settings(world.config, committed_only=False))) as log:
        for partition in range(partitions):
            low, high = log.bounds(topic, partition)
            for chunk in log.chunks({(topic, partition): (low, high)}):
                for message in chunk:
                    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
                    headers = b"".join(value or b"" for _, value in pairs)
                    yield topic, (message.key() or b"") + b"\0" + (message.value() or b"") + b"\0" + headers


def in_snapshots(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every column of every snapshot as bytes, the files themselves, and the manifests."""
    yield from in_files(folder)
    for path in sorted(folder.rglob("*.parquet")):
        try:
            table = pq.read_table(path)
        except (FileNotFoundError, pa.ArrowInvalid):  # replaced meanwhile, or being written
            continue
        for name in table.column_names:
            for chunk in table[name].chunks:
                for buffer in chunk.buffers():
                    if buffer is not None:
                        yield f"{path.name}: {name}", buffer.to_pybytes()


_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$")
_PAGE = 4096


def in_memory(pid: int | str) -> Iterator[tuple[str, bytes]]:
    """All that a process can write to: its heap, its threads' arenas, its arrays."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = _MAPPING.match(line)
        assert match is not None, line
        if "w" in match[3]:
            first, last = int(match[1], 16), int(match[2], 16)
            for data in resident(pid, first, last):
                yield match[4] or "anonymous", data


def resident(pid: int | str, first: int, last: int) -> Iterator[bytes]:
    """Runs of pages between two addresses that are there: much is reserved and was never touched."""
    begin, pages = first // _PAGE, -(-last // _PAGE) - first // _PAGE
    with Path(f"/proc/{pid}/pagemap").open("rb", 0) as page_map:
        page_map.seek(begin * 8)
        entries = np.frombuffer(page_map.read(pages * 8), np.uint64)
    there = np.concatenate(([False], entries >> np.uint64(63) == 1, [False]))
    edges = np.flatnonzero(there[1:] != there[:-1])
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for start, stop in edges.reshape(-1, 2).tolist():
            low, high = max((begin + start) * _PAGE, first), min((begin + stop) * _PAGE, last)
            try:
                memory.seek(low)
                yield memory.read(high - low)
            except OSError:  # given back meanwhile
                continue
