"""Recalibration: the model fitted again to the customers of now, without renaming anybody's segment.

Two ways to the new centroids at the old k: warm, from the means of the old segments, and cold, from
k-means++ starts. The cold one is taken only if it is clearly cheaper, because a warm one moves fewer
customers. Another k is proposed only where the old one has lost its footing. What comes out is a proposal:
whether it is promoted is decided by what it changes (`Transition.concerns`) and by a person.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import structs

from online_model.calibration import Calibration, Choice, Survey, conclude, silent, survey
from online_model.catalog import Population, make_catalog
from online_model.distance import distances, nearest
from online_model.evaluate import Population as Evaluations
from online_model.lineage import Matching, Registry, match
from online_model.lloyd import lloyd
from online_model.model import Covers, Kind, Lineage, Model, Transition
from online_model.panel import CalibrationPolicy, Candidate, Progress, choose
from online_model.plan import FeaturePlan
from online_model.portrait import with_standings
from online_model.renaming import keep_names, names_of
from online_model.scaler import apply
from online_model.strategy import StrategyFile, bind

Float64Array = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]

#: A start is judged when one row in so many still changes; the winner goes on to the end.
_JUDGED_AT: Final = 2000
_SETTLED_AT: Final = 50_000
#: Squared distance, in those of the 99th percentile at calibration, beyond which a customer is no typical
#: member of any old segment: twice as far.
_STRANGE: Final = 4.0


@dataclass(frozen=True, slots=True)
class RecalibrationPolicy:
    """How a recalibration chooses and what it may change by itself.

    `cold_gain`: share by which cold centroids must be cheaper than warm ones; `silhouette_gain`: by which
    another k must be better; `max_moved`: share of customers that may change their segment without a
    person's approval; `dormant_after_days` as the decision's.
    """

    calibration: CalibrationPolicy = field(default_factory=CalibrationPolicy)
    cold_gain: float = 0.005
    silhouette_gain: float = 0.02
    max_moved: float = 0.2
    dormant_after_days: float = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """The next version, with what is called what in `matching`.

    `model.transition.concerns` says why a person should look at it first.
    """

    model: Model
    matching: Matching

    @property
    def passes(self) -> bool:
        """Whether it may be promoted without a person."""
        assert self.model.transition is not None
        return not self.model.transition.concerns


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What a recalibration starts from: the version `old`, and `cause`, why there is one, in words."""

    old: Model
    plan: FeaturePlan
    strategies: StrategyFile
    policy: RecalibrationPolicy
    cause: str

    def propose(
        self, population: Evaluations, raw_before: Float64Array, progress: Progress | None = None
    ) -> Proposal:
        """Fits a new version to the settled customers of `population`.

        `raw_before` float64[n, D]: features of the same customers under the share priors of `old`. The same
        arguments give the same proposal.

        Raises:
            ValueError: another specification, or too few distinct customers for any k.
        """
        old, plan, policy = self.old, self.plan, self.policy
        if old.spec_hash != plan.spec.hash:
            raise ValueError(f"the model is of specification {old.spec_hash}, this is {plan.spec.hash}")
        report = progress or silent
        # Whoever scans learn from, the new ones too: the next scans would move what was fitted without them.
        rows = population.silent_days < policy.dormant_after_days
        raw, rng = population.raw[rows], np.random.default_rng(policy.calibration.seed + old.version)
        budgets = {name: block.budget for name, block in plan.spec.blocks.items()}
        seen = survey(raw, plan.columns, budgets, _with(policy.calibration, old.k), rng, report)
        before = nearest(apply(old.scaler, raw_before[rows]), old.centroids, old.scaler.importance)[0]
        warm = means_of(seen.x, before, old.k)
        chosen, runner_up, explanation = _choose_k(seen, old.k, policy)
        report(len(seen.candidates), len(seen.candidates) + 2, f"refinement over {len(raw)} rows")
        fitted = _fit(seen, chosen, warm if chosen.row.k == old.k else None, policy.cold_gain)
        choice = Choice.of(chosen.row, runner_up, explanation, fitted)
        ids = [segment.id for segment in old.segments]
        registry = Registry(ids, old.next_segment, old.version + 1)
        matching = match(before, choice.labels, registry, typical_of(old, raw_before[rows], before))
        choice, matching = _in_old_order(choice, matching)
        transition = Transition(
            cause=self.cause,
            from_ids=ids,
            to_ids=list(matching.ids),
            customers=matching.overlap.tolist(),
            moved_share=matching.moved_share,
            cost_before=cost_of(seen.x, before, warm, seen.scaler.importance),
            cost_after=float(np.mean(choice.d2[choice.labels >= 0])),
        )
        transition = structs.replace(transition, concerns=concerns(transition, policy))
        calibration = conclude(seen, choice, rng, report)
        return Proposal(self._model(population, seen, calibration, matching, transition), matching)

    def _model(
        self,
        population: Evaluations,
        seen: Survey,
        calibration: Calibration,
        matching: Matching,
        transition: Transition,
    ) -> Model:
        old, columns = self.old, self.plan.columns
        customers = Population(seen.raw, seen.x, calibration.labels)
        catalog = make_catalog(customers, columns, calibration.centroids, matching.ids)
        catalog = with_standings(
            catalog,
            customers,
            columns,
            (calibration.centroids, calibration.scaler.importance),
            calibration.quality.significance,
        )
        segments = keep_names(catalog, names_of(old))
        labels = calibration.labels
        return dataclasses.replace(
            old,
            version=old.version + 1,
            parent=old.version,
            created_us=population.watermark_us,
            kind="recalibrated",
            scaler=calibration.scaler,
            share_priors=population.priors,
            centroids=calibration.centroids,
            weights=np.bincount(labels[labels >= 0], minlength=len(segments)).astype(np.float64),
            segments=segments,
            next_segment=matching.next_segment,
            strategies=bind(self.strategies, segments, columns.name, old.strategies),
            quality=calibration.quality,
            reference=calibration.reference,
            lineage=matching.events,
            covers=Covers(),
            transition=transition,
            observed=None,
        )


def typical_of(model: Model, raw: Float64Array, labels: Int16Array) -> npt.NDArray[np.bool_]:
    """Which rows bool[n] of `raw` float64[n, D] are like the segment in `labels` int16[n] that they are in.

    Measured without the scaler's clipping, which brings everything near that is far away.
    """
    unclipped = np.full(len(model.columns), np.inf)
    x = apply(dataclasses.replace(model.scaler, clip_low=-unclipped, clip_high=unclipped), raw)
    d2 = distances(x, model.centroids, model.scaler.importance)
    typical: npt.NDArray[np.bool_] = (
        d2[np.arange(len(labels)), np.maximum(labels, 0)] <= _STRANGE * model.reference.p99_d2
    )
    return typical & (labels >= 0)


def concerns(transition: Transition, policy: RecalibrationPolicy) -> list[str]:
    """Why a person should look before the new version is promoted."""
    found = []
    k_before, k_after = len(transition.from_ids), len(transition.to_ids)
    if k_before != k_after:
        found.append(f"the number of segments changes from {k_before} to {k_after}")
    elif transition.cost_after > transition.cost_before:
        found.append(
            f"the new segments fit worse than the old ones: mean squared distance "
            f"{transition.cost_after:.4f} instead of {transition.cost_before:.4f}"
        )
    if transition.moved_share > policy.max_moved:
        found.append(
            f"{transition.moved_share:.1%} of the customers change their segment, "
            f"{policy.max_moved:.0%} are allowed"
        )
    return found


def means_of(x: Float64Array, labels: Int16Array, k: int) -> Float64Array:
    """Mean float64[k, D] of the present values of each cluster's rows; NaN where there is none."""
    means = np.full((k, x.shape[1]), np.nan)
    for c in range(k):
        members = x[labels == c]
        present = np.isfinite(members)
        with np.errstate(invalid="ignore"):
            means[c] = np.where(present, members, 0.0).sum(axis=0) / present.sum(axis=0)
    return means


def cost_of(x: Float64Array, labels: Int16Array, centers: Float64Array, importance: Float64Array) -> float:
    """Mean squared distance of the classified rows to the centre of their own cluster; NaN without any."""
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        return float("nan")
    d2 = distances(np.ascontiguousarray(x[rows]), np.nan_to_num(centers, nan=0.0), importance)
    return float(np.mean(d2[np.arange(len(rows)), labels[rows]]))


def _with(policy: CalibrationPolicy, k: int) -> CalibrationPolicy:
    """The panel looks at the old k too, wherever it lies."""
    if policy.k is not None:
        return policy
    return dataclasses.replace(policy, k_min=min(policy.k_min, k), k_max=max(policy.k_max, k))


def _choose_k(seen: Survey, k: int, policy: RecalibrationPolicy) -> tuple[Candidate, int | None, str]:
    """The old k as long as it holds: a k that changes back and forth would rename segments."""
    calibration = policy.calibration
    best, runner_up, explanation = choose(seen.candidates, calibration)
    same = next((c for c in seen.candidates if c.row.k == k), None)
    if same is None or best.row.k == k:
        return best, runner_up.row.k if runner_up else None, explanation
    holds = same.row.stability >= calibration.stability and same.row.smallest_share >= calibration.min_share
    if holds and best.row.silhouette < same.row.silhouette + policy.silhouette_gain:
        text = f"k = {k} stays: it is stable, and k = {best.row.k} is not clearly better. "
        return same, best.row.k, text + explanation
    return best, k, explanation


def _fit(
    seen: Survey, chosen: Candidate, warm: Float64Array | None, cold_gain: float
) -> tuple[Float64Array, Int16Array, Float64Array]:
    """The better of the warm and the cold start, as `lloyd` returns it."""
    x, importance = seen.x, seen.scaler.importance
    cold = lloyd(x, chosen.centers, importance, len(x) // _JUDGED_AT)
    start = cold[0]
    if warm is not None and np.isfinite(warm).any(axis=1).all():
        kept = lloyd(x, np.nan_to_num(warm, nan=0.0), importance, len(x) // _JUDGED_AT)
        if _mean_cost(cold) >= (1.0 - cold_gain) * _mean_cost(kept):
            start = kept[0]
    return lloyd(x, start, importance, len(x) // _SETTLED_AT)


def _mean_cost(fitted: tuple[Float64Array, Int16Array, Float64Array]) -> float:
    _, labels, d2 = fitted
    return float(np.mean(d2[labels >= 0]))


def _in_old_order(choice: Choice, matching: Matching) -> tuple[Choice, Matching]:
    """Survivors in the order that they had, new segments after them."""
    survivor = np.where(matching.survivor_of >= 0, matching.survivor_of, len(matching.overlap))
    order = np.argsort(survivor, kind="stable")
    place = np.empty(len(order), np.int16)
    place[order] = np.arange(len(order))
    labels = np.where(choice.labels >= 0, place[choice.labels], choice.labels)
    matching = dataclasses.replace(
        matching,
        ids=tuple(matching.ids[j] for j in order),
        survivor_of=matching.survivor_of[order],
        jaccard=matching.jaccard[order],
        overlap=np.ascontiguousarray(matching.overlap[:, order]),
    )
    centroids = np.ascontiguousarray(choice.centroids[order])
    return dataclasses.replace(choice, centroids=centroids, labels=labels), matching


def rebased(proposed: Model, newest: Model, command: str = "") -> Model:
    """A proposal as the version after `newest`; scans may have been folded since it was begun.

    `command`: id of the command that asks for it.

    Raises:
        ValueError: `newest` has other segments or another scaler than the version it was fitted against.
    """
    transition = proposed.transition
    before = [segment.id for segment in newest.segments]
    if transition is None or before != transition.from_ids or newest.next_segment > proposed.next_segment:
        raise ValueError(
            f"the proposal was fitted against other segments than those of version {newest.version}"
        )
    named = dataclasses.replace(proposed, segments=keep_names(proposed.segments, names_of(newest)))
    return _as_next(named, newest, proposed.kind, command)


def restored(
    former: Model, newest: Model, command: str = "", last_names: Mapping[str, str] | None = None
) -> Model:
    """A former version as the one after `newest`; what has been named since keeps its names.

    `command`: id of the command that asks for it. `last_names`: by segment id, also of those that are gone.

    Raises:
        ValueError: they are of different specifications.
    """
    if former.spec_hash != newest.spec_hash:
        raise ValueError(
            f"version {former.version} is of specification {former.spec_hash}, now it is {newest.spec_hash}"
        )
    now, then = [s.id for s in newest.segments], [s.id for s in former.segments]
    events = [Lineage(i, "kept" if i in now else "restored", newest.version + 1, [i]) for i in then]
    events += [Lineage(i, "retired", newest.version + 1) for i in now if i not in then]
    last = last_names or {}
    segments = [structs.replace(s, name=last.get(s.id, s.name)) for s in former.segments]
    former = dataclasses.replace(
        former,
        created_us=newest.created_us,
        segments=keep_names(segments, names_of(newest)),
        next_segment=newest.next_segment,
        strategies=former.strategies | {i: newest.strategies[i] for i in then if i in newest.strategies},
        lineage=tuple(events),
        covers=Covers(),
        transition=None,
    )
    return _as_next(former, newest, "restored", command)


def _as_next(model: Model, newest: Model, kind: Kind, command: str) -> Model:
    version = newest.version + 1
    lineage = tuple(structs.replace(event, version=version) for event in model.lineage)
    return dataclasses.replace(
        model,
        version=version,
        parent=newest.version,
        kind=kind,
        lineage=lineage,
        command=command,
        observed=None,
    )
