"""What the owner of the deltas does about the model besides folding scans.

It calibrates first, recalibrates when it is time or somebody asks, and carries out commands. What comes of
it is published by the coordinator, in one transaction with the place in the deltas topic behind the command,
so a command is carried out once however often the owner changes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from consumer.child import Child
from consumer.core import Core
from consumer.failpoints import failpoint
from consumer.metric_table import Recalibrated
from consumer.models.calibrator import Calibrator
from consumer.models.log import CoordinatorProcess
from consumer.models.recalibration import RecalibrationTask, work
from online_model.model import Model, ModelError
from online_model.model_json import from_json
from online_model.plan import DAY_US
from online_model.recalibration import rebased, restored
from online_model.renaming import renamed
from online_model.rows import NEVER
from schemas.internal import CommandRecord

_log = structlog.get_logger("recalibration")

#: Event time after which a recalibration that came to nothing is tried again.
_AGAIN_US: Final = DAY_US


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be published: versions, and a proposal that waits for a person; `done`: commands."""

    models: list[Model] = field(default_factory=list)
    proposal: Model | None = None
    done: list[CommandRecord] = field(default_factory=list)


class ModelKeeper:
    """Asked in every turn of the owner of the deltas.

    `topics`: the input topics. `calibrated_us`: when the newest version that was no fold was made.
    """

    def __init__(
        self,
        core: Core,
        calibrator: Calibrator,
        topics: tuple[str, str, str],
    ) -> None:
        self._core = core
        self._calibrator = calibrator
        self._topics = topics
        self._child: Child[RecalibrationTask] | None = None
        self._wanted_by: CommandRecord | None = None
        self._base: Model | None = None
        self._settled: set[str] = set()
        self.calibrated_us = NEVER
        #: What recalibrations of this process came to.
        self.outcomes: Counter[Recalibrated] = Counter()
        self._not_before_us = NEVER

    @property
    def is_calibrating(self) -> bool:
        """Whether the first calibration is under way."""
        return self._calibrator.is_running

    def status(self) -> dict[str, Any] | None:
        """How far a recalibration is; None without one."""
        if self._child is None:
            return None
        reached = self._child.reached
        return (
            {"step": reached.step, "of": reached.of, "text": reached.text}
            if reached
            else {"text": "starting"}
        )

    def adopted(self, model: Model) -> None:
        """A version has become visible."""
        if model.command:
            self._settled.add(model.command)
        if model.is_new_fit:
            self.calibrated_us = model.created_us
        if model.kind == "restored":  # somebody wants it: what it has drifted by is known
            self._try_later()
        if self._calibrator.is_running:
            self._calibrator.drop()
        if self._base is not None and _overtakes(model, self._base):
            # Made by another owner, perhaps for the same command. One that is still to be done begins again.
            _log.info("recalibration dropped: another version was first", version=model.version)
            self.outcomes[Recalibrated.DROPPED] += 1
            self.close()

    def serve(self, process: CoordinatorProcess) -> None:
        """One turn as the owner of the deltas: hands to `process` what is to be published, and what is done.

        Raises as `poll`, and as `CoordinatorProcess.publish`.
        """
        outcome = self.poll(process.commands)
        process.done(outcome.done)
        if outcome.models or outcome.proposal is not None:
            process.publish(outcome.models, outcome.proposal)

    def poll(self, commands: list[CommandRecord]) -> Outcome:
        """What has come of commands, a calibration or a recalibration. Raises `CalibrationFailed`."""
        outcome = self._poll([command for command in commands if command.id not in self._settled])
        self._settled |= {command.id for command in outcome.done}
        # A command that was sent twice, or read again by a new owner, is done when it is done once.
        done = [command for command in commands if command.id in self._settled]
        return Outcome(outcome.models, outcome.proposal, done)

    def _poll(self, commands: list[CommandRecord]) -> Outcome:
        if made := self._calibrator.poll():
            return Outcome(made)
        newest = self._core.coordinator.model
        if newest is None:
            for command in commands:
                _refuse(command, "there is no model yet")
            return Outcome(done=commands)
        for command in commands:
            if command.command != "recalibrate":
                return self._carry_out(command, newest)
        if self._child is None:
            self._begin_if_due(newest, commands[0] if commands else None)
            return Outcome()
        return self._take_proposal(newest)

    def _carry_out(self, command: CommandRecord, newest: Model) -> Outcome:
        """The version that a command asks for, as the next one."""
        try:
            model = self._asked_for(command, newest)
        except (ModelError, ValueError) as error:
            _refuse(command, str(error))
            return Outcome(done=[command])
        self._core.coordinator.adopt(model)
        _log.info(command.command, version=model.version, of=command.model_version, by=command.issued_by)
        return Outcome([model], done=[command])

    def _asked_for(self, command: CommandRecord, newest: Model) -> Model:
        asked = command.arguments
        if command.command == "rename":
            return renamed(newest, str(asked.get("segment_id", "")), str(asked.get("name", "")), command.id)
        given = from_json(str(asked.get("model", "")).encode())
        if command.command == "promote":
            return rebased(given, newest, command.id)
        descents = self._core.coordinator.segments.descents
        return restored(given, newest, command.id, {i: known.name for i, known in descents.items()})

    # -- recalibration -------------------------------------------------------------------------

    def _begin_if_due(self, newest: Model, asked: CommandRecord | None) -> None:
        cause = f"asked for by {asked.issued_by}" if asked is not None else self._due()
        if cause is None:
            return
        failpoint("recalibration.begin")
        task = RecalibrationTask.of(self._core, self._topics, newest, cause)
        self._child = Child(work, task, "recalibration")
        self._wanted_by = asked
        self._base = newest
        _log.info("recalibration begins", cause=cause, version=newest.version)

    def _due(self) -> str | None:
        """Why it is time, in words; None if it is not."""
        now_us = self._event_time_us()
        days = self._core.config.model.recalibrate_days
        if now_us == NEVER or now_us < self._not_before_us or self.calibrated_us == NEVER:
            return None
        alarms = self._core.coordinator.alarms
        if any(alarm.withholds for alarm in alarms):
            return None
        if reasons := [alarm.text for alarm in alarms if alarm.severity == "act"]:
            return "; ".join(reasons)
        if days is not None and now_us - self.calibrated_us >= days * DAY_US:
            return f"{days:g} days since the last calibration"
        return None

    def _take_proposal(self, newest: Model) -> Outcome:
        """The proposal once it is there: the next version, or something to look at."""
        assert self._child is not None
        answer = self._child.poll()
        if answer is None:
            return Outcome()
        asked = self._wanted_by
        self.close()
        self._try_later()
        done = [] if asked is None else [asked]
        if answer.problem:
            _log.error("recalibration failed", problem=answer.problem)
            self.outcomes[Recalibrated.FAILED] += 1
            return Outcome(done=done)
        failpoint("recalibration.end")
        try:
            model = rebased(from_json(answer.value), newest, asked.id if asked else "")
        except ValueError as error:
            _log.warning("recalibration dropped", problem=str(error))
            self.outcomes[Recalibrated.DROPPED] += 1
            return Outcome(done=done)
        assert model.transition is not None
        facts = {
            "cause": model.transition.cause,
            "k": model.k,
            "moved": round(model.transition.moved_share, 4),
            "events": [f"{e.event} {e.segment_id}" for e in model.lineage if e.event != "kept"],
        }
        if model.transition.concerns:
            _log.warning("recalibration waits for a person", concerns=model.transition.concerns, **facts)
            self.outcomes[Recalibrated.PROPOSED] += 1
            return Outcome(proposal=model, done=done)
        self._core.coordinator.adopt(model)
        _log.info("recalibrated", version=model.version, **facts)
        self.outcomes[Recalibrated.PUBLISHED] += 1
        return Outcome([model], done=done)

    def _try_later(self) -> None:
        self._not_before_us = self._event_time_us() + _AGAIN_US

    def _event_time_us(self) -> int:
        """Of the partitions of this process, or of the newest scan: a coordinator may own none."""
        marks = [s.watermark_us for s in self._core.engine.partitions.values()]
        return max([*marks, self._core.coordinator.event_time_us])

    def close(self) -> None:
        """Gives up what is under way."""
        child, self._child = self._child, None
        if child is not None:
            child.close()
        self._wanted_by = self._base = None


def _overtakes(model: Model, base: Model) -> bool:
    """Whether `model` is no longer what a recalibration of `base` began from."""
    is_other = model.is_new_fit or [s.id for s in model.segments] != [s.id for s in base.segments]
    return is_other and model.version > base.version


def _refuse(command: CommandRecord, problem: str) -> None:
    _log.warning("command refused", command=command.command, by=command.issued_by, problem=problem)
