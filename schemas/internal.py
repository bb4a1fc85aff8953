"""Records of the internal topics: audit, deltas and commands (models are made in online_model)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, field

Natural = Annotated[int, Meta(ge=0)]
#: Sums in fixed point may pass 64 bits; JSON integers have no bound.
Integers = list[int]


class ScanSlice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Part of scan `id` in a commit: customer hashes in [lo, hi), none where they are equal.

    All below `hi` are done. `learns`: the pass will report statistics. `unseen`, after the commit: the
    customers not below `hi` (all, where no pass is under way) were not evaluated since the model changed.
    """

    id: Natural
    lo: Natural
    hi: Natural
    learns: bool
    unseen: bool


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One commit of one partition: every input of its decisions that is not in the input log.

    `n` counts the commits of the partition. `from_offsets` / `to_offsets` (``from`` / ``to`` in
    JSON): per input topic the first offset read and the first not read. Times are microseconds.
    `previous_version`: the model that decided before `model_version` did (0: none).
    `frontiers`: per input topic the newest event time believed and the newest applied (null: none yet).
    `outputs_crc32` covers the output values in the order they were produced.
    """

    partition: Natural
    n: Natural
    from_offsets: dict[str, int] = field(name="from")
    to_offsets: dict[str, int] = field(name="to")
    now_us: int
    watermark_us: int
    model_version: Natural
    previous_version: Natural
    frontiers: dict[str, tuple[int | None, int | None]]
    scan: ScanSlice | None
    outputs: Natural
    outputs_crc32: Natural
    rejects: Natural
    run_id: str


class DeltaRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mergeable statistics of one partition over one scan, under one model version.

    `counts` int[k], `sums` int[k][D] fixed point, `sq_error` int[k] fixed point; `statistics` holds
    further integer lists by name (histograms, missing, clipped ...). Merging is element-wise
    addition, so the order of partitions does not matter.
    """

    partition: Natural
    scan_id: Natural
    boundary_us: int
    model_version: Natural
    customers: Natural
    counts: Integers
    sums: list[Integers]
    sq_error: Integers
    statistics: dict[str, Integers]


CommandName = Literal["recalibrate", "promote", "rollback", "rename"]


class CommandRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator's command to the coordinator; `id` makes a repeat harmless."""

    id: str
    command: CommandName
    model_version: Natural | None = None
    arguments: dict[str, Any] = {}
    issued_us: int
    issued_by: str


#: Keys that tell what is no version on the models topic, and no delta on the deltas topic.
PROPOSAL_KEY: Final = b"proposal"
COMMAND_KEY: Final = b"command"

Record = TypeVar("Record", bound=msgspec.Struct)

_encoder = msgspec.json.Encoder(order="deterministic")


def to_json(record: msgspec.Struct | dict[str, Any]) -> bytes:
    """Bytes of a record, the same for equal records."""
    return _encoder.encode(record)


def from_json(value: bytes, record_type: type[Record]) -> Record:
    """The record in `value`. Raises `msgspec.DecodeError` when it is not one."""
    return msgspec.json.decode(value, type=record_type)
