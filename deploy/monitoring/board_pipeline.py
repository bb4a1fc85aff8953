"""The board of the pipeline: from the input to the commit, and what it takes to come back."""

from __future__ import annotations

from deploy.monitoring.panels import (
    Board,
    Panel,
    Query,
    Row,
    largest,
    mean,
    metric,
    quantile,
    rate,
    total,
)
from deploy.monitoring.thresholds import Thresholds


def pipeline(t: Thresholds) -> Board:
    """Where the time goes, what is refused, who owns what, and how far a restart would have to go."""
    return Board(
        "segmenter-pipeline",
        "Segmenter / Pipeline",
        "From the input to the commit, and what it takes to come back.",
        (
            Row("Input", _input(t)),
            Row("Loop", _loop()),
            Row("Transactions", _transactions()),
            Row("Partitions", _partitions()),
            Row("Restart", _restart(t)),
        ),
    )


def _input(t: Thresholds) -> tuple[Panel, ...]:
    return (
        Panel(
            "Records by outcome",
            "Accepted; a duplicate was seen before; late ones came after their window; dropped ones are of "
            "customers who left or gave no consent; rejected ones are in the dead-letter topic.",
            (Query(rate("events_total", by="outcome"), "{{outcome}}"),),
            "stacked",
            "cps",
        ),
        Panel(
            "Rejects by reason",
            "What is wrong with the records in the dead-letter topic.",
            (Query(rate("rejected_total", by="topic, reason"), "{{topic}} {{reason}}"),),
            unit="cps",
            empty="nothing has been rejected",
        ),
        Panel(
            "Waiting records",
            "Input records that are not read yet, by topic.",
            (Query(total("consumer_lag_records", by="topic"), "{{topic}}"),),
            "stacked",
            steps=((None, "green"), (t["lag_growing"].warning, "yellow")),
        ),
    )


def _loop() -> tuple[Panel, ...]:
    return (
        Panel(
            "Time per turn, by stage",
            "Mean time a stage takes between two commits.",
            (Query(mean("stage_duration_seconds", "stage"), "{{stage}}"),),
            "stacked",
            "s",
        ),
        Panel(
            "Slowest turns, by stage",
            "99th percentile.",
            (Query(quantile(0.99, "stage_duration_seconds", "stage"), "{{stage}}"),),
            unit="s",
        ),
        Panel(
            "Share of the time",
            "Seconds per second that all workers spend in a stage. Poll is also waiting for records.",
            (Query(rate("stage_duration_seconds_sum", by="stage"), "{{stage}}"),),
            "stacked",
            "percentunit",
        ),
        Panel(
            "Since the loop last passed",
            "Above a minute the process is not live any more.",
            (Query(f"time() - {metric('loop_timestamp_seconds')}", "{{instance}}"),),
            unit="s",
            width=12,
        ),
        Panel(
            "Scans",
            "Customers evaluated without an event of their own.",
            (
                Query(rate("scanned_customers_total"), "customers per second"),
                Query(rate("scans_total"), "finished scans per second"),
            ),
            unit="cps",
            width=12,
        ),
    )


def _transactions() -> tuple[Panel, ...]:
    return (
        Panel(
            "Commits and aborts",
            "An aborted transaction is written once more; nothing of it was visible.",
            (Query(rate("commits_total"), "commits"), Query(rate("aborts_total"), "aborts")),
            unit="cps",
        ),
        Panel(
            "Duration of a commit",
            "From the flush to the end of the transaction.",
            (
                Query(quantile(0.5, "commit_duration_seconds"), "half"),
                Query(quantile(0.99, "commit_duration_seconds"), "99 %"),
            ),
            unit="s",
        ),
        Panel(
            "Replaced producers",
            "After a slow or broken commit the next one is made by a new producer.",
            (Query(rate("producer_rebuilds_total", by="reason"), "{{reason}}"),),
            unit="cps",
            empty="no producer had to be replaced",
        ),
    )


def _partitions() -> tuple[Panel, ...]:
    return (
        Panel(
            "Waiting records by partition",
            "One line per topic and partition.",
            (Query(total("consumer_lag_records", by="topic, partition, instance")),),
            "table",
            width=12,
        ),
        Panel(
            "Partitions per worker",
            "A worker without any is spare.",
            (Query(metric("assigned_partitions"), "{{instance}}"),),
            "stacked",
            width=6,
        ),
        Panel(
            "Rebalances",
            "Partitions given, taken and lost.",
            (Query(f"sum by (kind) (increase({metric('rebalances_total')}[$__rate_interval]))", "{{kind}}"),),
            width=6,
        ),
    )


def _restart(t: Thresholds) -> tuple[Panel, ...]:
    return (
        Panel(
            "How long commits have been in no snapshot, by partition",
            "What a restart would have to read again.",
            (
                Query(
                    f"max by (partition) (time() - {metric('snapshot_timestamp_seconds')})", "{{partition}}"
                ),
            ),
            unit="s",
            steps=((None, "green"), (t["snapshot_age"].critical, "red")),
        ),
        Panel(
            "Snapshots",
            "Complete ones and failures.",
            (
                Query(rate("snapshots_total"), "complete"),
                Query(rate("snapshot_failures_total"), "failed"),
            ),
            unit="cps",
        ),
        Panel(
            "What snapshots cost",
            "Share of a core.",
            (Query(rate("snapshot_cpu_seconds_total"), "processor"),),
            unit="percentunit",
        ),
        Panel(
            "Time a snapshot takes",
            "In the background.",
            (Query(mean("snapshot_duration_seconds"), "mean"),),
            unit="s",
            width=6,
        ),
        Panel(
            "Pause of the loop",
            "While a part of a snapshot is copied.",
            (Query(quantile(0.99, "snapshot_pause_seconds"), "99 %"),),
            unit="s",
            width=6,
        ),
        Panel(
            "Snapshot bytes",
            "Written per second.",
            (Query(rate("snapshot_bytes_total"), "written"),),
            unit="Bps",
            width=6,
        ),
        Panel(
            "Restores by source",
            "Kept memory is quickest, the whole input slowest; fresh partitions have nothing to restore.",
            (Query(total("restores_total", by="source"), "{{source}}"),),
            width=6,
        ),
        Panel(
            "Duration of restores, by phase",
            "Mean over all since the start of the process.",
            (
                Query(
                    f"{total('restore_duration_seconds_sum', by='phase')}"
                    f" / {total('restore_duration_seconds_count', by='phase')}",
                    "{{phase}}",
                ),
            ),
            unit="s",
            width=12,
            empty="only fresh partitions so far",
        ),
        Panel(
            "Still to be replayed",
            "Records of the partition that is being restored.",
            (Query(largest("restore_remaining_records", by="partition"), "{{partition}}"),),
            width=12,
            empty="nothing is being restored",
        ),
    )
