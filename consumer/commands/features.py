"""`features`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.commands.common import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    SetOption,
    load_config,
    print_table,
    write_json,
)


def features(
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file, one row per live customer.")],
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Versions from this file, one record per line, in place of the models topic."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write every customer's features, segment, distance and margin to a Parquet file.

    Reads the newest snapshots (snapshots.uri, app.name) and the versions in the models topic. The columns are
    those of customers.parquet of a replay. It holds personal data: write it where that may be.
    """
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer.features import write_features
    from schemas.times import format_time

    written = write_features(settings, out, models, lambda text: typer.echo(text, err=True))
    for line in written.missing:
        typer.echo(f"not in it: {line}", err=True)
    as_of = format_time(written.as_of_us)
    if as_json:
        rest = {"file": str(out), "customers": written.customers, "as_of": as_of}
        write_json(
            rest
            | {"model_version": written.model_version, "segments": dict(sorted(written.segments.items()))}
        )
        return
    print_table(["segment", "customers"], [[name, str(n)] for name, n in sorted(written.segments.items())])
    typer.echo(
        f"{out}: {written.customers:,} customers as of {as_of}, model version {written.model_version}",
        err=True,
    )
