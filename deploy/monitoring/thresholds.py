"""The numbers of `deploy/prometheus/thresholds.yaml`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

FILE: Final = Path(__file__).parent.parent / "prometheus" / "thresholds.yaml"

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d+)([smhd])")


def seconds(duration: str) -> int:
    """Seconds of a duration such as 10m. Raises ValueError."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is no duration such as 30s, 10m, 6h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def _checked(duration: str) -> str:
    seconds(duration)
    return duration


Duration = Annotated[str, AfterValidator(_checked)]


class Threshold(BaseModel):
    """One line of the file; what a line does not give is None."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    warning: float | None = None
    critical: float | None = None
    low: float | None = None
    high: float | None = None
    notable: float | None = None
    expected: float | None = None
    lasting: Duration = Field(default="0m", alias="for")
    window: Duration = "5m"


NAMES: Final = (
    "process_absent",
    "process_down",
    "loop_silent",
    "restarts",
    "partitions_unassigned",
    "watermark_delay",
    "lag_growing",
    "source_silent",
    "rejected_ratio",
    "aborted_transactions",
    "rebalances",
    "restore",
    "snapshot_failures",
    "snapshot_age",
    "uncoordinated",
    "model_missing",
    "model_age",
    "model_versions_differ",
    "recalibration_failures",
    "proposal_waiting",
    "flap_ratio",
    "feature_psi",
    "share_distance",
    "fit_ratio",
    "outlier_ratio",
    "missing_excess",
    "drift_unanswered",
)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All lines by name, with every duration divided by `haste`: tests do not wait for half an hour."""

    lines: dict[str, Threshold]
    haste: int = 1

    @classmethod
    def load(cls, path: Path = FILE, haste: int = 1) -> Thresholds:
        """Reads the file. Raises ValueError (pydantic's, too) where a line is missing, unknown or wrong."""
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        fields: dict[str, Any] = dict.fromkeys(NAMES, (Threshold, ...))
        whole = create_model("ThresholdFile", __config__=ConfigDict(extra="forbid"), **fields)
        read = whole.model_validate(content)
        return cls({name: getattr(read, name) for name in NAMES}, haste)

    def __getitem__(self, name: str) -> Threshold:
        return self.lines[name]

    def lasting(self, name: str) -> str:
        """How long it must last, as Prometheus writes it."""
        return self._hurried(self[name].lasting)

    def window(self, name: str) -> str:
        """How far is looked back."""
        return self._hurried(self[name].window)

    def _hurried(self, duration: str) -> str:
        if self.haste == 1:
            return duration
        return f"{max(seconds(duration) * 1000 // self.haste, 0)}ms"
