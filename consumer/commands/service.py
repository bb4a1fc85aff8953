"""`run`, `coordinate`, `demo` and `replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.commands.common import BootstrapOption, ConfigOption, SetOption, load_config
from consumer.errors import ConfigError, DataError
from consumer.options import BrokerChoice, CalibrateWhen, DemoOptions, MergeOrder, ReplayOptions

if TYPE_CHECKING:
    from consumer.config import Config


def run(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    coordinate: Annotated[
        bool, typer.Option(help="Also make the versions of the model, when it is this process's turn.")
    ] = True,
) -> None:
    """Run the service until SIGTERM: events in, segment changes out."""
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    if not coordinate:
        _check_learner(settings)
    from consumer.service import run_service

    run_service(settings, coordinates=coordinate)


def coordinate(
    config: ConfigOption = None, bootstrap: BootstrapOption = None, sets: SetOption = None
) -> None:
    """Make the versions of the model until SIGTERM, and read no events.

    Calibrates over the snapshots of the workers, folds their scans, recalibrates and carries out commands; it
    goes before workers that coordinate too. Takes the settings of the workers.
    """
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    _check_learner(settings)
    from consumer.coordinate import run_coordinator

    run_coordinator(settings)


def _check_learner(config: Config) -> None:
    """The river learner looks at customers; a coordinator sees what was summed up of them."""
    if config.model.learner == "river":
        raise ConfigError(
            "model.learner = river learns from the customers of the worker that coordinates",
            "use the learner own or frozen, or run workers that coordinate (--coordinate, the default)",
        )


def demo(  # noqa: PLR0913 - one parameter per option
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    broker: Annotated[
        BrokerChoice,
        typer.Option(help="Broker to start; real: Docker, else Maven; auto: real, else embedded."),
    ] = "embedded",
    customers: Annotated[int, typer.Option(min=100, help="Simulated customers.")] = 3000,
    days: Annotated[int, typer.Option(min=35, help="Simulated days.")] = 49,
    seconds: Annotated[float, typer.Option(min=5, help="Seconds the days are spread over.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulation and of the model.")] = 7,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the live view.")] = False,
) -> None:
    """See it work: a broker, simulated customers, the service and a comparison with the planted truth."""
    settings = load_config(config, sets, {"app.seed": seed})
    from consumer.demo import run_demo

    options = DemoOptions(
        config=settings,
        broker=broker if bootstrap is None else "auto",
        bootstrap=bootstrap,
        customers=customers,
        days=days,
        seconds=seconds,
        seed=seed,
        plain=plain or not sys.stdout.isatty(),
    )
    raise typer.Exit(run_demo(options))


def replay(  # noqa: PLR0913 - one parameter per option
    events: Annotated[list[str], typer.Argument(metavar="EVENTS.ndjson...", help="Event files; - is stdin.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the results.")],
    config: ConfigOption = None,
    sets: SetOption = None,
    spec: Annotated[Path | None, typer.Option(help="Feature specification (model.spec).")] = None,
    k: Annotated[int | None, typer.Option("--k", help="Number of segments (model.k).")] = None,
    merge: Annotated[
        MergeOrder, typer.Option(help="Several files: by event time, or in the order given.")
    ] = "time",
    calibrate: Annotated[
        CalibrateWhen,
        typer.Option(help="Calibrate once at the end of the input, or when ready and go on as the service."),
    ] = "end",
    partitions: Annotated[int, typer.Option(min=1, max=256, help="Partitions customers are hashed to.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of the model (app.seed).")] = None,
) -> None:
    """Run the same core over event files, without Kafka."""
    overrides: dict[str, Any] = {
        "model.spec": None if spec is None else str(spec),
        "model.k": k,
        "app.seed": seed,
    }
    settings = load_config(config, sets, overrides)
    _check_inputs(events)
    from consumer.replay import run_replay

    run_replay(ReplayOptions(settings, tuple(events), out, merge, calibrate, partitions))


def _check_inputs(events: list[str]) -> None:
    for name in events:
        if name == "-":
            continue
        if Path(name).is_dir():
            raise DataError(f"event file {name} is a directory", f"give the files in it: {name}/*.ndjson")
        if not Path(name).exists():  # a pipe is as good as a file
            raise DataError(f"event file {name} does not exist", "give NDJSON files, or - for stdin")
    if events.count("-") > 1:
        raise DataError("stdin (-) is given twice", "give - once")
