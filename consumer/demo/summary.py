"""The end of the demo: what happened, what was found of what was planted, and whether that is enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.demo.verdict import MIGRANT_DAYS, Criterion, Verdict, dominance


@dataclass(frozen=True, slots=True)
class Seen:
    """What the run itself knows at its end. `names`: segment names by id; `outcomes`: records."""

    seconds: float
    sent: int
    outcomes: Mapping[str, int]
    names: Mapping[str, str]
    drift: str
    rejects: Mapping[str, int]
    metrics_url: str


def print_summary(console: Console, verdict: Verdict, seen: Seen) -> None:
    """Writes the summary to `console`."""
    console.print()
    console.rule("[bold]Summary")
    console.print(_facts(verdict, seen))
    console.print()
    console.print(_personas(verdict.table, seen.names))
    console.print()
    console.print(_criteria(verdict.criteria))
    if verdict.success:
        console.print("[bold green]The demo succeeded: what was planted was found.")
    else:
        console.print("[bold red]The demo failed: see the criteria marked 'no'.")


def _facts(verdict: Verdict, seen: Seen) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()

    def line(name: str, text: str) -> None:
        table.add_row(name, Text(text))

    outcomes = ", ".join(f"{n:,} {name}" for name, n in seen.outcomes.items())
    line("events", f"{seen.sent:,} sent in {seen.seconds:.0f} s: {outcomes}")
    rejects = sorted(seen.rejects.items(), key=lambda item: -item[1])
    line("dead letters", ", ".join(f"{n:,} {reason}" for reason, n in rejects) or "none")
    causes = ", ".join(
        f"{n:,} {change} ({cause})" for (change, cause), n in sorted(verdict.causes.items(), key=_by_count)
    )
    line("changes", causes or "none")
    line("customers", f"{verdict.assigned:,} in a segment of the model at the end")
    migrants, others = verdict.migrants, verdict.others
    line(
        "migrations",
        f"{migrants.moved} of {migrants.customers} customers who changed persona moved "
        f"({migrants.share:.0%}, seen {MIGRANT_DAYS} days or more); "
        f"of all others {others.share:.0%} moved in that time",
    )
    line("drift", seen.drift)
    return table


def _by_count(item: tuple[tuple[str, str], int]) -> int:
    return -item[1]


def _personas(counts: pd.DataFrame, names: Mapping[str, str]) -> Table:
    """Persona by segment: where each planted persona ended up."""
    table = Table(title="Planted personas and the segments they are in", title_justify="left")
    table.add_column("persona", no_wrap=True)
    table.add_column("customers", justify="right")
    table.add_column("mostly in")
    table.add_column("share", justify="right")
    table.add_column("next", no_wrap=True)
    shares = dominance(counts)
    for persona, row in counts.iterrows():
        ranked = row.sort_values(ascending=False, kind="stable")
        total = int(row.sum())
        if not total:
            table.add_row(str(persona), "0", "-", "-", "-")
            continue
        first = str(ranked.index[0])
        rest = [f"{segment} {n / total:.0%}" for segment, n in list(ranked.items())[1:3] if n / total >= 0.01]
        name = f"{first}  {names.get(first, '')}"
        share = f"{shares[persona]:.0%}"
        table.add_row(Text(str(persona)), f"{total:,}", Text(name), share, Text(", ".join(rest)))
    return table


def _criteria(criteria: tuple[Criterion, ...]) -> Table:
    table = Table(title="Criteria", title_justify="left")
    for column in ("", "found", "wanted", "met"):
        table.add_column(column)
    for criterion in criteria:
        met = Text("yes", "green") if criterion.met else Text("no", "bold red")
        table.add_row(Text(criterion.name), Text(criterion.found), Text(criterion.wanted), met)
    return table
