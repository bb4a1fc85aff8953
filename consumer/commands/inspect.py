"""`doctor`, `config show`, `schemas export` and `version`."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated

import typer

from consumer import __version__
from consumer.commands.common import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    SetOption,
    load,
    load_config,
    print_table,
    write_json,
)
from consumer.errors import DataError
from consumer.exit_codes import ExitCode

config_app = typer.Typer(help="Settings: what they are and where they come from.", no_args_is_help=True)
schemas_app = typer.Typer(help="The published contracts.", no_args_is_help=True)


def doctor(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check connection, topics, rights, versions, files, snapshots and port; say how to fix what is wrong."""
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer.doctor import Verdict, examine

    checks = examine(settings)
    healthy = all(c.verdict is not Verdict.FAILED for c in checks)
    if as_json:
        rows = [
            {"check": c.name, "verdict": c.verdict.value, "detail": c.detail, "fix": c.fix} for c in checks
        ]
        write_json({"ok": healthy, "checks": rows})
    else:
        print_table(
            ["check", "verdict", "detail", "fix"],
            [[c.name, c.verdict.value, c.detail, c.fix] for c in checks],
        )
    if not healthy:
        raise typer.Exit(ExitCode.CHECK_FAILED)


@config_app.command("show")
def config_show(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every setting with its value, where the value comes from, and what it means."""
    loaded = load(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer.config_sources import rows_for_display

    rows = rows_for_display(loaded)
    if as_json:
        write_json(rows)
    else:
        names = ["setting", "value", "origin", "help"]
        print_table(names, [["null" if row[n] is None else str(row[n]) for n in names] for row in rows])


@schemas_app.command("export")
def schemas_export(
    out: Annotated[Path, typer.Argument(help="Directory for the files.")],
) -> None:
    """Write the contracts: JSON Schema per topic, Avro for the inputs, asyncapi.yaml with all of them."""
    from consumer import asyncapi
    from schemas.export import write

    try:
        paths = [*write(out), asyncapi.write(out)]
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}", "give a writable directory") from None
    for path in paths:
        typer.echo(str(path))


def version(as_json: JsonOption = False) -> None:
    """Version of this program and of the Kafka client."""
    import confluent_kafka

    versions = {
        "segmenter": __version__,
        "confluent_kafka": confluent_kafka.version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "python": platform.python_version(),
    }
    if as_json:
        write_json(versions)
    else:
        typer.echo(" ".join(f"{name} {value}" for name, value in versions.items()))
