"""`models` and `recalibrate`."""

from __future__ import annotations

import sys
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
from consumer.errors import ConfigError, StateUnknown

if TYPE_CHECKING:
    from consumer.config import Config
    from consumer.models.history import History
    from schemas.internal import CommandRecord

app = typer.Typer(no_args_is_help=True, help="Versions of the model: look, compare, promote, roll back.")

VersionArgument = Annotated[str, typer.Argument(help="Number of a version, 'newest' or 'proposal'.")]
WaitOption = Annotated[
    float, typer.Option("--wait-s", min=0, help="Seconds to wait for the service to carry it out.")
]


@app.command("list")
def list_versions(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    folds: Annotated[bool, typer.Option("--folds", help="Also versions that only learnt a scan.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Calibrations, recalibrations and restored versions, the newest last, and a waiting proposal."""
    from consumer.models.details import summary

    history = _history(load_config(config, sets, {"kafka.bootstrap": bootstrap}))
    shown = [
        model
        for model in history.everything
        if folds or model.kind != "folded" or model.version == history.newest.version
    ]
    rows = [summary(model) for model in shown]
    if history.proposal is not None:
        rows.append(summary(history.proposal) | {"version": "proposal"})
    if as_json:
        write_json(rows)
        return
    _print_rows(["version", "kind", "created", "k", "silhouette", "moved", "cause", "concerns"], rows)


@app.command()
def show(
    version: VersionArgument = "newest",
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segments with size and strategy, what happened to them, and who went where."""
    from consumer.models.details import details

    history = _history(load_config(config, sets, {"kafka.bootstrap": bootstrap}), version)
    model = history.get(version)
    document = details(model, history.before(model))
    if as_json:
        write_json(document)
        return
    _print_version(document)


@app.command()
def diff(
    before: VersionArgument,
    after: VersionArgument = "newest",
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is different between two versions, segment by segment."""
    from consumer.models.details import difference

    history = _history(load_config(config, sets, {"kafka.bootstrap": bootstrap}), before, after)
    document = difference(history.get(before), history.get(after))
    if as_json:
        write_json(document)
        return
    _print_rows(
        ["id", "name", "state", "share_before", "share_after", "strategy_before", "strategy_after"],
        document["segments"],
    )


@app.command()
def promote(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    wait_s: WaitOption = 60,
) -> None:
    """Make the proposal the next version: somebody has looked at it."""
    from consumer.models.history import command

    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    history = _history(settings)
    if history.proposal is None:
        raise ConfigError("there is no proposal", "segmenter recalibrate makes one; models list shows it")
    _carry_out(settings, history, command("promote", history.proposal), wait_s)


@app.command()
def rollback(
    version: VersionArgument,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    wait_s: WaitOption = 60,
) -> None:
    """Make a former version the next one: its segments come back under their ids."""
    from consumer.models.history import command

    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    history = _history(settings, version)
    _carry_out(settings, history, command("rollback", history.get(version)), wait_s)


@app.command()
def rename(
    segment_id: Annotated[str, typer.Argument(help="Id of a segment, as models show has it.")],
    name: Annotated[str, typer.Argument(help="Its new name, which no other segment may have.")],
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    wait_s: WaitOption = 60,
) -> None:
    """Give a segment another name, which it keeps through recalibrations; nobody moves because of it."""
    from consumer.models.history import command
    from online_model.renaming import usable_name

    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    history = _history(settings)
    try:
        name = usable_name(history.newest, segment_id, name)
    except ValueError as error:
        raise ConfigError(str(error), "segmenter models show lists the segments and their names") from None
    _carry_out(settings, history, command("rename", segment_id=segment_id, name=name), wait_s)


def recalibrate(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compute it here and show what it would change.")
    ] = False,
    wait_s: WaitOption = 300,
    as_json: JsonOption = False,
) -> None:
    """Fit the model again to the customers of now, over the newest snapshots.

    The service promotes what changes little and keeps the rest as a proposal (models promote). A dry run
    changes nothing: it shows who would go where, and what that means for the strategies.
    """
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    history = _history(settings)
    if dry_run:
        _show_dry_run(settings, history, as_json)
        return
    from consumer.models.history import command

    _carry_out(settings, history, command("recalibrate"), wait_s)


def _show_dry_run(config: Config, history: History, as_json: bool) -> None:
    from consumer import kafka_clients, topics
    from consumer.core import Core
    from consumer.models.details import details
    from consumer.models.recalibration import RecalibrationTask, propose

    names = topics.TopicNames.with_prefix(config.topics.prefix)
    core = Core(config, topics.require(kafka_clients.make_admin(config), names))
    task = RecalibrationTask.of(core, names.inputs, history.newest, "a dry run")
    try:
        proposal = propose(task, _report)
    except ValueError as error:
        raise StateUnknown(str(error), "wait for snapshots of all partitions; see snapshots.uri") from None
    document = details(proposal.model, history.newest)
    if as_json:
        write_json(document)
        return
    _print_version(document)


def _report(step: int, of: int, text: str) -> None:
    if sys.stderr.isatty():
        typer.echo(f"[{step}/{of}] {text}", err=True)


def _print_rows(columns: list[str], rows: list[dict[str, Any]]) -> None:
    print_table(columns, [[str(row[name]) for name in columns] for row in rows])


def _print_version(document: dict[str, Any]) -> None:
    """Its segments on stdout; what became of them, and who went where, on stderr."""
    _print_rows(["id", "name", "customers", "share", "strategy", "event"], document["segments"])
    for line in document["lineage"]:
        typer.echo(line, err=True)
    transition = document["transition"]
    if transition is None:
        return
    typer.echo(f"cause: {transition['cause']}", err=True)
    typer.echo(
        f"cost {transition['cost_before']:.4f} -> {transition['cost_after']:.4f}, "
        f"{transition['moved_share']:.2%} of the customers change their segment",
        err=True,
    )
    for row in transition["moves"]:
        typer.echo(f"{row['from']} -> {row['to']}: {row['customers']} customers", err=True)
    for row in transition["strategies"]:
        typer.echo(f"strategy {row['from']} -> {row['to']}: {row['customers']} customers", err=True)
    for concern in transition["concerns"]:
        typer.echo(f"look at this: {concern}", err=True)


def _history(config: Config, *wanted: str) -> History:
    from consumer.models.history import History

    return History.read(config, *wanted)


def _carry_out(config: Config, before: History, record: CommandRecord, wait_s: float) -> None:
    """Sends a command and says what came of it."""
    from consumer.models.history import send, wait_for_outcome

    before.newest  # noqa: B018 - there must be one
    send(config, record)
    typer.echo(f"{record.command} sent", err=True)
    if not wait_s:
        return
    outcome = wait_for_outcome(config, before, wait_s)
    if outcome is None:
        raise StateUnknown(
            f"nothing has come of it in {wait_s:g} s",
            "is a service running? its log says whether the command was refused, or is still under way",
        )
    made, is_proposal = outcome
    if is_proposal:
        concerns = [] if made.transition is None else made.transition.concerns
        typer.echo(f"a proposal waits (models show proposal, models promote): {'; '.join(concerns)}")
    else:
        typer.echo(f"version {made.version} ({made.kind}), {made.k} segments")
