"""The board of the model: has the world moved away from it, and what was done about it."""

from __future__ import annotations

from deploy.monitoring.panels import Board, Panel, Query, Row, largest, metric, recorded, total
from deploy.monitoring.thresholds import Thresholds


def model_and_drift(t: Thresholds) -> Board:
    """Every figure is measured over all customers of the group, by the coordinator."""
    return Board(
        "segmenter-model",
        "Segmenter / Model and drift",
        "Has the world moved away from the model, and what was done about it. Measured over all customers.",
        (
            Row("Model", _model(t)),
            Row("What has drifted", _alarms()),
            Row("Customers against the model", _fit(t)),
            Row("Features", _features(t)),
            Row("Segments", _segments()),
        ),
    )


def _model(t: Thresholds) -> tuple[Panel, ...]:
    return (
        Panel(
            "Version",
            "The version the workers decide by; every fold of a scan makes one.",
            (Query(largest("model_version")),),
            "stat",
            "none",
            4,
            4,
        ),
        Panel(
            "Segments",
            "Of the live version (k).",
            (
                Query(
                    f"max by (k, spec_hash) ({metric('model_info')})",
                    "k = {{k}}, specification {{spec_hash}}",
                ),
            ),
            "table",
            width=8,
            height=4,
        ),
        Panel(
            "Age",
            "Event time since the last calibration.",
            (Query(largest("model_age_seconds")),),
            "stat",
            "s",
            4,
            4,
            ((None, "green"), (t["model_age"].warning, "yellow")),
        ),
        Panel(
            "Waits for a person",
            "A recalibrated model that would change more than it may by itself.",
            (Query(largest("proposal_waiting")),),
            "stat",
            "none",
            4,
            4,
            ((None, "green"), (1, "yellow")),
            {"0": "nothing", "1": "a proposal"},
        ),
        Panel(
            "Customers measured",
            "Behind the drift figures of the last scan. Fewer than 2,000 show none.",
            (Query(largest("drift_samples")),),
            "stat",
            width=4,
            height=4,
        ),
        Panel(
            "Versions of the workers",
            "All should be the same.",
            (Query(metric("model_version"), "{{instance}}"),),
            unit="none",
        ),
        Panel(
            "Recalibrations",
            "What came of them since the start of the processes: published, proposed to a person, dropped "
            "because the model had changed meanwhile, or failed.",
            (Query(total("recalibrations_total", by="outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Who coordinates",
            "One worker folds scans and recalibrates for all.",
            (Query(f"{metric('coordinating')} == 1", "{{instance}}"),),
            "timeline",
            words={"1": "yes"},
        ),
    )


def _alarms() -> tuple[Panel, ...]:
    return (
        Panel(
            "Alarms of the drift rule",
            "A note is a remark, watch is for a person to look at, act calls for a recalibration.",
            (
                Query(
                    largest("drift_alarm", by="kind, subject, severity"), "{{severity}}: {{kind}} {{subject}}"
                ),
            ),
            "timeline",
            width=24,
            words={"1": "up"},
            empty="no drift has lasted",
        ),
    )


def _fit(t: Thresholds) -> tuple[Panel, ...]:
    share, fit, outliers = t["share_distance"], t["fit_ratio"], t["outlier_ratio"]
    return (
        Panel(
            "Distance of the shares",
            "Jensen-Shannon distance of the segments' shares from the calibration. A change of the mix shows "
            "here and nowhere else.",
            (Query(largest("segment_share_js_distance"), "distance"),),
            steps=((None, "green"), (share.warning, "yellow"), (share.high, "red")),
        ),
        Panel(
            "Error against the calibration",
            "Mean squared distance to the own centre over its calibration value. A feature that has died "
            "does not show here; below one, features shrink.",
            (Query(largest("quantization_error_ratio"), "ratio"),),
            steps=((None, "yellow"), (fit.low, "green"), (fit.warning, "yellow"), (fit.high, "red")),
        ),
        Panel(
            "Like no segment",
            "Customers beyond the calibration's 99th percentile of distance: one per cent is expected. A "
            "new, distant group shows here first.",
            (
                Query(largest("outlier_ratio"), "outliers"),
                Query(largest("unclassified_ratio"), "dormant or too little data"),
            ),
            unit="percentunit",
            steps=((None, "green"), (outliers.warning, "yellow"), (outliers.high, "red")),
        ),
        Panel(
            "Silhouette",
            "Simplified silhouette of the last scan beside the calibration's: a new group in the middle of "
            "others lowers it.",
            (Query(largest("silhouette_score", by="of"), "{{of}}"),),
            width=12,
        ),
        Panel(
            "Davies-Bouldin",
            "Smaller is better.",
            (Query(largest("davies_bouldin_score", by="of"), "{{of}}"),),
            width=12,
        ),
    )


def _features(t: Thresholds) -> tuple[Panel, ...]:
    psi, missing = t["feature_psi"], t["missing_excess"]
    return (
        Panel(
            "Stability index by feature",
            "Population stability index against the calibration.",
            (Query(recorded("feature_psi:max"), "{{feature}}"),),
            height=10,
            width=12,
            steps=((None, "green"), (psi.notable, "yellow"), (psi.warning, "red")),
        ),
        Panel(
            "Where it is largest",
            "The ten features that have moved most.",
            (Query(f"topk(10, {recorded('feature_psi:max')})"),),
            "table",
            width=12,
            height=10,
            steps=((None, "green"), (psi.notable, "yellow"), (psi.warning, "red")),
        ),
        Panel(
            "Missing more than at calibration",
            "Share of the customers. A source that has stopped shows here.",
            (Query(largest("feature_missing_excess_ratio", by="feature"), "{{feature}}"),),
            unit="percentunit",
            width=12,
            steps=((None, "green"), (missing.warning, "red")),
        ),
        Panel(
            "Beyond the range more than at calibration",
            "Share of the customers whose value is cut off by the scaler.",
            (Query(largest("feature_clipped_excess_ratio", by="feature"), "{{feature}}"),),
            unit="percentunit",
            width=12,
        ),
    )


def _segments() -> tuple[Panel, ...]:
    return (
        Panel(
            "Error by segment",
            "As the error above, of each segment's own customers.",
            (Query(largest("segment_quantization_error_ratio", by="segment"), "{{segment}}"),),
            width=12,
        ),
        Panel(
            "Displacement of segments",
            "Distance of a segment's customers from its calibrated centre, over that to the nearest other.",
            (Query(largest("segment_displacement_ratio", by="segment"), "{{segment}}"),),
            width=12,
        ),
    )
