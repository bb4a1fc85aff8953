"""`segmenter replay`: the same core over event files, without Kafka.

A replay is a backfill: by default it calibrates once on everybody at the end of the input and
publishes one assignment per customer. With ``calibrate="ready"`` it does what the service does: it
calibrates in the stream as soon as there is enough, publishes changes, and folds every completed scan.

The clock of a step is the event time its lines had come to, so the same files give the same bytes on any
day, and a record with a bad clock is refused as it would have been on the day. No change is live.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from consumer.change_records import ChangeRecords
from consumer.clock import Clock, WallClock
from consumer.core import CALIBRATION_ROWS, Core, Positions, delta_of, report_of
from consumer.customer_table import CustomerTable
from consumer.errors import DataError
from consumer.metric_table import Outcome
from consumer.ndjson_input import EventFiles
from consumer.options import ReplayOptions
from consumer.replay_feed import Feed, steps
from consumer.results import (
    OutputFile,
    make_directory,
    reject_lines,
    write_document,
    write_model,
)
from consumer.topics import TopicNames
from consumer.turn_totals import TurnTotals
from online_model.change_batch import Change
from online_model.coordinator import make_first_model
from online_model.engine import Step
from online_model.model import Model
from online_model.rows import NEVER
from online_model.scan import KEYS
from schemas.records import RawRecords
from schemas.times import format_time

_log = structlog.get_logger("replay")

#: Customers per row group of the table.
_GROUP_ROWS: Final = 50_000


class Replay:
    """Core, coordinator and change records as the service puts them together, in one thread."""

    def __init__(self, options: ReplayOptions) -> None:
        config = options.config
        self.options = options
        self.now_us: int = NEVER
        self.topics = TopicNames.with_prefix(config.topics.prefix).inputs
        self.core = Core(config, options.partitions, follow_clock=False)
        for number in range(options.partitions):
            self.core.engine.add_partition(number)
        self.feed = Feed(options.partitions)
        self.lines = 0
        self.turns = TurnTotals()
        self._records = ChangeRecords(
            self.core.plan.columns, self.core.strategies, self.topics, self.core.run_id, f"/{config.app.name}"
        )
        self._scan_interval_us = config.scan.interval_s * 1_000_000

    def run(self, files: EventFiles, changes: OutputFile, rejects: OutputFile) -> None:
        """Reads `files` to their end and writes changes and rejects. Raises `DataError`."""
        blocks = files.by_time() if self.options.merge == "time" else files.in_order_given()
        for lines in steps(blocks, self._scan_interval_us):
            self.lines += lines.n
            self.now_us = max(self.now_us, int(lines.order_us.max()))
            self._step(*self.feed.poll(lines), changes, rejects, files.names)
            if self.options.calibrate == "ready" and self.core.is_ready_to_calibrate:
                self._calibrate()
        rejects.publish()
        if self.core.coordinator.model is None:
            self._calibrate()
        while any(state.scan.active for state in self.core.engine.partitions.values()):
            self._step(*self.feed.nothing(), changes, rejects, files.names)

    def _step(
        self,
        raw: RawRecords,
        positions: Positions,
        changes: OutputFile,
        rejects: OutputFile,
        files: tuple[str, ...],
    ) -> None:
        step = self.core.process(raw, positions, self.now_us)
        self.turns.add(step)
        engine = self.core.engine
        for part in step.partitions:
            if part.rejects.n:
                rejects.write_lines(reject_lines(part.rejects, self.feed.places, files, self.topics))
            if part.changes is not None:
                made = self._records.of(
                    part.changes, part.partition, part.watermark_us, part.model_version, live=False
                )
                changes.write_lines(made.change_values)
        if all(state.intake.is_empty for state in engine.partitions.values()):
            self.feed.places.forget()
        self._coordinate(step)

    def _coordinate(self, step: Step) -> None:
        """What the worker and the coordinator do after a commit: learn, fold, adopt."""
        coordinator = self.core.coordinator
        for part in step.partitions:
            if part.scanned is None:
                continue
            if part.scanned.points is not None:
                coordinator.learn(part.scanned.points)
            if part.scanned.completed is not None:
                delta = delta_of(part.partition, part.scanned, part.model_version, self._scan_interval_us)
                folded = coordinator.offer(report_of(delta))
                if folded is not None:
                    self._adopt(folded)

    def _calibrate(self) -> None:
        core = self.core
        population = core.engine.population(CALIBRATION_ROWS)
        least = core.calibration.k or core.calibration.k_min
        if len(population.raw) < least:
            raise DataError(
                f"{least} segments need as many customers, the events gave {len(population.raw)} "
                f"({self.lines} lines, {self.turns.rejects.total()} refused)",
                "give more events, or fewer segments (--k); rejects.ndjson tells why lines were refused",
            )
        _log.info(
            "calibration begins", customers=len(population.raw), history_days=round(core.history_days(), 1)
        )
        try:
            model = make_first_model(
                population,
                core.plan,
                core.strategies,
                core.calibration,
                core.config.decision.dormant_after_days,
            )
        except ValueError as error:
            raise DataError(
                f"calibration is not possible: {error}", "give more events, or fewer segments (--k)"
            ) from None
        _log.info("calibrated", k=model.k, explanation=model.quality.explanation)
        self._adopt(model)

    def _adopt(self, model: Model) -> None:
        self.core.coordinator.adopt(model)
        self.core.engine.offer_model(model)
        self._records.learn(model)

    def write_results(self, folder: Path) -> dict[str, Any]:
        """Writes the table, the model and the catalog; returns what the summary says of them."""
        active = self.core.engine.active
        assert active is not None
        with CustomerTable(folder / "customers.parquet", self.core, active) as table:
            self._fill(table)
        write_model(folder, active.model, self.core)
        model = active.model
        return {
            "customers": table.customers,
            "segments": dict(sorted(table.segments.items())),
            "inertia": table.inertia,
            "model": {
                "version": model.version,
                "kind": model.kind,
                "k": model.k,
                "spec_hash": model.spec_hash,
                "created": format_time(model.created_us),
            },
            "quality": msgspec.to_builtins(model.quality),
        }

    def _fill(self, table: CustomerTable) -> None:
        """Partition after partition, some at a time, so that memory does not grow with the population."""
        for _, state in sorted(self.core.engine.partitions.items()):
            if state.watermark_us == NEVER:
                continue
            rows = state.live_rows(0, KEYS)
            for start in range(0, len(rows), _GROUP_ROWS):
                chosen = rows[start : start + _GROUP_ROWS]
                table.add(state.store.rows, chosen, state.index.ids(chosen), state.watermark_us)

    def summary(self) -> dict[str, Any]:
        """What was read and what was published."""
        turns, outcomes = self.turns, self.turns.outcomes.sum(axis=0).tolist()
        kinds, causes = Counter[str](), Counter[str]()
        for (kind, cause), n in turns.changes.items():
            if kind != Change.ERASED.name.lower():  # an erasure publishes nothing about the customer
                kinds[kind] += n
                causes[cause] += n
        rejects = Counter[str]()
        for (_, reason), n in turns.rejects.items():
            rejects[reason.value] += n
        states = self.core.engine.partitions.values()
        first = [s.first_watermark_us for s in states if s.first_watermark_us != NEVER]
        last = [s.watermark_us for s in states if s.watermark_us != NEVER]
        return {
            "files": list(self.options.events),
            "partitions": self.options.partitions,
            "calibrate": self.options.calibrate,
            "events": self.lines,
            **{outcome.value: n for outcome, n in zip(Outcome, outcomes, strict=True)},
            "rejects": dict(sorted(rejects.items())),
            "changes": {
                "total": kinds.total(),
                "by_kind": dict(sorted(kinds.items())),
                "by_cause": dict(sorted(causes.items())),
            },
            "event_time": {
                "first": format_time(min(first)) if first else None,
                "last": format_time(max(last)) if last else None,
            },
        }


def run_replay(options: ReplayOptions, clock: Clock | None = None) -> dict[str, Any]:
    """Replays `options.events` into `options.out` and returns the summary that is written there.

    Raises `SpecError` for an unusable specification and `DataError` for events that cannot be read,
    too few customers, or an output directory that cannot be written.
    """
    began = time.perf_counter()
    now_us = (clock or WallClock()).now_us()
    replay = Replay(options)
    out = options.out
    make_directory(out)
    latest_us = now_us + int(options.config.watermark.max_future_s * 1_000_000)
    with (
        EventFiles(options.events, replay.topics, latest_us) as files,
        OutputFile(out / "changes.ndjson") as changes,
        OutputFile(out / "rejects.ndjson") as rejects,
        _progress(files),
    ):
        replay.run(files, changes, rejects)
    results = replay.write_results(out)
    summary = replay.summary() | results | {"duration_s": round(time.perf_counter() - began, 3)}
    write_document(out / "summary.json", summary)
    _log.info(
        "replayed",
        events=summary["events"],
        customers=summary["customers"],
        changes=summary["changes"]["total"],
    )
    return summary


@contextmanager
def _progress(files: EventFiles) -> Iterator[None]:
    """A bar on a terminal's stderr by bytes read; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replaying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("replaying", total=files.total_bytes)
        files.on_read = lambda count: bar.update(task, completed=count)
        yield
