"""Customers for a first calibration from snapshots: for a coordinator without partitions of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from consumer.background import Background
from consumer.child import Child
from consumer.core import CALIBRATION_ROWS, Core
from consumer.models.calibrator import Recipe
from consumer.models.population import Gathering, SnapshotPlace
from consumer.models.readiness import Needs, Share, middle_history_us
from online_model.compile_plan import compile_plan
from online_model.panel import Progress
from online_model.plan import DAY_US
from online_model.population import by_hash

_log = structlog.get_logger("calibration")

#: Manifests are read this often while there is no model.
LOOK_AGAIN_S: Final = 5.0

#: Workers spread their first snapshots over an interval; one that takes its time needs another one.
_INTERVALS_TO_WAIT: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Task:
    """Everything the child needs travels with it."""

    recipe: Recipe
    gathering: Gathering


def _work(task: _Task, report: Progress) -> bytes:
    population, _ = task.gathering.gather(compile_plan(task.recipe.spec), report)
    return task.recipe.make(population, report)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What a look at the manifests has shown: shares by partition, or the problem with them."""

    shares: dict[int, Share] = field(default_factory=dict)
    problem: str = ""


class SnapshotCustomers:
    """Those of the newest snapshots, by the same needs as a worker's own.

    A partition without any snapshot is waited for as long as it may be on its way; then it is taken to be
    empty. `waits_for`: what stands in the way of a calibration, in words.
    """

    def __init__(
        self, core: Core, topics: tuple[str, str, str], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        config = core.config
        self._recipe = Recipe.of(core)
        self._place = SnapshotPlace.of(config, core.partition_count, topics)
        self._needs = Needs.of(config, core.partition_count)
        self._patience_s = _INTERVALS_TO_WAIT * config.snapshots.interval_s
        self._monotonic = monotonic
        self._looking: Background[_Sight] = Background("look at snapshots")
        self._next_look_s = monotonic()
        self._enough_since_s: float | None = None
        self.waits_for = "the first look at the snapshots"

    def begin(self) -> Child[_Task] | None:
        """A child that reads the snapshots and makes the model, once they show enough. Does not wait."""
        if self._looking.is_busy:
            return None
        sight = self._looking.result()
        if sight is None:
            if self._monotonic() >= self._next_look_s:
                self._next_look_s = self._monotonic() + LOOK_AGAIN_S
                self._looking.start(self._look)
            return None
        self._say(sight.problem or self._lacking(sight.shares))
        return None if self.waits_for else self._start(sight.shares)

    def _look(self) -> _Sight:
        """On the thread: it may be a store far away."""
        try:
            return _Sight(self._place.shares(self._recipe.spec.hash))
        except OSError as error:
            return _Sight(problem=f"the snapshots under {self._place} cannot be read: {error}")

    def _lacking(self, shares: dict[int, Share]) -> str:
        if not shares:
            return f"snapshots under {self._place}: there are none of this application yet"
        if lacking := self._needs.lacking(list(shares.values())):
            self._enough_since_s = None
            return lacking
        now = self._monotonic()
        if self._enough_since_s is None:
            self._enough_since_s = now
        missing = [p for p in range(self._place.partition_count) if p not in shares]
        if missing and now < self._enough_since_s + self._patience_s:
            return f"the first snapshots of partitions {missing}"
        return ""

    def _say(self, waits_for: str) -> None:
        if waits_for and waits_for != self.waits_for:
            _log.info("no calibration yet", waits_for=waits_for)
        self.waits_for = waits_for

    def _start(self, shares: dict[int, Share]) -> Child[_Task]:
        seen = list(shares.values())
        _log.info(
            "calibration begins",
            customers=sum(share.customers for share in seen),
            history_days=round(middle_history_us(seen) / DAY_US, 1),
            partitions=len(seen),
        )
        gathering = Gathering(self._place, tuple(sorted(shares)), CALIBRATION_ROWS, by_hash)
        return Child(_work, _Task(self._recipe, gathering), "calibration")

    def close(self) -> None:
        """Waits for a look under way."""
        self._looking.close()
