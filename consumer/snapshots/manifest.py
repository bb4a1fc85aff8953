"""The manifest of a snapshot: what makes a file of rows a state that can be trusted."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

Natural = Annotated[int, Meta(ge=0)]

#: Version of manifest and columns; a program reads its own and those before. 2: the column `left`.
FORMAT: Final = 2


class ManifestPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows from `low` on hold commit `n`: what is before the offsets `to`, per input topic."""

    low: Natural
    rows: Natural
    n: Natural
    to: dict[str, int]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of one partition.

    `n`: number of the commit that the last part follows. `parts` are the row groups of `file`, in order.
    `watermark_us`: where the replay begins, after the oldest part's commit.
    `erased`: keyed hash (hexadecimal) of erased ids to the time of erasure, us. Written last: a file without
    a manifest is none.
    """

    format: Natural
    version: str
    app: str
    partition: Natural
    partition_count: Natural
    spec_hash: str
    n: Natural
    file: str
    bytes: Natural
    crc32: Natural
    rows: Natural
    parts: list[ManifestPart]
    first_watermark_us: int
    watermark_us: int
    erased: dict[str, int]
    created: str

    @property
    def first_n(self) -> int:
        """The commit that the oldest part follows: a replay begins after it."""
        return min(part.n for part in self.parts)

    def first_offsets(self, topics: tuple[str, ...]) -> list[int]:
        """Per topic the first offset that some row lacks."""
        return [min(part.to[topic] for part in self.parts) for topic in topics]


def encode(manifest: Manifest) -> bytes:
    """Indented JSON, for people too."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def decode(data: bytes) -> Manifest:
    """The manifest in `data`. Raises ValueError if it is none, or one of a later format."""
    try:
        head = msgspec.json.decode(data)
        if not isinstance(head, dict) or not isinstance(head.get("format"), int):
            raise ValueError("no manifest")
        if head["format"] > FORMAT:
            raise ValueError(f"format {head['format']} is of a later version; this one reads up to {FORMAT}")
        manifest = msgspec.convert(head, Manifest)
    except msgspec.DecodeError as error:
        raise ValueError(f"no manifest: {error}") from None
    if not manifest.parts or sum(part.rows for part in manifest.parts) != manifest.rows:
        raise ValueError("its parts are not its rows")
    return manifest
