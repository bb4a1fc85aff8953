"""The reference of metrics: from the table, with what uses each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from consumer.metric_table import METRICS
from deploy.monitoring.panels import CALIBRATED, Board
from deploy.monitoring.rules import alerts, recordings
from deploy.monitoring.thresholds import Thresholds

_NAME: Final = re.compile(r"(?<!:)\bsegmenter_[a-z0-9_]+")
_RECORDED: Final = re.compile(r"\bjob:segmenter_[a-z0-9_]+:[a-z]+")
_PARTS: Final = ("_bucket", "_sum", "_count")


def metrics_in(expr: str, recorded: dict[str, str] | None = None) -> set[str]:
    """Names of the table (without prefix) that a query asks for, also through recording rules."""
    found = {_base(name.removeprefix("segmenter_")) for name in _NAME.findall(_RECORDED.sub("", expr))}
    for name in _RECORDED.findall(expr):
        found |= metrics_in((recorded or {})[name])
    return found


def _base(name: str) -> str:
    known = {metric.name for metric in METRICS}
    for part in _PARTS:
        if name not in known and name.endswith(part):
            return name.removesuffix(part)
    return name


def users(t: Thresholds, boards: Iterable[Board]) -> dict[str, list[str]]:
    """By metric: the alerts and boards that use it."""
    recorded = {rule.record: rule.expr for rule in recordings(t)}
    found: dict[str, list[str]] = {}

    def add(expr: str, user: str) -> None:
        for name in metrics_in(expr, recorded):
            users = found.setdefault(name, [])
            if user not in users:
                users.append(user)

    for alert in alerts(t):
        add(alert.expr, alert.name)
    add(CALIBRATED, "marks on every board")
    for board in boards:
        for row in board.rows:
            for panel in row.panels:
                for query in panel.queries:
                    add(query.expr, board.title.removeprefix("Segmenter / "))
    return found


def render(t: Thresholds, boards: Iterable[Board]) -> str:
    """The page, as Markdown."""
    used = users(t, boards)
    rows = [
        f"| `segmenter_{m.name}` | {m.kind} | {', '.join(m.labels) or '-'} | {m.unit} | {m.help} | "
        f"{', '.join(used.get(m.name, [])) or m.unused_because} |"
        for m in METRICS
    ]
    head = [
        "# Metrics",
        "",
        "Made by `make monitoring` from the service's table; do not edit. Customer ids are never labels.",
        "Figures of drift come from the coordinator and cover all workers: take the maximum over instances.",
        "",
        "| name | type | labels | unit | meaning | used by |",
        "|---|---|---|---|---|---|",
    ]
    alert_rows = [
        f"| [{a.name}](RUNBOOK.md#{a.anchor}) | {a.severity} | {t.lasting(a.threshold)} | `{a.expr}` |"
        for a in alerts(t)
    ]
    tail = ["", "# Alerts", "", "| name | severity | for | condition |", "|---|---|---|---|", *alert_rows, ""]
    return "\n".join([*head, *rows, *tail])
