"""What stands where in a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import numpy as np

from consumer.report import figures, figures_data, tables, tables_data, tables_model
from consumer.report.axes import title as axis_title
from consumer.report.cards import Card, make_cards, reading_guide
from consumer.report.figures import Figure
from consumer.report.findings import Findings
from consumer.report.light import Light, drift_light
from consumer.report.table import Table
from consumer.report.words import decimal, minute, percent, thousands
from online_model.exploration import on_axis

_DISTINCT: Final = ((0.4, "very clearly"), (0.2, "clearly"), (0.1, "somewhat"), (0.0, "hardly"))
#: Tables with more rows are on the page as files only.
_LONGEST: Final = 80


@dataclass(frozen=True, slots=True)
class Section:
    """`figures` and `tables` under a title, after a few sentences.

    `is_open`: tables are shown at once; `heading`: of this section and those after it.
    """

    id: str
    title: str
    text: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    is_open: bool = False
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report.

    `tiles`: pairs of a caption and a figure in words; `warnings`: what is missing; `guide`: how to read the
    cards.
    """

    title: str
    as_of: str
    made: str
    light: Light
    tiles: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    guide: tuple[str, ...]
    cards: tuple[Card, ...]
    sections: tuple[Section, ...]
    colours: tuple[str, ...] = field(default=figures.COLOURS)

    @property
    def tables(self) -> list[Table]:
        """All of them."""
        return [table for section in self.sections for table in section.tables]

    @property
    def figures(self) -> list[Figure]:
        """All of them."""
        return [figure for section in self.sections for figure in section.figures]

    @staticmethod
    def is_long(table: Table) -> bool:
        """Whether a table is too long for the page."""
        return len(table.rows) > _LONGEST


def make_document(findings: Findings, title: str, made_us: int) -> Document:
    """Puts `findings` in order; `made_us`: now."""
    light = drift_light(findings)
    return Document(
        title=title,
        as_of=minute(findings.customers.as_of_us),
        made=minute(made_us),
        light=light,
        tiles=_tiles(findings),
        warnings=tuple(_warnings(findings)),
        guide=reading_guide(findings),
        cards=tuple(make_cards(findings)),
        sections=(
            _segments(findings),
            _time(findings),
            _drift(findings, light),
            _clusters(findings),
            _data(findings),
            _freshness(findings),
        ),
    )


def _tiles(findings: Findings) -> tuple[tuple[str, str], ...]:
    moved = findings.moved
    return (
        ("Customers", thousands(findings.total)),
        ("Segments", str(findings.model.k)),
        (f"Moved in {findings.days:.0f} days", thousands(moved) if moved >= 10 or not moved else "<10"),
        ("Segments differ", _distinct(findings.now.silhouette)),
    )


def _distinct(silhouette: float) -> str:
    """A silhouette in a word; of usage data 0.15 to 0.35 is what there is."""
    return next((word for least, word in _DISTINCT if silhouette >= least), "not at all")


def _warnings(findings: Findings) -> list[str]:
    """What the page lacks, and strategies that cannot work."""
    found = [f"Not in this report: {part}." for part in findings.customers.missing]
    impossible = findings.strategies.impossible(findings.columns.name)
    if impossible:
        found.append(
            f"{len(impossible)} of {len(findings.strategies.strategies)} strategies are about features that "
            "these customers do not have, so no segment can get them. Give a strategy file of your own "
            "(model.strategies)."
        )
    return found


def _segments(findings: Findings) -> Section:
    text = (
        "Each customer is in one segment: the group of customers whose use, bills and contract are most like "
        "theirs. Sizes count all customers; what segments are like is of "
        f"{tables.sample_note(findings)[3:]} Groups of fewer than ten customers are not shown anywhere."
    )
    drawn = (figures.shares_now(findings), figures.heatmap(findings))
    kept = (tables.segments(findings), tables.profiles(findings), tables.strategies(findings))
    return Section("segments", "Segments at a glance", text, drawn, kept)


def _time(findings: Findings) -> Section:
    moved = tables.moves(findings)
    drawn = (figures.timeline(findings), figures.sankey(findings, moved))
    silent = findings.customers.fell_silent
    text = ""
    if len(findings.history) < 2:
        text = "The segments were made only once so far, so there is no history of their shares. "
    if not findings.customers.moves:
        text += f"No customer moved between segments in the last {findings.days:.0f} days. "
    if silent >= 10:
        share = percent(silent / max(findings.total, 1))
        text += f"{thousands(silent)} customers ({share}) fell silent in the last {findings.days:.0f} days."
    kept = (moved, tables.recalibrated(findings), tables.shares(findings))
    return Section("time", "Shares and moves", text.strip(), _there(drawn), kept)


def _drift(findings: Findings, light: Light) -> Section:
    kept = (tables_model.drift(findings, light.texts), tables_model.models(findings))
    text = (
        "Customers of today are compared with those the segments were made from. Segments keep their names "
        "when they are made anew, as long as most of their customers stay together."
    )
    return Section("drift", "Do the segments still fit?", f"{light.sentence} {text}", (), kept, is_open=True)


def _clusters(findings: Findings) -> Section:
    found = findings.dots_of(findings.projection.of(findings.x))
    drawn = (
        figures.significance(findings),
        figures.pca(findings, found),
        figures.separation(findings),
        figures.panel(findings),
        figures.algorithms(findings),
    )
    axes = (figures.direction(findings, 0), figures.direction(findings, 1))
    kept = (
        tables_data.significance(findings),
        tables_model.quality(findings),
        tables_model.panel(findings),
        tables_model.comparison(findings),
        tables_data.scatter(findings, "pca", "Customers in two directions (PCA)", axes, found),
    )
    text = (
        "Segments are found by K-Means on scaled features. The silhouette is 1 where every customer is much "
        "closer to the own segment than to any other, and 0 where segments run into each other; "
        "Davies-Bouldin is small where segments are narrow and far apart."
    )
    heading = "For analysts: how the segments were made, and of what"
    title = "How the segments were found"
    return Section("clusters", title, text, _there(drawn), kept, heading=heading)


def _data(findings: Findings) -> Section:
    seen, spread = tables_data.features(findings), tables_data.boxes(findings)
    counted, related = tables_data.histograms(findings), tables_data.correlations(findings)
    drawn: list[Figure | None] = [
        *figures_data.histograms(findings, counted),
        *figures_data.boxes(findings, spread),
    ]
    kept = [seen, counted, spread, related]
    for j, other in combinations(findings.strongest[:3], 2):
        points = np.stack(
            [
                on_axis(findings.customers.raw[:, column], int(findings.columns.transform[column]))
                for column in (j, other)
            ],
            axis=1,
        )
        found = findings.dots_of(points)
        picture = figures_data.scatter(findings, j, other, found)
        drawn.append(picture)
        axes = (f"{axis_title(findings.units, j)}, scaled", f"{axis_title(findings.units, other)}, scaled")
        name = f"scatter_{findings.columns.name[j]}_{findings.columns.name[other]}"
        kept.append(tables_data.scatter(findings, name, f"Scatter: {picture.title}", axes, found))
    drawn += [
        figures_data.categories(findings),
        figures_data.correlations(findings, related),
        figures_data.missing(seen),
    ]
    text = (
        f"{tables.sample_note(findings)} Skewed features are on a logarithmic scale, shares on one that "
        "spreads small ones. Boxes reach from the lower to the upper quarter, whiskers from the 5th to the "
        "95th percentile; each dot of a scatter is the mean of at least ten neighbours."
    )
    return Section("data", "The data behind it", text, _there(drawn), tuple(kept))


def _freshness(findings: Findings) -> Section:
    parts = findings.customers.parts
    oldest = min(part.as_of_us for part in parts)
    hours = (findings.customers.as_of_us - oldest) / 3.6e9
    text = f"Events up to {minute(findings.customers.as_of_us)}"
    text += f"; the part furthest behind is {decimal(hours)} hours older." if hours >= 0.1 else "."
    return Section("freshness", "Data freshness", text, (), (tables_model.freshness(findings),), is_open=True)


def _there(drawn: tuple[Figure | None, ...] | list[Figure | None]) -> tuple[Figure, ...]:
    return tuple(figure for figure in drawn if figure is not None)
