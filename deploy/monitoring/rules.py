"""Recording rules and alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml

from deploy.monitoring.thresholds import Thresholds

#: The job that scrapes the service: rules and boards find the metrics by it.
JOB: Final = "segmenter"
#: Where the links of alerts lead to, from the repository's root.
RUNBOOK: Final = "deploy/RUNBOOK.md"

Severity = Literal["warning", "critical"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert; `threshold`: the line of the thresholds that it waits by."""

    name: str
    severity: Severity
    threshold: str
    expr: str
    summary: str
    description: str

    @property
    def anchor(self) -> str:
        """Of its entry in the runbook: alerts that differ by severity share one."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording rule."""

    record: str
    expr: str


def recordings(t: Thresholds) -> list[Recording]:
    """What several boards and alerts ask for, by job."""
    rejected = t.window("rejected_ratio")
    flaps = t.window("flap_ratio")
    return [
        Recording("job:segmenter_events:rate", f"sum by (job) (rate(segmenter_events_total[{rejected}]))"),
        Recording(
            "job:segmenter_rejected:ratio",
            f'sum by (job) (rate(segmenter_events_total{{outcome="rejected"}}[{rejected}]))'
            f" / (sum by (job) (rate(segmenter_events_total[{rejected}])) > 0)",
        ),
        Recording(
            "job:segmenter_watermark_delay_seconds:max",
            "max by (job) (time() - segmenter_watermark_timestamp_seconds)",
        ),
        Recording("job:segmenter_consumer_lag_records:sum", "sum by (job) (segmenter_consumer_lag_records)"),
        Recording("job:segmenter_customers:sum", "sum by (job) (segmenter_customers)"),
        Recording("job:segmenter_feature_psi:max", "max by (job, feature) (segmenter_feature_psi)"),
        Recording(
            "job:segmenter_flap:ratio",
            f'sum by (job) (increase(segmenter_segment_moves_total{{kind="flap"}}[{flaps}]))'
            f" / (sum by (job) (increase(segmenter_segment_moves_total[{flaps}])) > 0)",
        ),
    ]


def alerts(t: Thresholds) -> list[Alert]:
    """All alerts."""
    return [*_process(t), *_pipeline(t), *_snapshots(t), *_model(t), *_drift(t)]


def _process(t: Thresholds) -> list[Alert]:
    return [
        Alert(
            "SegmenterAbsent",
            "critical",
            "process_absent",
            f'absent(up{{job="{JOB}"}})',
            "No segmenter is scraped",
            "Prometheus knows no instance of the segmenter: nothing of it is watched.",
        ),
        Alert(
            "SegmenterDown",
            "critical",
            "process_down",
            f'up{{job="{JOB}"}} == 0',
            "{{ $labels.instance }} does not answer",
            "The process is gone or stands still. Its partitions wait until it is back or others take over.",
        ),
        Alert(
            "SegmenterLoopStuck",
            "critical",
            "loop_silent",
            f"time() - segmenter_loop_timestamp_seconds > {t['loop_silent'].critical:g}"
            ' and on (job, instance) segmenter_state{state="running"} == 1',
            "The loop of {{ $labels.instance }} has stopped",
            "It last passed by {{ $value | humanizeDuration }} ago, while the process answers.",
        ),
        Alert(
            "SegmenterRestarting",
            "critical",
            "restarts",
            f'changes(process_start_time_seconds{{job="{JOB}"}}[{t.window("restarts")}])'
            f" > {t['restarts'].critical:g}",
            "{{ $labels.instance }} ends and starts over",
            "It has started {{ $value }} times lately. Alerts that wait for something to last do not see it.",
        ),
        Alert(
            "SegmenterPartitionsUnassigned",
            "critical",
            "partitions_unassigned",
            "sum by (job) (segmenter_assigned_partitions) < max by (job) (segmenter_input_partitions)",
            "Only {{ $value }} partitions are read",
            "Customers of the other partitions get no changes.",
        ),
    ]


def _pipeline(t: Thresholds) -> list[Alert]:
    delay, rejected = t["watermark_delay"], t["rejected_ratio"]
    behind = "The features are {{ $value | humanizeDuration }} behind"
    late = "Changes come that much late, or a source has stopped."
    refused = "{{ $value | humanizePercentage }} of the input is rejected"
    lost = "The records are in the dead-letter topic with their reasons; their customers' features lack them."
    lag = "job:segmenter_consumer_lag_records:sum"
    return [
        *(
            Alert(
                "SegmenterBehind",
                severity,
                "watermark_delay",
                f"job:segmenter_watermark_delay_seconds:max > {limit:g}",
                behind,
                late,
            )
            for severity, limit in _levels(delay.warning, delay.critical)
        ),
        Alert(
            "SegmenterLagGrowing",
            "warning",
            "lag_growing",
            f"{lag} > {t['lag_growing'].warning:g} and delta({lag}[{t.window('lag_growing')}]) > 0",
            "{{ $value | humanize }} records wait, and more every minute",
            "More comes than is read.",
        ),
        Alert(
            "SegmenterSourceSilent",
            "warning",
            "source_silent",
            _silent(t),
            "Nothing comes on {{ $labels.topic }}",
            "A week and two weeks ago events came at this hour. Features age meanwhile.",
        ),
        *(
            Alert(
                "SegmenterRejects",
                severity,
                "rejected_ratio",
                f"job:segmenter_rejected:ratio > {limit:g}",
                refused,
                lost,
            )
            for severity, limit in _levels(rejected.warning, rejected.critical)
        ),
        Alert(
            "SegmenterTransactionsAborting",
            "warning",
            "aborted_transactions",
            f"increase(segmenter_aborts_total[{t.window('aborted_transactions')}])"
            f" > {t['aborted_transactions'].warning:g}",
            "{{ $labels.instance }} aborts transactions",
            "{{ $value | humanize }} were aborted lately; each was written once more. Nothing is lost.",
        ),
        Alert(
            "SegmenterRebalancing",
            "warning",
            "rebalances",
            f'increase(segmenter_rebalances_total{{kind="assigned"}}[{t.window("rebalances")}])'
            f" > {t['rebalances'].warning:g}",
            "{{ $labels.instance }} gets partitions again and again",
            "{{ $value | humanize }} times lately; nothing is read meanwhile.",
        ),
        Alert(
            "SegmenterRestoreSlow",
            "warning",
            "restore",
            'segmenter_state{state="restoring"} == 1',
            "{{ $labels.instance }} has been restoring for long",
            "Its partitions are not read until they are brought to their last commit.",
        ),
    ]


def _silent(t: Thresholds) -> str:
    """No event of a topic at a time at which there were some in both weeks before, while none waits."""
    line, window = t["source_silent"], t.window("source_silent")
    came = f"sum by (job, topic) (increase(segmenter_events_total[{window}]"
    return (
        f"{came})) == 0"
        f" and {came} offset 7d)) > {line.warning:g}"
        f" and {came} offset 14d)) > {line.warning:g}"
        f" and sum by (job, topic) (segmenter_consumer_lag_records) < {line.low:g}"
    )


def _snapshots(t: Thresholds) -> list[Alert]:
    failures, age = t["snapshot_failures"], t["snapshot_age"]
    return [
        Alert(
            "SegmenterSnapshotsFailing",
            "warning",
            "snapshot_failures",
            f"increase(segmenter_snapshot_failures_total[{t.window('snapshot_failures')}])"
            f" > {failures.warning:g}",
            "{{ $labels.instance }} cannot write snapshots",
            "{{ $value | humanize }} failed lately. The service works on; a restart takes longer and longer.",
        ),
        Alert(
            "SegmenterSnapshotsOld",
            "critical",
            "snapshot_age",
            f"max by (job) (time() - segmenter_snapshot_timestamp_seconds) > {age.critical:g}",
            "The commits of {{ $value | humanizeDuration }} are in no snapshot",
            "When that passes the retention of the input, a restart cannot restore it any more.",
        ),
    ]


def _model(t: Thresholds) -> list[Alert]:
    failures = t["recalibration_failures"]
    return [
        Alert(
            "SegmenterUncoordinated",
            "warning",
            "uncoordinated",
            "max by (job) (segmenter_coordinating) == 0",
            "Nobody keeps the model",
            "Customers are assigned by the version there is; scans are not folded and commands wait.",
        ),
        Alert(
            "SegmenterModelMissing",
            "warning",
            "model_missing",
            "max by (job) (segmenter_model_version) == 0 and on (job) job:segmenter_customers:sum > 0",
            "There is no model",
            "Customers come in, but nobody gets a segment.",
        ),
        Alert(
            "SegmenterModelOld",
            "warning",
            "model_age",
            f"max by (job) (segmenter_model_age_seconds) > {t['model_age'].warning:g}",
            "The model is {{ $value | humanizeDuration }} old",
            "It should have been recalibrated by now.",
        ),
        Alert(
            "SegmenterModelVersionsDiffer",
            "warning",
            "model_versions_differ",
            "max by (job) (segmenter_model_version > 0) != min by (job) (segmenter_model_version > 0)",
            "Workers decide by different versions of the model",
            "The newest is {{ $value }}; a worker has not adopted it.",
        ),
        Alert(
            "SegmenterRecalibrationFailing",
            "warning",
            "recalibration_failures",
            'sum by (job) (increase(segmenter_recalibrations_total{outcome="failed"}'
            f"[{t.window('recalibration_failures')}])) > {failures.warning:g}",
            "A recalibration has failed",
            "The model of before goes on. The log of the coordinator says why.",
        ),
        Alert(
            "SegmenterProposalWaiting",
            "warning",
            "proposal_waiting",
            "max by (job) (segmenter_proposal_waiting) == 1",
            "A recalibrated model waits for a person",
            "It would change more than it may by itself: look at it and promote it, or let it be.",
        ),
        Alert(
            "SegmenterFlapping",
            "warning",
            "flap_ratio",
            f"job:segmenter_flap:ratio > {t['flap_ratio'].warning:g}",
            "{{ $value | humanizePercentage }} of the moves go back within a week",
            "Campaigns act on segments that do not last.",
        ),
    ]


def _drift(t: Thresholds) -> list[Alert]:
    fit = t["fit_ratio"]
    error = "max by (job) (segmenter_quantization_error_ratio)"
    missing = "max by (job, feature) (segmenter_feature_missing_excess_ratio)"
    return [
        Alert(
            "SegmenterFeatureDrift",
            "warning",
            "feature_psi",
            f"job:segmenter_feature_psi:max > {t['feature_psi'].warning:g}",
            "{{ $labels.feature }} is distributed differently than at calibration",
            "Population stability index {{ $value | humanize }}. The others may be fine: see the board.",
        ),
        Alert(
            "SegmenterShareDrift",
            "warning",
            "share_distance",
            f"max by (job) (segmenter_segment_share_js_distance) > {t['share_distance'].warning:g}",
            "The segments' shares have shifted",
            "Jensen-Shannon distance {{ $value | humanize }} from the calibration.",
        ),
        Alert(
            "SegmenterFitDrift",
            "warning",
            "fit_ratio",
            f"{error} > {fit.warning:g} or {error} < {fit.low:g}",
            "Customers are not as near to their segments as at calibration",
            "Mean squared distance {{ $value | humanize }} times that of the calibration.",
        ),
        Alert(
            "SegmenterOutliers",
            "warning",
            "outlier_ratio",
            f"max by (job) (segmenter_outlier_ratio) > {t['outlier_ratio'].warning:g}",
            "{{ $value | humanizePercentage }} of the customers are like no segment",
            "One per cent is expected. A new kind of customers, or a broken source.",
        ),
        Alert(
            "SegmenterFeatureMissing",
            "warning",
            "missing_excess",
            f"{missing} > {t['missing_excess'].warning:g}",
            "{{ $labels.feature }} is missing for {{ $value | humanizePercentage }} more customers",
            "A source has stopped or changed; no recalibration is made meanwhile, it would learn the gap.",
        ),
        Alert(
            "SegmenterDriftUnanswered",
            "critical",
            "drift_unanswered",
            'max by (job, kind) (segmenter_drift_alarm{severity="act"}) == 1',
            "The model has drifted ({{ $labels.kind }}), and recalibration does not help",
            "The service should have recalibrated by now.",
        ),
    ]


def _levels(warning: float | None, critical: float | None) -> list[tuple[Severity, float]]:
    assert warning is not None
    assert critical is not None
    return [("warning", warning), ("critical", critical)]


def render(t: Thresholds, haste_s: int = 30) -> str:
    """The rule file of Prometheus, as YAML; `haste_s`: seconds between evaluations."""
    groups: list[dict[str, Any]] = [
        {
            "name": "segmenter-recordings",
            "interval": f"{haste_s}s",
            "rules": [{"record": r.record, "expr": r.expr} for r in recordings(t)],
        },
        {
            "name": "segmenter-alerts",
            "interval": f"{haste_s}s",
            "rules": [_rule(alert, t) for alert in alerts(t)],
        },
    ]
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=110, allow_unicode=True)


def _rule(alert: Alert, t: Thresholds) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": t.lasting(alert.threshold),
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{RUNBOOK}#{alert.anchor}",
        },
    }
