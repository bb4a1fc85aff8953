"""What is still asked of a version that only learnt a scan, long after: a tenth of the time and memory."""

from __future__ import annotations

from typing import Literal

import msgspec

from online_model.model import Covers, Kind, Lineage, Model, ModelError, Transition, is_new_fit
from online_model.observation import Observation


class HeadSegment(msgspec.Struct, frozen=True):
    """A segment without its profile."""

    id: str
    name: str


class HeadQuality(msgspec.Struct, frozen=True):
    """Of `Quality` what a list of versions shows."""

    silhouette: float


class Head(msgspec.Struct, frozen=True):
    """The fields of a `Model` that tell of its place in the history; the same names mean the same."""

    version: int
    parent: int | None
    created_us: int
    kind: Kind
    spec_hash: str
    weights: list[float]
    segments: list[HeadSegment]
    strategies: dict[str, str]
    quality: HeadQuality
    lineage: list[Lineage]
    covers: Covers
    transition: Transition | None = None
    observed: Observation | None = None
    format: Literal[1] = 1

    @property
    def k(self) -> int:
        """As `Model.k`."""
        return len(self.segments)

    @property
    def is_new_fit(self) -> bool:
        """As `Model.is_new_fit`."""
        return is_new_fit(self.kind)


#: A version, whole or what is left of it.
Version = Model | Head

_decoder = msgspec.json.Decoder(Head)


def read_head(data: bytes) -> Head:
    """The head of the record of `model_json.to_json`. Raises `ModelError` if it is none."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"not a model record: {error}") from error
