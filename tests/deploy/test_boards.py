"""Boards are what Grafana takes and what its linter asks for; the reference names what uses each metric."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from consumer.metric_table import METRICS
from deploy.monitoring.boards import boards
from deploy.monitoring.grafana import to_json
from deploy.monitoring.panels import Board, Panel
from deploy.monitoring.reference import metrics_in, render, users
from deploy.monitoring.rules import alerts, recordings
from deploy.monitoring.thresholds import Thresholds
from tests.deploy.runbook import entries

T = Thresholds.load()
BOARDS = boards(T)
PANELS = [(board, panel) for board in BOARDS for row in board.rows for panel in row.panels]


def content(board: Board) -> dict[str, Any]:
    """The board as Grafana reads it."""
    parsed: dict[str, Any] = json.loads(to_json(board))
    return parsed


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_grafana_takes_the_board(board: Board, grafana_schema: dict[str, Any]) -> None:
    """By its JSON Schema, where it is at hand."""
    jsonschema.validate(content(board), grafana_schema)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_board_has_what_every_board_has(board: Board) -> None:
    """Variables, a link to the others, calibrations marked; not to be edited in place."""
    body = content(board)
    assert body["uid"] == board.uid
    assert body["editable"] is False
    assert [variable["name"] for variable in body["templating"]["list"]] == ["datasource", "job", "instance"]
    assert body["links"][0]["tags"] == body["tags"] == ["telecom-segmenter"]
    assert "Calibrations" in [annotation["name"] for annotation in body["annotations"]["list"]]
    places = [panel["gridPos"] for panel in body["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    taken = {
        (x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])
    }
    assert len(taken) == sum(place["w"] * place["h"] for place in places), "panels overlap"


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda item: getattr(item, "title", None))
def test_the_panel_is_complete(board: Board, panel: Panel) -> None:
    """Title, description and unit; queries of the chosen job; rates over the interval of the board."""
    assert panel.title
    assert panel.description.endswith("."), panel.description
    assert panel.unit
    for query in panel.queries:
        selectors = re.findall(r"[A-Za-z_:]+\{[^}]*\}", query.expr)
        assert selectors, query.expr
        assert all('job="$job"' in s or s.startswith("ALERTS") for s in selectors), query.expr
        assert not re.search(r"\[(?!\$__rate_interval|2m:)", query.expr), query.expr
        grouped = re.findall(r"\{\{(\w+)\}\}", query.legend)
        assert all(label in query.expr or label == "instance" for label in grouped), query.legend


def test_titles_are_told_apart() -> None:
    """A panel is found by its title, on one board."""
    for board in BOARDS:
        titles = [panel.title for row in board.rows for panel in row.panels]
        assert len(set(titles)) == len(titles)


def test_every_metric_is_used_or_says_why_not() -> None:
    """And what is used exists."""
    used = users(T, BOARDS)
    there = {metric.name for metric in METRICS}
    asked = {name for name in used if not name.startswith(("process_", "python_", "scrape_"))}
    assert asked <= there
    for metric in METRICS:
        assert metric.help.endswith("."), metric.name
        assert (metric.name in used) != bool(metric.unused_because), metric.name
        assert not {"customer", "customer_id"} & set(metric.labels)


def test_every_recording_rule_is_used() -> None:
    """By an alert or a panel."""
    asked = " ".join([a.expr for a in alerts(T)] + [q.expr for _, p in PANELS for q in p.queries])
    assert all(rule.record in asked for rule in recordings(T))


def test_every_alert_has_an_entry_in_the_runbook() -> None:
    """With what it means, what may cause it, what to run and when to call for help."""
    found = entries()
    assert set(found) == {alert.name for alert in alerts(T)}
    for name, entry in found.items():
        for part in ("**Means.**", "**Causes.**", "**Do.**", "*Mend.*", "**Escalate.**"):
            assert part in entry.text, f"{name} lacks {part}"
        assert entry.look, name


def test_the_reference_follows_recording_rules() -> None:
    """A board that shows a recorded rate uses the counter behind it."""
    recorded = {rule.record: rule.expr for rule in recordings(T)}
    assert metrics_in('job:segmenter_rejected:ratio{job="x"}', recorded) == {"events_total"}
    assert metrics_in("rate(segmenter_commit_duration_seconds_bucket[5m])") == {"commit_duration_seconds"}
    assert "| `segmenter_feature_psi` |" in render(T, BOARDS)
