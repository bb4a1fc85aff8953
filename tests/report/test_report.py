"""What a report of a simulated month says, on its page and in its files."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from plotly.offline import get_plotlyjs

from consumer.report.table import FORMATS, Column
from online_model.active_model import segment_id
from online_model.rows import LIVE
from tests.report.conftest import Made, Month
from tests.report.pages import Tables

SECTIONS = ("cards", "segments", "time", "drift", "clusters", "data", "freshness")
LARGEST = 8_000_000


def document(made: Made, table: str) -> dict[str, object]:
    """The JSON twin of a table."""
    found: dict[str, object] = json.loads((made.tables / f"{table}.json").read_bytes())
    return found


def rows(made: Made, table: str) -> pd.DataFrame:
    """The rows of a table."""
    return pd.read_parquet(made.tables / f"{table}.parquet")


def test_every_part_is_there(made: Made) -> None:
    """Sections, figures and tables of the contents that marketing was promised."""
    for section in SECTIONS:
        assert f'<section id="{section}">' in made.html
    figures = set(re.findall(r'data-figure="([a-z]+)', made.html))
    promised = {"shares", "heatmap", "timeline", "significance", "pca", "separation", "algorithms"}
    assert figures >= promised | {"hist", "box", "scatter", "categories", "correlations", "moves"}
    drawn = json.loads(re.findall(r'id="figures">(.*?)</script>', made.html)[0])
    assert set(drawn) == set(re.findall(r'data-figure="([^"]+)', made.html))


def test_a_page_is_one_small_file(made: Made) -> None:
    """Nothing is loaded from anywhere; Plotly is most of it, and in it once."""
    own = made.html.replace(get_plotlyjs(), "", 1)
    assert get_plotlyjs() in made.html
    assert len(made.html.encode()) < LARGEST
    assert len(own.encode()) < 700_000
    assert not re.findall(r'(?:src|href)="(?!#|data:|month_tables/)', own)
    assert "default-src 'none'" in own


def test_titles_are_text(made: Made) -> None:
    """What looks like markup is none."""
    assert "<h1>A month &amp; &lt;more&gt;</h1>" in made.html


def test_the_files_of_a_table_say_the_same(made: Made) -> None:
    """CSV, Parquet and JSON of all of them, and nothing else is in the folder."""
    names = {path.name for path in made.tables.iterdir()}
    tables = {name.partition(".")[0] for name in names}
    assert len(tables) >= 20
    assert names == {f"{table}.{kind}" for table in tables for kind in FORMATS}
    for table in tables:
        listed = pd.DataFrame(document(made, table)["rows"])
        parquet = pq.read_table(made.tables / f"{table}.parquet").to_pylist()
        assert parquet == json.loads(json.dumps(document(made, table)["rows"])), table
        text = pd.read_csv(made.tables / f"{table}.csv", keep_default_na=False, dtype=str)
        assert len(text) == len(listed)
        for name in listed:
            mine = ["" if value is None else str(value) for value in (row[name] for row in parquet)]
            assert text[name].tolist() == mine, (table, name)


def test_the_page_shows_what_the_files_hold(made: Made) -> None:
    """Every cell of every table on the page is the value of its file as people write it."""
    on_page = Tables(made.html).found
    assert {"segments", "moves", "comparison", "quality", "models", "freshness"} <= set(on_page)
    for name, (heading, *shown) in on_page.items():
        held = document(made, name)
        columns = [
            Column(**column, hides=False)
            for column in held["columns"]  # type: ignore[attr-defined]
        ]
        assert heading == [column.title for column in columns]
        expected = [
            [column.text(row[column.name]) for column in columns]
            for row in held["rows"]  # type: ignore[attr-defined]
        ]
        for line, wanted in zip(shown, expected, strict=True):
            assert [b if a == "<10" else a for a, b in zip(line, wanted, strict=True)] == wanted


def test_sizes_and_moves_are_counted(made: Made, month: Month) -> None:
    """Of all customers, from their rows."""
    sizes: Counter[str | None] = Counter()
    moves: Counter[tuple[str | None, str | None]] = Counter()
    states = month.scene.states.values()
    newest = max(state.watermark_us for state in states)
    for state in states:
        hot, left = state.store.rows.hot[: state.index.n], state.store.rows.left[: state.index.n]
        for row in np.flatnonzero(hot["status"] == LIVE):
            own = segment_id(int(hot["segment"][row]))
            sizes[own] += 1
            if left[row] and hot["since"][row] >= newest - 30 * 86_400_000_000:
                moves[segment_id(int(left[row])), own] += 1
    table = rows(made, "segments").set_index("segment_id")
    for segment, n in sizes.items():
        if segment is not None and n >= 10:
            assert table.loc[segment, "customers"] == n
    moved = rows(made, "moves")
    assert len(moved) == len(moves) > 3
    for _, row in moved.iterrows():
        n = moves[row["from_id"], row["to_id"]]
        assert row["customers"] == n if n >= 10 else pd.isna(row["customers"])
    assert moved["customers"].notna().any()
    assert moved["customers"].isna().any()


def test_nobody_is_named(made: Made, month: Month) -> None:
    """No customer's id is on the page or in a file."""
    ids = set(month.personas.index)
    texts = [made.html.replace(get_plotlyjs(), "", 1)]
    texts += [path.read_text() for path in made.tables.glob("*.json")]
    for text in texts:
        assert not ids & set(re.findall(r"[A-Za-z0-9_-]+", text))


def test_no_table_tells_of_fewer_than_ten(made: Made) -> None:
    """Whatever counts customers."""
    for path in made.tables.glob("*.json"):
        table = json.loads(path.read_bytes())
        for row in table["rows"]:
            assert row.get("customers") is None or row["customers"] == 0 or row["customers"] >= 10


def test_progress_is_told(made: Made) -> None:
    """Partition by partition, then what is done with them."""
    assert [text for text in made.said if text.startswith("reading partition")] != []
    assert made.said[-1].startswith("writing ")
    assert "of a sample" not in made.html


@pytest.mark.parametrize("kind", FORMATS)
def test_the_page_leads_to_the_files(made: Made, kind: str) -> None:
    """Beside it, by relative links."""
    links = re.findall(rf'href="(month_tables/[^"]+\.{kind})"', made.html)
    assert len(links) >= 20
    assert all((made.page.parent / link).is_file() for link in links)
