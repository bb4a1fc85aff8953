"""Bringing a partition up to date from what was committed, without deciding anything.

Windows are a function of the input, so the events of a commit are applied again; what it decided is read
from what it published. Records that were refused must be left out: whether a record was depends on the
clock, on the watermark of its commit and on what had been read, and the dead letters tell it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from online_model.change_batch import to_bfloat16
from online_model.evaluate import evaluate
from online_model.flaps import segment_left
from online_model.intake import N_TOPICS, Chunk, Release
from online_model.partition import PartitionState
from online_model.plan import FeaturePlan
from online_model.poll import Poll
from online_model.rows import BEFORE_MISSING, FORGOTTEN, LIVE, SEGMENT_NONE
from schemas.batch import Int64Array, StringColumn
from schemas.rejects import Rejects

_NO_LIMIT = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """Changes that a commit published, in order, as arrays of length m.

    `segment` int16 (`SEGMENT_NONE` for exits), `previous` int16: the segment before (`SEGMENT_NONE` for first
    assignments), `seq` int32, `since_us` int64, `provisional` bool.
    """

    ids: StringColumn
    segment: npt.NDArray[np.int16]
    previous: npt.NDArray[np.int16]
    seq: npt.NDArray[np.int32]
    since_us: Int64Array
    provisional: npt.NDArray[np.bool_]


class Moment(NamedTuple):
    """Commit number `n`, which left the watermark `watermark_us`."""

    n: int
    watermark_us: int


def apply_again(state: PartitionState, poll: Poll, watermark_us: int) -> None:
    """Applies the events of `poll`, all of this partition, up to the commit that left `watermark_us`.

    Several commits may be applied as one where none of them holds the end of a life.
    """
    batch, chunks = poll.batch, []
    for topic in range(N_TOPICS):
        events = np.flatnonzero(batch.topic == topic)
        if len(events):
            chunks.append(Chunk(batch, events, Rejects.empty(), 0, poll.raw))
    offsets = {topic: offset for (_, topic), offset in poll.next_offset.items()}
    applied = state.apply(Release(chunks, [], offsets), _NO_LIMIT, state.watermark_us)
    state.intake.watermark_us = watermark_us
    for group in applied.exits:
        for row in group.row[group.status == FORGOTTEN].tolist():
            state.leave_segment(row)
            state.store.rows.hot["seq"][row] = 0
            state.bury(row)


def publish_again(
    state: PartitionState,
    commit: Moment,
    published: Published,
    plan: FeaturePlan,
    priors: npt.NDArray[np.float64] | None,
) -> None:
    """Puts what `commit` published into the rows that do not hold it yet.

    To be called when the events of the commit have been applied, and none after them of these customers.
    `priors` float64[D] are those of the model that decided (None: not known; the features of the moment are
    not kept then). Customers who have been erased since are left out.
    """
    rows = state.index.find(published.ids)
    at = np.flatnonzero(rows >= 0)
    if state.extents is not None:
        at = at[state.extents.commit_of(rows[at]) < commit.n]
    rows, hot = rows[at], state.store.rows.hot
    # Of several changes of a customer the last one counts, which is what numpy's assignment does too.
    hot["seq"][rows] = published.seq[at]
    hot["segment"][rows] = published.segment[at]
    hot["since"][rows] = published.since_us[at]
    hot["provisional"][rows] = published.provisional[at]
    state.store.rows.left[rows] = segment_left(published.previous[at], published.segment[at])
    stay = np.unique(rows[published.segment[at] != SEGMENT_NONE])
    stay = stay[hot["status"][stay] == LIVE]
    if priors is None:
        state.store.rows.before[stay] = BEFORE_MISSING
    elif len(stay):
        seen = evaluate(state.store.rows, stay, commit.watermark_us, plan, priors)
        state.store.rows.before[stay] = to_bfloat16(seen.raw)
