"""`simulate`: seeded telecom events to a file, stdout or Kafka, with the planted truth beside."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from consumer.commands.common import BootstrapOption, ConfigOption, SetOption, load_config
from consumer.errors import BrokerUnreachable, ConfigError, DataError

if TYPE_CHECKING:
    from consumer.config import Config
    from consumer.simulator import Faults, KafkaFeed, Simulation

Preset = Literal["none", "realistic"]
Progress = Callable[[int, int], None]

_FIRST_DAY = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
_MOST_DAYS_BACK = 10_000
_PROGRESS_EVERY_S = 0.2
_LOG_EVERY_S = 10.0
_PLANTED = "Planted changes"
_TARGET = "Where to"
_FAULTS = "Faults (shares of records)"


def simulate(  # noqa: PLR0913 - one parameter per option
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="NDJSON file; - is stdout.", rich_help_panel=_TARGET)
    ] = None,
    split: Annotated[
        bool, typer.Option("--split", help="--out is a directory: a file per topic.", rich_help_panel=_TARGET)
    ] = False,
    truth: Annotated[
        Path | None,
        typer.Option(help="Truth file, .json or .parquet (default: beside --out).", rich_help_panel=_TARGET),
    ] = None,
    kafka: Annotated[
        bool,
        typer.Option(
            "--kafka",
            help="Send to the input topics instead (implied by --bootstrap without --out).",
            rich_help_panel=_TARGET,
        ),
    ] = False,
    rate: Annotated[
        float | None, typer.Option(min=1, help="At most so many events per second.", rich_help_panel=_TARGET)
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(min=0.001, help="Event time per real time, e.g. 3600.", rich_help_panel=_TARGET),
    ] = None,
    follow: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="So many days of history at once, then events as the clock goes until --days are over; goes "
            "on after what the topics hold.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    customers: Annotated[int, typer.Option(min=1, help="Customers, those who join later included.")] = 3000,
    days: Annotated[int, typer.Option(min=1, help="Days of event time.")] = 42,
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="First day, UTC (default: 2026-01-05; to Kafka: so that the run ends with yesterday).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 7,
    activity: Annotated[
        float, typer.Option(min=0.001, help="Scales events per customer (1: about 11 a day).")
    ] = 1.0,
    currency: Annotated[
        str | None, typer.Option(help="Currency of every amount (default: the configured one).")
    ] = None,
    new_customers: Annotated[
        float, typer.Option(min=0, max=1, help="Share that joins during the run.")
    ] = 0.04,
    silent_churn: Annotated[float, typer.Option(min=0, max=1, help="Share that stops silently.")] = 0.03,
    closed: Annotated[
        float, typer.Option(min=0, max=1, help="Share that leaves with a closed event.")
    ] = 0.02,
    drift_day: Annotated[
        float | None, typer.Option(min=0, help="Data usage drifts from this day.", rich_help_panel=_PLANTED)
    ] = None,
    drift_factor: Annotated[
        float, typer.Option(min=0.001, help="... to this multiple", rich_help_panel=_PLANTED)
    ] = 1.6,
    drift_ramp_days: Annotated[
        float, typer.Option(min=0, help="... within so many days.", rich_help_panel=_PLANTED)
    ] = 7.0,
    migrate_day: Annotated[
        int | None,
        typer.Option(min=1, help="Customers change persona on this day:", rich_help_panel=_PLANTED),
    ] = None,
    migrate_share: Annotated[
        float, typer.Option(min=0, max=1, help="... this share of the active ones", rich_help_panel=_PLANTED)
    ] = 0.05,
    migrate_to: Annotated[
        str | None, typer.Option(help="... to this persona (default: any).", rich_help_panel=_PLANTED)
    ] = None,
    faults: Annotated[Preset, typer.Option(help="Preset of the shares of faulty records.")] = "none",
    duplicates: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Sent again within ten minutes.", rich_help_panel=_FAULTS),
    ] = None,
    late: Annotated[
        float | None, typer.Option(min=0, max=1, help="1 to 20 hours late.", rich_help_panel=_FAULTS)
    ] = None,
    late_day: Annotated[
        float | None, typer.Option(min=0, max=1, help="1 to 6 days late.", rich_help_panel=_FAULTS)
    ] = None,
    late_week: Annotated[
        float | None, typer.Option(min=0, max=1, help="7 to 20 days late.", rich_help_panel=_FAULTS)
    ] = None,
    late_window: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Event time 95 to 120 days back.", rich_help_panel=_FAULTS),
    ] = None,
    out_of_order: Annotated[
        float | None, typer.Option(min=0, max=1, help="Up to five minutes late.", rich_help_panel=_FAULTS)
    ] = None,
    bad_clock: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Event time days or years ahead, or in 1970.", rich_help_panel=_FAULTS
        ),
    ] = None,
    malformed: Annotated[
        float | None, typer.Option(min=0, max=1, help="Broken in one of nine ways.", rich_help_panel=_FAULTS)
    ] = None,
    misrouted: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Not on its key's partition (Kafka only).", rich_help_panel=_FAULTS),
    ] = None,
) -> None:
    """Simulate the events of telecom customers: personas, cycles, drift, migration and faults."""
    kafka = kafka or (bootstrap is not None and out is None)
    _check_target(out, kafka, split)
    _check_pace(kafka, rate, speed, follow, start)
    service = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer.simulator import Drift, Migration, Simulation, SimulationSettings

    shares = {
        "duplicates": duplicates,
        "late": late,
        "late_day": late_day,
        "late_week": late_week,
        "late_window": late_window,
        "out_of_order": out_of_order,
        "bad_clock": bad_clock,
        "malformed": malformed,
        "misrouted": misrouted,
    }
    with _readable_errors():
        settings = SimulationSettings(
            customers=customers,
            days=days,
            start=(start or _first_day(kafka, days if follow is None else follow)).replace(tzinfo=UTC),
            seed=seed,
            new_customer_share=new_customers,
            silent_churn_share=silent_churn,
            closed_share=closed,
            drift=None if drift_day is None else Drift(drift_day, drift_factor, drift_ramp_days),
            migration=None if migrate_day is None else Migration(migrate_share, migrate_day, migrate_to),
            faults=_faults(faults, shares),
            activity=activity,
            currency=currency or service.currency,
        )
        simulation = Simulation(settings)
    place = truth or _beside(out)
    try:
        if out is None:
            _feed(simulation, service, rate, speed, follow is not None)
        else:
            _write(simulation, out, split)
    except KeyboardInterrupt:  # the truth then counts what was sent until now
        _write_truth(simulation, place)
        raise
    _write_truth(simulation, place)


def _check_target(out: str | None, kafka: bool, split: bool) -> None:
    if kafka == (out is not None):
        raise ConfigError("it is not clear where the events go", "give either --out FILE or --kafka")
    if split and (kafka or out == "-"):
        raise ConfigError("--split needs a directory", "give --out DIRECTORY")


def _check_pace(
    kafka: bool, rate: float | None, speed: float | None, follow: int | None, start: datetime | None
) -> None:
    paces = [pace for pace in (rate, speed, follow) if pace is not None]
    if not kafka and paces:
        raise ConfigError("--rate, --speed and --follow pace Kafka only", "leave them out, or use --kafka")
    if len(paces) > 1:
        raise ConfigError("--rate, --speed and --follow are paces", "give one of them")
    if follow is not None and start is not None:
        raise ConfigError("--follow says when the run starts", "leave --start out")


def _first_day(kafka: bool, days: int) -> datetime:
    """A file is the same on any day. To a service, whose clock is the real one, old customers are dormant."""
    if not kafka:
        return _FIRST_DAY
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=min(days, _MOST_DAYS_BACK))


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # from the settings' own checks
        raise ConfigError(str(error), "see 'segmenter simulate --help' for what is allowed") from None


def _faults(preset: Preset, shares: dict[str, float | None]) -> Faults:
    from dataclasses import replace

    from consumer.simulator import Faults

    start = Faults.realistic() if preset == "realistic" else Faults()
    return replace(start, **{name: share for name, share in shares.items() if share is not None})


def _beside(out: str | None) -> Path | None:
    """Where the truth goes when nobody says: events.ndjson -> events.truth.json."""
    if out is None or out == "-":
        return None
    return Path(out).with_suffix(".truth.json")


def _write_truth(simulation: Simulation, place: Path | None) -> None:
    if place is None:
        return
    try:
        simulation.truth.write(place)
    except OSError as error:
        raise DataError(
            f"truth file {place} cannot be written: {error.strerror}", "give a writable place with --truth"
        ) from None
    typer.echo(f"truth: {place}", err=True)


def _write(simulation: Simulation, out: str, split: bool) -> None:
    from consumer.simulator import write_ndjson

    target: str | BinaryIO = sys.stdout.buffer if out == "-" else out
    try:
        with _progress(simulation) as report:
            written = write_ndjson(simulation, target, split, report)
    except BrokenPipeError:  # whoever reads has enough: typer ends quietly
        raise
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror}", "give a writable place with --out"
        ) from None
    sys.stdout.flush()
    typer.echo(f"{written} events: {out}", err=True)


def _feed(
    simulation: Simulation, config: Config, rate: float | None, speed: float | None, follow: bool
) -> None:
    """Send the run to the input topics; pace and progress are looked after here."""
    from consumer import kafka_clients, topics
    from consumer.simulator import KafkaFeed

    names = topics.TopicNames.with_prefix(config.topics.prefix)
    admin = kafka_clients.make_admin(config)
    partitions = topics.input_partitions(admin, names)
    with _readable_errors():
        feed = KafkaFeed(
            kafka_clients.plain_producer_settings(config),
            simulation,
            events_per_s=rate,
            speed=speed,
            partitions=partitions,
            topic_prefix=config.topics.prefix,
        )
    with ThreadPoolExecutor(1, "simulator") as thread, _progress(simulation) as report:
        if follow:
            feed.skip(topics.newest_input_us(admin, names))
            running = thread.submit(feed.follow, _now_us)
        else:
            running = thread.submit(feed.run)
        try:
            while wait([running], _PROGRESS_EVERY_S).not_done:
                report(feed.sent, feed.position_us)
            running.result()
        finally:
            _close(feed)
    typer.echo(f"{feed.sent} events: {config.kafka.bootstrap}", err=True)


def _now_us() -> int:
    return time.time_ns() // 1000


def _close(feed: KafkaFeed) -> None:
    from consumer.simulator import FeedError

    try:
        feed.close()
    except FeedError as error:
        raise BrokerUnreachable(str(error), "check the broker and simulate into new topics") from error


@contextmanager
def _progress(simulation: Simulation) -> Iterator[Progress]:
    """Shows how far the run is: a bar on a terminal's stderr, otherwise a log line now and then."""
    settings = simulation.settings
    length_us = settings.end_us - settings.start_us
    if not sys.stderr.isatty():
        yield _ProgressLog(settings.start_us, length_us)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns: tuple[Any, ...] = (
        TextColumn("simulating"),
        BarColumn(),
        TextColumn("{task.fields[events]} events"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("simulating", total=length_us, events=0)
        yield lambda sent, at_us: bar.update(task, completed=at_us - settings.start_us, events=sent)


class _ProgressLog:
    """A log line at most every ten seconds."""

    def __init__(self, start_us: int, length_us: int) -> None:
        self._start_us, self._length_us = start_us, length_us
        import structlog

        self._log = structlog.get_logger("simulate")
        self._next_s = time.monotonic() + _LOG_EVERY_S

    def __call__(self, sent: int, at_us: int) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s += _LOG_EVERY_S
            done = (at_us - self._start_us) / self._length_us
            self._log.info("simulating", events=sent, done=round(done, 3))
