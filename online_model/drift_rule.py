"""Which drift calls for a look, and which for a recalibration: thresholds, persistence, one combined rule.

A figure beyond its threshold in one scan is an accident; in two thirds of a day's scans it is drift, until
less than a third is left. (A window of 30 days holds eight weekend days or ten: for half a day a week
that alone looks like drift.) A recalibration is called for when a figure is far beyond, or when the
input has drifted *and* the model fits it worse: either alone is for a person to look at. While a feature
is missing, recalibrating would learn the gap, so nothing acts. This decides; it starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from online_model.drift import Drift
from online_model.drift_kinds import KINDS
from online_model.model import Model
from online_model.observation import Level, Observation, Raised
from online_model.plan import DAY_US
from online_model.scan_means import changed

Severity = Literal["note", "watch", "act"]

_ORDER: Final[tuple[Severity, ...]] = ("act", "watch", "note")
_BY_NAME: Final = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class DriftPolicy:
    """A signal is on from the share `on` of the last scans, and off again below the share `off`.

    The last scans are the measured ones of the last `window_us` of event time, `least` at least; a scan
    with too few customers is not measured. `calm_us`: event time after a calibration in which nothing is
    raised. A change of a mean counts for `least` scans.
    """

    window_us: int = DAY_US
    least: int = 6
    on: float = 2 / 3
    off: float = 1 / 3
    calm_us: int = DAY_US

    def __post_init__(self) -> None:
        if not 0 < self.off <= self.on <= 1 or min(self.window_us, self.least, self.calm_us) < 0:
            raise ValueError("need 0 < off <= on <= 1, and no negative time or number")


@dataclass(frozen=True, slots=True)
class Alarm:
    """A remark (`note`), a reason to look (`watch`) or to calibrate again (`act`); `text` is for people.

    `withholds`: nothing but a person may recalibrate before it is gone.
    """

    kind: str
    subject: str
    severity: Severity
    text: str
    withholds: bool = False


def observe(drift: Drift, model: Model, scan_id: int, boundary_us: int) -> Observation:
    """What of a scan's drift, counted under `model`, is beyond the thresholds."""
    if drift.means is None:
        return Observation(scan_id, boundary_us, drift.n_rows, measured=False)
    segments = [segment.id for segment in model.segments]
    raised: list[Raised] = []
    for name, subjects, values in _figures(drift, model, segments):
        for subject, value in zip(subjects, values, strict=True):
            level = _BY_NAME[name].level(value)
            if level is not None:
                raised.append(Raised(name, subject, level, value))
    shift = [drift.error_ratio or np.nan, *drift.means.tolist()]
    means = [value if np.isfinite(value) else None for value in shift]
    return Observation(scan_id, boundary_us, drift.n_rows, True, raised, means)


def _figures(
    drift: Drift, model: Model, segments: Sequence[str]
) -> Iterable[tuple[str, Sequence[str], list[float]]]:
    by_column = {"psi": drift.psi, "missing": drift.missing, "clipped": drift.clipped}
    for name, values in by_column.items():
        if values is not None:
            yield name, model.columns, values.tolist()
    by_segment = {"segment_error": drift.error_ratio_by_segment, "displacement": drift.displacement}
    for name, values in by_segment.items():
        if values is not None:
            yield name, segments, values.tolist()
    ratio, reference = drift.error_ratio, model.reference
    overall = {
        "share": drift.share_distance,
        "error": ratio,
        "shrinking": 1 / ratio if ratio else None,
        "outliers": drift.outlier_ratio,
        "silhouette": _fall(drift.silhouette, reference.silhouette),
        "davies_bouldin": _rise(drift.davies_bouldin, reference.davies_bouldin),
    }
    for name, value in overall.items():
        if value is not None:
            yield name, ("",), [value]


def _fall(now: float | None, then: float | None) -> float | None:
    return None if now is None or then is None or then <= 0 else 1 - now / then


def _rise(now: float | None, then: float | None) -> float | None:
    return None if now is None or then is None or then <= 0 else now / then - 1


def decide(
    history: Sequence[Observation],
    columns: Sequence[str],
    calibrated_us: int | None,
    policy: DriftPolicy | None = None,
) -> list[Alarm]:
    """Alarms that are up after the newest of `history`, the scans since the calibration, oldest first.

    `columns`: the model's, in order. `calibrated_us`: event time of the calibration; where it is not
    known there is no age. Those to act on come first.
    """
    rules = policy or DriftPolicy()
    if not history:
        return []
    age_us = 0 if calibrated_us is None else history[-1].boundary_us - calibrated_us
    if calibrated_us is not None and age_us < rules.calm_us:
        return []
    measured = [seen for seen in history if seen.measured]
    active = _persistent(measured, rules)
    for name in changed([seen.means for seen in measured], ["error", *columns], rules.least):
        active.append(Raised("change_point", name, "note", 1.0))
    age = _BY_NAME["age"].level(age_us / DAY_US)
    if age is not None:
        active.append(Raised("age", "", age, age_us / DAY_US))
    return _combined(active)


@dataclass(slots=True)
class _Signal:
    """Levels of one figure over the scans, and whether it is on."""

    levels: list[Level | None] = field(default_factory=list)
    value: float = 0.0


def _persistent(measured: Sequence[Observation], rules: DriftPolicy) -> list[Raised]:
    """Signals that are on after the last scan, with the level that has persisted and their last value."""
    signals: dict[tuple[str, str], _Signal] = {}
    starts = _starts([seen.boundary_us for seen in measured], rules)
    for number, seen in enumerate(measured):
        for item in seen.raised:
            signal = signals.setdefault((item.kind, item.subject), _Signal())
            signal.levels += [None] * (number - len(signal.levels))
            signal.levels.append(item.level)
            signal.value = item.value
    found = []
    for (kind, subject), signal in signals.items():
        levels = signal.levels + [None] * (len(measured) - len(signal.levels))
        if _is_on([level is not None for level in levels], starts, rules):
            lasting: Level = "watch"
            for level in ("act", "hold"):
                if _is_on([other == level for other in levels], starts, rules):
                    lasting = level
            found.append(Raised(kind, subject, lasting, signal.value))
    return found


def _starts(boundary_us: Sequence[int], rules: DriftPolicy) -> list[int]:
    """Where the window that ends with each scan begins; it may begin before the first scan."""
    starts, first = [], 0
    for end, newest in enumerate(boundary_us):
        while boundary_us[first] <= newest - rules.window_us:
            first += 1
        starts.append(min(first, end + 1 - rules.least))
    return starts


def _is_on(flags: Sequence[bool], starts: Sequence[int], rules: DriftPolicy) -> bool:
    on = False
    for end, start in enumerate(starts):
        share = sum(flags[max(start, 0) : end + 1]) / (end + 1 - start)
        on = share >= (rules.off if on else rules.on)
    return on


def _combined(active: Sequence[Raised]) -> list[Alarm]:
    """The combined rule over signals that are on."""
    held = [item for item in active if item.level == "hold"]
    drifted = [item for item in active if _BY_NAME[item.kind].role == "input"]
    unfit = [item for item in active if _BY_NAME[item.kind].role == "fit"]
    alarms = []
    for item in active:
        text = _text(item)
        if item.level == "hold":
            text += "; no recalibration before it is back"
        severity: Severity = "note" if item.level == "note" else "watch"
        if item.level == "act" and not held:
            severity = "act"
        alarms.append(Alarm(item.kind, item.subject, severity, text, item.level == "hold"))
    if drifted and unfit and not held:
        both = f"{_text(drifted[0])}, and {_text(unfit[0])}"
        alarms.append(Alarm("combined", "", "act", both))
    return sorted(alarms, key=lambda alarm: _ORDER.index(alarm.severity))


def _text(item: Raised) -> str:
    return _BY_NAME[item.kind].says.format(subject=item.subject, value=item.value)
