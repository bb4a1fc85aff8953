"""The audit log, read leniently: records of before and after fields were added are both understood."""

from __future__ import annotations

import msgspec


class Slice(msgspec.Struct, frozen=True):
    """The scan of a commit; `unseen` (after the commit) is None in records that do not tell it."""

    id: int
    lo: int
    hi: int
    learns: bool | None = None
    unseen: bool | None = None


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """One commit of a partition; `previous_version` None where the record does not tell it."""

    partition: int
    n: int
    from_offsets: dict[str, int] = msgspec.field(name="from")
    to_offsets: dict[str, int] = msgspec.field(name="to")
    now_us: int
    watermark_us: int
    model_version: int
    previous_version: int | None = None
    scan: Slice | None
    outputs: int
    outputs_crc32: int
    rejects: int
    run_id: str


#: Keys of the scan: the upper 16 bits of the customer hash.
KEYS = 1 << 16

_decoder = msgspec.json.Decoder(Audit)


def parse(value: bytes) -> Audit:
    """The audit record in `value`. Raises `msgspec.DecodeError`."""
    return _decoder.decode(value)


def unseen_before(audit: Audit, before: Audit | None, first_is_unseen: bool) -> bool | None:
    """Whether, as the commit decided, customers at or after its slice had not been seen by its model.

    The record tells it for after the commit; only a slice that ends a pass changes it. None: not known.
    `first_is_unseen`: for a partition's first commit under a model.
    """
    scan = audit.scan
    if scan is None:
        return False
    if scan.unseen is None:
        return None
    if scan.lo == scan.hi or scan.hi < KEYS:
        return scan.unseen
    if before is None or before.scan is None:
        return first_is_unseen
    return audit.model_version != before.model_version or before.scan.unseen
