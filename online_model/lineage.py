"""Which segment is which after a recalibration, and what became of the others.

The same customers are assigned by the old model and by the new centroids. A new cluster *is* an old segment
if most of their members together are in both (Jaccard index >= 0.5, as in Hennig 2007, "Cluster-wise
assessment of cluster stability", where a cluster below 0.5 counts as dissolved); it keeps its id. Everything
else gets an id that was never used, or loses its own, with an event that says from what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from online_model.model import Lineage

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]

#: Jaccard index from which a cluster is the one it was.
SURVIVES: Final = 0.5
#: Share of a cluster's members that makes another one its origin, or its successor.
MOST: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """What the new clusters are called.

    `ids`: an id per new cluster; `survivor_of` int64[k_new]: index of the old segment that it is, -1 for
    none; `jaccard` float64[k_new]: with that segment (0 for none); `overlap` int64[k_old, k_new]: customers
    in both; `next_segment`; `events` in the order of ids, those that stay included.
    """

    ids: tuple[str, ...]
    survivor_of: Int64Array
    jaccard: Float64Array
    overlap: Int64Array
    next_segment: int
    events: tuple[Lineage, ...]

    @property
    def moved_share(self) -> float:
        """Share of the customers in a segment before and after who are in another one now."""
        total = int(self.overlap.sum())
        kept = np.flatnonzero(self.survivor_of >= 0)
        stay = int(self.overlap[self.survivor_of[kept], kept].sum())
        return 1.0 - stay / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Registry:
    """Ids in use before, the number of the next one, and the version that the new names are for."""

    ids: Sequence[str]
    next_segment: int
    version: int


def match(
    old_labels: IntArray,
    new_labels: IntArray,
    registry: Registry,
    typical: npt.NDArray[np.bool_] | None = None,
) -> Matching:
    """Names the clusters of `new_labels` after those of `old_labels`, both int[n] of the same customers.

    Negative labels are customers in no segment; they match nothing. `typical` bool[n]: customers who tell
    what their old segment is (default all). Somebody far from every old segment is in the nearest one only
    for want of a better; a new group of such customers must not take over its name.

    Raises:
        ValueError: the labels are not of the same customers, or a label is beyond the ids.
    """
    if old_labels.shape != new_labels.shape:
        raise ValueError(f"labels of {len(old_labels)} and of {len(new_labels)} customers")
    old_ids, next_segment = registry.ids, registry.next_segment
    k_old, k_new = len(old_ids), int(new_labels.max(initial=-1)) + 1
    if int(old_labels.max(initial=-1)) >= k_old:
        raise ValueError(f"label {int(old_labels.max())} is beyond {k_old} segments")
    named = old_labels if typical is None else np.where(typical, old_labels, -1)
    shared = _overlap(named, new_labels, k_old, k_new)
    survivor_of, jaccard = _survivors(named, new_labels, shared)
    ids: list[str] = []
    for j in range(k_new):
        if survivor_of[j] >= 0:
            ids.append(old_ids[survivor_of[j]])
        else:
            ids.append(f"s{next_segment}")
            next_segment += 1
    sizes = np.bincount(new_labels[new_labels >= 0], minlength=k_new)
    events = _events(shared, sizes, survivor_of, registry, ids)
    overlap = _overlap(old_labels, new_labels, k_old, k_new)
    return Matching(tuple(ids), survivor_of, jaccard, overlap, next_segment, tuple(events))


def _overlap(old: IntArray, new: IntArray, k_old: int, k_new: int) -> Int64Array:
    both = (old >= 0) & (new >= 0)
    place = old[both].astype(np.int64) * k_new + new[both]
    return np.bincount(place, minlength=k_old * k_new).reshape(k_old, k_new)


def _survivors(old: IntArray, new: IntArray, overlap: Int64Array) -> tuple[Int64Array, Float64Array]:
    """The pairs of greatest total overlap, of those that are alike enough."""
    k_old, k_new = overlap.shape
    sizes_old = np.bincount(old[old >= 0], minlength=k_old)
    sizes_new = np.bincount(new[new >= 0], minlength=k_new)
    union = sizes_old[:, None] + sizes_new[None, :] - overlap
    alike = overlap / np.maximum(union, 1)
    survivor_of, jaccard = np.full(k_new, -1, np.int64), np.zeros(k_new)
    # Only pairs that are alike may be chosen: a sum must not prefer two halves to one whole.
    rows, columns = linear_sum_assignment(np.where(alike >= SURVIVES, overlap, 0), maximize=True)
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        if alike[i, j] >= SURVIVES:
            survivor_of[j], jaccard[j] = i, alike[i, j]
    return survivor_of, jaccard


def _events(
    overlap: Int64Array, sizes: Int64Array, survivor_of: Int64Array, registry: Registry, ids: list[str]
) -> list[Lineage]:
    """One event per new cluster, of `sizes` int64[k_new], and one per segment that is gone."""
    old_ids, version = registry.ids, registry.version
    to_new = overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1)
    of_new = overlap / np.maximum(sizes[None, :], 1)
    kept = set(survivor_of.tolist())
    events = []
    for j, id in enumerate(ids):
        # Segments that are gone and most of whose customers are here now.
        gone = [i for i in range(len(old_ids)) if i not in kept and to_new[i, j] > MOST]
        origin = int(np.argmax(of_new[:, j])) if len(old_ids) else -1
        if survivor_of[j] >= 0:
            sources = [old_ids[i] for i in sorted([int(survivor_of[j]), *gone])]
            events.append(Lineage(id, "merged" if gone else "kept", version, sources))
        elif len(gone) > 1:
            events.append(Lineage(id, "merged", version, [old_ids[i] for i in gone]))
        elif origin >= 0 and of_new[origin, j] > MOST:
            events.append(Lineage(id, "split", version, [old_ids[origin]]))
        else:
            events.append(Lineage(id, "new", version, []))
    for i, old_id in enumerate(old_ids):
        if i not in kept:
            heirs = [id for j, id in enumerate(ids) if to_new[i, j] > MOST or of_new[i, j] > MOST]
            events.append(Lineage(old_id, "retired", version, [], heirs))
    return events
