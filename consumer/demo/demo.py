"""Puts the demo together: broker, topics, simulator, service, view, summary; and takes it all down."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final

import pandas as pd
from rich.console import Console

from consumer import topics
from consumer.brokers import resolve
from consumer.config import Config
from consumer.demo.cleanup import delete_everything
from consumer.demo.feed_process import FeedProcess, interrupts_held
from consumer.demo.pacer import Pacer, Phase
from consumer.demo.progress import Progress
from consumer.demo.published import read_changes
from consumer.demo.scenario import PARTITIONS, config_of, simulation_of, timeline_of
from consumer.demo.summary import Seen, print_summary
from consumer.demo.verdict import Results, judge
from consumer.demo.view import LiveView, PlainView, View
from consumer.exit_codes import ExitCode
from consumer.kafka_clients import make_admin
from consumer.logs import configure_logging
from consumer.metric_table import Outcome
from consumer.options import DemoOptions
from consumer.service import Service
from consumer.simulator import Simulation, SimulationSettings
from consumer.warmup import warm_up

_PLAIN_WIDTH: Final = 110
#: Turns after the last record: the scan it began is finished and its model published.
_LAST_TURNS: Final = 10
#: Without any progress for this long the run is given up, and the summary says what is missing.
_STALLED_S: Final = 30.0


def play(options: DemoOptions) -> int:
    """See `consumer.demo.run_demo`."""
    console = Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
    if options.config.log.level == "info":  # the default says too much beside a view
        configure_logging("warning")
    try:
        return _play(options, console)
    except KeyboardInterrupt:
        console.print("stopped")
        return ExitCode.INTERRUPTED


def _play(options: DemoOptions, console: Console) -> int:
    simulation = simulation_of(options, datetime.now(UTC))
    with ExitStack() as stack:
        broker = stack.enter_context(resolve(options.broker, options.bootstrap))
        console.print(f"broker: {broker}")
        folder = stack.enter_context(TemporaryDirectory(prefix="segmenter-demo-"))
        config = config_of(options, broker.bootstrap, uuid.uuid4().hex[:8], folder)
        stack.enter_context(_topics(config, shared=options.bootstrap is not None))
        seen = _run(options, simulation, config, console)
        if seen is None:
            console.print("stopped")
            return ExitCode.INTERRUPTED
        names = topics.TopicNames.with_prefix(config.topics.prefix)
        results = Results(
            customers=Simulation(simulation).truth.customers,
            changes=read_changes(config, names.changes, PARTITIONS),
            outcomes=seen.outcomes,
            sent=seen.sent,
            end=pd.Timestamp(simulation.end_us, unit="us", tz="UTC"),
        )
    verdict = judge(results)
    print_summary(console, verdict, seen)
    return ExitCode.OK if verdict.success else ExitCode.CHECK_FAILED


def _prepare(feed: FeedProcess, config: Config, console: Console) -> None:
    """Everything that takes its time once, before the clock runs."""
    console.print("preparing: loading the kernels (the first run compiles them: about a minute)")
    begun = time.monotonic()
    warm_up(config)
    feed.wait_until_ready()
    console.print(f"prepared in {time.monotonic() - begun:.0f} s")


@contextmanager
def _topics(config: Config, shared: bool) -> Iterator[None]:
    """The topics of the run; on somebody else's Kafka they are deleted afterwards."""
    names = topics.TopicNames.with_prefix(config.topics.prefix)
    # -1: as many replicas as that cluster makes by default.
    topics.create(make_admin(config), names, PARTITIONS, -1 if shared else 1)
    try:
        yield
    finally:
        if shared:
            delete_everything(config, names)


def _run(
    options: DemoOptions, simulation: SimulationSettings, config: Config, console: Console
) -> Seen | None:
    """From the first event to the last; None if interrupted."""
    timeline = timeline_of(simulation)
    with ExitStack() as stack:
        feed = FeedProcess(simulation, config, PARTITIONS)
        stack.callback(feed.close)
        _prepare(feed, config, console)
        service = stack.enter_context(Service(config, feed))
        begun = time.monotonic()
        progress = Progress(service, timeline)
        pacer = Pacer(timeline, begun + options.seconds, max_backlog=options.customers * 6)
        view: View = PlainView(console) if options.plain else LiveView(console)
        stack.enter_context(view)
        finished = _turn(service, feed, progress, pacer, view)
        if not finished:
            return None
        return Seen(
            seconds=time.monotonic() - begun,
            sent=feed.sent,
            outcomes={
                outcome.value: int(n)
                for outcome, n in zip(Outcome, service.recorder.totals.sum(axis=0), strict=True)
            },
            names=progress.names(),
            drift=progress.snapshot(pacer.phase, feed.now_us(), 0).drift,
            rejects=dict(progress.rejects),
            metrics_url=progress.snapshot(pacer.phase, feed.now_us(), 0).metrics_url,
        )


def _turn(service: Service, feed: FeedProcess, progress: Progress, pacer: Pacer, view: View) -> bool:
    """Turns the service until everything is processed; False if interrupted."""
    last_turns, moved_s, before = _LAST_TURNS, time.monotonic(), -1
    with _stop_requested() as requested:
        while not requested:
            with interrupts_held():  # a turn is finished and committed, and its children see no Ctrl-C
                progress.step(service.worker.run_once())
            now = time.monotonic()
            backlog = max(feed.sent - progress.processed, 0)
            feed.allow(pacer.advance(now, feed.now_us(), backlog, progress.model))
            view.show(partial(progress.snapshot, pacer.phase, feed.now_us(), backlog))
            if feed.done and feed.sent == progress.processed:
                last_turns -= 1
                if last_turns < 0:
                    return True
            if progress.processed != before or pacer.phase is Phase.CALIBRATING:
                moved_s, before = now, progress.processed
            if now - moved_s > _STALLED_S:
                return True
    return False


@contextmanager
def _stop_requested() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C or SIGTERM."""
    requested: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        requested.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
