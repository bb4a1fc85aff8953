"""`verify`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

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
from consumer.errors import ConfigError
from consumer.exit_codes import ExitCode

if TYPE_CHECKING:
    from consumer.verify import Report
    from consumer.verify.verifier import Progress


def verify(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    partition: Annotated[
        list[int] | None,
        typer.Option("--partition", "-p", min=0, help="Only this partition; may be repeated."),
    ] = None,
    limit_findings: Annotated[
        int, typer.Option(min=1, help="Findings shown; all of them are counted.")
    ] = 100,
    as_json: JsonOption = False,
) -> None:
    """Derive every published change again from the log; report what is missing, doubled or wrong.

    It must run with the settings of the service, and reads everything: inputs, audit log, models, outputs and
    dead letters. Exit code 6: there are findings; 7: nothing was found, but part of the log is gone.
    """
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer import kafka_clients, topics
    from consumer.verify import Rules, Verifier
    from consumer.verify.log import KafkaSource

    names = topics.TopicNames.with_prefix(settings.topics.prefix)
    partitions = topics.require(kafka_clients.make_admin(settings), names)
    wrong = [number for number in partition or [] if number >= partitions]
    if wrong:
        raise ConfigError(
            f"--partition {wrong[0]}: the input topics have {partitions} partitions",
            f"give a number from 0 to {partitions - 1}",
        )
    verifier = Verifier(Rules.of(settings, partitions), KafkaSource(settings), limit_findings)
    with _progress() as progress:
        report = verifier.verify(sorted(set(partition)) if partition else None, progress)
    if as_json:
        write_json(report.document())
    else:
        _print(report)
    if not report.is_clean:
        raise typer.Exit(ExitCode.CHECK_FAILED)
    if report.unverified:
        raise typer.Exit(ExitCode.UNVERIFIED)


def _print(report: Report) -> None:
    """Findings as a table on stdout, what was counted on stderr."""
    if report.findings:
        print_table(
            ["kind", "partition", "customer", "topic", "offset", "commit", "expected", "found"],
            [
                [
                    f.kind,
                    _number(f.partition),
                    f.customer,
                    f.topic,
                    _number(f.offset),
                    _number(f.commit),
                    f.expected,
                    f.found,
                ]
                for f in report.findings
            ],
        )
    hidden = sum(report.kinds.values()) - len(report.findings)
    if hidden:
        typer.echo(f"and {hidden} more findings (--limit-findings)", err=True)
    for line in report.unverified:
        typer.echo(f"not verified: {line}", err=True)
    for (partition, topic), outcomes in sorted(report.inputs.items()):
        parts = ", ".join(f"{n} {what}" for what, n in sorted(outcomes.items()))
        typer.echo(f"{topic} [{partition}]: {sum(outcomes.values())} records = {parts}", err=True)
    counts = report.counts
    if not counts["commits"] and not report.unverified and report.is_clean:
        typer.echo("nothing to verify: the audit log is empty", err=True)
        return
    verdict = "clean" if report.is_clean else f"{sum(report.kinds.values())} findings"
    typer.echo(
        f"{verdict}: {counts['changes']} changes of {counts['commits']} commits are as they must be, "
        f"{counts['undecided']} decisions were too close to tell",
        err=True,
    )


def _number(value: int) -> str:
    return "" if value < 0 else str(value)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar per partition on a terminal's stderr, otherwise nothing."""
    if not sys.stderr.isatty():
        yield lambda _, __, ___: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns: tuple[Any, ...] = (
        TextColumn("partition {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[int, Any] = {}
    with Bar(*columns, console=Console(stderr=True)) as bar:

        def tell(partition: int, taken: int, total: int) -> None:
            if partition not in tasks:
                tasks[partition] = bar.add_task(str(partition), total=total)
            bar.update(tasks[partition], advance=taken)

        yield tell
