"""`segmenter coordinate`: the coordinator in a process of its own, without any partition of the input."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any, Final

import structlog

from consumer import __version__
from consumer.compiled import compile_kernels
from consumer.config import Config
from consumer.core import Core
from consumer.failpoints import arm
from consumer.http import Health, StatusServer
from consumer.kafka_clients import (
    CloseMember,
    leave_behind,
    leave_group,
    make_admin,
    producer_factory,
    transactional_id,
)
from consumer.memory import keep_little
from consumer.metric_table import State
from consumer.metrics import Metrics
from consumer.model_figures import ModelFigures
from consumer.models.calibrator import Calibrator
from consumer.models.keeper import ModelKeeper
from consumer.models.log import CoordinatorProcess, ModelReader
from consumer.models.snapshot_customers import SnapshotCustomers
from consumer.snapshots import SnapshotStore
from consumer.stopping import StopRequest
from consumer.topics import TopicNames, require
from consumer.transaction import TransactionalOutput
from online_model.model import Model

_log = structlog.get_logger("coordinator")

#: The assignor `range` gives the deltas to the static member whose name comes first, and no name of a worker
#: sorts before a hyphen: this process goes before workers, who take over when it is gone.
FIRST: Final = "-coordinator-"

#: Part of the transactional id. Not the workers': on one host the default name then serves both.
ROLE: Final = "coordinator"

_TURN_S: Final = 0.05
_LOOK_AROUND_S: Final = 2.0


class CoordinatorService:
    """The coordinator with its clients. Use as a context manager; `run()` or `run_once()` inside.

    Raises `BrokerUnreachable`, `TopicError`, `SpecError` or `ConfigError` on the way up, each with a fix.
    """

    def __init__(self, config: Config, close_member: CloseMember = leave_group) -> None:
        self.config = config
        self._close_member = close_member
        self._closers = ExitStack()
        self._stopping = False
        self._next_look_s = 0.0
        self._names = TopicNames.with_prefix(config.topics.prefix)
        self.core = Core(config, require(make_admin(config), self._names))
        SnapshotStore(config.snapshots.uri, config.app.name)  # a wrong URI is told now
        self.metrics = Metrics(self._names.inputs, version("telecom-segmenter"))
        self.health = Health()
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        config, names, core = self.config, self._names, self.core
        # The producer first: it aborts what a former process of this name left open.
        output = TransactionalOutput(producer_factory(config, ROLE), transactional_id(config, ROLE))
        self._closers.callback(output.close)
        output.start()
        self._customers = SnapshotCustomers(core, names.inputs)
        calibrator = Calibrator(core, self._customers)
        self._closers.callback(calibrator.close)
        self.keeper = ModelKeeper(core, calibrator, names.inputs)
        self._closers.callback(self.keeper.close)
        self._reader = ModelReader(config, names)
        self._closers.callback(self._reader.close)
        self._figures = ModelFigures(
            core, self.metrics, self.keeper.outcomes, lambda: self._reader.has_proposal
        )
        self._catch_up()
        self.process = CoordinatorProcess.of(core, names, FIRST + config.app.instance, output, self._catch_up)
        self._closers.callback(self.process.close, self._close_member)
        self.server = StatusServer(
            config.http.host, config.http.port, self.metrics.registry, self.health, self.status
        )
        self._closers.callback(self.server.close)

    def _catch_up(self) -> None:
        for model in self._reader.read_to_end():
            if isinstance(model, Model):
                self._adopt(model)
            else:
                self.core.coordinator.pass_over(model)

    def _adopt(self, model: Model) -> None:
        self.core.adopt(model)
        self.keeper.adopted(model)

    def run(self) -> None:
        """Turns until `stop`."""
        self.metrics.set_state(State.RUNNING)
        while not self._stopping:
            self.run_once()
            time.sleep(_TURN_S)
        self.metrics.set_state(State.DRAINING)
        self.health.wait_for({"stop": "stopping"})

    def run_once(self) -> None:
        """Adopts versions, folds what has been reported and, as the owner of the deltas, keeps the model.

        Raises what a publication failed with: then only a restart is safe.
        """
        for model in self._reader.poll():
            self._adopt(model)
        self.process.poll()
        if self.process.is_owner:
            self.keeper.serve(self.process)
        self.health.beat()
        self.metrics.heartbeat()
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + _LOOK_AROUND_S
            self.look_around()

    def stop(self) -> None:
        """Ends the loop after the turn under way. Safe in a signal handler."""
        self._stopping = True

    def look_around(self) -> None:
        """Gauges and readiness."""
        self._figures.record(self.process.is_owner)
        reasons = {}
        if not (self.process.is_owner or self.process.is_standing_by):
            reasons["assignment"] = "has no place among the coordinators yet"
        if lag := self._reader.lag:
            reasons["models"] = f"{lag} offsets of the models topic are still to be read"
        self.health.wait_for(reasons)

    def status(self) -> dict[str, Any]:
        """What /status shows. Runs on the HTTP thread."""
        has_model = self.core.coordinator.model is not None
        return {
            "program": __version__,
            "run_id": self.core.run_id,
            "ready": self.health.ready,
            "waiting": dict(self.health.waiting),
            "coordinating": self.process.is_owner,
            "next_delta": self.process.next_delta if self.process.is_owner else None,
            "commands": len(self.process.commands),
            "calibration": None
            if has_model or not self.process.is_owner
            else {"running": self.keeper.is_calibrating, "waits_for": self._customers.waits_for},
            "recalibration": self.keeper.status(),
            **self._figures.status(),
        }

    def __enter__(self) -> CoordinatorService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Waits for a publication under way; lets everything go, the producer last. May be called twice."""
        self._closers.close()


def run_coordinator(config: Config) -> None:
    """Runs until SIGTERM or SIGINT; a publication under way is finished first.

    Clients are left behind for the end of the process (`leave_behind`).
    """
    keep_little()
    stop = StopRequest()
    arm(os.environ)
    compile_kernels(config, stop)
    with CoordinatorService(config, leave_behind) as service:
        stop.tell(service.stop)
        if not stop.has_come:
            _log.info("serving", bootstrap=config.kafka.bootstrap, http_port=service.server.port)
            service.run()
    _log.info("stopped")
