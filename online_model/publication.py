"""Publishing decided changes: into the rows, and as columns for the output topics."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from online_model.active_model import ActiveModel
from online_model.change_batch import NO_TRIGGER, Cause, Change, ChangeBatch, from_bfloat16, to_bfloat16
from online_model.decision import Decisions, causes, drivers
from online_model.event_view import BY_CORRECTION
from online_model.flaps import segment_left
from online_model.partition import Applied, Exits, PartitionState
from online_model.plan import FeaturePlan
from online_model.rows import CLOSED, FORGOTTEN, SEGMENT_NONE, SEGMENT_UNCLASSIFIED
from schemas.batch import Attribute, Int32Array

N_DRIVERS = 3
_CAUSE_OF_EXIT = {CLOSED: Cause.CLOSED, FORGOTTEN: Cause.ERASURE}


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The m customers of a step that change segment.

    `at`: their positions in `decisions`; `rows` int32[m]; `raw`, `x` float64[m, D]; `observed_days`
    float64[m]; `unseen`, `previous_moved` bool[m] as in `decision.causes`.
    """

    at: npt.NDArray[np.intp]
    rows: Int32Array
    raw: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    observed_days: npt.NDArray[np.float64]
    decisions: Decisions
    unseen: npt.NDArray[np.bool_]
    previous_moved: npt.NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class Publication:
    """Collects the changes of one partition and step."""

    state: PartitionState
    plan: FeaturePlan
    active: ActiveModel | None
    origin_live: bool
    parts: list[ChangeBatch] = field(default_factory=list)

    def exits(self, exits: list[Exits]) -> None:
        """Publishes the customers that left: closed, consent withdrawn, or erased.

        All of the step at once: which records were polled together must not show.
        """
        if exits:
            parts = ([getattr(group, name) for group in exits] for name in Exits.__slots__)
            self._exit(Exits(*map(np.concatenate, parts)))

    def _exit(self, group: Exits) -> None:
        hot = self.state.store.rows.hot
        # A customer without a segment has nothing to leave, but an erasure is always passed on.
        keep = (hot["segment"][group.row] != SEGMENT_NONE) | (group.status == FORGOTTEN)
        # One exit per customer: an erasure outweighs whatever else happened in the step.
        order = np.argsort(group.status != FORGOTTEN, kind="stable")
        _, first = np.unique(group.row[order], return_index=True)
        once = np.zeros(len(group.row), np.bool_)
        once[order[first]] = True
        at = np.flatnonzero(keep & once)
        if len(at):
            rows, status = group.row[at], group.status[at]
            cause = np.array([_CAUSE_OF_EXIT.get(int(s), Cause.CONSENT) for s in status], np.uint8)
            erased = status == FORGOTTEN
            hot["seq"][rows] += 1
            part = self._batch(rows, np.where(erased, Change.ERASED, Change.EXITED), cause)
            part.trigger_topic[:] = group.topic[at]
            part.trigger_offset[:] = group.offset[at]
            part.actionable[:] = self.origin_live
            self.parts.append(part)
            self.state.leave_segment(rows)
        for row in group.row[group.status == FORGOTTEN]:
            hot["seq"][row] = 0
            self.state.bury(int(row))

    def _batch(
        self, rows: Int32Array, change: npt.NDArray[np.integer], cause: npt.NDArray[np.uint8]
    ) -> ChangeBatch:
        """Changes of `rows` as they stand, without target, drivers and trigger."""
        m, store = len(rows), self.state.store.rows
        consent_s = store.attribute_time[rows, Attribute.CONSENT_PROFILING].astype(np.int64)
        return ChangeBatch(
            customer_ids=self.state.index.ids(rows),
            change=change.astype(np.uint8),
            cause=cause,
            old=store.hot["segment"][rows],
            new=np.full(m, SEGMENT_NONE, np.int16),
            old_since_us=store.hot["since"][rows],
            left=store.left[rows],
            seq=store.hot["seq"][rows],
            margin=np.full(m, np.nan),
            runner_up=np.full(m, SEGMENT_NONE, np.int16),
            provisional=np.zeros(m, np.bool_),
            actionable=np.zeros(m, np.bool_),
            driver=np.full((m, N_DRIVERS), -1, np.int32),
            before=np.full((m, N_DRIVERS), np.nan),
            after=np.full((m, N_DRIVERS), np.nan),
            contribution=np.zeros((m, N_DRIVERS)),
            trigger_topic=np.full(m, NO_TRIGGER, np.int16),
            trigger_offset=np.full(m, NO_TRIGGER, np.int64),
            consent=store.hot["consent"][rows],
            consent_us=consent_s * 1_000_000,
        )

    def changes(self) -> ChangeBatch | None:
        """Everything published in this step, or None."""
        if not self.parts:
            return None
        if len(self.parts) == 1:
            return self.parts[0]
        names = [name for name in ChangeBatch.__slots__ if name != "customer_ids"]
        ids = [customer for part in self.parts for customer in part.customer_ids]
        return ChangeBatch(
            ids, *(np.concatenate([getattr(part, name) for part in self.parts]) for name in names)
        )


def publish(publication: Publication, look: Look, applied: Applied) -> None:
    """Publishes the customers of `look` into their new segments (rows in place)."""
    active, state, plan = publication.active, publication.state, publication.plan
    assert active is not None
    rows, store = look.rows, state.store.rows
    hot = store.hot
    old = hot["segment"][rows].copy()
    decisions = look.decisions
    target = active.numbers_of(decisions.target[look.at])
    touched, corrected, topic, offset = _touches(applied, look)
    old_codes = active.codes(old)
    cause = causes(old_codes, touched, corrected, look.unseen, look.previous_moved)
    provisional = look.observed_days < plan.spec.provisional_days
    hot["seq"][rows] += 1
    change = np.where(old == SEGMENT_NONE, Change.ASSIGNED, Change.MOVED)
    part = publication._batch(rows, change, cause)
    part.new[:] = target
    second = decisions.runner_up[look.at]
    part.runner_up[:] = np.where(second >= 0, active.numbers[np.maximum(second, 0)], SEGMENT_NONE)
    part.margin[:] = np.where(decisions.target[look.at] >= 0, decisions.margin[look.at], np.nan)
    part.provisional[:] = provisional
    wanted = (cause != Cause.MODEL) & ~provisional & (target != SEGMENT_UNCLASSIFIED)
    part.actionable[:] = wanted & publication.origin_live
    part.trigger_topic[:] = topic
    part.trigger_offset[:] = offset
    _drive(part, look, store.before[rows], old_codes, active)
    hot["segment"][rows] = target
    hot["since"][rows] = state.watermark_us
    hot["provisional"][rows] = provisional
    store.left[rows] = segment_left(old, target)
    store.before[rows] = to_bfloat16(look.raw)
    publication.parts.append(part)


def _touches(
    applied: Applied, look: Look
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.int16], npt.NDArray[np.int64]]:
    """Touched, touched by corrections only, trigger topic and offset of the customers of `look`.

    The touched customers are the first of those evaluated, in the order of `applied.touched`.
    """
    n = len(applied.touched)
    touched = look.at < n
    corrected = np.zeros(len(look.at), np.bool_)
    topic = np.full(len(look.at), NO_TRIGGER, np.int16)
    offset = np.full(len(look.at), NO_TRIGGER, np.int64)
    at = look.at[touched]
    corrected[touched] = applied.how[at] == BY_CORRECTION
    topic[touched] = applied.topic[at]
    offset[touched] = applied.offset[at]
    return touched, corrected, topic, offset


def _drive(
    part: ChangeBatch,
    look: Look,
    before: npt.NDArray[np.uint16],
    old_codes: npt.NDArray[np.int16],
    active: ActiveModel,
) -> None:
    """Fills in the strongest features with their values before and after."""
    new_codes = look.decisions.target[look.at]
    found = drivers(look.x, old_codes, new_codes, active.model.centroids, active.feature, N_DRIVERS)
    column = np.maximum(found.column, 0)
    missing = found.column < 0
    part.driver[:] = found.column
    part.contribution[:] = found.contribution
    part.after[:] = np.where(missing, np.nan, np.take_along_axis(look.raw, column, axis=1))
    part.before[:] = np.where(missing, np.nan, np.take_along_axis(from_bfloat16(before), column, axis=1))
