"""Writes snapshots beside the loop: it gives a few milliseconds per part, a thread does the rest.

A part is copied when the last commit is confirmed and nothing after it has been applied, so that it is the
state after that commit. Parts of one snapshot follow different commits; each says which.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from consumer.background import Background
from consumer.errors import StateUnknown
from consumer.failpoints import failpoint
from consumer.snapshots.columns import to_batch
from consumer.snapshots.manifest import FORMAT, Manifest, ManifestPart
from consumer.snapshots.store import CountedFile, SnapshotStore
from online_model.partition import PartitionState
from online_model.state_columns import PART_ROWS, PartBuffer, RowPart

_log = structlog.get_logger("snapshots")

#: lz4 takes a quarter of the bytes for 3 ms of processor time per thousand customers.
_PARQUET: Final = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}


#: Share of a core that snapshots may take: after a part they rest until it is kept.
CPU_SHARE: Final = 0.04


@dataclass(frozen=True, slots=True)
class Taken:
    """One attempt: `bytes`, `seconds` from its first part to the manifest, `cpu_s` of processor time.

    `problem` if it failed.
    """

    partition: int
    n: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    problem: str = ""


@dataclass(slots=True)
class _Draft:
    """A snapshot under way."""

    partition: int
    began_s: float
    file: str
    watermark_us: int
    cpu_s: float = 0.0
    parts: list[ManifestPart] = field(default_factory=list)
    rows: int = 0
    output: CountedFile | None = None
    parquet: pq.ParquetWriter | None = None

    def write(self, store: SnapshotStore, part: RowPart) -> None:
        """Appends a part."""
        batch = to_batch(part)
        if self.output is None:
            self.output = store.create(self.partition, self.file)
        if self.parquet is None:
            self.parquet = pq.ParquetWriter(pa.PythonFile(self.output, mode="w"), batch.schema, **_PARQUET)
        self.parquet.write_batch(batch, row_group_size=PART_ROWS)
        failpoint("snapshot.part")

    def close(self) -> None:
        """Completes the file."""
        if self.parquet is not None:
            self.parquet.close()
        if self.output is not None:
            self.output.close()

    def discard(self, store: SnapshotStore) -> None:
        """Leaves nothing behind, as far as the file system lets us."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self.close()
        if self.output is not None:
            with contextlib.suppress(OSError, pa.ArrowException):
                store.delete(self.partition, self.file)


@dataclass(frozen=True, slots=True)
class Identity:
    """What every manifest says about its origin."""

    app: str
    partition_count: int
    spec_hash: str
    topics: tuple[str, str, str]
    run_id: str


class SnapshotWriter:
    """One snapshot at a time, of the partition whose last one is oldest.

    `interval_s` between two snapshots of a partition, longer where the processor time that they may take asks
    for it; `keep` of them are kept. Failures are reported and the
    next attempt is made an interval later; they never reach the loop.
    """

    def __init__(
        self,
        store: SnapshotStore,
        identity: Identity,
        interval_s: float,
        keep: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._identity = identity
        self._interval_s = interval_s
        self._keep = keep
        self._monotonic = monotonic
        self._due_s: dict[int, float] = {}
        self._draft: _Draft | None = None
        self._buffer: PartBuffer | None = None
        self._background: Background[Taken | None] = Background("snapshot")
        self._made = 0
        self._newest: dict[int, int] = {}
        self._covered_s: dict[int, float] = {}
        self._is_lost = False
        self._rests_until_s = 0.0

    def follow(self, partitions: Iterable[int], replayed: Mapping[int, int] | None = None) -> None:
        """The partitions that are live now. The first snapshots are spread over an interval.

        Those whose restore had the most input to apply again (`replayed`, records) come first: a process that
        does not live for an interval would otherwise begin with the same ones each time.
        """
        now, live, weight = self._monotonic(), sorted(partitions), replayed or {}
        new = [partition for partition in live if partition not in self._due_s]
        new.sort(key=lambda partition: -weight.get(partition, 0))
        for number, partition in enumerate(new):
            self._due_s[partition] = now + self._interval_s * number / len(new)
        self._due_s = {partition: self._due_s[partition] for partition in live}
        self._newest = {partition: n for partition, n in self._newest.items() if partition in self._due_s}
        # One that comes back keeps its time: rebalances must not hide a store that takes nothing.
        self._covered_s = dict.fromkeys(new, now) | self._covered_s
        if self._draft is not None and self._draft.partition not in self._due_s:
            self._is_lost = True
            self.outcome()  # at once if nothing is being written; a slow disk is not waited for

    def uncovered_s(self) -> dict[int, float]:
        """Seconds for which commits may not be in a snapshot, by live partition.

        Since a snapshot was begun that is complete now, or since nothing was new, or since the partition
        became live: an idle partition needs no snapshot, and one that never had any is not forgotten.
        """
        now = self._monotonic()
        return {partition: now - self._covered_s[partition] for partition in self._due_s}

    @property
    def wants_part(self) -> bool:
        """Whether the loop should finish its commit and let a part be copied."""
        if self._background.is_busy or self._monotonic() < self._rests_until_s:
            return False
        return self._draft is not None or self._next_due() is not None

    def _next_due(self) -> int | None:
        now = self._monotonic()
        due = [(at, partition) for partition, at in self._due_s.items() if at <= now]
        return min(due)[1] if due else None

    def take_part(self, states: dict[int, PartitionState], commits: dict[int, int]) -> Taken | None:
        """Copies a part and begins to write it; `commits`: number of the last commit per partition.

        Memory must be exactly what those commits left. Returns the attempt that has ended since the last
        call, if one has.
        """
        taken = self.outcome()
        if self._background.is_busy:
            return taken
        if self._buffer is None:
            self._background.start(lambda: self._make_buffer(next(iter(states.values()))))
            return taken
        if self._draft is None:
            partition = self._next_due()
            if partition is None or not self._is_worth_it(partition, states[partition], commits):
                self._put_off(partition, commits)
                return taken
            self._made += 1
            name = f"{commits[partition]}-{self._identity.run_id[:8]}-{self._made}.parquet"
            watermark_us = states[partition].watermark_us
            self._draft = _Draft(partition, self._monotonic(), name, watermark_us)
        self._copy(self._draft, states[self._draft.partition], commits[self._draft.partition])
        return taken

    def _is_worth_it(self, partition: int, state: PartitionState, commits: dict[int, int]) -> bool:
        """Whether anything is new since the last snapshot.

        An empty partition has one too, also before its first commit (n = 0): whoever needs all customers
        could not tell it from a partition whose snapshot is missing. It is empty once it is read to its end.
        """
        is_known = state.index.n > 0 or state.intake.is_at_end
        return is_known and self._newest.get(partition) != commits[partition]

    def outcome(self) -> Taken | None:
        """The attempt that has ended since the last call, if one has."""
        if self._background.is_busy:
            return None
        taken = self._background.result()
        if self._is_lost:
            self._is_lost = False
            self._drop_draft(taken)
            return None
        if taken is not None:
            if not taken.problem:
                assert self._draft is not None
                self._newest[taken.partition] = taken.n
                self._covered_s[taken.partition] = self._draft.began_s
            self._draft = None
            if taken.partition in self._due_s:
                self._due_s[taken.partition] = self._monotonic() + self._interval_s
        return taken

    def _copy(self, draft: _Draft, state: PartitionState, n: int) -> None:
        begun, began_s = time.thread_time(), self._monotonic()
        assert self._buffer is not None
        part = self._buffer.copy(state, draft.rows)
        offsets = dict(zip(self._identity.topics, state.next_offset.tolist(), strict=True))
        draft.parts.append(ManifestPart(part.low, part.n, n, offsets))
        draft.rows += part.n
        copying_s = time.thread_time() - begun
        draft.cpu_s += copying_s
        failpoint("snapshot.copied")
        manifest = self._manifest(draft, state, n) if draft.rows == state.index.n else None

        def write() -> Taken | None:
            writing = time.thread_time()
            taken = self._write(draft, part, manifest)
            cost_s = copying_s + time.thread_time() - writing
            self._rests_until_s = began_s + cost_s / CPU_SHARE
            return taken

        self._background.start(write)

    def _make_buffer(self, state: PartitionState) -> None:
        """On the thread: the first touch of its pages, and loading a kernel, take longer than a copy."""
        self._buffer = PartBuffer(state.store.rows)
        state.index.export(0, 0)

    def _manifest(self, draft: _Draft, state: PartitionState, n: int) -> Manifest:
        """All but size and checksum, which are known when the file is written."""
        identity = self._identity
        return Manifest(
            format=FORMAT,
            version=version("telecom-segmenter"),
            app=identity.app,
            partition=draft.partition,
            partition_count=identity.partition_count,
            spec_hash=identity.spec_hash,
            n=n,
            file=draft.file,
            bytes=0,
            crc32=0,
            rows=draft.rows,
            parts=draft.parts,
            first_watermark_us=state.first_watermark_us,
            watermark_us=draft.watermark_us,
            erased={key.hex(): cut for key, cut in state.erased.items()},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _write(self, draft: _Draft, part: RowPart, manifest: Manifest | None) -> Taken | None:
        """On the thread: None while parts are missing."""
        begun = time.thread_time()
        try:
            draft.write(self._store, part)
            if manifest is None:
                draft.cpu_s += time.thread_time() - begun
                return None
            draft.close()
            failpoint("snapshot.written")
            assert draft.output is not None
            size, crc32 = draft.output.bytes, draft.output.crc32
            self._store.publish(msgspec.structs.replace(manifest, bytes=size, crc32=crc32))
            failpoint("snapshot.published")
            seconds = self._monotonic() - draft.began_s
        except (OSError, pa.ArrowException) as error:
            draft.discard(self._store)
            return Taken(draft.partition, problem=str(error))
        try:
            self._store.prune(draft.partition, self._keep)
        except (OSError, pa.ArrowException) as error:
            _log.warning("old snapshots stay", partition=draft.partition, problem=str(error))
        failpoint("snapshot.pruned")
        cpu_s = draft.cpu_s + time.thread_time() - begun
        return Taken(draft.partition, manifest.n, draft.rows, draft.output.bytes, seconds, cpu_s)

    def _put_off(self, partition: int | None, commits: dict[int, int]) -> None:
        """There is nothing new of it."""
        if partition is not None:
            now = self._monotonic()
            self._due_s[partition] = now + self._interval_s
            if self._newest.get(partition) == commits[partition]:
                self._covered_s[partition] = now

    def _drop_draft(self, taken: Taken | None) -> None:
        """Removes what is unfinished: without `taken`, which is complete or has left nothing."""
        draft, self._draft = self._draft, None
        if draft is not None and taken is None:
            draft.discard(self._store)

    def close(self) -> None:
        """Gives up the snapshot under way; one that does not end is left to its thread."""
        with contextlib.suppress(StateUnknown):
            self._drop_draft(self._background.result())
        self._background.close()
