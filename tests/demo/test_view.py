"""The view is a function of a snapshot; no terminal is needed to draw it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from consumer.demo.pacer import Phase
from consumer.demo.progress import RecentChange, SegmentRow, Snapshot
from consumer.demo.view import PlainView, line_of, render


def snapshot(phase: Phase = Phase.LIVE, segments: int = 10) -> Snapshot:
    """A busy moment."""
    change = RecentChange(0, "c00000012", "s1", "s2", "behaviour", ("data use 812→9,310", "night 0.1→0.7"))
    return Snapshot(
        phase=phase,
        now_us=1_767_571_200_000_000,
        day=35,
        days=42,
        events=1_234_567,
        events_per_s=23_456.0,
        backlog=321,
        model_version=7,
        customers=3000,
        drift="data_mb_30d PSI 0.31, error x1.08",
        segments=tuple(
            SegmentRow(f"s{i}", f"Very high data use, share of sessions [{i}]", 300 - i)
            for i in range(segments)
        ),
        recent=(change,) * 12,
        changes=(("assigned first", 2900), ("moved behaviour", 120)),
        rejects=(("late", 1259), ("misrouted", 658)),
        metrics_url="http://127.0.0.1:9464/metrics",
    )


def drawn(width: int, height: int, shot: Snapshot) -> list[str]:
    """Lines of the picture on a terminal of that size."""
    console = Console(record=True, file=io.StringIO(), width=width, height=height)
    console.print(render(shot, width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 36), (200, 60)])
@pytest.mark.parametrize("segments", [0, 5, 12])
def test_the_view_fits_the_terminal(width: int, height: int, segments: int) -> None:
    """Whatever the size from 80x24 on, nothing is cut off at the bottom or wrapped at the side."""
    lines = drawn(width, height, snapshot(segments=segments))
    assert len(lines) < height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("phase", list(Phase))
def test_the_view_says_what_matters(phase: Phase) -> None:
    """Day, rate, lag, model, drift, segments, changes with cause and drivers, dead letters, address."""
    text = "\n".join(drawn(120, 36, snapshot(phase)))
    for part in (
        *("day 35 of 42", "23,456 events/s", "lag 321", "model version 7", "PSI 0.31"),
        *("Very high data use", "c00000012", "s1 → s2", "behaviour", "data use 812→9,310"),
        *("misrouted", "658", "http://127.0.0.1:9464/metrics", phase.value),
    ):
        assert part in text


def test_a_snapshot_fits_one_line() -> None:
    """Plain output has one line per moment."""
    line = line_of(snapshot())
    assert "\n" not in line
    assert "day 35/42" in line
    assert "moved behaviour 120" in line


def test_plain_output_has_no_control_characters() -> None:
    """A pipe gets text only."""
    written = io.StringIO()
    with PlainView(Console(file=written, width=110)) as view:
        view.show(snapshot)
    assert "\x1b" not in written.getvalue()
    assert "metrics: http://127.0.0.1:9464/metrics" in written.getvalue()
