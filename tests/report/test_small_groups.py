"""Groups of fewer than ten customers are told by nothing in a report, not even by a difference."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from plotly.offline import get_plotlyjs

from consumer.models.files import load_strategies
from consumer.report.cards import make_cards
from consumer.report.customers import Customers, Part
from consumer.report.document import Document, make_document
from consumer.report.findings import Findings, find
from consumer.report.page import render
from consumer.report.replay_source import ReplaySource
from consumer.report.services import services_of
from consumer.report.words import Units
from tests.report.conftest import NOW_US, Month

FEW = 7


def with_few(month: Month, few: int) -> Findings:
    """The month, of which the first segment has only `few` customers, and one flow too."""
    scene = month.scene
    scene.replay.write_results(scene.models.parent)
    model = scene.replay.versions[-1]
    first, second = model.segments[0].id, model.segments[1].id
    everybody, table = Customers("a test"), pq.read_table(scene.models.parent / "customers.parquet")
    raw = ReplaySource(scene.models.parent, model)._add(table, 1, everybody)
    kept, seen = [], 0
    for row, segment in enumerate(everybody.segments):
        seen += segment == first
        if segment != first or seen <= few:
            kept.append(row)
    segments = [everybody.segments[row] for row in kept]
    customers = Customers(
        "a test",
        total=len(kept),
        by_segment=Counter(segments),
        moves=Counter({(first, second): few, (second, first): 20}),
        fell_silent=few,
        raw=raw[kept],
        segments=segments,
        parts=[Part("all", len(kept), model.created_us, "")],
    )
    units = Units(scene.replay.core.plan.columns, "EUR")
    return find(scene.replay.versions, None, customers, units, load_strategies(None), 30.0)


@pytest.fixture(scope="module")
def findings(month: Month) -> Findings:
    """Seven customers in the first segment."""
    return with_few(month, FEW)


@pytest.fixture(scope="module")
def document(findings: Findings) -> Document:
    """Its report."""
    return make_document(findings, "Few", NOW_US)


def test_the_card_says_nothing(findings: Findings) -> None:
    """But that they are few, and what the strategy is."""
    first = findings.ids[0]
    (card,) = [card for card in make_cards(findings) if card.id == first]
    assert (card.size, card.share, card.trend) == ("fewer than 10 customers", "", "")
    assert (card.features, card.facts, card.services) == ((), (), "")
    assert (card.example, card.apart) == ("", "")
    assert card.strategy is not None


def test_the_whole_is_without_them(findings: Findings) -> None:
    """Else the difference to the others would tell their number."""
    shown = [findings.size(segment) for segment in findings.customers.by_segment]
    assert findings.total == sum(size for size in shown if size is not None)
    assert findings.total == findings.customers.total - FEW
    assert findings.moved == 20
    assert sum(findings.share(i) or 0.0 for i in findings.customers.by_segment) == pytest.approx(1.0)


def test_two_small_ones_hide_each_other(findings: Findings) -> None:
    """Together they are ten or more, and the whole may be told."""
    counted = findings.customers.by_segment + Counter({"s77": FEW})
    customers = replace(findings.customers, by_segment=counted, total=findings.customers.total + FEW)
    assert replace(findings, customers=customers).total == customers.total


def test_no_table_has_them(findings: Findings, document: Document) -> None:
    """Profiles, boxes, dots and flows are of other segments; counts are never one to nine."""
    first = findings.ids[0]
    by_name = {table.name: table for table in document.tables}
    scatters = [name for name in by_name if name.startswith("scatter")]
    for name in ("profiles", "boxes", "pca", *scatters):
        assert by_name[name].rows
        assert first not in {value for row in by_name[name].rows for value in row}
    (row,) = [row for row in by_name["segments"].rows if row[0] == first]
    assert row[2:9] == (None,) * 2 + row[4:6] + (None,) * 3
    assert by_name["moves"].texts()[-1][-1] == "<10"
    for table in document.tables:
        for place, column in enumerate(table.columns):
            if column.name == "customers":
                assert not {row[place] for row in table.rows} & set(range(1, 10)), table.name


def test_no_figure_has_them(findings: Findings, document: Document) -> None:
    """The flow of seven is not drawn, nor a dot, nor a bar of their share."""
    by_id = {figure.id: figure.spec for figure in document.figures}
    assert [int(value) for value in by_id["moves"]["data"][0]["link"]["value"]] == [20]
    assert 0.0 in by_id["shares"]["data"][0]["x"]
    page = render(document, "few_tables")
    assert not re.search(rf"\b{FEW} customers", page.replace(get_plotlyjs(), ""))


def test_services_of_few_are_not_told(month: Month) -> None:
    """Neither who has one, nor who has none of it."""
    findings = with_few(month, 100)
    code = 1
    held: list[list[str] | None] = [None] * len(findings.customers.segments)
    members = np.flatnonzero(findings.codes == code)

    def told(**having: int) -> str:
        services = list(held)
        for place, row in enumerate(members):
            services[row] = [name for name, n in having.items() if place < n]
        return services_of(replace(findings, customers=replace(findings.customers, services=services)), code)

    n = len(members)
    assert n >= 30
    assert told(tv=n, music=n - 9, cloud=9) == "Most have: TV (100 %), music (nearly all)."
    assert (
        told(tv=n // 2 - 1, cloud=9) == f"No service that most have; the most common is TV ({percent_of(n)})."
    )
    assert told(cloud=9) == told(other=n) == ""
    assert services_of(replace(findings, customers=replace(findings.customers, services=held)), code) == ""


def percent_of(n: int) -> str:
    """One less than a half."""
    return f"{(n // 2 - 1) / n * 100:.0f} %"


def test_ten_are_enough(month: Month) -> None:
    """The bound itself is shown."""
    findings = with_few(month, 10)
    assert findings.size(findings.ids[0]) == 10
    assert findings.is_described(0)
    assert findings.total == findings.customers.total
