"""The drift of a scan by the names of its metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

from online_model.drift import Drift
from online_model.model import Model


@dataclass(frozen=True, slots=True)
class DriftFigures:
    """Figures of `samples` customers.

    `overall`: by metric; `labelled`: by metric and label (feature, segment, scan or calibration). What is
    not known is left out.
    """

    samples: int
    overall: dict[str, float] = field(default_factory=dict)
    labelled: dict[str, dict[str, float]] = field(default_factory=dict)


def figures_of(drift: Drift, model: Model) -> DriftFigures:
    """Figures of a drift that was measured under `model` or a version of the same calibration."""
    segments = [segment.id for segment in model.segments]
    overall = {
        "segment_share_js_distance": drift.share_distance,
        "quantization_error_ratio": drift.error_ratio,
        "outlier_ratio": drift.outlier_ratio,
        "unclassified_ratio": drift.unclassified_ratio,
    }
    arrays = {
        "feature_psi": (model.columns, drift.psi),
        "feature_missing_excess_ratio": (model.columns, drift.missing),
        "feature_clipped_excess_ratio": (model.columns, drift.clipped),
        "segment_quantization_error_ratio": (segments, drift.error_ratio_by_segment),
        "segment_displacement_ratio": (segments, drift.displacement),
    }
    labelled = {
        name: dict(zip(labels, values.tolist(), strict=True))
        for name, (labels, values) in arrays.items()
        if values is not None
    }
    scores = {
        "silhouette_score": {"scan": drift.silhouette, "calibration": model.reference.silhouette},
        "davies_bouldin_score": {
            "scan": drift.davies_bouldin,
            "calibration": model.reference.davies_bouldin,
        },
    }
    labelled |= {name: _known(values) for name, values in scores.items()}
    return DriftFigures(drift.n_rows, _known(overall), labelled)


def _known(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
