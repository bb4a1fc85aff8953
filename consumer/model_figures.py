"""The model and its drift as metrics and on the status page, in workers and in coordinators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from consumer.core import Core
from consumer.drift_figures import DriftFigures, figures_of
from consumer.metric_table import Recalibrated
from consumer.metrics import Metrics
from online_model.drift import Drift
from online_model.drift_rule import Alarm
from online_model.model import Model, origin_of

_log = structlog.get_logger("recorder")


class ModelFigures:
    """What is known about the live model. Alarms are logged once when they come up.

    `outcomes`: how many recalibrations of this process came to what; `has_proposal`: whether one waits.
    """

    def __init__(
        self,
        core: Core,
        metrics: Metrics,
        outcomes: Mapping[Recalibrated, int],
        has_proposal: Callable[[], bool],
    ) -> None:
        self._core = core
        self._metrics = metrics
        self._outcomes = outcomes
        self._seen: Counter[Recalibrated] = Counter()
        self._has_proposal = has_proposal
        self._version = 0
        self._drift = DriftFigures(0)
        self._shown: tuple[Drift | None, Model] | None = None
        self._alarms: list[Alarm] = []

    def record(self, coordinates: bool) -> None:
        """Sets the gauges; `coordinates`: whether this process owns the deltas.

        Drift is shown by the owner alone: what a former one has measured would stay up, and what alerts look
        at is the largest of all workers.
        """
        active, coordinator = self._core.engine.active, self._core.coordinator
        self._metrics.set_coordinating(coordinates)
        if active is not None and active.model.version != self._version:
            model = active.model
            self._version = model.version
            origin = origin_of(model)
            calibrated_us = model.created_us if origin is None else origin.calibrated_us
            self._metrics.set_model(model.version, model.k, model.spec_hash, calibrated_us)
        self._record_drift(coordinates)
        self._metrics.set_model_age(coordinator.model_age_us)
        self._record_alarms(coordinator.alarms if coordinates else [])
        self._metrics.set_proposal(self._has_proposal())
        for came_of_it, n in self._outcomes.items():
            self._metrics.record_recalibrations(came_of_it, n - self._seen[came_of_it])
            self._seen[came_of_it] = n

    def _record_drift(self, coordinates: bool) -> None:
        """That of the last scan, once: there are hundreds of figures, and scans are hours apart."""
        model = self._core.coordinator.model
        drift = self._core.coordinator.drift if coordinates else None
        if model is None or (drift is not None and drift.share_distance is None):
            return
        if self._shown is None or self._shown[0] is not drift or self._shown[1] is not model:
            self._shown = (drift, model)
            self._drift = DriftFigures(0) if drift is None else figures_of(drift, model)
            self._metrics.set_drift(self._drift)

    def _record_alarms(self, alarms: list[Alarm]) -> None:
        up = {(alarm.kind, alarm.subject, alarm.severity): alarm.text for alarm in alarms}
        before = {(alarm.kind, alarm.subject, alarm.severity) for alarm in self._alarms}
        self._metrics.set_alarms(up)
        for (kind, subject, severity), text in up.items():
            if (kind, subject, severity) not in before:
                write = _log.info if severity == "note" else _log.warning
                write("drift", kind=kind, severity=severity, reason=text)
        self._alarms = alarms

    def status(self) -> dict[str, Any]:
        """What /status shows of it. Runs on the HTTP thread."""
        drift = self._drift
        active = self._core.engine.active
        model = None if active is None else active.model
        return {
            "model": None
            if model is None
            else {"version": model.version, "k": model.k, "kind": model.kind, "created_us": model.created_us},
            "drift": {
                "samples": drift.samples,
                **drift.overall,
                "feature_psi": drift.labelled.get("feature_psi", {}),
            },
            "alarms": [{"severity": alarm.severity, "reason": alarm.text} for alarm in self._alarms],
        }
