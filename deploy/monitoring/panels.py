"""What a board consists of, independent of how Grafana writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["stat", "series", "stacked", "table", "timeline", "heatmap"]
Color = Literal["green", "yellow", "red"]

#: Width of a board in Grafana's units.
WIDTH: Final = 24

#: A new calibration moves customers: every board marks when.
CALIBRATED: Final = (
    'changes(max by (job) (segmenter_model_calibrated_timestamp_seconds{job="$job"})[2m:]) > 0'
)


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query; `legend` names its series (`{{label}}`)."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `steps`: a colour from a value on, the first from minus infinity; `words`: texts for values.

    `empty`: why it may have no data while all is well ("" if it must have some).
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    kind: Kind = "series"
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: tuple[tuple[float | None, Color], ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    empty: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; `uid` is its address and never changes."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]


def metric(name: str, labels: str = "") -> str:
    """The selector of a metric of the chosen instances; `labels` are further matchers."""
    more = f", {labels}" if labels else ""
    return f'segmenter_{name}{{job="$job", instance=~"$instance"{more}}}'


def process(name: str) -> str:
    """The selector of a metric of the process or of the interpreter."""
    return f'{name}{{job="$job", instance=~"$instance"}}'


def recorded(name: str) -> str:
    """The selector of a recording rule."""
    return f'job:segmenter_{name}{{job="$job"}}'


def rate(name: str, labels: str = "", by: str = "") -> str:
    """Increase per second, summed over the instances, by labels if told."""
    return f"sum{_by(by)} (rate({metric(name, labels)}[$__rate_interval]))"


def total(name: str, labels: str = "", by: str = "") -> str:
    """Sum over the instances."""
    return f"sum{_by(by)} ({metric(name, labels)})"


def largest(name: str, labels: str = "", by: str = "") -> str:
    """The largest of the instances: figures that only the coordinator has."""
    return f"max{_by(by)} ({metric(name, labels)})"


def quantile(q: float, name: str, by: str = "") -> str:
    """Quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    buckets = f"sum by ({labels}) (rate({metric(f'{name}_bucket')}[$__rate_interval]))"
    return f"histogram_quantile({q:g}, {buckets})"


def mean(name: str, by: str = "") -> str:
    """Mean of a histogram's observations."""
    return f"{rate(f'{name}_sum', by=by)} / {rate(f'{name}_count', by=by)}"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
