"""When each alert must fire and when it must not: series as Prometheus' unit tests write them.

`a+bxn` begins at a and rises by b, n times; `axn` stays, `_xn` has none. One value a minute, unless a case
says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Series = dict[str, str]

#: Long enough for everything but what lasts days.
SPAN_M: Final = 180


@dataclass(frozen=True, slots=True)
class Case:
    """`firing` must bring the alert up within `minutes`, `silent` must not; a value is `step_m` minutes."""

    alert: str
    severity: str
    firing: Series
    silent: Series
    minutes: int = SPAN_M
    step_m: int = 1

    @property
    def id(self) -> str:
        """For people."""
        return f"{self.alert}-{self.severity}"


def of(name: str, values: str, labels: str = "") -> Series:
    """A series of the first worker."""
    more = f", {labels}" if labels else ""
    return {f'segmenter_{name}{{job="segmenter", instance="a"{more}}}': values}


def workers(name: str, *values: str) -> Series:
    """A series per worker."""
    return {
        f'segmenter_{name}{{job="segmenter", instance="{chr(ord("a") + n)}"}}': value
        for n, value in enumerate(values)
    }


def at(value: float) -> str:
    """The same value all the time, also for what lasts days."""
    return f"{value:g}x3000"


def events(accepted: float, rejected: float) -> Series:
    """Records a minute by outcome."""
    return of("events_total", f"0+{accepted:g}x3000", 'topic="usage", outcome="accepted"') | of(
        "events_total", f"0+{rejected:g}x3000", 'topic="usage", outcome="rejected"'
    )


def topic(name: str, values: str, waiting: int = 2) -> Series:
    """Accepted records of a topic, and how many wait."""
    lag = of("consumer_lag_records", f"{waiting}x5000", f'topic="{name}", partition="0"')
    return of("events_total", values, f'topic="{name}", outcome="accepted"') | lag


def until(steps: int, rest: int = 200) -> str:
    """Fifty a step, then none."""
    return f"0+50x{steps} {50 * steps}x{rest}"


def moves(others: float, flaps: float) -> Series:
    """Moves a minute."""
    return of("segment_moves_total", f"0+{others:g}x3000", 'kind="other"') | of(
        "segment_moves_total", f"0+{flaps:g}x3000", 'kind="flap"'
    )


RUNNING: Final = of("state", at(1), 'state="running"')
DAY_M: Final = 1440
#: In values five minutes apart.
DAY_5M: Final = 288

CASES: Final = (
    Case("SegmenterAbsent", "critical", {}, {'up{job="segmenter", instance="a"}': at(1)}),
    Case(
        "SegmenterDown",
        "critical",
        {'up{job="segmenter", instance="a"}': at(0)},
        {'up{job="segmenter", instance="a"}': "1x60 0 1x3000"},  # one scrape that fails is no outage
    ),
    Case(
        "SegmenterLoopStuck",
        "critical",
        RUNNING | of("loop_timestamp_seconds", at(0)),
        # While it restores the loop does not pass by.
        of("state", at(0), 'state="running"') | of("loop_timestamp_seconds", at(0)),
    ),
    Case(
        "SegmenterRestarting",
        "critical",
        {'process_start_time_seconds{job="segmenter", instance="a"}': "0x4 _ 300x4 _ 600+600x3000"},
        # An upgrade, and once more.
        {'process_start_time_seconds{job="segmenter", instance="a"}': "0x170 _ 10200x4 _ 10500x3000"},
    ),
    Case(
        "SegmenterPartitionsUnassigned",
        "critical",
        workers("assigned_partitions", at(2), at(3)) | workers("input_partitions", at(6), at(6)),
        workers("assigned_partitions", at(2), at(4)) | workers("input_partitions", at(6), at(6)),
    ),
    Case(
        "SegmenterBehind",
        "warning",
        of("watermark_timestamp_seconds", "-700+60x3000", 'partition="0"'),
        of("watermark_timestamp_seconds", "-302+60x3000", 'partition="0"'),  # nothing comes
    ),
    Case(
        "SegmenterBehind",
        "critical",
        of("watermark_timestamp_seconds", "-1000+60x3000", 'partition="0"'),
        of("watermark_timestamp_seconds", "-700+60x3000", 'partition="0"'),
    ),
    Case(
        "SegmenterLagGrowing",
        "warning",
        of("consumer_lag_records", "0+2000x3000", 'topic="usage", partition="0"'),
        # Much, but it is being worked off.
        of("consumer_lag_records", "900000-2000x440", 'topic="usage", partition="0"'),
    ),
    Case(
        "SegmenterSourceSilent",
        "warning",
        topic("usage", until(15 * DAY_5M - 36)),
        # One that goes on; a nightly batch that is late today; one that is read behind the others; the bills
        # of a month, a week ago; one that rested a week ago too; a new one.
        topic("usage", until(16 * DAY_5M))
        | topic("billing", " ".join(f"{600 * n}+100x6 {600 * n + 600}x280" for n in range(15)) + " 9000x40")
        | topic("customer", until(15 * DAY_5M - 36), waiting=5000)
        | topic("bills", f"_x{8 * DAY_5M - 100} 0x70 {until(200, 2500)}")
        | topic("weekly", f"{until(8 * DAY_5M - 36, 60)} {until(7 * DAY_5M - 50)}")
        | topic("new", f"_x{10 * DAY_5M} {until(5 * DAY_5M - 36)}"),
        minutes=15 * DAY_M + 40,
        step_m=5,
    ),
    Case("SegmenterRejects", "warning", events(1000, 20), events(1000, 5)),
    Case("SegmenterRejects", "critical", events(1000, 100), events(1000, 20)),
    Case(
        "SegmenterTransactionsAborting",
        "warning",
        of("aborts_total", "0+1x3000"),
        of("aborts_total", "0x60 2x3000"),
    ),
    Case(
        "SegmenterRebalancing",
        "warning",
        of("rebalances_total", "0+0.2x3000", 'kind="assigned"'),
        of("rebalances_total", "0x60 3x3000", 'kind="assigned"'),
    ),
    Case(
        "SegmenterRestoreSlow",
        "warning",
        of("state", at(1), 'state="restoring"'),
        of("state", "0x10 1x20 0x3000", 'state="restoring"'),
    ),
    Case(
        "SegmenterSnapshotsFailing",
        "warning",
        of("snapshot_failures_total", "0+1x3000"),
        of("snapshot_failures_total", "0x60 1x3000"),
    ),
    Case(
        "SegmenterSnapshotsOld",
        "critical",
        of("snapshot_timestamp_seconds", at(0), 'partition="0"'),
        of("snapshot_timestamp_seconds", "-60+60x3000", 'partition="0"'),
    ),
    Case(
        "SegmenterUncoordinated",
        "warning",
        workers("coordinating", at(0), at(0)),
        workers("coordinating", "1x30 0x3000", "0x32 1x3000"),  # handed over
    ),
    Case(
        "SegmenterModelMissing",
        "warning",
        of("model_version", at(0)) | of("customers", at(5000)),
        of("model_version", at(0)) | of("customers", at(0)),
        minutes=8 * 60,
    ),
    Case("SegmenterModelOld", "warning", of("model_age_seconds", at(6e6)), of("model_age_seconds", at(2e6))),
    Case(
        "SegmenterModelVersionsDiffer",
        "warning",
        workers("model_version", at(7), at(8)),
        # A worker that starts has none, and others follow within the minute.
        workers("model_version", "7x30 8x3000", "7x31 8x3000", at(0)),
    ),
    Case(
        "SegmenterRecalibrationFailing",
        "warning",
        of("recalibrations_total", "0x60 1x3000", 'outcome="failed"'),
        of("recalibrations_total", "0x60 1x3000", 'outcome="published"')
        | of("recalibrations_total", at(0), 'outcome="failed"'),
    ),
    Case(
        "SegmenterProposalWaiting",
        "warning",
        of("proposal_waiting", at(1)),
        of("proposal_waiting", "0x60 1x600 0x3000"),
        minutes=DAY_M + 120,
    ),
    Case("SegmenterFlapping", "warning", moves(10, 1), moves(100, 1)),
    Case(
        "SegmenterFeatureDrift",
        "warning",
        of("feature_psi", at(0.3), 'feature="data_mb_30d"') | of("feature_psi", at(0.01), 'feature="age"'),
        of("feature_psi", at(0.2), 'feature="data_mb_30d"'),
    ),
    Case(
        "SegmenterShareDrift",
        "warning",
        of("segment_share_js_distance", at(0.12)),
        of("segment_share_js_distance", at(0.08)),
    ),
    Case(
        "SegmenterFitDrift",
        "warning",
        of("quantization_error_ratio", at(0.7)),  # features that shrink
        of("quantization_error_ratio", at(1.1)),
    ),
    Case("SegmenterOutliers", "warning", of("outlier_ratio", at(0.04)), of("outlier_ratio", at(0.02))),
    Case(
        "SegmenterFeatureMissing",
        "warning",
        of("feature_missing_excess_ratio", at(0.1), 'feature="data_mb_30d"'),
        of("feature_missing_excess_ratio", at(0.01), 'feature="data_mb_30d"'),
    ),
    Case(
        "SegmenterDriftUnanswered",
        "critical",
        of("drift_alarm", at(1), 'kind="combined", subject="", severity="act"'),
        of("drift_alarm", at(1), 'kind="psi", subject="data_mb_30d", severity="watch"'),
        minutes=8 * 60,
    ),
)
