"""What the demo shows while it runs: a live view on a terminal, or a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from consumer.demo.pacer import Phase
from consumer.demo.progress import RecentChange, Snapshot

_FRAME_S: Final = 0.25
_LINE_S: Final = 3.0

_DOING: Final = {
    Phase.BACKFILL: "backfill: replaying history, fast",
    Phase.CALIBRATING: "calibrating the first model",
    Phase.LIVE: "live: days pass at a steady pace",
}

#: Lines that are not rows of segments or changes: header, footer, frames and headings.
_FRAME_LINES: Final = 13
_WIDE: Final = 100  # from here on there is room for bars and hints
_MAX_HEIGHT: Final = 40
_SMALLEST_SEGMENTS: Final = 4
_REJECTS_WIDTH: Final = 28


class View(Protocol):
    """Shows snapshots; `show` asks for one only when it is time to."""

    def show(self, take: Callable[[], Snapshot]) -> None:
        """A turn has passed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PlainView:
    """A line every few seconds, for pipes and logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0
        self._phase: Phase | None = None
        self._version = 0
        self._said_url = False

    def show(self, take: Callable[[], Snapshot]) -> None:
        """A turn has passed."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _LINE_S
        snapshot = take()
        if not self._said_url:
            self._said_url = True
            self._write(f"metrics: {snapshot.metrics_url}")
        if snapshot.phase is not self._phase:
            self._phase = snapshot.phase
            self._write(_DOING[snapshot.phase])
        elif snapshot.phase is Phase.CALIBRATING:
            return  # nothing else happens meanwhile
        self._write(line_of(snapshot))

    def _write(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to undo."""


class LiveView:
    """The whole picture, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._next_s = 0.0

    def show(self, take: Callable[[], Snapshot]) -> None:
        """A turn has passed."""
        if time.monotonic() < self._next_s:
            return
        width, height = self._console.size
        self._live.update(render(take(), width, height), refresh=True)
        self._next_s = time.monotonic() + _FRAME_S

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last picture on the screen."""
        self._live.stop()


def line_of(snapshot: Snapshot) -> str:
    """A snapshot in one line."""
    model = f"model {snapshot.model_version}" if snapshot.model_version else "no model yet"
    rejected = sum(n for _, n in snapshot.rejects)
    changes = ", ".join(f"{name} {n:,}" for name, n in snapshot.changes[:4])
    parts = [
        f"day {snapshot.day:>2}/{snapshot.days}",
        f"{snapshot.events:>9,} events",
        f"{snapshot.events_per_s:>6,.0f}/s",
        f"backlog {snapshot.backlog:,}",
        model,
        f"dead letters {rejected:,}",
    ]
    return " | ".join(parts + ([f"changes: {changes}"] if changes else []))


def render(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    """The picture for a terminal of `width` x `height` characters."""
    rows = min(height, _MAX_HEIGHT) - _FRAME_LINES
    n_segments = max(min(len(snapshot.segments), rows - 3), _SMALLEST_SEGMENTS)
    n_changes = max(rows - n_segments, 2)
    middle = Table.grid(expand=True)
    middle.add_column(ratio=1)
    middle.add_column(width=min(_REJECTS_WIDTH, width // 3))
    middle.add_row(_segments(snapshot, n_segments, width), _rejects(snapshot, n_segments + 1))
    return Group(_header(snapshot), middle, _changes(snapshot, n_changes), _footer(snapshot, width))


def _header(snapshot: Snapshot) -> RenderableType:
    at = datetime.fromtimestamp(snapshot.now_us / 1e6, UTC)
    first = Table.grid(expand=True)
    for justify in ("left", "center", "right"):
        first.add_column(justify=justify, no_wrap=True)
    model = f"model version {snapshot.model_version}" if snapshot.model_version else "no model yet"
    first.add_row(
        f"[bold]{at:%Y-%m-%d %H:%M}[/]  day {snapshot.day} of {snapshot.days}",
        f"[bold]{snapshot.events_per_s:,.0f}[/] events/s  ({snapshot.events:,})",
        f"lag {snapshot.backlog:,}",
    )
    drift = Text(f"drift {snapshot.drift}", no_wrap=True, overflow="ellipsis")
    first.add_row(f"{model}", f"{snapshot.customers:,} customers", "")
    return Panel(Group(first, drift), title="telecom-segmenter", border_style="cyan", padding=(0, 1))


def _segments(snapshot: Snapshot, n: int, width: int) -> RenderableType:
    table = Table(expand=True, box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("id", no_wrap=True, width=3)
    table.add_column("segment", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("customers", justify="right", no_wrap=True)
    table.add_column("share", no_wrap=True, width=12 if width >= _WIDE else 5)
    total = max(sum(row.customers for row in snapshot.segments), 1)
    largest = max((row.customers for row in snapshot.segments), default=1)
    for row in snapshot.segments[:n]:
        bar = "█" * max(round(7 * row.customers / largest), 1)
        share = Text(f"{row.customers / total:4.0%} ").append(bar if width >= _WIDE else "", "cyan")
        number = row.id if row.id[1:].isdigit() else ""  # dormant and unclassified say it by their name
        table.add_row(number, Text(row.name), f"{row.customers:,}", share)
    for _ in range(n - len(snapshot.segments)):
        table.add_row()
    return Panel(table, title="segments", border_style="blue", padding=(0, 1))


def _rejects(snapshot: Snapshot, n: int) -> RenderableType:
    table = Table.grid(expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(justify="right", no_wrap=True)
    for reason, count in snapshot.rejects[:n]:
        table.add_row(Text(reason), f"{count:,}")
    for _ in range(n - len(snapshot.rejects)):
        table.add_row()
    return Panel(table, title="dead letters", border_style="yellow", padding=(0, 1))


def _changes(snapshot: Snapshot, n: int) -> RenderableType:
    table = Table(expand=True, box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("customer", no_wrap=True)
    table.add_column("change", no_wrap=True)
    table.add_column("cause", no_wrap=True)
    table.add_column("because of", no_wrap=True, overflow="ellipsis", ratio=1)
    for change in snapshot.recent[:n]:
        table.add_row(change.customer, _step(change), change.cause, Text("; ".join(change.drivers)))
    for _ in range(n - len(snapshot.recent)):
        table.add_row()
    return Panel(table, title="last changes", border_style="green", padding=(0, 1))


def _step(change: RecentChange) -> str:
    return f"{change.before or 'new'} → {change.after or 'left'}"


def _footer(snapshot: Snapshot, width: int) -> RenderableType:
    parts = [(" " + _DOING[snapshot.phase], "bold"), ("   ", ""), (snapshot.metrics_url, "underline")]
    if width >= _WIDE:
        parts.append(("   Ctrl-C stops", "dim"))
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
