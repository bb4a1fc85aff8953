"""The table of metrics: name, type, unit, labels, help. Everything else is derived from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal


class Outcome(Enum):
    """What became of an input record; the order is the column order of `Metrics.record_events`."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    LATE = "late"
    REJECTED = "rejected"
    DROPPED = "dropped"  # of a customer who closed, withdrew consent or was forgotten


class Stage(Enum):
    """Stages of the loop."""

    POLL = "poll"
    DECODE = "decode"
    EVALUATE = "evaluate"
    ENCODE = "encode"
    COMMIT = "commit"


class Recalibrated(Enum):
    """What came of a recalibration."""

    PUBLISHED = "published"
    PROPOSED = "proposed"  # waits for a person
    DROPPED = "dropped"  # the model had changed meanwhile
    FAILED = "failed"


class State(Enum):
    """What the process is doing."""

    STARTING = "starting"
    RESTORING = "restoring"
    RUNNING = "running"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name` goes without the prefix `segmenter_`; `buckets` only for histograms.

    `unused_because`: why neither an alert nor a board uses it.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    unused_because: str = ""


_COMMIT_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0, 2.5, 5.0, 10.0)
_STAGE_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_RESTORE_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

METRICS: Final = (
    Metric("events_total", "counter", "events", "Input records by outcome.", ("topic", "outcome")),
    Metric("rejected_total", "counter", "events", "Rejected input records by reason.", ("topic", "reason")),
    Metric("changes_total", "counter", "changes", "Published segment changes.", ("change", "cause")),
    Metric("commits_total", "counter", "commits", "Committed transactions."),
    Metric("aborts_total", "counter", "aborts", "Aborted transactions."),
    Metric(
        "commit_duration_seconds",
        "histogram",
        "seconds",
        "Time from flushing a transaction to its end.",
        buckets=_COMMIT_BUCKETS,
    ),
    Metric(
        "stage_duration_seconds",
        "histogram",
        "seconds",
        "Time a stage of the loop took between two commits.",
        ("stage",),
        _STAGE_BUCKETS,
    ),
    Metric(
        "consumer_lag_records",
        "gauge",
        "records",
        "Input records not yet read (offsets, so control records count).",
        ("topic", "partition"),
    ),
    Metric(
        "watermark_timestamp_seconds",
        "gauge",
        "seconds",
        "Event time up to which a partition is complete.",
        ("partition",),
    ),
    Metric("loop_timestamp_seconds", "gauge", "seconds", "When the loop last passed by."),
    Metric("state", "gauge", "0 or 1", "What the process is doing.", ("state",)),
    Metric("coordinating", "gauge", "0 or 1", "Whether this process makes the versions of the model."),
    Metric("input_partitions", "gauge", "partitions", "Partitions that the input topics have."),
    Metric("assigned_partitions", "gauge", "partitions", "Input partitions owned by this process."),
    Metric(
        "restore_remaining_records",
        "gauge",
        "records",
        "Input records still to be replayed before a partition is live.",
        ("partition",),
    ),
    Metric("restores_total", "counter", "restores", "Partitions brought to their last commit.", ("source",)),
    Metric(
        "restore_duration_seconds",
        "histogram",
        "seconds",
        "Time a restore of a partition took, by phase (audit, load, replay).",
        ("phase",),
        _RESTORE_BUCKETS,
    ),
    Metric("snapshots_total", "counter", "snapshots", "Complete snapshots of partitions."),
    Metric("snapshot_failures_total", "counter", "snapshots", "Snapshots that could not be written."),
    Metric(
        "snapshot_cpu_seconds_total",
        "counter",
        "seconds",
        "Processor time that snapshots took in this process.",
    ),
    Metric("snapshot_bytes_total", "counter", "bytes", "Bytes of complete snapshots."),
    Metric(
        "snapshot_duration_seconds",
        "histogram",
        "seconds",
        "Time from the first part of a snapshot to its manifest.",
        buckets=_RESTORE_BUCKETS,
    ),
    Metric(
        "snapshot_pause_seconds",
        "histogram",
        "seconds",
        "Time the loop stood still while a part of a snapshot was copied.",
        buckets=_STAGE_BUCKETS,
    ),
    Metric(
        "snapshot_timestamp_seconds",
        "gauge",
        "seconds",
        "Up to when the commits of a partition are in a snapshot, or when it became live if none was made.",
        ("partition",),
    ),
    Metric("rebalances_total", "counter", "rebalances", "Rebalances of the consumer group.", ("kind",)),
    Metric(
        "producer_rebuilds_total",
        "counter",
        "rebuilds",
        "Transactional producers rebuilt because a commit was slow or failed.",
        ("reason",),
    ),
    Metric("customers", "gauge", "customers", "Live customers of this process."),
    Metric("state_bytes", "gauge", "bytes", "Memory of the customers' state."),
    Metric("segment_customers", "gauge", "customers", "Customers by segment.", ("segment",)),
    Metric("scans_total", "counter", "scans", "Finished scans, one per partition."),
    Metric(
        "scan_timestamp_seconds",
        "gauge",
        "seconds",
        "When this process last finished a scan of a partition: all its customers were looked at.",
        ("partition",),
    ),
    Metric("scanned_customers_total", "counter", "customers", "Customers evaluated by scans."),
    Metric("model_version", "gauge", "version", "Version of the live model."),
    Metric(
        "model_calibrated_timestamp_seconds", "gauge", "seconds", "Event time of the model's calibration."
    ),
    Metric(
        "model_age_seconds",
        "gauge",
        "seconds",
        "Event time from the model's calibration to the newest scan.",
    ),
    Metric(
        "recalibrations_total",
        "counter",
        "recalibrations",
        "Recalibrations by what came of them.",
        ("outcome",),
    ),
    Metric(
        "proposal_waiting", "gauge", "0 or 1", "Whether a recalibrated model waits for a person's decision."
    ),
    Metric("model_info", "gauge", "1", "The live model.", ("version", "k", "spec_hash")),
    Metric(
        "drift_samples",
        "gauge",
        "customers",
        "Customers of the scan behind the drift figures, the dormant included.",
    ),
    Metric(
        "feature_psi",
        "gauge",
        "index",
        "Population stability index of a feature against the calibration (0.1 notable, 0.25 large), "
        "the dormant apart.",
        ("feature",),
    ),
    Metric(
        "segment_share_js_distance",
        "gauge",
        "distance",
        "Jensen-Shannon distance (base 2) of the segments' shares from the calibration.",
    ),
    Metric(
        "quantization_error_ratio",
        "gauge",
        "ratio",
        "Mean squared distance to the own centre divided by its calibration value.",
    ),
    Metric(
        "outlier_ratio",
        "gauge",
        "ratio",
        "Share of customers beyond the calibration's 99th percentile of distance (0.01 expected).",
    ),
    Metric("unclassified_ratio", "gauge", "ratio", "Share of customers with too little data or dormant."),
    Metric(
        "feature_missing_excess_ratio",
        "gauge",
        "ratio",
        "Share of customers without a feature, the dormant apart, minus its calibration value.",
        ("feature",),
    ),
    Metric(
        "feature_clipped_excess_ratio",
        "gauge",
        "ratio",
        "Share of customers beyond the range of a feature, the dormant apart, minus its calibration value.",
        ("feature",),
    ),
    Metric(
        "segment_quantization_error_ratio",
        "gauge",
        "ratio",
        "Mean squared distance of a segment's customers to its centre divided by its calibration value.",
        ("segment",),
    ),
    Metric(
        "segment_displacement_ratio",
        "gauge",
        "ratio",
        "Distance of a segment's customers from its calibrated centre, over the distance from there to the "
        "nearest other one.",
        ("segment",),
    ),
    Metric(
        "silhouette_score",
        "gauge",
        "score",
        "Simplified silhouette (distances to centres) of the last scan and of the calibration.",
        ("of",),
    ),
    Metric(
        "davies_bouldin_score",
        "gauge",
        "score",
        "Davies-Bouldin index of the last scan and of the calibration; smaller is better.",
        ("of",),
    ),
    Metric(
        "drift_alarm",
        "gauge",
        "1",
        "Alarms that are up: the drift has lasted. A note is a remark, watch is for a person to look at, act "
        "calls for a recalibration.",
        ("kind", "subject", "severity"),
    ),
    Metric(
        "segment_moves_total",
        "counter",
        "moves",
        "Moves between segments; a flap goes straight back to the segment left at most 7 event days before. "
        "The flap ratio is the share of flaps.",
        ("kind",),
    ),
    Metric("build_info", "gauge", "1", "The running program.", ("version",)),
)

#: Drift figures of the last scan: one value each, and one per label.
DRIFT_OVERALL: Final = (
    "segment_share_js_distance",
    "quantization_error_ratio",
    "outlier_ratio",
    "unclassified_ratio",
)
DRIFT_LABELLED: Final = (
    "feature_psi",
    "feature_missing_excess_ratio",
    "feature_clipped_excess_ratio",
    "segment_quantization_error_ratio",
    "segment_displacement_ratio",
    "silhouette_score",
    "davies_bouldin_score",
)
