"""Laws of the metrics: names, values, and what disappears."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from consumer.drift_figures import DriftFigures, figures_of
from consumer.metric_table import DRIFT_LABELLED, DRIFT_OVERALL, Recalibrated
from consumer.metrics import METRICS, MIN_DRIFT_SAMPLES, Metrics, Outcome, Stage, State
from online_model.distance import nearest
from online_model.drift import measure
from online_model.fold import add_rows, empty, gauge_of
from online_model.scaler import apply
from online_model.separation import add_separation
from tests.online_model import populations

TOPICS = ("usage", "billing", "customer")


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of a fresh process."""
    return Metrics(TOPICS, "1.2.3")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Value of a sample, None if there is none."""
    return metrics.registry.get_sample_value(f"segmenter_{name}", labels)


def test_names_follow_the_conventions() -> None:
    """Counters and only they end in _total; snake case; histograms have buckets; help is a sentence."""
    for metric in METRICS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert metric.help.endswith(".")
        assert len(metric.help) > 10
        assert not {"customer_id", "model"} & set(metric.labels)
    assert len({m.name for m in METRICS}) == len(METRICS)


def test_the_exposition_is_valid_and_without_created_series(metrics: Metrics) -> None:
    """Prometheus can read it, and timestamps of creation do not double the counters."""
    text = generate_latest(metrics.registry).decode()
    families = {f.name for f in text_string_to_metric_families(text)}
    assert {"segmenter_events", "segmenter_build_info", "process_cpu_seconds"} <= families
    assert "_created" not in text


def test_events_are_counted_by_topic_and_outcome(metrics: Metrics) -> None:
    """Columns are outcomes in their order; counters exist at 0 from the start."""
    assert value(metrics, "events_total", topic="billing", outcome="late") == 0
    counts = np.zeros((3, len(Outcome)), np.int64)
    counts[1, list(Outcome).index(Outcome.LATE)] = 4
    metrics.record_events(counts)
    metrics.record_events(counts)
    assert value(metrics, "events_total", topic="billing", outcome="late") == 8
    assert value(metrics, "events_total", topic="usage", outcome="late") == 0


def test_rejects_and_changes_are_counted_by_their_reasons(metrics: Metrics) -> None:
    """Labels that are met the first time begin at their count."""
    metrics.record_rejects({(0, "misrouted"): 2, (2, "bad_json"): 1})
    metrics.record_changes({("moved", "behaviour"): 3})
    assert value(metrics, "rejected_total", topic="usage", reason="misrouted") == 2
    assert value(metrics, "changes_total", change="moved", cause="behaviour") == 3


def test_gauges_of_partitions_that_left_disappear(metrics: Metrics) -> None:
    """After a rebalance nobody sees the lag of somebody else's partition here."""
    metrics.set_lag({("usage", 0): 5, ("usage", 1): 6})
    metrics.set_lag({("usage", 1): 7})
    assert value(metrics, "consumer_lag_records", topic="usage", partition="0") is None
    assert value(metrics, "consumer_lag_records", topic="usage", partition="1") == 7
    metrics.set_watermarks({3: 1_500_000})
    assert value(metrics, "watermark_timestamp_seconds", partition="3") == 1.5
    metrics.set_restore_remaining({3: 10})
    metrics.set_restore_remaining({})
    assert value(metrics, "restore_remaining_records", partition="3") is None


def test_a_commit_is_one_observation(metrics: Metrics) -> None:
    """Commits, their duration, aborts, rebuilds and stages."""
    metrics.record_commit(0.003)
    metrics.record_stages({Stage.DECODE: 0.001, Stage.COMMIT: 0.003})
    metrics.record_abort()
    metrics.record_rebuild("slow")
    metrics.record_scans([3, 5], 1000)
    metrics.record_rebalance("assigned", 12)
    assert value(metrics, "commits_total") == 1
    assert value(metrics, "commit_duration_seconds_bucket", le="0.005") == 1
    assert value(metrics, "stage_duration_seconds_sum", stage="decode") == 0.001
    assert value(metrics, "aborts_total") == 1
    assert value(metrics, "producer_rebuilds_total", reason="slow") == 1
    assert value(metrics, "scans_total") == 2
    assert value(metrics, "scanned_customers_total") == 1000
    assert value(metrics, "assigned_partitions") == 12


def test_one_model_and_one_state_are_shown(metrics: Metrics) -> None:
    """A promotion replaces the model's info; exactly one state is 1."""
    metrics.set_model(1, 6, "aa", 10_000_000)
    metrics.set_model(2, 7, "bb", 20_000_000)
    assert value(metrics, "model_info", version="1", k="6", spec_hash="aa") is None
    assert value(metrics, "model_info", version="2", k="7", spec_hash="bb") == 1
    assert value(metrics, "model_calibrated_timestamp_seconds") == 20
    metrics.set_state(State.RUNNING)
    assert [value(metrics, "state", state=s.value) for s in State] == [0, 0, 1, 0]


def test_segments_that_are_gone_disappear(metrics: Metrics) -> None:
    """A retired segment has no customers and no series."""
    metrics.set_segments({"s1": 5, "s2": 6})
    metrics.set_segments({"s2": 7})
    metrics.set_population(7, 1000)
    assert value(metrics, "segment_customers", segment="s1") is None
    assert value(metrics, "segment_customers", segment="s2") == 7


def test_drift_of_few_customers_is_not_shown(metrics: Metrics) -> None:
    """Below the minimum a drift figure is noise: it is absent, not small."""
    figures = {"segment_share_js_distance": 0.2}, {"feature_psi": {"data_mb_30d": 0.3}}
    metrics.set_drift(DriftFigures(MIN_DRIFT_SAMPLES, *figures))
    assert value(metrics, "feature_psi", feature="data_mb_30d") == 0.3
    assert value(metrics, "segment_share_js_distance") == 0.2
    assert math.isnan(value(metrics, "outlier_ratio") or 0.0)
    metrics.set_drift(DriftFigures(MIN_DRIFT_SAMPLES - 1, *figures))
    assert value(metrics, "feature_psi", feature="data_mb_30d") is None
    assert math.isnan(value(metrics, "segment_share_js_distance") or 0.0)
    assert value(metrics, "drift_samples") == MIN_DRIFT_SAMPLES - 1


def test_every_drift_figure_has_its_metric(metrics: Metrics) -> None:
    """What is measured of a population is shown by feature, by segment, and of scan and calibration."""
    model, raw = populations.model(3000), populations.personas(3000)[0]
    x, statistics = apply(model.scaler, raw), empty(model.k, 3)
    label, d2, _, d2_other = nearest(x, model.centroids, model.scaler.importance)
    add_rows(statistics, gauge_of(model), raw, x, label, d2)
    add_separation(statistics, label, d2, d2_other)
    figures = figures_of(measure(statistics, model), model)
    assert set(figures.overall) == set(DRIFT_OVERALL)
    assert set(figures.labelled) == set(DRIFT_LABELLED)
    metrics.set_drift(figures)
    assert value(metrics, "quantization_error_ratio") == pytest.approx(1.0)
    assert value(metrics, "segment_quantization_error_ratio", segment="s2") == pytest.approx(1.0)
    assert value(metrics, "segment_displacement_ratio", segment="s5") == pytest.approx(0.0, abs=1e-3)
    assert value(metrics, "feature_missing_excess_ratio", feature="sms_30d") == 0.0
    silhouettes = [value(metrics, "silhouette_score", of=of) for of in ("scan", "calibration")]
    assert silhouettes[0] == pytest.approx(silhouettes[1], rel=1e-3)
    few = figures_of(measure(empty(model.k, 3), model), model)
    assert few.overall == {}
    assert set(few.labelled) <= {"silhouette_score", "davies_bouldin_score"}


def test_alarms_come_and_go(metrics: Metrics) -> None:
    """One series per alarm that is up."""
    metrics.set_alarms([("psi", "mou_30d", "watch"), ("combined", "", "act")])
    metrics.set_alarms([("combined", "", "act")])
    assert value(metrics, "drift_alarm", kind="combined", subject="", severity="act") == 1
    assert value(metrics, "drift_alarm", kind="psi", subject="mou_30d", severity="watch") is None


def test_age_and_moves(metrics: Metrics) -> None:
    """An age that is not known is absent; moves are counted from zero, flaps apart from others."""
    metrics.set_model_age(86_400_000_000)
    assert value(metrics, "model_age_seconds") == 86_400
    metrics.set_model_age(None)
    assert math.isnan(value(metrics, "model_age_seconds") or 0.0)
    assert value(metrics, "segment_moves_total", kind="flap") == 0
    assert value(metrics, "segment_moves_total", kind="other") == 0
    metrics.record_moves(2, 5)
    metrics.record_moves(1, 0)
    assert value(metrics, "segment_moves_total", kind="flap") == 3
    assert value(metrics, "segment_moves_total", kind="other") == 5


def test_two_processes_in_one_program_do_not_share_metrics(metrics: Metrics) -> None:
    """The registry is our own."""
    other = Metrics(TOPICS, "1.2.3")
    other.record_commit(0.1)
    assert value(metrics, "commits_total") == 0


def test_what_came_of_recalibrations_is_counted_from_zero(metrics: Metrics) -> None:
    """And a scan says when, for the partitions that are owned."""
    assert value(metrics, "recalibrations_total", outcome="failed") == 0
    metrics.record_recalibrations(Recalibrated.FAILED, 2)
    assert value(metrics, "recalibrations_total", outcome="failed") == 2
    metrics.record_scans([3], 10)
    assert (value(metrics, "scan_timestamp_seconds", partition="3") or 0) > 1e9
    metrics.forget_partitions()
    assert value(metrics, "scan_timestamp_seconds", partition="3") is None
