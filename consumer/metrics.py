"""Prometheus metrics: one typed table, recorded once per commit.

The table `METRICS` is the only declaration; `deploy/METRICS.md` is rendered from it. Children
of labels are resolved once, and counters are raised by whole batches, because resolving a child
costs more than raising it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from consumer.drift_figures import DriftFigures
from consumer.metric_table import (
    DRIFT_LABELLED,
    DRIFT_OVERALL,
    METRICS,
    Metric,
    Outcome,
    Recalibrated,
    Stage,
    State,
)
from consumer.snapshots import Taken

__all__ = ["METRICS", "Metric", "Metrics", "Outcome", "Stage", "State"]

#: Drift figures from fewer customers than this are noise and are not shown.
MIN_DRIFT_SAMPLES: Final = 2000

_ABSENT: Final = float("nan")

_TopicPartition = tuple[str, int]
_Labels = TypeVar("_Labels", bound=tuple[str | int, ...])


class Metrics:
    """The metrics of one process, in a registry of its own.

    `input_topics`: names of the input topics by `schemas.batch.Topic`, used as label values.
    The methods take plain numbers and arrays; each is called at most once per commit.
    """

    def __init__(self, input_topics: tuple[str, ...], version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._input_topics = input_topics
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            self._register(metric)
        self._counter_children: dict[tuple[str, ...], Counter] = {}
        self._gauge_children: dict[str, dict[Any, Gauge]] = {}
        self._stages = {s: self._histograms["stage_duration_seconds"].labels(s.value) for s in Stage}
        self._gauges["build_info"].labels(version).set(1)
        for outcome in Outcome:  # a counter that exists at 0 shows its first increase
            for topic in input_topics:
                self._counter("events_total", topic, outcome.value)
        for kind in ("assigned", "revoked", "lost"):
            self._counter("rebalances_total", kind)
        for came_of_it in Recalibrated:
            self.record_recalibrations(came_of_it, 0)
        self.record_moves(0, 0)
        self.set_state(State.STARTING)

    def record_events(self, counts: npt.NDArray[np.int64]) -> None:
        """Add events: `counts` int64[topics, outcomes] by `Topic` and in the order of `Outcome`."""
        for name, row in zip(self._input_topics, counts.tolist(), strict=True):
            for outcome, n in zip(_OUTCOMES, row, strict=True):
                if n:
                    self._counter("events_total", name, outcome).inc(n)

    def record_rejects(self, counts: Mapping[tuple[int, str], int]) -> None:
        """Add rejects by (`Topic`, reason)."""
        for (topic, reason), n in counts.items():
            self._counter("rejected_total", self._input_topics[topic], reason).inc(n)

    def record_changes(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Add published changes by (change, cause), for example ("moved", "behaviour")."""
        for (change, cause), n in counts.items():
            self._counter("changes_total", change, cause).inc(n)

    def record_commit(self, seconds: float) -> None:
        """One committed transaction that took `seconds` from its first flush to its end."""
        self._counters["commits_total"].inc()
        self._histograms["commit_duration_seconds"].observe(seconds)

    def record_abort(self) -> None:
        """One aborted transaction."""
        self._counters["aborts_total"].inc()

    def record_stages(self, seconds: Mapping[Stage, float]) -> None:
        """Time spent in each stage since the last commit, seconds."""
        for stage, value in seconds.items():
            self._stages[stage].observe(value)

    def record_restore(self, source: str, seconds: Mapping[str, float]) -> None:
        """A partition was restored from `source`; seconds per phase."""
        self._counter("restores_total", source).inc()
        for phase, value in seconds.items():
            self._histograms["restore_duration_seconds"].labels(phase).observe(value)

    def record_snapshot(self, taken: Taken) -> None:
        """A snapshot is complete, or has failed."""
        if taken.problem:
            self._counters["snapshot_failures_total"].inc()
            return
        self._counters["snapshots_total"].inc()
        self._counters["snapshot_bytes_total"].inc(taken.bytes)
        self._counters["snapshot_cpu_seconds_total"].inc(taken.cpu_s)
        self._histograms["snapshot_duration_seconds"].observe(taken.seconds)

    def set_snapshot_ages(self, uncovered_s: Mapping[int, float]) -> None:
        """Seconds for which commits may not be in a snapshot, of all live partitions; others disappear."""
        now = time.time()
        self._set_all("snapshot_timestamp_seconds", {(p,): now - s for p, s in uncovered_s.items()})

    def record_snapshot_pause(self, seconds: float) -> None:
        """The loop stood still while a part was copied."""
        self._histograms["snapshot_pause_seconds"].observe(seconds)

    def forget_partitions(self) -> None:
        """Partitions have changed: those that are owned set their times again."""
        self._set_all("snapshot_timestamp_seconds", {})
        self._gauges["scan_timestamp_seconds"].clear()

    def record_scans(self, finished: Collection[int], customers: int) -> None:
        """Partitions whose scans ended in a turn, and the customers that slices evaluated."""
        self._counters["scans_total"].inc(len(finished))
        for partition in finished:
            self._gauges["scan_timestamp_seconds"].labels(partition).set(time.time())
        self._counters["scanned_customers_total"].inc(customers)

    def record_rebalance(self, kind: str, assigned: int) -> None:
        """One rebalance (`assigned`, `revoked` or `lost`) after which `assigned` partitions are owned."""
        self._counter("rebalances_total", kind).inc()
        self._gauges["assigned_partitions"].set(assigned)

    def record_rebuild(self, reason: str) -> None:
        """The transactional producer was rebuilt; `reason` is one of a few fixed words."""
        self._counter("producer_rebuilds_total", reason).inc()

    def set_lag(self, records: Mapping[_TopicPartition, int]) -> None:
        """Records not yet read, of all owned (topic, partition); others disappear."""
        self._set_all("consumer_lag_records", records)

    def set_watermarks(self, watermark_us: Mapping[int, int]) -> None:
        """Event-time watermark of all owned partitions, microseconds; others disappear."""
        self._set_all("watermark_timestamp_seconds", {(p,): us / 1e6 for p, us in watermark_us.items()})

    def set_restore_remaining(self, records: Mapping[int, int]) -> None:
        """Input records still to be replayed per restoring partition; empty when live."""
        self._set_all("restore_remaining_records", {(p,): n for p, n in records.items()})

    def set_segments(self, customers: Mapping[str, int]) -> None:
        """Customers per segment id (all of this process); retired segments disappear."""
        self._set_all("segment_customers", {(segment,): n for segment, n in customers.items()})

    def set_population(self, customers: int, state_bytes: int) -> None:
        """Live customers and the memory of their state."""
        self._gauges["customers"].set(customers)
        self._gauges["state_bytes"].set(state_bytes)

    def set_model(self, version: int, k: int, spec_hash: str, calibrated_us: int) -> None:
        """The live model; `calibrated_us` is the event time of its calibration."""
        self._gauges["model_version"].set(version)
        self._gauges["model_calibrated_timestamp_seconds"].set(calibrated_us / 1e6)
        info = self._gauges["model_info"]
        info.clear()
        info.labels(version, k, spec_hash).set(1)

    def set_drift(self, figures: DriftFigures) -> None:
        """Drift of the last scan against the calibration.

        With fewer than `MIN_DRIFT_SAMPLES` customers only their number is shown: small windows fake drift.
        """
        self._gauges["drift_samples"].set(figures.samples)
        enough = figures.samples >= MIN_DRIFT_SAMPLES
        for name in DRIFT_OVERALL:
            self._gauges[name].set(figures.overall.get(name, _ABSENT) if enough else _ABSENT)
        for name in DRIFT_LABELLED:
            found = figures.labelled.get(name, {}) if enough else {}
            self._set_all(name, {(label,): value for label, value in found.items()})

    def set_alarms(self, alarms: Iterable[tuple[str, str, str]]) -> None:
        """Alarms that are up, by (kind, subject, severity); others disappear."""
        self._set_all("drift_alarm", dict.fromkeys(alarms, 1))

    def set_model_age(self, age_us: int | None) -> None:
        """Event time from the calibration to the newest scan, microseconds; None where it is not known."""
        self._gauges["model_age_seconds"].set(_ABSENT if age_us is None else age_us / 1e6)

    def record_moves(self, flaps: int, others: int) -> None:
        """Moves between segments: those that were flaps, and the others."""
        self._counter("segment_moves_total", "flap").inc(flaps)
        self._counter("segment_moves_total", "other").inc(others)

    def record_recalibrations(self, came_of_it: Recalibrated, n: int) -> None:
        """So many more recalibrations ended like this."""
        self._counter("recalibrations_total", came_of_it.value).inc(n)

    def set_proposal(self, waits: bool) -> None:
        """Whether a model waits for a person's decision."""
        self._gauges["proposal_waiting"].set(waits)

    def set_input_partitions(self, n: int) -> None:
        """Partitions of the input topics."""
        self._gauges["input_partitions"].set(n)

    def set_coordinating(self, coordinates: bool) -> None:
        """Whether this process owns the deltas."""
        self._gauges["coordinating"].set(coordinates)

    def set_state(self, state: State) -> None:
        """What the process is doing."""
        gauge = self._gauges["state"]
        for other in State:
            gauge.labels(other.value).set(other is state)

    def heartbeat(self, at_s: float | None = None) -> None:
        """The loop passed by, now or at `at_s` (seconds since the epoch)."""
        self._gauges["loop_timestamp_seconds"].set(time.time() if at_s is None else at_s)

    def _register(self, metric: Metric) -> None:
        labels = metric.labels
        name = f"segmenter_{metric.name}"
        if metric.kind == "counter":
            self._counters[metric.name] = Counter(name, metric.help, labels, registry=self.registry)
        elif metric.kind == "gauge":
            self._gauges[metric.name] = Gauge(name, metric.help, labels, registry=self.registry)
        else:
            self._histograms[metric.name] = Histogram(
                name, metric.help, labels, registry=self.registry, buckets=metric.buckets
            )

    def _set_all(self, name: str, values: Mapping[_Labels, float]) -> None:
        """Sets a gauge by its labels; children of other labels disappear."""
        gauge, children = self._gauges[name], self._gauge_children.setdefault(name, {})
        for labels in children.keys() - values.keys():
            gauge.remove(*labels)
            del children[labels]
        for labels, value in values.items():
            child = children.get(labels)
            if child is None:
                child = children[labels] = gauge.labels(*labels)
            child.set(value)

    def _counter(self, name: str, *labels: str) -> Counter:
        key = (name, *labels)
        child = self._counter_children.get(key)
        if child is None:
            child = self._counter_children[key] = self._counters[name].labels(*labels)
        return child


_OUTCOMES: Final = tuple(o.value for o in Outcome)
