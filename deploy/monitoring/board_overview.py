"""The board of the person on call: one screen."""

from __future__ import annotations

from deploy.monitoring.panels import Board, Panel, Query, Row, largest, metric, rate, recorded, total
from deploy.monitoring.thresholds import Thresholds


def overview(t: Thresholds) -> Board:
    """Is anything wrong, and where to look next."""
    return Board(
        "segmenter-overview",
        "Segmenter / Overview",
        "Is anything wrong, and where to look next.",
        (Row("Now", _now(t)), Row("Alerts", _alerts()), Row("Lately", _lately(t))),
    )


def _now(t: Thresholds) -> tuple[Panel, ...]:
    delay, rejected = t["watermark_delay"], t["rejected_ratio"]
    psi = t["feature_psi"]
    stats = (
        Panel(
            "Workers running",
            "Processes that are restored and read.",
            (Query(total("state", 'state="running"')),),
            steps=((None, "red"), (1, "green")),
        ),
        Panel(
            "Partitions not read",
            "Input partitions that nobody owns: their customers get no changes.",
            (Query(f"{largest('input_partitions')} - {total('assigned_partitions')}"),),
            steps=((None, "green"), (1, "red")),
        ),
        Panel(
            "Events per second",
            "Input records that were committed, with rejected and late ones.",
            (Query(recorded("events:rate")),),
            unit="cps",
        ),
        Panel(
            "Behind",
            "How far the slowest partition's event time is behind the clock.",
            (Query(recorded("watermark_delay_seconds:max")),),
            unit="s",
            steps=((None, "green"), (delay.warning, "yellow"), (delay.critical, "red")),
        ),
        Panel(
            "Waiting records",
            "Input records that are not read yet.",
            (Query(recorded("consumer_lag_records:sum")),),
            steps=((None, "green"), (t["lag_growing"].warning, "yellow")),
        ),
        Panel(
            "Rejected",
            "Share of the input in the dead-letter topic.",
            (Query(recorded("rejected:ratio")),),
            unit="percentunit",
            steps=((None, "green"), (rejected.warning, "yellow"), (rejected.critical, "red")),
        ),
        Panel(
            "Age of the model",
            "Event time since the last calibration.",
            (Query(largest("model_age_seconds")),),
            unit="s",
            steps=((None, "green"), (t["model_age"].warning, "yellow")),
        ),
        Panel(
            "Drifted features",
            f"Features with a stability index above {psi.warning:g}.",
            (Query(f"count({recorded('feature_psi:max')} > {psi.warning:g}) or vector(0)"),),
            steps=((None, "green"), (1, "yellow")),
        ),
    )
    return tuple(_small(panel) for panel in stats)


def _small(panel: Panel) -> Panel:
    return Panel(
        panel.title, panel.description, panel.queries, "stat", panel.unit, 3, 4, panel.steps, panel.words
    )


def _alerts() -> tuple[Panel, ...]:
    return (
        Panel(
            "Alerts that are up",
            "Firing alerts of the segmenter; the runbook has an entry for each.",
            (Query('ALERTS{alertname=~"Segmenter.*", alertstate="firing"}'),),
            "table",
            width=12,
            empty="no alert is up",
        ),
        Panel(
            "What each worker does",
            "Its state over time.",
            (Query(f"{metric('state')} == 1", "{{instance}} {{state}}"),),
            "timeline",
            width=12,
            words={"1": "yes"},
        ),
    )


def _lately(t: Thresholds) -> tuple[Panel, ...]:
    delay = t["watermark_delay"]
    return (
        Panel(
            "Events by topic",
            "Input records that were committed.",
            (Query(rate("events_total", by="topic"), "{{topic}}"),),
            "stacked",
            "cps",
        ),
        Panel(
            "Behind, by partition",
            "Event time against the clock.",
            (
                Query(
                    f"max by (partition) (time() - {metric('watermark_timestamp_seconds')})", "{{partition}}"
                ),
            ),
            unit="s",
            steps=((None, "green"), (delay.warning, "yellow"), (delay.critical, "red")),
        ),
        Panel(
            "Segment changes by cause",
            "Published changes; a new model moves customers with the cause model.",
            (Query(rate("changes_total", by="cause"), "{{cause}}"),),
            "stacked",
            "cps",
        ),
    )
