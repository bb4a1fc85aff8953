"""Figures about the data: histograms, box plots, scatter, correlations, missing values."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from consumer.report.axes import ticks, title
from consumer.report.figures import COLOURS, DIVERGING, Figure, colour, figure, short
from consumer.report.findings import Findings
from consumer.report.table import Table
from online_model.exploration import Dots, means, on_axis

#: A phone shows a matrix of so many features.
_PHONE: Final = 8


def histograms(findings: Findings, table: Table) -> list[Figure]:
    """A small one per numeric feature."""
    made = []
    for name, group in groupby(table.rows, key=lambda row: str(row[0])):
        rows = list(group)
        j = findings.columns.name.index(name)
        transform = int(findings.columns.transform[j])
        edges = on_axis(np.array([*(row[3] for row in rows), rows[-1][4]], float), transform)
        trace = go.Bar(
            x=((edges[:-1] + edges[1:]) / 2).round(4).tolist(),
            y=[row[5] for row in rows],
            width=np.diff(edges).round(4).tolist(),
            marker={"color": COLOURS[0], "line": {"width": 0}},
            text=[
                f"{findings.units.value(j, _number(row[3]))} to {findings.units.value(j, _number(row[4]))}"
                for row in rows
            ],
            textposition="none",
            hovertemplate="%{text}: %{y:,}<extra></extra>",
        )
        layout = {
            "xaxis": {"tickangle": 0, **ticks(findings.units, j, float(edges[0]), float(edges[-1]))},
            "yaxis": {"showticklabels": False},
            "margin": {"t": 4, "b": 28, "l": 8, "r": 8},
            "bargap": 0.02,
        }
        small = figure(f"hist-{j}", title(findings.units, j), "", [trace], layout, 150)
        made.append(replace(small, is_small=True))
    return made


def _number(value: Any) -> float:
    return float(value)


def boxes(findings: Findings, table: Table) -> list[Figure]:
    """One per feature that matters, with a box per segment."""
    made, by_column = [], {name: list(rows) for name, rows in groupby(table.rows, lambda r: str(r[0]))}
    for j in findings.strongest[:8]:
        rows = by_column.get(findings.columns.name[j], [])
        transform = int(findings.columns.transform[j])
        traces, lowest, highest = [], np.inf, -np.inf
        for row in reversed(rows):
            code = findings.ids.index(str(row[3]))
            p5, q1, median, q3, p95 = on_axis(np.array(row[5:], float), transform).tolist()
            lowest, highest = min(lowest, p5), max(highest, p95)
            traces.append(
                go.Box(
                    orientation="h",
                    y=[short(str(row[4]), 24)],
                    lowerfence=[p5],
                    q1=[q1],
                    median=[median],
                    q3=[q3],
                    upperfence=[p95],
                    marker={"color": colour(code)},
                    hoverinfo="y",
                )
            )
        if not traces:
            continue
        layout = {
            "xaxis": ticks(findings.units, j, float(lowest), float(highest)),
            "yaxis": {"automargin": True, "tickfont": {"size": 10}},
            "margin": {"t": 4, "b": 30, "r": 8},
        }
        made.append(figure(f"box-{j}", title(findings.units, j), "", traces, layout, 70 + 42 * len(traces)))
    return made


def scatter(findings: Findings, j: int, other: int, found: list[Dots]) -> Figure:
    """Dots of two features, which are on their transformed scales."""
    traces = [
        go.Scatter(
            x=dots.at[:, 0].round(3).tolist(),
            y=dots.at[:, 1].round(3).tolist(),
            mode="markers",
            marker={"color": colour(code), "size": 6, "opacity": 0.75},
            hovertemplate="<extra>" + short(findings.model.segments[code].name) + "</extra>",
        )
        for code, dots in enumerate(found)
        if len(dots.at)
    ]
    points = np.concatenate([dots.at for dots in found])
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.ones(2))
    axis_x = ticks(findings.units, j, float(low[0]), float(high[0]))
    axis_y = ticks(findings.units, other, float(low[1]), float(high[1]))
    layout = {
        "xaxis": {"title": {"text": title(findings.units, j)}, "zeroline": False, **axis_x},
        "yaxis": {
            "title": {"text": title(findings.units, other)},
            "automargin": True,
            "zeroline": False,
            **axis_y,
        },
        "margin": {"t": 10},
    }
    name = f"{findings.units.label(j)} and {findings.units.label(other)}"
    return figure(f"scatter-{j}-{other}", name, "", traces, layout, 360)


def correlations(findings: Findings, table: Table) -> Figure | None:
    """The matrix as colours; None for a single feature."""
    names = list(dict.fromkeys(str(row[0]) for row in table.rows))
    if len(names) < 2:
        return None
    value = {(row[0], row[2]): row[4] for row in table.rows}
    labels = [short(findings.units.labelled(name), 30) for name in names]
    trace = go.Heatmap(
        z=[[1.0 if a == b else value[a, b] for b in names] for a in names],
        x=labels,
        y=labels,
        zmin=-1,
        zmax=1,
        colorscale=list(DIVERGING),
        xgap=1,
        ygap=1,
        showscale=False,
        hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>",
    )
    layout = {
        "yaxis": {"autorange": "reversed", "automargin": True, "tickfont": {"size": 10}, "showgrid": False},
        "xaxis": {"automargin": True, "tickangle": -60, "tickfont": {"size": 10}, "showgrid": False},
        "margin": {"t": 10},
    }
    caption = f"Orange: they rise together; blue: one falls when the other rises. {table.note}"
    made = figure("correlations", "Correlations", caption, [trace], layout, 200 + 22 * len(names))
    return replace(made, is_wide=len(names) > _PHONE)


def categories(findings: Findings) -> Figure | None:
    """Share of customers with each level of each category; None without any."""
    levels = [j for j in range(findings.columns.n) if findings.columns.one_hot[j]][::-1]
    if not levels:
        return None
    shares = np.nan_to_num(means(findings.customers.raw[:, levels]))
    words = [findings.levels.words(-1, j) for j in levels]
    bars = go.Bar(
        x=[None if word else round(share, 4) for share, word in zip(shares.tolist(), words, strict=True)],
        y=[short(findings.units.label(j), 30) for j in levels],
        orientation="h",
        marker={"color": COLOURS[0]},
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    layout = {"xaxis": {"tickformat": ".0%"}, "yaxis": {"automargin": True}, "margin": {"t": 10}}
    caption = "Share of the customers whose category is known."
    untold = [f"{findings.units.label(j)} {word}" for j, word in zip(levels, words, strict=True) if word]
    if untold:
        caption += f" Not drawn, because fewer than ten would be told: {', '.join(untold)}."
    return figure("categories", "Categories", caption, [bars], layout, 90 + 30 * len(levels))


def missing(table: Table) -> Figure | None:
    """Share of missing values now and at calibration; None if nothing is missing."""
    rows = [row for row in table.rows if (row[-2] or 0) or (row[-1] or 0)]
    if not rows:
        return None
    labels = [short(str(row[1]), 30) for row in rows][::-1]
    traces = [
        go.Bar(
            x=[row[place] for row in rows][::-1],
            y=labels,
            name=name,
            orientation="h",
            marker={"color": paint},
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )
        for place, name, paint in ((-1, "at calibration", COLOURS[9]), (-2, "now", COLOURS[1]))
    ]
    layout = {
        "xaxis": {"tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": {"automargin": True},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
    caption = "Customers for whom a feature is not known."
    return figure("missing", "Missing values", caption, traces, layout, 130 + 34 * len(rows))
