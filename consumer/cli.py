"""The command `segmenter`: its commands, and the one place where errors become exit codes.

stdout is data, stderr is logs and messages. An expected error (`consumer.errors`) is one message with
its fix and no traceback; anything else is a bug and leaves its traceback in the log.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from consumer.commands import (
    adapt,
    customers,
    dlq,
    features,
    inspect,
    models,
    report,
    service,
    simulate,
    topics,
    verify,
)
from consumer.errors import SegmenterError
from consumer.exit_codes import ExitCode

app = typer.Typer(
    help="Real-time customer segmentation for telecoms: Kafka events in, segment changes out, exactly once.",
    epilog="Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(service.run)
app.command()(service.coordinate)
app.command()(service.demo)
app.command()(simulate.simulate)
app.command()(service.replay)
app.add_typer(adapt.app, name="adapt")
app.command()(verify.verify)
app.command()(models.recalibrate)
app.command()(report.report)
app.command()(features.features)
app.add_typer(models.app, name="models")
app.add_typer(topics.app, name="topics")
app.add_typer(dlq.app, name="dlq")
app.command()(customers.inspect)
app.command()(customers.forget)
app.command()(inspect.doctor)
app.add_typer(inspect.config_app, name="config")
app.add_typer(inspect.schemas_app, name="schemas")
app.command()(inspect.version)


def execute(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. Never raises."""
    try:
        typer.main.get_command(app).main(args=list(arguments), prog_name="segmenter")
    except SystemExit as ending:  # how typer ends, with its own usage errors printed
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except SegmenterError as error:
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception:  # noqa: BLE001 - the top: whatever arrives here is a bug
        import structlog

        if not structlog.is_configured():  # it happened before the settings were known
            from consumer.logs import configure_logging

            configure_logging("info")
        structlog.get_logger("segmenter").exception("unexpected error: please report this as a bug")
        return ExitCode.UNEXPECTED
    return ExitCode.OK


def _has_clients() -> bool:
    """Whether Kafka clients were left behind; a command that had none does not load the module."""
    clients = sys.modules.get("consumer.kafka_clients")
    return clients is not None and clients.are_left_behind()


def main() -> NoReturn:
    """Entry point of the console script."""
    code = execute(sys.argv[1:])
    if code == ExitCode.RESTART or _has_clients():
        # A thread may hang inside the Kafka client, and the interpreter would wait for it at its end; or a
        # client must not be let go of.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
