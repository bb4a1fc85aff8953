"""The customers of all partitions as a calibration sees them: a sample with their features.

Which customers there are, and in which order, must not depend on who owned their partitions or on how
often they were restored: fits add up rows, and take samples of them, in the order given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from online_model.evaluate import Evaluated, Population, evaluate, priors_of, share_totals
from online_model.partition import PartitionState
from online_model.plan import FeaturePlan
from online_model.rows import NEVER
from online_model.scan import KEYS
from schemas.batch import Int32Array

Float64Array = npt.NDArray[np.float64]

#: Partitions in order, each time from the first: all of them do not fit into memory where they are read.
States = Callable[[], Iterable[PartitionState]]

#: Rows int32[m] of a partition that are looked at if a share of all customers is, in a settled order.
Choose = Callable[[PartitionState, float], Int32Array]


def population_of(states: States, plan: FeaturePlan, limit: int) -> Population:
    """Features of about `limit` live customers, chosen by hash, at their partitions' watermarks.

    The newest watermark stands for all; shares are shrunk to the shares of all customers.
    """
    return populations_of(states, plan, limit, by_hash)[0]


def populations_of(
    states: States,
    plan: FeaturePlan,
    limit: int,
    choose: Choose,
    priors_before: Float64Array | None = None,
) -> tuple[Population, Float64Array]:
    """As `population_of` with the choice of rows by `choose`.

    Also the features float64[m, D] of the same customers under the share priors `priors_before`, if those
    are given. The partitions are gone through twice, because the shares of all come before the features of
    any.
    """
    totals, customers = np.zeros((plan.columns.n, 2), np.int64), 0
    for state in states():
        live = state.live_rows(0, KEYS)
        customers += len(live)
        totals += share_totals(state.store.rows, live, state.watermark_us, plan)
    share, priors, watermark_us = min(1.0, limit / max(customers, 1)), priors_of(totals), NEVER
    parts = [Evaluated(np.empty((0, plan.columns.n)), np.empty(0), np.empty(0))]
    before = [parts[0].raw]
    for state in states():
        rows = choose(state, share)
        parts.append(evaluate(state.store.rows, rows, state.watermark_us, plan, priors))
        if priors_before is not None:
            before.append(evaluate(state.store.rows, rows, state.watermark_us, plan, priors_before).raw)
        if len(rows):  # an empty partition follows the clock, which may be far ahead of a backfill
            watermark_us = max(watermark_us, state.watermark_us)
    raw, observed_days, silent_days = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Population(raw, observed_days, silent_days, priors, watermark_us), np.concatenate(before)


def by_hash(state: PartitionState, share: float) -> Int32Array:
    """Live rows of the lowest hashes, in the order of their hashes."""
    live = state.live_rows(0, max(1, int(KEYS * share)))
    ordered: Int32Array = live[np.argsort(state.index.hashes[live], kind="stable")]
    return ordered


def by_segment(state: PartitionState, share: float) -> Int32Array:
    """Live rows: `share` of every segment's, by hash and in that order."""
    live = by_hash(state, 1.0)
    if share >= 1.0:
        return live
    segment = state.store.rows.hot["segment"][live]
    order = np.argsort(segment, kind="stable")
    live, segment = live[order], segment[order]
    _, start, n = np.unique(segment, return_index=True, return_counts=True)
    place = np.arange(len(live)) - np.repeat(start, n)
    chosen: Int32Array = live[place < np.ceil(np.repeat(n, n) * share)]
    return chosen
