"""Groups of fewer than ten customers are told by nothing in a report, not even by a difference."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from msgspec import structs
from plotly.offline import get_plotlyjs

from consumer.models.files import load_strategies
from consumer.report import tables_data
from consumer.report.cards import make_cards
from consumer.report.customers import Customers, Part
from consumer.report.document import Document, make_document
from consumer.report.few import is_few
from consumer.report.findings import Findings, find
from consumer.report.page import render
from consumer.report.replay_source import ReplaySource
from consumer.report.services import services_of
from consumer.report.tables import sample_note, segments
from consumer.report.words import Units
from online_model.plan import DAY_US
from tests.report.conftest import NOW_US, Month

FEW = 7
#: What stands for a share that is not told.
WORDS = {"<10", "nearly all", "most", "some", "none", "all"}
CONTRACTS = ("month-to-month", "one-year", "two-year")


def with_few(month: Month, few: int, two_years: int | None = None) -> Findings:
    """The month, of which the first segment has only `few` customers, and one flow too.

    Of the second segment `two_years` have a contract of two years, all others one from month to month. The
    newest version is of three days later than the others, with the customers that are left.
    """
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
    raw = raw[kept]
    if two_years is not None:
        of_second = np.flatnonzero([segment == second for segment in segments])
        monthly, one_year, two_year = (model.columns.index(f"contract={name}") for name in CONTRACTS)
        for column in (monthly, one_year, two_year):
            raw[of_second, column] = 0.0
        raw[of_second[:two_years], two_year] = 1.0
        raw[of_second[two_years:], monthly] = 1.0
    customers = Customers(
        "a test",
        total=len(kept),
        by_segment=Counter(segments),
        moves=Counter({(first, second): few, (second, first): 20}),
        fell_silent=few,
        raw=raw,
        segments=segments,
        parts=[Part("all", len(kept), model.created_us, "")],
    )
    units = Units(scene.replay.core.plan.columns, "EUR")
    weights = np.array([float(Counter(segments)[segment.id]) for segment in model.segments])
    grown = replace(
        model,
        version=model.version + 1,
        kind="folded",
        created_us=model.created_us + 3 * DAY_US,
        covers=structs.replace(model.covers, boundary_us=model.covers.boundary_us + 3 * DAY_US),
        weights=weights,
    )
    versions = [*scene.replay.versions, grown]
    return find(versions, None, customers, units, load_strategies(None), 30.0)


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
    assert row[2:9] == (None,) * 7, "neither a trend: with an earlier share it is a size"
    assert by_name["moves"].texts()[-1][-1] == "<10"
    for table in document.tables:
        for place, column in enumerate(table.columns):
            if column.name == "customers":
                assert not {row[place] for row in table.rows} & set(range(1, 10)), table.name


def test_what_hangs_on_their_number_is_not_told(findings: Findings, document: Document) -> None:
    """Earlier shares and what else would fit them; a trend of others is among those that are shown."""
    first = findings.ids[0]
    by_name = {table.name: table for table in document.tables}
    names = [column.name for column in by_name["shares_over_time"].columns]
    over_time: list[dict[str, Any]] = [
        dict(zip(names, row, strict=True)) for row in by_name["shares_over_time"].rows
    ]
    assert {row["share"] for row in over_time if row["segment_id"] == first} == {None}
    for version in {row["version"] for row in over_time}:
        shares = [row["share"] for row in over_time if row["version"] == version]
        assert sum(share for share in shares if share is not None) == pytest.approx(1.0)
    (row,) = [row for row in by_name["strategies"].rows if row[0] == first]
    assert row[-1] is None
    now = {row["segment_id"]: row["share"] for row in over_time if row["version"] == findings.model.version}
    trends: dict[Any, Any] = {row[0]: row[4] for row in by_name["segments"].rows if row[4] is not None}
    assert len(trends) > 3
    for segment, change in trends.items():
        point = findings.daily[0]
        whole = sum(n for i, n in point.customers.items() if i != first)
        assert change == pytest.approx(now[segment] - point.customers[segment] / whole)
    assert len(named(document, "timeline")["data"][0]["x"]) == 0


def named(document: Document, name: str) -> Any:
    """The specification of a figure."""
    return next(figure.spec for figure in document.figures if figure.id == name)


def test_notes_count_in_tens(findings: Findings, document: Document) -> None:
    """What features, correlations and scores are of is no whole to subtract from."""
    notes = {table.name: table.note for table in document.tables}
    counted = {
        "correlations": re.findall(r"of ([\d,]+) customers", notes["correlations"]),
        "quality": re.findall(r"now of ([\d,]+) in", notes["quality"]),
    }
    for name, found in counted.items():
        assert len(found) == 1, name
        assert int(found[0].replace(",", "")) % 10 == 0, name
    assert len(findings.customers.raw) % 10, "else nothing was tested"
    sampled = replace(findings, customers=replace(findings.customers, total=5000))
    (n,) = re.findall(r"sample of ([\d,]+) of", sample_note(sampled))
    assert int(n.replace(",", "")) == len(findings.customers.raw) // 10 * 10


def test_missing_values_of_few_are_not_told(findings: Findings) -> None:
    """Neither now nor at the calibration, whose customers are as many as its profiles say."""
    fitted = sum(segment.profile.size for segment in findings.model.segments if segment.profile)
    reference = findings.model.reference
    missing = np.full(len(reference.missing), 0.5)
    missing[:3] = [0.0, 9 / fitted, 20 / fitted]
    model = replace(findings.model, reference=replace(reference, missing=missing))
    raw = findings.customers.raw.copy()
    raw[:9, 0] = np.nan
    raw[9:, 1] = np.nan
    raw[:10, 2] = np.nan
    changed = replace(findings, models=[model], customers=replace(findings.customers, raw=raw))
    rows = tables_data.features(changed).rows
    assert [row[-1] for row in rows[:3]] == [0.0, None, 20 / fitted]
    assert [row[-2] for row in rows[:3]] == [None, None, 10 / len(raw)]


def test_shares_at_the_border_are_not_of_few(findings: Findings) -> None:
    """On the card and in the table."""
    code = 1
    n = findings.portraits[code].members

    def told(having: int) -> tuple[Any, str]:
        chosen = list(findings.portraits)
        chosen[code] = replace(chosen[code], border=having / n)
        changed = replace(findings, portraits=chosen)
        (row,) = [row for row in segments(changed).rows if row[0] == findings.ids[code]]
        (card,) = [card for card in make_cards(changed) if card.id == findings.ids[code]]
        return row[7], card.apart.partition("; ")[2].partition(" of these")[0]

    assert n > 40
    assert told(9) == (None, "fewer than ten")
    assert told(n - 9) == (None, "nearly all")
    assert told(0) == (0.0, "0 %")
    assert told(n) == (1.0, "100 %")
    assert told(20) == (20 / n, f"{20 / n * 100:.0f} %")


@pytest.mark.parametrize("few", [FEW, 30])
@pytest.mark.parametrize("two_years", [1, 9, 30, -9])
def test_no_level_of_a_category_tells_of_few(month: Month, few: int, two_years: int) -> None:
    """Wherever a share of customers with a level stands: not by itself, nor by what is left of a whole."""
    findings = with_few(month, few, two_years)
    document = make_document(findings, "Few", NOW_US)
    columns, raw = findings.columns, findings.customers.raw
    by_name = {table.name: table for table in document.tables}
    levels = [j for j in range(columns.n) if columns.one_hot[j]]
    everybody = {row[0]: row for row in by_name["features"].rows}
    told = {(row[0], row[2]): row for row in by_name["profiles"].rows}
    drawn = dict(zip(levels[::-1], named(document, "categories")["data"][0]["x"], strict=True))
    for j in levels:
        name = columns.name[j]
        counts = {segment: held(raw[findings.codes == code, j]) for code, segment in enumerate(findings.ids)}
        having, n = held(raw[:, j])
        assert (drawn[j] is None) == (everybody[name][3] is None)
        for segment, (own, known) in counts.items():
            row = told.get((segment, name))
            if row is None:
                continue
            if row[5] is None:
                assert row[5:9] == (None,) * 4
                continue
            having, n = (having - own, n - known) if row[5] is not None else (having, n)
            assert row[5] == pytest.approx(own / known)
            assert not is_few([own, known - own]).any()
            assert (row[8] is None) == (everybody[name][3] is None)
        if everybody[name][3] is not None:
            assert not is_few([having, n - having]).any(), "what the told segments leave of everybody"
            assert not is_few([*held(raw[:, j])]).any()
    second, two = findings.ids[1], columns.name.index("contract=two-year")
    own, known = held(raw[findings.codes == 1, two])
    assert (told[second, "contract=two-year"][5] is None) == bool(is_few([own, known - own]).any())
    check_texts(findings, document)


def held(values: Any) -> tuple[int, int]:
    """How many have a level, and of how many that is known."""
    return int((values == 1.0).sum()), int(np.isfinite(values).sum())


def check_texts(findings: Findings, document: Document) -> None:
    """The heatmap and the cards have words for what the tables do not tell."""
    columns, units = findings.columns, findings.units
    heatmap = named(document, "heatmap")["data"][0]
    codes = [code for code in range(findings.model.k) if findings.is_described(code)]
    for at, j in enumerate(findings.telling[:15]):
        for place, code in enumerate(codes):
            hidden = bool(findings.levels.hidden[code, j])
            assert (heatmap["text"][at][place] in WORDS) == hidden
            assert (heatmap["z"][at][place] is None) == (hidden or bool(findings.levels.hidden[-1, j]))
    for card in document.cards:
        if card.colour is None or not card.facts:
            continue
        for j in (j for j in range(columns.n) if columns.one_hot[j]):
            level, is_hidden = units.fact(j, 1.0), bool(findings.levels.hidden[card.colour, j])
            for fact in (fact for fact in card.facts if fact.startswith(f"{level} (")):
                assert (fact.partition("(")[2].removesuffix(")") in WORDS) == is_hidden, fact
            for feature in (f for f in card.features if f.words.endswith(columns.level(j))):
                assert (feature.value in WORDS) == is_hidden, feature


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
