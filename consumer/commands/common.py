"""What several commands share: configuration options and output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.errors import ConfigError
from consumer.masking import masked_name

if TYPE_CHECKING:
    from consumer.config import Config
    from consumer.config_sources import LoadedConfig

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="SEGMENTER_CONFIG", help="YAML file with settings."),
]
BootstrapOption = Annotated[
    str | None, typer.Option("--bootstrap", "-b", help="Kafka address host:port (kafka.bootstrap).")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Override any setting, for example commit.interval_ms=200."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON for programs to stdout.")]


def load(
    config: Path | None, sets: list[str] | None, overrides: dict[str, Any] | None = None
) -> LoadedConfig:
    """Configuration of a command, with logging set up as it says.

    `overrides`: values of the command's own options by setting; None means not given.
    """
    from consumer.config_sources import load_with_origins
    from consumer.logs import configure_logging

    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    loaded = load_with_origins(config, os.environ, _parse_sets(sets or []) | given)
    configure_logging(loaded.config.log.level)
    return loaded


def load_config(
    config: Path | None, sets: list[str] | None, overrides: dict[str, Any] | None = None
) -> Config:
    """As `load`, without the origins."""
    return load(config, sets, overrides).config


def write_json(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, indent=None if not sys.stdout.isatty() else 2))


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout: lines on a terminal, tab-separated values in a pipe."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    Console().print(table)


def _parse_sets(sets: list[str]) -> dict[str, str]:
    parsed = {}
    for text in sets:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            # Not the text: where the sign between name and value is missing, it may end in a password.
            shown = masked_name(name.strip())
            raise ConfigError(f"--set {shown}: not of the form NAME=VALUE", "for example --set http.port=0")
        parsed[name.strip()] = value
    return parsed
