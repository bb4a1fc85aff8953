"""`report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.commands.common import BootstrapOption, ConfigOption, SetOption, load_config
from consumer.errors import ConfigError
from consumer.options import ReportOptions


def report(  # noqa: PLR0913 - one parameter per option
    out: Annotated[
        Path, typer.Option("--out", "-o", help="HTML file; its tables go to <name>_tables beside it.")
    ],
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    replay: Annotated[
        Path | None, typer.Option(help="Report on what segmenter replay has written here, without Kafka.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Versions from this file, one record per line, in place of the models topic."),
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="Feature specification (model.spec).")] = None,
    days: Annotated[float, typer.Option(min=1, max=366, help="Days of moves and trends.")] = 30,
    sample: Annotated[
        int, typer.Option(min=1000, max=1_000_000, help="Customers with features; all are counted.")
    ] = 50_000,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "",
) -> None:
    """Write the segment report: cards, strategies, moves, drift and data, in one HTML file.

    Reads the newest snapshots (snapshots.uri, app.name) and the versions in the models topic.
    """
    if replay is not None and models is not None:
        raise ConfigError("--replay and --models do not go together", "a replay has its model beside it")
    overrides = {"kafka.bootstrap": bootstrap, "model.spec": None if spec is None else str(spec)}
    settings = load_config(config, sets, overrides)
    from consumer.report import run_report

    options = ReportOptions(settings, out, replay, models, days, sample, title)
    written = run_report(options, lambda text: typer.echo(text, err=True))
    typer.echo(
        f"{written.page}: {written.customers:,} customers, {written.page_bytes / 1e6:.1f} MB, "
        f"{written.seconds:.0f} s; tables in {written.tables}",
        err=True,
    )
    typer.echo(str(written.page))
