"""`topics create` and `topics check`."""

from __future__ import annotations

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
from consumer.exit_codes import ExitCode

app = typer.Typer(help="The ten topics of the contract.", no_args_is_help=True)


@app.command("create")
def topics_create(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of the input topics and of those that follow them.")
    ] = 12,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Create the topics that are missing; leave the others as they are."""
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer import kafka_clients, topics

    names = topics.TopicNames.with_prefix(settings.topics.prefix)
    result = topics.create(kafka_clients.make_admin(settings), names, partitions, replication)
    if as_json:
        write_json({"created": result.created, "existing": result.existing})
    else:
        rows = [[n, "created"] for n in result.created] + [[n, "was there"] for n in result.existing]
        print_table(["topic", "outcome"], rows)


@app.command("check")
def topics_check(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that the topics exist, are co-partitioned and are kept as they must be."""
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer import kafka_clients, topics

    names = topics.TopicNames.with_prefix(settings.topics.prefix)
    findings = topics.check(kafka_clients.make_admin(settings), names)
    if as_json:
        rows = [{"topic": f.topic, "problem": f.problem, "fix": f.fix} for f in findings]
        write_json({"ok": not findings, "findings": rows})
    elif findings:
        print_table(["topic", "problem", "fix"], [[f.topic, f.problem, f.fix] for f in findings])
    else:
        typer.echo("all topics are as they must be")
    if findings:
        raise typer.Exit(ExitCode.TOPICS)
