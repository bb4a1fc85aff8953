"""The step of one worker: read records in, decided changes out.

    release what may be applied -> update windows -> [commit boundary]
      -> evaluate touched customers and the next slice of the scan -> decide -> publish into the rows

Deterministic: the same state, poll, clock and model give the same step. The rows count as published
as soon as the step is made; a caller whose commit fails for good must drop the partition.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from online_model.active_model import ActiveModel
from online_model.change_batch import ChangeBatch
from online_model.decision import Candidates, DecisionPolicy, Decisions, decide
from online_model.evaluate import Evaluated, Population, evaluate
from online_model.fold import ScanStatistics, add_rows
from online_model.intake import N_TOPICS, Chunk
from online_model.model import Model
from online_model.partition import Applied, PartitionState
from online_model.plan import FeaturePlan
from online_model.poll import Poll
from online_model.population import population_of
from online_model.publication import Look, Publication, publish
from online_model.rows import NEVER
from online_model.scaler import apply as scale
from online_model.scan import KEYS, Progress, slice_rows
from online_model.separation import add_separation
from schemas.batch import Int32Array, Int64Array
from schemas.rejects import Rejects


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Parameters of the step. Times in event-time microseconds.

    `idle_grace_us`: where all topics of a partition are at their end the watermark follows the
    clock minus this (None: it stays). `backfill_lag_us`: changes decided further behind the clock
    have origin backfill. `scan_rows`: customers per slice of a scan and partition, at least.
    `keep_points`: hand out what a slice learns from (for a learner that has no mergeable statistics).
    """

    partition_count: int
    scan_interval_us: int = 3_600_000_000
    max_future_us: int = 300_000_000
    idle_grace_us: int | None = 300_000_000
    backfill_lag_us: int = 86_400_000_000
    scan_rows: int = 1024
    keep_points: bool = False
    policy: DecisionPolicy = field(default_factory=DecisionPolicy)


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """A slice of the scan.

    Pass `id`, keys [`low`, `high`), customers evaluated; the statistics if the pass completed and
    learns; `points` float64[m, D]: what the slice learns from, where the settings keep it.
    """

    id: int
    low: int
    high: int
    customers: int
    completed: ScanStatistics | None
    points: npt.NDArray[np.float64] | None

    @property
    def is_last(self) -> bool:
        """Whether the pass ended with this slice."""
        return self.high == KEYS


@dataclass(frozen=True, slots=True, eq=False)
class PartitionStep:
    """The part of a step that concerns one partition.

    `start`, `end` int64[3]: next offsets per input topic before and after. `frontiers`: per topic
    the newest event time believed and the newest applied. `scan`: where the scan stands.
    `model_version` decided; it and the one before it are 0 while there is none.
    """

    partition: int
    model_version: int
    previous_version: int
    start: Int64Array
    end: Int64Array
    watermark_us: int
    outcomes: Int64Array
    rejects: Rejects
    changes: ChangeBatch | None
    scanned: Pass | None
    frontiers: list[tuple[int, int]]
    scan: Progress
    touched: int
    overflows: int

    @property
    def is_empty(self) -> bool:
        """Nothing was read, changed or scanned."""
        return not (
            (self.end != self.start).any()
            or self.rejects.n
            or self.changes is not None
            or self.scanned is not None
        )


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step over all partitions."""

    now_us: int
    partitions: list[PartitionStep]


class Engine:
    """Partitions of one worker and the models they are decided by."""

    def __init__(self, plan: FeaturePlan, settings: EngineSettings) -> None:
        self.plan = plan
        self.settings = settings
        self.partitions: dict[int, PartitionState] = {}
        self._newest: ActiveModel | None = None
        self._former: ActiveModel | None = None
        self._calibrated = 0

    # -- partitions and model ------------------------------------------------------------------

    def empty_state(self, number: int) -> PartitionState:
        """State for a partition that is not worked on yet."""
        return PartitionState(
            number, self.settings.partition_count, self.plan, self.settings.scan_interval_us
        )

    def add_partition(self, number: int, state: PartitionState | None = None) -> PartitionState:
        """Works on an assigned partition from now on, from `state` (default: empty)."""
        state = self.empty_state(number) if state is None else state
        state.active, state.previous = self._newest, self._former
        self.partitions[number] = state
        return state

    def resume(self, state: PartitionState, at: Progress, version: int, before: Model | None) -> None:
        """Takes up a restored `state` whose scan stood `at` some point when `version` decided.

        `before`: what decided before its present version does (None: not known). Where versions have come
        since, a partition that was never away would have changed over to them: a promotion among them,
        whatever came after it, has everybody looked at again, and what moves then moves because of it.
        """
        assert state.active is not None
        active, n_columns = state.active.model, self.plan.columns.n
        if before is not None:
            state.previous = ActiveModel.of(before, self.plan.columns)
        if active.version == version:
            state.scan.resume(at, active.k, n_columns)
        elif version < self._calibrated and state.watermark_us != NEVER:
            state.scan.restart(state.watermark_us, active.k, n_columns)
        else:
            state.scan.begin_again(at)

    def drop_partition(self, number: int) -> None:
        """Forgets the state of a partition that is no longer owned."""
        self.partitions.pop(number, None)

    @property
    def active(self) -> ActiveModel | None:
        """The newest model by which, or by a newer one, every partition decides."""
        used = [state.active for state in self.partitions.values() if state.active is not None]
        return min(used, key=lambda active: active.model.version, default=self._newest)

    def offer_model(self, model: Model) -> None:
        """Each partition decides by `model` as soon as its pass is finished; older versions are ignored.

        Raises ValueError if it belongs to another specification.
        """
        if model.spec_hash != self.plan.spec.hash:
            raise ValueError(
                f"model version {model.version} belongs to specification {model.spec_hash}, "
                f"this worker runs {self.plan.spec.hash}"
            )
        if self._newest is None or model.version > self._newest.model.version:
            self._former, self._newest = self._newest, ActiveModel.of(model, self.plan.columns)
            if model.is_new_fit:
                self._calibrated = model.version
            for state in self.partitions.values():
                self._swap_if_possible(state)

    def _swap_if_possible(self, state: PartitionState) -> None:
        newest, active = self._newest, state.active
        if newest is None or active is newest or state.scan.active:
            return
        state.previous, state.active = active, newest
        # Also where a fold came before the pass was finished that kept its promotion waiting.
        is_promoted = active is not None and active.model.version < self._calibrated
        if not newest.model.is_new_fit and not is_promoted:
            state.scan.model_swapped()
        elif state.watermark_us != NEVER:
            state.scan.restart(state.watermark_us, newest.model.k, self.plan.columns.n)

    def population(self, limit: int) -> Population:
        """The customers of its own partitions, as `population_of`."""
        states = [state for _, state in sorted(self.partitions.items()) if state.watermark_us != NEVER]
        return population_of(lambda: states, self.plan, limit)

    # -- the step ------------------------------------------------------------------------------

    def step(self, poll: Poll, now_us: int) -> Step:
        """Applies `poll`, and what was offered before it, as of the clock `now_us` and decides."""
        self.offer(poll)
        return Step(
            now_us, [self._step_partition(state, now_us) for _, state in sorted(self.partitions.items())]
        )

    def offer(self, poll: Poll) -> None:
        """Takes `poll` in for the next step."""
        batch = poll.batch
        code = batch.partition.astype(np.int64) * N_TOPICS + batch.topic
        rejected = poll.rejects.partition.astype(np.int64) * N_TOPICS + poll.rejects.topic
        for (number, topic), next_offset in poll.next_offset.items():
            state = self.partitions.get(number)
            if state is None:
                continue
            events = np.flatnonzero(code == number * N_TOPICS + topic)
            mine = poll.rejects.take(np.flatnonzero(rejected == number * N_TOPICS + topic))
            state.intake.offer(topic, Chunk(batch, events, mine, next_offset, poll.raw))
        for (number, topic), at_end in poll.at_end.items():
            if number in self.partitions:
                self.partitions[number].intake.mark_end(topic, at_end)

    def _step_partition(self, state: PartitionState, now_us: int) -> PartitionStep:
        settings = self.settings
        self._swap_if_possible(state)
        start, before = state.next_offset.copy(), state.watermark_us
        latest = now_us + settings.max_future_us
        idle = None if settings.idle_grace_us is None else now_us - settings.idle_grace_us
        applied = state.apply(state.intake.release(latest, idle), latest, before)
        publication = Publication(state, self.plan, state.active, origin_live=self.is_live(state, now_us))
        publication.exits(applied.exits)
        scanned = self._evaluate(state, applied, publication)
        rejects = Rejects.concat(applied.rejects).in_order()
        changes = publication.changes()
        version, previous_version = state.versions
        return PartitionStep(
            partition=state.number,
            model_version=version,
            previous_version=previous_version,
            start=start,
            end=state.next_offset.copy(),
            watermark_us=state.watermark_us,
            outcomes=applied.outcomes,
            rejects=rejects,
            changes=changes,
            scanned=scanned,
            frontiers=[frontier.settled for frontier in state.intake.frontiers],
            scan=state.scan.progress,
            touched=len(applied.touched),
            overflows=applied.overflows,
        )

    def is_live(self, state: PartitionState, now_us: int) -> bool:
        """Whether changes decided now are news: the watermark is not far behind the clock."""
        return state.watermark_us != NEVER and now_us - state.watermark_us <= self.settings.backfill_lag_us

    def _evaluate(self, state: PartitionState, applied: Applied, publication: Publication) -> Pass | None:
        """Evaluates touched customers and the next slice, publishes changes, counts what the scan learns."""
        active = state.active
        if active is None or state.watermark_us == NEVER:
            return None
        scan, model = state.scan, active.model
        if scan.id < 0 and model.is_new_fit:
            scan.restart(state.watermark_us, model.k, self.plan.columns.n)
        if active is self._newest:  # otherwise this pass would keep the next version waiting
            scan.begin_if_due(state.watermark_us, model.k, self.plan.columns.n)
        low = high = 0
        in_slice = np.empty(0, np.int32)
        if scan.active:
            size = slice_rows(self.settings.scan_rows, int(applied.outcomes.sum()))
            low, high = scan.next_slice(state.born, size)
            in_slice = state.live_rows(low, high)
        others = in_slice[~np.isin(in_slice, applied.touched, assume_unique=True, kind="table")]
        rows = np.concatenate([applied.touched, others])
        points = self._decide(state, applied, rows, (low, high), publication) if len(rows) else None
        if not scan.active:
            return None
        done = scan.finish_slice(high)
        completed = scan.statistics if done and scan.learns else None
        return Pass(scan.id, low, high, len(in_slice), completed, points if scan.learns else None)

    def _decide(
        self,
        state: PartitionState,
        applied: Applied,
        rows: Int32Array,
        keys: tuple[int, int],
        publication: Publication,
    ) -> npt.NDArray[np.float64] | None:
        """Evaluates and publishes `rows`; returns the points that the slice learns from, if kept."""
        active = state.active
        assert active is not None
        seen = evaluate(state.store.rows, rows, state.watermark_us, self.plan, active.model.share_priors)
        x = scale(active.model.scaler, seen.raw)
        hot = state.store.rows.hot
        numbers = hot["segment"][rows]
        decisions = self._targets(active, x, rows, seen, state)
        moved = active.numbers_of(decisions.target) != numbers
        points = self._learn(state, keys, rows, seen, x, decisions) if state.scan.active else None
        if moved.any():
            at = np.flatnonzero(moved)
            # By customer: rows are numbered as customers came, which a restart need not repeat.
            at = at[np.argsort(state.index.hashes[rows[at]], kind="stable")]
            unseen = state.scan.is_unseen(state.keys_of(rows[at]))
            look = Look(
                at=at,
                rows=rows[at],
                raw=seen.raw[at],
                x=x[at],
                observed_days=seen.observed_days[at],
                decisions=decisions,
                unseen=unseen,
                previous_moved=self._previous_moved(state, rows[at], seen, at, unseen),
            )
            publish(publication, look, applied)
        return points

    def _targets(
        self,
        active: ActiveModel,
        x: npt.NDArray[np.float64],
        rows: Int32Array,
        seen: Evaluated,
        state: PartitionState,
    ) -> Decisions:
        hot = state.store.rows.hot
        candidates = Candidates(active.codes(hot["segment"][rows]), hot["since"][rows], seen.silent_days)
        model = active.model
        return decide(
            x, candidates, model.centroids, model.scaler.importance, state.watermark_us, self.settings.policy
        )

    def _previous_moved(
        self,
        state: PartitionState,
        rows: Int32Array,
        seen: Evaluated,
        at: npt.NDArray[np.intp],
        unseen: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Whether the version before would have moved `rows` on the same features (read where unseen)."""
        previous = state.previous
        if previous is None or not unseen.any():
            return np.ones(len(rows), np.bool_)
        # Shares are shrunk with each version's own priors, so the features are computed again.
        again = evaluate(state.store.rows, rows, state.watermark_us, self.plan, previous.model.share_priors)
        x = scale(previous.model.scaler, again.raw)
        decisions = self._targets(previous, x, rows, Evaluated(*(part[at] for part in seen)), state)
        return np.asarray(previous.numbers_of(decisions.target) != state.store.rows.hot["segment"][rows])

    def _learn(
        self,
        state: PartitionState,
        keys: tuple[int, int],
        rows: Int32Array,
        seen: Evaluated,
        x: npt.NDArray[np.float64],
        decisions: Decisions,
    ) -> npt.NDArray[np.float64] | None:
        """Counts the customers of the slice, each once per pass.

        The dormant have no centroid and teach none, nor do they count in what drift is measured from:
        no calibration has them. Returns the points, if they are kept.
        """
        statistics = state.scan.statistics
        assert statistics is not None
        assert state.active is not None
        key = state.keys_of(rows)
        mine = (key >= keys[0]) & (key < keys[1])
        label = np.where(decisions.target >= 0, decisions.nearest, decisions.target)
        raw, d2, d2_other = seen.raw, decisions.d2, decisions.d2_second
        if not mine.all():
            raw, x, label, d2, d2_other = raw[mine], x[mine], label[mine], d2[mine], d2_other[mine]
        add_rows(statistics, state.active.gauge, raw, x, label, d2)
        add_separation(statistics, label, d2, d2_other)
        # A point with gaps has no place in a learner that knows no missing values.
        return x[(label >= 0) & np.isfinite(x).all(axis=1)] if self.settings.keep_points else None
