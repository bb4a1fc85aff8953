"""Figures about segments, time and the choice of the model. Colours of text and grid come from the page."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from consumer.report.few import share_shown
from consumer.report.findings import Findings
from consumer.report.table import Table
from consumer.report.words import minute, percent
from online_model.exploration import Dots

#: One per segment, by its place in the model; readable on light and on dark.
COLOURS: Final = (
    *("#3f7fd6", "#dd7a35", "#2a9d8f", "#c64b79", "#8b6fd0", "#b39b2e"),
    *("#4fa6c8", "#7c9b3c", "#d0564a", "#8f7d6d"),
)
#: From low over average to high.
DIVERGING: Final = (
    (0.0, "rgb(47,105,196)"),
    (0.25, "rgba(96,148,219,0.75)"),
    (0.5, "rgba(140,140,140,0.10)"),
    (0.75, "rgba(226,132,74,0.75)"),
    (1.0, "rgb(201,82,28)"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A Plotly figure under an `id`; `height` in pixels; `caption` says how to read it.

    A wide one is scrolled on a phone, a small one takes a quarter of the page.
    """

    id: str
    title: str
    caption: str
    spec: dict[str, Any]
    height: int = 360
    is_small: bool = False
    is_wide: bool = False


def figure(
    id: str, title: str, caption: str, traces: list[Any], layout: dict[str, Any], height: int = 360
) -> Figure:
    """A figure checked by Plotly."""
    made = go.Figure(data=traces, layout={"showlegend": False, **layout})
    made.update_layout(template=None)
    return Figure(id, title, caption, made.to_plotly_json(), height)


def colour(code: int) -> str:
    """Of the segment at a place in the model."""
    return COLOURS[code % len(COLOURS)]


def short(name: str, width: int = 26) -> str:
    """A name in lines of about `width` characters, safe for Plotly's markup."""
    text = name.replace("&", "&amp;").replace("<", "&lt;")
    return "<br>".join(textwrap.wrap(text, width, max_lines=3, placeholder="…", break_on_hyphens=False))


def brief(name: str, width: int = 30) -> str:
    """The beginning of a name, on one line."""
    if len(name) <= width:
        return short(name, width)
    return short(name[: width - 1].rstrip(" ,(-") + "…", width + 1)


def shares_now(findings: Findings) -> Figure:
    """A bar per segment."""
    sizes = findings.customers.by_segment
    order = sorted(range(findings.model.k), key=lambda code: sizes.get(findings.ids[code], 0))
    shares = [findings.share(findings.ids[code]) or 0.0 for code in order]
    bars = go.Bar(
        x=shares,
        y=[short(findings.name(findings.ids[code])) for code in order],
        orientation="h",
        marker={"color": [colour(code) for code in order]},
        text=[percent(share) if share else "<10" for share in shares],
        textposition="auto",
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    layout = {"xaxis": {"tickformat": ".0%"}, "yaxis": {"automargin": True}, "margin": {"t": 10}}
    caption = "Share of all customers per segment, counted."
    return figure("shares", "How large the segments are", caption, [bars], layout, 90 + 48 * len(order))


def timeline(findings: Findings) -> Figure | None:
    """Shares over time; None with a single version."""
    if len(findings.history) < 2:
        return None
    traces = []
    for code, segment in enumerate(findings.model.segments):
        points = [p for p in findings.history if segment.id in findings.shares_at(p)]
        traces.append(
            go.Scatter(
                x=[minute(p.at_us).removesuffix(" UTC") for p in points],
                y=[findings.shares_at(p)[segment.id] for p in points],
                name=short(segment.name),
                mode="lines+markers" if len(points) < 4 else "lines",
                line={"color": colour(code), "width": 2.5},
                hovertemplate="%{x}: %{y:.1%}<extra>" + short(segment.name) + "</extra>",
            )
        )
    layout = {
        "yaxis": {"tickformat": ".0%", "rangemode": "tozero", "automargin": True},
        "xaxis": {"type": "date", "nticks": 6},
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.18, "yanchor": "top"},
        "margin": {"t": 10},
    }
    caption = "Share of each segment among customers with a segment."
    return figure("timeline", "Shares over time", caption, traces, layout, 380 + 26 * findings.model.k)


def sankey(findings: Findings, moved: Table) -> Figure | None:
    """Flows between segments; None without a flow of ten customers or more."""
    flows = [(str(row[0]), str(row[2]), int(row[4])) for row in moved.rows if row[4]]
    if not flows:
        return None
    sources = list(dict.fromkeys(a for a, _, _ in flows))
    targets = list(dict.fromkeys(b for _, b, _ in flows))
    colours = {segment_id: colour(code) for code, segment_id in enumerate(findings.ids)}
    ends = [*sources, *targets]
    trace = go.Sankey(
        arrangement="snap",
        node={
            "label": [brief(findings.name(end)) for end in ends],
            "color": [colours.get(end, "#888888") for end in ends],
            "pad": 14,
            "thickness": 14,
            "line": {"width": 0},
            "hovertemplate": "%{label}: %{value:,}<extra></extra>",
        },
        link={
            "source": [sources.index(a) for a, _, _ in flows],
            "target": [len(sources) + targets.index(b) for _, b, _ in flows],
            "value": [n for _, _, n in flows],
            "color": [_faint(colours.get(a, "#888888")) for a, _, _ in flows],
            "hovertemplate": "%{source.label} to %{target.label}: %{value:,}<extra></extra>",
        },
    )
    caption = (
        f"Left: the segment before, right: the one now. The last move of each customer in the last "
        f"{findings.days:.0f} days; flows of fewer than ten customers are left out."
    )
    height = 200 + 34 * max(len(sources), len(targets))
    return figure("moves", "Who moved where", caption, [trace], {"margin": {"t": 10, "l": 8, "r": 8}}, height)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.38)"


def pca(findings: Findings, found: list[Dots]) -> Figure:
    """Dots of customers on the two directions of the largest variance, with the centres."""
    traces = [
        go.Scatter(
            x=dots.at[:, 0].round(3).tolist(),
            y=dots.at[:, 1].round(3).tolist(),
            mode="markers",
            name=short(findings.model.segments[code].name),
            marker={"color": colour(code), "size": 6, "opacity": 0.75},
            hovertemplate="<extra>" + short(findings.model.segments[code].name) + "</extra>",
        )
        for code, dots in enumerate(found)
        if len(dots.at)
    ]
    centres = findings.projection.of(findings.model.centroids)
    traces.append(
        go.Scatter(
            x=centres[:, 0].round(3).tolist(),
            y=centres[:, 1].round(3).tolist(),
            mode="markers",
            name="centre",
            showlegend=False,
            marker={
                "color": [colour(code) for code in range(findings.model.k)],
                "size": 15,
                "symbol": "diamond",
                "line": {"width": 2, "color": "#ffffff"},
            },
            text=[short(segment.name) for segment in findings.model.segments],
            hovertemplate="centre of %{text}<extra></extra>",
        )
    )
    first, second = findings.projection.explained
    layout = {
        "xaxis": {"title": {"text": short(f"{direction(findings, 0)} ({first:.0%})", 44)}, "zeroline": False},
        "yaxis": {
            "title": {"text": short(f"{direction(findings, 1)} ({second:.0%})", 44)},
            "zeroline": False,
            "automargin": True,
        },
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top"},
        "margin": {"t": 10},
    }
    caption = (
        f"All features squeezed into two directions (PCA), which hold {first + second:.0%} of the variance. "
        "Each dot is the mean of at least ten neighbours, a diamond the centre of a segment. Segments that "
        "overlap here may stand apart in other directions."
    )
    return figure(
        "pca", "How far apart the segments are", caption, traces, layout, 460 + 26 * findings.model.k
    )


def direction(findings: Findings, axis: int) -> str:
    """An axis by the features that make it up most: "more data use, less tenure"."""
    loadings = findings.projection.axes[axis]
    order = [j for j in np.argsort(-np.abs(loadings), kind="stable")[:2] if abs(loadings[j]) > 0]
    return ", ".join(f"{'more' if loadings[j] > 0 else 'less'} {findings.units.label(j)}" for j in order)


def separation(findings: Findings) -> Figure:
    """Mean place between border and centre per segment."""
    order = [c for c in range(findings.model.k) if findings.portraits[c].separation is not None][::-1]
    bars = go.Bar(
        x=[findings.portraits[code].separation for code in order],
        y=[short(findings.model.segments[code].name) for code in order],
        orientation="h",
        marker={"color": [colour(code) for code in order]},
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    layout = {"xaxis": {"range": [0, 1]}, "yaxis": {"automargin": True}, "margin": {"t": 10}}
    caption = "Where customers are on average: 0 on the border to the nearest segment, 1 in the centre."
    title = "Separation from the nearest segment"
    return figure("separation", title, caption, [bars], layout, 90 + 48 * len(order))


def significance(findings: Findings) -> Figure:
    """How much each feature is told by the segment."""
    order = np.array(findings.telling[:15][::-1])
    bars = go.Bar(
        x=findings.significance[order].round(4).tolist(),
        y=[short(findings.units.label(int(j)), 30) for j in order],
        orientation="h",
        marker={"color": COLOURS[0]},
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    layout = {"xaxis": {"tickformat": ".0%"}, "yaxis": {"automargin": True}, "margin": {"t": 10}}
    caption = "So much of the differences in a feature lies between the segments, and not within them."
    return figure("significance", "Most significant features", caption, [bars], layout, 90 + 26 * len(order))


def heatmap(findings: Findings) -> Figure:
    """Deviation of every segment in the features that matter."""
    chosen = findings.telling[:15]
    codes = [code for code in range(findings.model.k) if findings.is_described(code)]
    levels, profiles = findings.levels, findings.profiles
    deviations = [
        [None if levels.is_beside_hidden(c, j) else round(profiles[c].deviation[j], 2) for c in codes]
        for j in chosen
    ]
    values = [
        [levels.words(c, j) or findings.units.value(j, profiles[c].mean[j]) for c in codes] for j in chosen
    ]
    trace = go.Heatmap(
        z=deviations,
        x=[brief(findings.model.segments[code].name) for code in codes],
        y=[short(findings.units.label(j), 30) for j in chosen],
        text=values,
        zmin=-2,
        zmax=2,
        colorscale=list(DIVERGING),
        xgap=2,
        ygap=2,
        showscale=False,
        hovertemplate="%{x}<br>%{y}: %{text}<extra></extra>",
    )
    layout = {
        "yaxis": {"autorange": "reversed", "automargin": True, "showgrid": False},
        "xaxis": {
            "side": "top",
            "automargin": True,
            "tickangle": -90,
            "tickfont": {"size": 10},
            "showgrid": False,
        },
        "margin": {"t": 10},
    }
    caption = "Orange: more than everybody, blue: less; the values are in the table of profiles."
    title = "What the segments are like"
    return figure("heatmap", title, caption, [trace], layout, 240 + 28 * len(chosen))


def panel(findings: Findings) -> Figure | None:
    """Silhouette and stability of every k; None for a k that was given."""
    rows = findings.model.quality.panel
    if len(rows) < 2:
        return None
    ks = [row.k for row in rows]
    lines = (
        ("silhouette", [row.silhouette for row in rows], COLOURS[0]),
        ("stability", [row.stability for row in rows], COLOURS[2]),
        ("Davies-Bouldin", [row.davies_bouldin for row in rows], COLOURS[1]),
    )
    traces: list[Any] = [
        go.Scatter(x=ks, y=values, name=name, mode="lines+markers", line={"color": paint, "width": 2.5})
        for name, values, paint in lines
    ]
    mark = {
        "type": "line",
        **dict.fromkeys(("x0", "x1"), findings.model.quality.chosen),
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"dash": "dot", "color": "#888888"},
    }
    layout = {
        "xaxis": {"title": {"text": "segments"}, "dtick": 1},
        "yaxis": {"rangemode": "tozero", "automargin": True},
        "shapes": [mark],
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
    caption = f"{findings.model.quality.explanation} The dotted line marks the choice."
    return figure("panel", "Choice of the number of segments", caption, traces, layout)


def algorithms(findings: Findings) -> Figure | None:
    """Silhouette and Davies-Bouldin of the algorithms; None where they were not compared."""
    rows = findings.model.quality.comparison
    if not rows:
        return None
    names = [
        {"k-means": "K-Means", "ward": "Ward", "dbscan": "DBSCAN"}.get(r.algorithm, r.algorithm) for r in rows
    ]
    bars = (
        ("silhouette (more is better)", [row.silhouette for row in rows], COLOURS[0]),
        ("Davies-Bouldin (less is better)", [row.davies_bouldin for row in rows], COLOURS[1]),
        ("left out as noise", [share_shown(row.noise_share, row.sample_size) for row in rows], COLOURS[9]),
    )
    traces = [go.Bar(x=names, y=y, name=name, marker={"color": paint}) for name, y, paint in bars]
    layout = {
        "barmode": "group",
        "yaxis": {"automargin": True},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
    caption = "Three algorithms on the same customers. Scores leave out what an algorithm calls noise."
    lone = [name for name, row in zip(names, rows, strict=True) if row.n_clusters < 2]
    if lone:
        caption += f" {' and '.join(lone)} found no two clusters, so there is no score."
    return figure("algorithms", "K-Means beside hierarchical clustering and DBSCAN", caption, traces, layout)
