"""`adapt`: other parties' formats as the events of the contract."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from consumer.commands.common import BootstrapOption, ConfigOption, SetOption, load_config, write_json
from consumer.errors import ConfigError, DataError

app = typer.Typer(help="Other formats as events of the contract.", no_args_is_help=True)


@app.command("tmf")
def adapt_tmf(  # noqa: PLR0913 - one parameter per option
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILES...", help="NDJSON, or a JSON array; - is stdin.")
    ] = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    out: Annotated[str, typer.Option("--out", "-o", help="NDJSON file; - is stdout.")] = "-",
    kafka: Annotated[bool, typer.Option("--kafka", help="Send to the input topics instead.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(help="NDJSON file of what was refused (default: stderr).")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="File that remembers what became of each resource, for the next run."),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Names, units and states (default: the built-in mapping).")
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option(metavar="CUSTOMER", help="Erase a customer from --state instead; reads no files."),
    ] = None,
) -> None:
    """TM Forum usage (TMF635), customer bills (TMF678) and customer events (TMF629).

    A usage that is rated again becomes a signed correction, a bill that changes a credit note; what says
    nothing new becomes nothing.
    """
    if forget is not None:
        _forget(forget, state, files)
        return
    if not files:
        raise ConfigError("adapt tmf has nothing to read", "give files, or - for stdin")
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    import structlog

    from consumer.adapters import TmfAdapter, TmfMemory, load_mapping
    from consumer.adapters.run import KafkaSink, NdjsonSink, adapt_files

    names = load_mapping(None if mapping is None else str(mapping))
    with ExitStack() as opened:
        memory = opened.enter_context(TmfMemory(None if state is None else str(state)))
        adapter = TmfAdapter(names, memory, settings.currency)
        refused = sys.stderr.buffer if rejects is None else _create(str(rejects), opened)
        sink = KafkaSink(settings) if kafka else NdjsonSink(_create(out, opened))
        adapt_files(adapter, files, sink, refused)
    structlog.get_logger("adapt").info("adapted", **adapter.counts)


def _forget(customer: str, state: Path | None, files: list[str] | None) -> None:
    """What later versions of the customer's resources would be compared with; the topics are not touched."""
    from consumer.adapters import TmfMemory

    if state is None or files:
        raise ConfigError(
            "--forget erases a customer from a state file",
            "give --state and --forget, and no files",
        )
    if not state.is_file():
        raise DataError(f"there is no state file {state}", "give the file that --state named before")
    with TmfMemory(str(state)) as memory:
        erased = memory.forget(customer)
        memory.save()
    write_json({"state": str(state), "erased": erased})


def _create(name: str, opened: ExitStack) -> BinaryIO:
    if name == "-":
        return sys.stdout.buffer
    try:
        return opened.enter_context(Path(name).open("wb"))
    except OSError as error:
        raise DataError(f"{name} cannot be written: {error.strerror}", "give a writable file") from None
