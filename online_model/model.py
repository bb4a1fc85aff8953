"""The model record: everything a worker needs to scale, assign, explain and name.

A `Model` is a value: it never changes, a fold or a recalibration makes the next version. It travels
as JSON (`online_model.model_json`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from online_model.observation import Observation
from online_model.scaler import Scaler

Float64Array = npt.NDArray[np.float64]

DORMANT: Final = "dormant"
UNCLASSIFIED: Final = "unclassified"

#: Codes of `int16` segment arrays beside the indices 0..k-1 of a model's centroids.
NO_SEGMENT: Final = -1
DORMANT_CODE: Final = -2
UNCLASSIFIED_CODE: Final = -3
RETIRED_CODE: Final = -4

#: Inner edges and bins of the drift histograms.
N_EDGES: Final = 9
N_BINS: Final = N_EDGES + 1

Kind = Literal["calibrated", "recalibrated", "folded", "restored", "renamed"]


def is_new_fit(kind: Kind) -> bool:
    """As `Model.is_new_fit`."""
    return kind not in ("folded", "renamed")


class ModelError(ValueError):
    """A model record that cannot be used; the message names the field."""


class Covers(msgspec.Struct, frozen=True):
    """What the version has learnt: the scan folded last and its boundary (us, -1 for none)."""

    scan_id: int = -1
    boundary_us: int = -1


class Profile(msgspec.Struct, frozen=True):
    """Catalog entry of a segment, in real units; lists are per column.

    `mean`, `median`: of the present raw values (a level's mean is its share). `index`: mean over
    the population's mean (null where that is 0). `deviation`: (segment mean - population mean) of
    the scaled values over the population's standard deviation. `significant`: column names by
    falling absolute deviation. `nearest`: id of the segment whose centroid is closest.
    """

    size: int
    share: float
    mean: list[float | None]
    median: list[float | None]
    index: list[float | None]
    deviation: list[float]
    significant: list[str]
    nearest: str | None


class Standing(msgspec.Struct, frozen=True):
    """A segment beside the others on the day it was fitted; empty with fewer than ten customers.

    `nearest` (a segment id), `separation` and `border` as in `online_model.portrait.Portrait`. `typical`:
    what its medoid has in the columns that matter, to two digits.
    """

    nearest: str | None = None
    separation: float | None = None
    border: float | None = None
    typical: dict[str, float] = {}


class Segment(msgspec.Struct, frozen=True):
    """A segment: `id` is stable and never reused, `name` is for people.

    `standing` is None in records from before it existed.
    """

    id: str
    name: str
    profile: Profile | None = None
    standing: Standing | None = None


class PanelRow(msgspec.Struct, frozen=True):
    """Quality of one candidate k."""

    k: int
    inertia: float
    silhouette: float
    davies_bouldin: float
    calinski_harabasz: float
    stability: float
    smallest_share: float


class ComparisonRow(msgspec.Struct, frozen=True):
    """One algorithm on the comparison sample; scores are null below two clusters.

    Scores leave out noise, so `noise_share` belongs beside them.
    """

    algorithm: str
    sample_size: int
    n_clusters: int
    noise_share: float
    silhouette: float | None
    davies_bouldin: float | None
    ari_to_kmeans: float
    note: str = ""


class Quality(msgspec.Struct, frozen=True):
    """How good the clustering was when it was fitted.

    `inertia` is the sum of squared distances over all rows; `sample_size` belongs to silhouette.
    `significance`: per column, the share of its variance between clusters (eta squared).
    `explanation`: in words why this k. `panel_k`: the k of the panel that it comes from, where clusters
    without customers were dropped.
    """

    k: int
    inertia: float
    silhouette: float
    davies_bouldin: float
    calinski_harabasz: float
    stability: float
    sample_size: int
    explanation: str = ""
    runner_up: int | None = None
    panel: list[PanelRow] = []
    comparison: list[ComparisonRow] = []
    significance: list[float] = []
    panel_k: int | None = None

    @property
    def chosen(self) -> int:
        """The k of the panel that was chosen."""
        return self.k if self.panel_k is None else self.panel_k


class Lineage(msgspec.Struct, frozen=True):
    """What happened to a segment at a version.

    `event`: `new`, `retired`, `split`, `merged`, `kept`, `restored` or `renamed`.

    `from_ids`: segments it was made of; `to_ids`: of a retired one, where most of its customers went, or
    what was made of it.
    """

    segment_id: str
    event: str
    version: int
    from_ids: list[str] = []
    to_ids: list[str] = []


class Transition(msgspec.Struct, frozen=True):
    """What a recalibration changed against the version before it, on the same customers.

    `cause` in words; `from_ids`, `to_ids`: segments before and after; `customers` int[from][to]: how many
    went where; `moved_share`: of those in a segment before and after, in another one now. `cost_before`:
    mean squared distance to the means of the old segments, `cost_after` to the new centroids, both in the
    new scaler. `concerns`: why a person should look first; empty if none.
    """

    cause: str
    from_ids: list[str]
    to_ids: list[str]
    customers: list[list[int]]
    moved_share: float
    cost_before: float
    cost_after: float
    concerns: list[str] = []


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The calibration that a version comes from: its event time and centroids float64[k, D]."""

    calibrated_us: int
    centroids: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What the population looked like at calibration, for drift.

    `edges` float64[D, 9]: inner bin edges of the scaled values; `bins` float64[D, 10]: shares per
    bin; `missing`, `clipped` float64[D]: ratios; `segment_shares` float64[k]: shares of the
    classified; `error_mean`: mean squared distance to the centroid, `error_by_segment` float64[k];
    `p99_d2`: 99th percentile of the squared distance. `silhouette`, `davies_bouldin`: as in
    `online_model.separation`. `origin`: set by the first fold (`origin_of` tells it of any version). All
    three are None in records from before they existed.
    """

    edges: Float64Array
    bins: Float64Array
    missing: Float64Array
    clipped: Float64Array
    segment_shares: Float64Array
    error_mean: float
    error_by_segment: Float64Array
    p99_d2: float
    silhouette: float | None = None
    davies_bouldin: float | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One version of the clustering.

    `share_priors` float64[D]: population share a share feature is shrunk to, NaN elsewhere.
    `centroids` float64[k, D] scaled; `weights` float64[k]: decayed customer counts behind them.
    `segments`: k entries in centroid order. `next_segment`: number of the next new id ("s7").
    `strategies`: segment id (with `dormant` and `unclassified`) to strategy id. `transition`: of a
    recalibration. `command`: id of the command that asked for the version, if one did. `observed`: what the
    scan that made this version said about drift.
    """

    version: int
    parent: int | None
    created_us: int
    kind: Kind
    spec_hash: str
    columns: tuple[str, ...]
    scaler: Scaler
    share_priors: Float64Array
    centroids: Float64Array
    weights: Float64Array
    segments: tuple[Segment, ...]
    next_segment: int
    strategies: dict[str, str]
    quality: Quality
    reference: Reference
    lineage: tuple[Lineage, ...] = ()
    covers: Covers = field(default_factory=Covers)
    transition: Transition | None = None
    command: str = ""
    observed: Observation | None = None

    def __post_init__(self) -> None:
        _validate(self)

    @property
    def k(self) -> int:
        """Number of segments with a centroid."""
        return int(self.centroids.shape[0])

    @property
    def is_new_fit(self) -> bool:
        """Whether its segments were fitted or taken back, and not only moved on by a scan or renamed."""
        return is_new_fit(self.kind)

    def code_of(self, segment_id: str | None) -> int:
        """Code of a segment id in `int16` arrays; an id without a centroid here is retired."""
        if segment_id is None:
            return NO_SEGMENT
        fixed = {DORMANT: DORMANT_CODE, UNCLASSIFIED: UNCLASSIFIED_CODE}
        if segment_id in fixed:
            return fixed[segment_id]
        for code, segment in enumerate(self.segments):
            if segment.id == segment_id:
                return code
        return RETIRED_CODE

    def id_of(self, code: int) -> str | None:
        """Segment id of a code; None for none and retired."""
        if code >= 0:
            return self.segments[code].id
        return {DORMANT_CODE: DORMANT, UNCLASSIFIED_CODE: UNCLASSIFIED}.get(code)


def origin_of(model: Model) -> Origin | None:
    """The calibration behind a version; None for one of scans from before it was recorded."""
    if model.reference.origin is not None:
        return model.reference.origin
    return Origin(model.created_us, model.centroids) if model.is_new_fit else None


SCALER_FIELDS: Final = (
    "center",
    "scale",
    "clip_low",
    "clip_high",
    "transform",
    "missing",
    "importance",
)
_MAY_BE_INFINITE: Final = ("share_priors", "scaler.clip_low", "scaler.clip_high")


def _validate(model: Model) -> None:
    """Raise `ModelError` on the first inconsistency."""
    if model.centroids.ndim != 2 or model.k < 1:
        raise ModelError(f"centroids have shape {model.centroids.shape}, expected (k, D)")
    k, d = model.k, len(model.columns)
    scaler, reference = model.scaler, model.reference
    shapes: dict[str, tuple[npt.NDArray[np.generic], tuple[int, ...]]] = {
        "centroids": (model.centroids, (k, d)),
        "weights": (model.weights, (k,)),
        "share_priors": (model.share_priors, (d,)),
        **{f"scaler.{name}": (getattr(scaler, name), (d,)) for name in SCALER_FIELDS},
        "reference.edges": (reference.edges, (d, N_EDGES)),
        "reference.bins": (reference.bins, (d, N_BINS)),
        "reference.missing": (reference.missing, (d,)),
        "reference.clipped": (reference.clipped, (d,)),
        "reference.segment_shares": (reference.segment_shares, (k,)),
        "reference.error_by_segment": (reference.error_by_segment, (k,)),
    }
    if reference.origin is not None:
        shapes["reference.origin.centroids"] = (reference.origin.centroids, (k, d))
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ModelError(f"{name} has shape {array.shape}, expected {shape}")
        if name not in _MAY_BE_INFINITE and not np.isfinite(array).all():
            raise ModelError(f"{name} has values that are not finite")
    _validate_scalars(model)


def _validate_scalars(model: Model) -> None:
    if model.version < 1 or (model.parent is not None and not 0 < model.parent < model.version):
        raise ModelError(f"version {model.version} with parent {model.parent}")
    if not model.spec_hash:
        raise ModelError("spec_hash is empty")
    if len(set(model.columns)) != len(model.columns):
        raise ModelError("columns has a name twice")
    if (model.weights < 0).any() or (model.scaler.scale < 0).any():
        raise ModelError("weights and scaler.scale must not be negative")
    if (model.scaler.clip_low > model.scaler.clip_high).any():
        raise ModelError("scaler.clip_low is above scaler.clip_high")
    if abs(float(model.scaler.importance.sum()) - 1.0) > 1e-6:
        raise ModelError("scaler.importance must sum to 1")
    if not (math.isfinite(model.reference.error_mean) and math.isfinite(model.reference.p99_d2)):
        raise ModelError("reference.error_mean and reference.p99_d2 must be finite")
    ids = [segment.id for segment in model.segments]
    if len(ids) != model.k:
        raise ModelError(f"{len(ids)} segments for {model.k} centroids")
    if len(set(ids)) != len(ids) or {DORMANT, UNCLASSIFIED} & set(ids):
        raise ModelError(f"segment ids must be unique and not reserved: {ids}")
    if any(int(i[1:]) >= model.next_segment for i in ids if i[1:].isdigit() and i[0] == "s"):
        raise ModelError(f"next_segment {model.next_segment} would reuse an id of {ids}")
    unbound = [i for i in [*ids, DORMANT, UNCLASSIFIED] if i not in model.strategies]
    if model.strategies and unbound:
        raise ModelError(f"segments without a strategy: {unbound}")
