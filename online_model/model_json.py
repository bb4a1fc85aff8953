"""The model record as JSON; every float comes back bit for bit, NaN and infinities included."""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from online_model.model import (
    SCALER_FIELDS,
    Covers,
    Kind,
    Lineage,
    Model,
    ModelError,
    Origin,
    Quality,
    Reference,
    Segment,
    Transition,
)
from online_model.observation import Observation
from online_model.scaler import Scaler

Float64Array = npt.NDArray[np.float64]

# JSON has no infinity: null in these lists stands for the value here, elsewhere for NaN.
_ABSENT: Final = {"clip_low": -math.inf, "clip_high": math.inf}


class _Document(msgspec.Struct, frozen=True):
    """The JSON form; null in a list stands for the value in `_ABSENT`, or NaN."""

    version: int
    parent: int | None
    created_us: int
    kind: Kind
    spec_hash: str
    columns: list[str]
    scaler: dict[str, list[float | None]]
    share_priors: list[float | None]
    centroids: list[list[float]]
    weights: list[float]
    segments: list[Segment]
    next_segment: int
    strategies: dict[str, str]
    quality: Quality
    reference: _ReferenceDocument
    lineage: list[Lineage]
    covers: Covers
    transition: Transition | None = None
    command: str = ""
    observed: Observation | None = None
    format: Literal[1] = 1


class _ReferenceDocument(msgspec.Struct, frozen=True):
    edges: list[list[float]]
    bins: list[list[float]]
    missing: list[float]
    clipped: list[float]
    segment_shares: list[float]
    error_mean: float
    error_by_segment: list[float]
    p99_d2: float
    silhouette: float | None = None
    davies_bouldin: float | None = None
    origin: _OriginDocument | None = None


class _OriginDocument(msgspec.Struct, frozen=True):
    calibrated_us: int
    centroids: list[list[float]]


def to_json(model: Model) -> bytes:
    """JSON of `model`, UTF-8; the same model always gives the same bytes."""
    scaler, reference = model.scaler, model.reference
    document = _Document(
        version=model.version,
        parent=model.parent,
        created_us=model.created_us,
        kind=model.kind,
        spec_hash=model.spec_hash,
        columns=list(model.columns),
        scaler={name: _nullable(getattr(scaler, name)) for name in SCALER_FIELDS},
        share_priors=_nullable(model.share_priors),
        centroids=model.centroids.tolist(),
        weights=model.weights.tolist(),
        segments=list(model.segments),
        next_segment=model.next_segment,
        strategies=model.strategies,
        quality=model.quality,
        reference=_ReferenceDocument(
            edges=reference.edges.tolist(),
            bins=reference.bins.tolist(),
            missing=reference.missing.tolist(),
            clipped=reference.clipped.tolist(),
            segment_shares=reference.segment_shares.tolist(),
            error_mean=reference.error_mean,
            error_by_segment=reference.error_by_segment.tolist(),
            p99_d2=reference.p99_d2,
            silhouette=reference.silhouette,
            davies_bouldin=reference.davies_bouldin,
            origin=_origin_document(reference.origin),
        ),
        lineage=list(model.lineage),
        covers=model.covers,
        transition=model.transition,
        command=model.command,
        observed=model.observed,
    )
    return msgspec.json.encode(document)


def from_json(data: bytes) -> Model:
    """The model of `to_json`.

    Raises:
        ModelError: not JSON of this form, or inconsistent; the message names the field.
    """
    try:
        document = msgspec.json.decode(data, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"not a model record: {error}") from error
    absent = set(SCALER_FIELDS) - set(document.scaler)
    if absent:
        raise ModelError(f"scaler lacks {sorted(absent)}")
    try:
        return _model_of(document)
    except ModelError:
        raise
    except (ValueError, TypeError) as error:  # ragged or null-bearing lists
        raise ModelError(f"not a model record: {error}") from error


def _model_of(document: _Document) -> Model:
    reference = document.reference
    return Model(
        version=document.version,
        parent=document.parent,
        created_us=document.created_us,
        kind=document.kind,
        spec_hash=document.spec_hash,
        columns=tuple(document.columns),
        scaler=_scaler_of(document.scaler),
        share_priors=_array(document.share_priors, math.nan),
        centroids=np.array(document.centroids, dtype=np.float64),
        weights=np.array(document.weights, dtype=np.float64),
        segments=tuple(document.segments),
        next_segment=document.next_segment,
        strategies=document.strategies,
        quality=document.quality,
        reference=Reference(
            edges=np.array(reference.edges, dtype=np.float64),
            bins=np.array(reference.bins, dtype=np.float64),
            missing=np.array(reference.missing, dtype=np.float64),
            clipped=np.array(reference.clipped, dtype=np.float64),
            segment_shares=np.array(reference.segment_shares, dtype=np.float64),
            error_mean=reference.error_mean,
            error_by_segment=np.array(reference.error_by_segment, dtype=np.float64),
            p99_d2=reference.p99_d2,
            silhouette=reference.silhouette,
            davies_bouldin=reference.davies_bouldin,
            origin=_origin_of(reference.origin),
        ),
        lineage=tuple(document.lineage),
        covers=document.covers,
        transition=document.transition,
        command=document.command,
        observed=document.observed,
    )


def _origin_document(origin: Origin | None) -> _OriginDocument | None:
    return None if origin is None else _OriginDocument(origin.calibrated_us, origin.centroids.tolist())


def _origin_of(document: _OriginDocument | None) -> Origin | None:
    if document is None:
        return None
    return Origin(document.calibrated_us, np.array(document.centroids, dtype=np.float64))


def _scaler_of(lists: dict[str, list[float | None]]) -> Scaler:
    arrays = {name: _array(lists[name], _ABSENT.get(name, math.nan)) for name in SCALER_FIELDS}
    return Scaler(
        center=arrays["center"],
        scale=arrays["scale"],
        clip_low=arrays["clip_low"],
        clip_high=arrays["clip_high"],
        transform=arrays["transform"].astype(np.int8),
        missing=arrays["missing"].astype(np.int8),
        importance=arrays["importance"],
    )


def _nullable(values: npt.NDArray[np.generic]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _array(values: list[float | None], absent: float) -> Float64Array:
    return np.array([absent if value is None else value for value in values], dtype=np.float64)
