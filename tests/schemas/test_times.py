"""Column-wise time parsing against the Python standard library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import NO_TIME, format_time, parse_day, parse_time, parse_times

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.integers(0, 230 * 365 * 86_400 * 1_000_000).map(
    lambda micros: EPOCH + timedelta(microseconds=micros)
)


@given(st.lists(st.tuples(moments, st.integers(0, 9), st.sampled_from(["Z", "+00:00"])), max_size=9))
def test_times_are_those_of_datetime(cases: list[tuple[datetime, int, str]]) -> None:
    """Any mixture of fraction lengths and offsets; digits below a microsecond are dropped."""
    texts, expected = [], []
    for moment, digits, offset in cases:
        fraction = f"{moment.microsecond:06d}999"[:digits]
        texts.append(f"{moment:%Y-%m-%dT%H:%M:%S}{'.' if digits else ''}{fraction}{offset}")
        kept = moment.replace(microsecond=int(fraction[:6].ljust(6, "0")))
        expected.append((kept - EPOCH) // timedelta(microseconds=1))
    assert parse_times(texts).tolist() == expected
    assert [parse_time(text) for text in texts] == expected


near = st.text(st.sampled_from("0129-:.TZ+ \0\u0660"), min_size=18, max_size=36)


@given(st.lists(near | st.just("2026-03-01T12:00:00.5Z"), max_size=9))
def test_column_and_single_parser_agree(texts: list[str]) -> None:
    """The vectorised parser accepts exactly what the scalar one accepts."""
    one_by_one = [parse_time(text) for text in texts]
    assert parse_times(texts).tolist() == [NO_TIME if t is None else t for t in one_by_one]


@given(st.lists(st.tuples(moments, st.integers(0, 18), st.characters(codec="ascii")), max_size=9))
def test_one_wrong_character_is_treated_alike(cases: list[tuple[datetime, int, str]]) -> None:
    """Replacing any character of a valid time gives the same verdict in both parsers."""
    texts = []
    for moment, at, character in cases:
        text = f"{moment:%Y-%m-%dT%H:%M:%S}Z"
        texts.append(text[:at] + character + text[at + 1 :])
    one_by_one = [parse_time(text) for text in texts]
    assert parse_times(texts).tolist() == [NO_TIME if t is None else t for t in one_by_one]


@given(moments)
def test_formatted_times_parse_back(moment: datetime) -> None:
    """`format_time` writes what the contract reads."""
    time_us = (moment - EPOCH) // timedelta(microseconds=1)
    assert parse_time(format_time(time_us)) == time_us


@pytest.mark.parametrize(
    ("text", "day"),
    [("1970-01-01", 0), ("1969-12-31", -1), ("2024-02-29", 19782), ("2023-02-29", None)]
    + [(text, None) for text in ("1899-12-31", "2200-01-01", "2024-1-01", "20240101", "")],
)
def test_days(text: str, day: int | None) -> None:
    """Real dates of 1900-2199 in one notation."""
    assert parse_day(text) == day
