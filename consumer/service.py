"""`segmenter run`: puts the parts of the service together and takes them down again."""

from __future__ import annotations

import gc
import os
from contextlib import ExitStack
from importlib.metadata import version
from typing import Final

import structlog

from consumer.change_records import MODELS_KEPT, ChangeRecords
from consumer.clock import Clock, WallClock
from consumer.committer import Committer
from consumer.compiled import compile_kernels
from consumer.config import Config
from consumer.core import Core
from consumer.failpoints import arm, failpoint
from consumer.http import Health, StatusServer
from consumer.input import Input
from consumer.kafka_clients import (
    CloseMember,
    consumer_settings,
    leave_behind,
    leave_group,
    make_admin,
    make_consumer,
    producer_factory,
    reader_settings,
    transactional_id,
)
from consumer.memory import keep_little
from consumer.metrics import Metrics
from consumer.model_figures import ModelFigures
from consumer.models.calibrator import Calibrator, OwnCustomers
from consumer.models.keeper import ModelKeeper
from consumer.models.log import CoordinatorProcess, ModelReader
from consumer.output import PayloadMaker
from consumer.recorder import Recorder
from consumer.registry import unframe_of
from consumer.restore import KeptStates, RestoreCancelled, Restorer, Surroundings
from consumer.snapshots import Identity, SnapshotStore, SnapshotWriter
from consumer.stopping import StopRequest
from consumer.topics import TopicNames, require
from consumer.transaction import TransactionalOutput
from consumer.worker import Parts, Worker
from online_model.model import Model

_log = structlog.get_logger("service")

#: New container objects before the youngest are looked through for garbage.
GC_THRESHOLD: Final = 100_000

#: The newest of a partition, and one to fall back on.
SNAPSHOTS_KEPT: Final = 2


class Service:
    """A worker with its clients. Use as a context manager; `worker.run()` or `worker.run_once()` inside.

    On the way out the commit under way is waited for, and raises what it failed with. With `coordinates` off
    the model is left to other processes; its versions are adopted all the same.

    Raises `BrokerUnreachable`, `TopicError`, `SpecError` or `ConfigError` on the way up, each with a fix.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock | None = None,
        *,
        coordinates: bool = True,
        close_member: CloseMember = leave_group,
    ) -> None:
        self.config = config
        self._coordinates = coordinates
        self._close_member = close_member
        self._closers = ExitStack()
        names = TopicNames.with_prefix(config.topics.prefix)
        partition_count = require(make_admin(config), names)
        self.core = Core(config, partition_count, unframe=unframe_of(config))
        self._models: dict[int, Model] = {}
        self.metrics = Metrics(names.inputs, version("telecom-segmenter"))
        self.health = Health()
        try:
            self._build(config, clock or WallClock(), names)
        except BaseException:
            self.close()
            raise

    def _build(self, config: Config, clock: Clock, names: TopicNames) -> None:
        # The producer first: it aborts what a former process of this name left open.
        output = TransactionalOutput(producer_factory(config), transactional_id(config))
        self._closers.callback(output.close)
        output.start()
        failpoint("start.output")
        models_output = self._models_output(config)
        self._records = ChangeRecords(
            self.core.plan.columns,
            self.core.strategies,
            names.inputs,
            self.core.run_id,
            f"/{config.app.name}",
        )
        calibrator = Calibrator(self.core, OwnCustomers(self.core, names.inputs))
        self._closers.callback(calibrator.close)
        self.keeper = ModelKeeper(self.core, calibrator, names.inputs)
        self._closers.callback(self.keeper.close)
        reader = ModelReader(config, names)
        self._closers.callback(reader.close)
        self._reader = reader
        self._catch_up()
        failpoint("start.models")
        coordinator = None if models_output is None else self._coordinator(config, names, models_output)
        figures = ModelFigures(self.core, self.metrics, self.keeper.outcomes, lambda: reader.has_proposal)
        self.recorder = Recorder(
            self.core, lambda: inputs, self.metrics, self.health, output.rebuilds, figures
        )

        def group_metadata() -> object:
            return inputs.group_metadata()

        committer = Committer(output, group_metadata, self.recorder.aborted)
        inputs = Input(make_consumer(consumer_settings(config)), names.inputs, committer.settle)
        self._closers.callback(inputs.close, self._close_member)
        self._closers.callback(committer.close)
        self.server = StatusServer(
            config.http.host,
            config.http.port,
            self.metrics.registry,
            self.health,
            lambda: self.recorder.status() | {"recalibration": self.keeper.status()},
        )
        self._closers.callback(self.server.close)

        def progress(partition: int, remaining: int) -> None:
            self.recorder.restoring(partition, remaining)
            inputs.stay_in_group()
            if self.worker.is_stopping or not inputs.is_wanted(partition):
                raise RestoreCancelled

        store = SnapshotStore(config.snapshots.uri, config.app.name)
        kept = KeptStates()
        around = Surroundings(
            make_reader=lambda committed_only: make_consumer(reader_settings(config, committed_only)),
            has_committed=inputs.has_committed,
            progress=progress,
            model=self._models.get,
        )
        restorer = Restorer(self.core, names, store, kept, around)
        self._closers.callback(restorer.close)
        identity = Identity(
            config.app.name,
            self.core.partition_count,
            self.core.plan.spec.hash,
            names.inputs,
            self.core.run_id,
        )
        snapshots = SnapshotWriter(store, identity, config.snapshots.interval_s, SNAPSHOTS_KEPT)
        self._closers.callback(snapshots.close)
        self.recorder.uncovered_s = snapshots.uncovered_s
        payloads = PayloadMaker(names, self._records, self.core.run_id, config.scan.interval_s * 1_000_000)
        parts = Parts(
            config=config,
            clock=clock,
            core=self.core,
            inputs=inputs,
            committer=committer,
            payloads=payloads,
            models=reader,
            coordinator=coordinator,
            keeper=self.keeper,
            restorer=restorer,
            kept=kept,
            snapshots=snapshots,
            recorder=self.recorder,
            health=self.health,
        )
        self.worker = Worker(parts, self._adopt)

    def _models_output(self, config: Config) -> TransactionalOutput | None:
        if not self._coordinates:
            return None
        output = TransactionalOutput(producer_factory(config, "model"), transactional_id(config, "model"))
        self._closers.callback(output.close)
        output.start()
        return output

    def _coordinator(
        self, config: Config, names: TopicNames, output: TransactionalOutput
    ) -> CoordinatorProcess:
        coordinator = CoordinatorProcess.of(self.core, names, config.app.instance, output, self._catch_up)
        self._closers.callback(coordinator.close, self._close_member)
        return coordinator

    def _catch_up(self) -> None:
        """Adopts every version there is."""
        for model in self._reader.read_to_end():
            if isinstance(model, Model):
                self._adopt(model)
            else:
                self.core.coordinator.pass_over(model)

    def _adopt(self, model: Model) -> None:
        """A version has become visible."""
        self.core.adopt(model)
        self.keeper.adopted(model)
        self._records.learn(model)
        self._models[model.version] = model
        self._models.pop(model.version - MODELS_KEPT, None)

    def __enter__(self) -> Service:
        # What was made on the way up stays; and a poll makes tens of thousands of short-lived objects, which
        # would start a collection every few hundred of them.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 50, 50)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.worker.finish()
        finally:
            self.close()

    def close(self) -> None:
        """Lets everything go that was built, the producers last. May be called twice."""
        self._closers.close()


def run_service(config: Config, *, coordinates: bool = True) -> None:
    """Runs until SIGTERM or SIGINT; the turn under way is finished and committed first.

    Clients are left behind for the end of the process (`leave_behind`).
    """
    keep_little()
    stop = StopRequest()  # before the clients: a stop while they connect is a clean one too
    arm(os.environ)
    compile_kernels(config, stop)
    with Service(config, coordinates=coordinates, close_member=leave_behind) as service:
        stop.tell(service.worker.stop)
        if not stop.has_come:
            _log.info("serving", bootstrap=config.kafka.bootstrap, http_port=service.server.port)
            service.worker.run()
        service.recorder.draining()
        failpoint("shutdown.committed")
    failpoint("shutdown.closed")
    _log.info("stopped")
