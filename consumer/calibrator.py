"""The first calibration, in a child process: the loop never waits for it."""

from __future__ import annotations

import contextlib
import signal
import threading
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

import structlog

from consumer.core import CALIBRATION_ROWS, Core
from consumer.errors import SegmenterError
from consumer.exit_codes import ExitCode
from consumer.failpoints import failpoint
from online_model.coordinator import make_first_model
from online_model.evaluate import Population
from online_model.model import Model
from online_model.model_json import from_json, to_json
from online_model.panel import CalibrationPolicy
from online_model.spec import FeatureSpec
from online_model.strategy import StrategyFile

_log = structlog.get_logger("calibration")

_STOP_TIMEOUT_S: Final = 5.0


class CalibrationFailed(SegmenterError):
    """The calibration found no model or its process died: a person looks at the data or the memory."""

    exit_code = ExitCode.DATA


@dataclass(frozen=True, slots=True)
class _Task:
    """Everything the child needs travels with it."""

    population: Population
    spec: FeatureSpec
    strategies: StrategyFile
    policy: CalibrationPolicy
    dormant_after_days: float


def _serve(connection: Connection) -> None:
    """The child: one task in, the model's JSON or what was wrong out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the parent decides
    from online_model.compile_plan import compile_plan

    with contextlib.suppress(EOFError, OSError):  # the parent is gone: nobody waits
        task: _Task = connection.recv()
        plan = compile_plan(task.spec)
        try:
            model = make_first_model(
                task.population, plan, task.strategies, task.policy, task.dormant_after_days
            )
        except ValueError as error:
            connection.send(str(error))
        else:
            connection.send(to_json(model))


def _send(connection: Connection, task: _Task) -> None:
    with contextlib.suppress(OSError):  # the child is gone: `Calibrator.poll` notices
        connection.send(task)


class Calibrator:
    """Starts a calibration when there is enough to see, and hands out the model when it is done."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._child: BaseProcess | None = None
        self._connection: Connection | None = None
        self._sender: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether a calibration is under way."""
        return self._child is not None

    def poll(self) -> list[Model]:
        """The model that has just been made, if any. Raises `CalibrationFailed`."""
        if self._child is None or self._connection is None:
            if self._core.coordinator.model is None and self._core.is_ready_to_calibrate:
                self._start()
            return []
        if self._core.coordinator.model is not None:
            _log.info("calibration dropped: another process was first")
            self.close()
            return []
        if not self._connection.poll() and self._child.is_alive():
            return []
        answer = self._answer(self._connection)
        self.close()
        if isinstance(answer, str):
            raise CalibrationFailed(
                f"the first calibration failed: {answer}",
                "look at the population (model.min_customers, model.k) and at the memory of the machine",
            )
        model = from_json(answer)
        failpoint("calibration.end")
        self._core.coordinator.adopt(model)
        _log.info("calibrated", k=model.k, explanation=model.quality.explanation)
        return [model]

    def _answer(self, connection: Connection) -> bytes | str:
        if connection.poll():  # the child may have ended between its answer and our look
            with contextlib.suppress(EOFError, OSError):
                answer: bytes | str = connection.recv()
                return answer
        return "its process ended without an answer"

    def _start(self) -> None:
        core = self._core
        failpoint("calibration.begin")
        population = core.engine.population(CALIBRATION_ROWS)
        _log.info(
            "calibration begins", customers=len(population.raw), history_days=round(core.history_days(), 1)
        )
        # spawn: a forked child would inherit the threads' locks of the Kafka clients.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(theirs,), name="calibration", daemon=True)
        self._child.start()
        theirs.close()
        task = _Task(
            population,
            core.spec,
            core.strategies,
            core.calibration,
            core.config.decision.dormant_after_days,
        )
        # The pipe holds 64 KiB and the child imports for seconds: sending must not stop the loop.
        self._sender = threading.Thread(target=_send, args=(self._connection, task), daemon=True)
        self._sender.start()

    def close(self) -> None:
        """Gives up a calibration under way."""
        child, self._child = self._child, None
        if child is not None:
            child.terminate()
            child.join(_STOP_TIMEOUT_S)
        if self._sender is not None:
            self._sender.join(_STOP_TIMEOUT_S)
            self._sender = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
