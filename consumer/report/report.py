"""`segmenter report`: customers and versions in, a page and its tables out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumer.clock import Clock, WallClock
from consumer.config import Config
from consumer.errors import DataError, SpecError
from consumer.models.files import load_spec, load_strategies
from consumer.options import ReportOptions
from consumer.report.customers import Customers, Say
from consumer.report.document import make_document
from consumer.report.findings import Findings, find
from consumer.report.page import render
from consumer.report.replay_source import ReplaySource, read_models
from consumer.report.snapshot_source import SnapshotSource
from consumer.report.table import write_tables
from consumer.report.words import Units
from consumer.results import OutputFile, make_directory
from consumer.snapshots import SnapshotStore
from online_model.compile_plan import compile_plan
from online_model.model import Model
from online_model.model_head import Version
from online_model.plan import FeaturePlan

_TITLE: Final = "Customer segments"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the page, its size, the folder of tables."""

    page: Path
    page_bytes: int
    tables: Path
    customers: int
    seconds: float


def run_report(options: ReportOptions, say: Say, clock: Clock | None = None) -> Written:
    """Writes `options.out` and, beside it, the folder `<name>_tables`.

    Raises `DataError` if there are no customers or a file cannot be written, `ConfigError` without a model,
    `SpecError` if the specification is another one, `BrokerUnreachable`.
    """
    began = time.perf_counter()
    out = options.out
    if out.is_dir():
        raise DataError(f"{out} is a directory", "give a file name, for example --out report.html")
    make_directory(out.parent)
    findings = findings_of(options, say)
    say("drawing")
    document = make_document(findings, options.title or _TITLE, (clock or WallClock()).now_us())
    folder = out.with_name(f"{out.stem}_tables")
    page = render(document, folder.name).encode()
    say(f"writing {out} and {len(document.tables)} tables to {folder}")
    write_tables(folder, document.tables)
    with OutputFile(out) as file:
        file.write(page)
    return Written(out, len(page), folder, findings.customers.total, time.perf_counter() - began)


def findings_of(options: ReportOptions, say: Say = lambda _: None) -> Findings:
    """Reads customers and versions and computes what the report says; raises as `run_report`."""
    config = options.config
    plan, strategies = compile_plan(load_spec(config.model.spec)), load_strategies(config.model.strategies)
    say("reading the history of the model")
    models, proposal = _models(options)
    newest = models[-1]
    assert isinstance(newest, Model), "the newest version is whole"
    _check(newest, plan)
    models = _of_one_specification(models, plan)
    customers = _customers(config, options, plan, newest, say)
    if not customers.total:
        raise DataError(f"{customers.source} hold no live customer", "report once there are customers")
    say(f"looking at {len(customers.raw):,} of {customers.total:,} customers")
    units = Units(plan.columns, config.currency)
    return find(models, proposal, customers, units, strategies, options.days)


def _models(options: ReportOptions) -> tuple[list[Version], Model | None]:
    """Versions, oldest first, and the proposal that waits."""
    if options.models is not None:
        return [*read_models(options.models)], None
    if options.replay is not None:
        return [*read_models(options.replay / "model.json")], None
    from consumer.models.history import History

    history = History.read(options.config)
    history.newest  # noqa: B018 - there must be one
    return history.everything, history.proposal


def _customers(
    config: Config, options: ReportOptions, plan: FeaturePlan, model: Model, say: Say
) -> Customers:
    if options.replay is not None:
        return ReplaySource(options.replay, model).read(options.sample, options.days, say)
    store = SnapshotStore(config.snapshots.uri, config.app.name)
    return SnapshotSource(store, plan, model).read(options.sample, options.days, say)


def _check(model: Model, plan: FeaturePlan) -> None:
    if model.spec_hash != plan.spec.hash or model.columns != plan.columns.name:
        raise SpecError(
            f"the model is of specification {model.spec_hash}, this is {plan.spec.hash} ({plan.spec.name})",
            "give the specification the model was made with (--spec FILE, or model.spec)",
        )


def _of_one_specification(models: Sequence[Version], plan: FeaturePlan) -> list[Version]:
    """Versions of another specification have other columns and cannot be compared."""
    spec_hash = plan.spec.hash  # worked out anew at each look
    return [model for model in models if model.spec_hash == spec_hash]
