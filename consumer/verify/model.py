"""A version of the model as lists, and the decision it makes about one customer.

Everything is worked out in the order the service uses (columns ascending, ties to the lowest centroid), so
sums agree bit for bit; only logarithm and arcsine come from the C library here and from a polynomial
there, and may differ in the last two bits. Where that could turn a decision (`NEAR`), both ways are right.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

#: A comparison closer than this is a tie that rounding decides.
NEAR: Final = 1e-9

DORMANT, UNCLASSIFIED = "dormant", "unclassified"

_INFINITE: Final = {"clip_low": -math.inf, "clip_high": math.inf}
_LOG, _ARCSINE = 1, 2
_ZERO, _MEAN = 1, 2


class Policy(NamedTuple):
    """When a customer moves; see `online_model.decision.DecisionPolicy`."""

    hysteresis: float
    min_dwell_us: int
    dormant_after_days: float
    min_present: float = 0.5


class Decision(NamedTuple):
    """Segment ids after the decision: `target`, and `others` that a tie would allow.

    `margin` to `runner_up`, None where the target has no centroid.
    """

    target: str
    others: frozenset[str]
    margin: float | None
    runner_up: str | None


def _scaled(  # noqa: PLR0913 - one parameter per property of a column
    raw: float, transform: float, missing: float, low: float, high: float, center: float, scale: float
) -> float:
    if scale == 0.0:
        return 0.0
    value = raw
    if not math.isfinite(raw):
        if missing != _ZERO:
            return 0.0 if missing == _MEAN else math.nan
        value = 0.0
    if transform == _LOG:
        value = math.copysign(math.log1p(abs(value)), value)
    elif transform == _ARCSINE:
        value = math.asin(math.sqrt(min(max(value, 0.0), 1.0)))
    value = min(max(value, low), high)
    return (value - center) * scale


@dataclass(slots=True)
class Version:
    """One record of the models topic."""

    version: int
    kind: str
    spec_hash: str
    columns: list[str]
    priors: list[float]
    scaler: dict[str, list[float]]
    centroids: list[list[float]]
    ids: list[str]
    names: dict[str, str]
    typical: dict[str, list[float | None]]
    strategies: dict[str, str]
    #: Per column what `_scaled` is told.
    _how: list[tuple[float, ...]] = field(init=False)

    @classmethod
    def parse(cls, value: bytes) -> Version:
        """Raises ValueError or KeyError for bytes that are no model."""
        d: dict[str, Any] = json.loads(value)
        scaler = {
            name: [_INFINITE.get(name, math.nan) if x is None else x for x in values]
            for name, values in d["scaler"].items()
        }
        segments = d["segments"]
        return cls(
            version=d["version"],
            kind=d["kind"],
            spec_hash=d["spec_hash"],
            columns=d["columns"],
            priors=[math.nan if x is None else x for x in d["share_priors"]],
            scaler=scaler,
            centroids=d["centroids"],
            ids=[segment["id"] for segment in segments],
            names={segment["id"]: segment["name"] for segment in segments},
            typical={s["id"]: s["profile"]["mean"] for s in segments if s.get("profile")},
            strategies=d["strategies"],
        )

    @property
    def is_new_fit(self) -> bool:
        """Whether everybody is looked at again because of it: not for a scan that was learnt, or a name."""
        return self.kind not in ("folded", "renamed")

    def scale(self, raw: Sequence[float]) -> list[float]:
        """Coordinates of raw values; NaN missing."""
        return [_scaled(value, *how) for value, how in zip(raw, self._how, strict=True)]

    def __post_init__(self) -> None:
        s = self.scaler
        names = ("transform", "missing", "clip_low", "clip_high", "center", "scale")
        self._how = list(zip(*(s[name] for name in names), strict=True))

    def distances(self, x: Sequence[float], min_present: float) -> list[float] | None:
        """Squared distance to each centroid over the present columns, rescaled; None if too few are there."""
        there = [j for j, value in enumerate(x) if math.isfinite(value)]
        present = 1.0
        if len(there) < len(x):
            present = 0.0
            for j in there:
                present += self.scaler["importance"][j]
            if present < min_present or present <= 0.0:
                return None
        found = []
        for centroid in self.centroids:
            total = 0.0
            for j in there:
                total += (x[j] - centroid[j]) * (x[j] - centroid[j])
            found.append(total if len(there) == len(x) else total / present)
        return found

    def gain(self, x: Sequence[float], old: int, new: int) -> float:
        """How far beyond the middle between two centroids: 0 on the boundary, 1 at the new one."""
        gain = apart = 0.0
        a, b = self.centroids[old], self.centroids[new]
        for j, value in enumerate(x):
            if math.isfinite(value):
                gain += (value - a[j]) * (value - a[j]) - (value - b[j]) * (value - b[j])
                apart += (a[j] - b[j]) * (a[j] - b[j])
        return gain / apart if apart > 0.0 else 0.0

    def decide(
        self,
        x: Sequence[float],
        current: tuple[str | None, int],
        silent_days: float,
        watermark_us: int,
        policy: Policy,
    ) -> Decision:
        """The segment of a customer that has been in ``current[0]`` since ``current[1]``."""
        d2 = self.distances(x, policy.min_present)
        if silent_days >= policy.dormant_after_days:
            return Decision(DORMANT, frozenset(), None, None)
        if d2 is None:
            return Decision(UNCLASSIFIED, frozenset(), None, None)
        order = sorted(range(len(d2)), key=lambda c: (d2[c], c))
        best, second = order[0], order[1] if len(order) > 1 else -1
        near = [c for c in order[1:] if d2[c] - d2[best] <= NEAR]
        target, others = self._moved(x, current, best, watermark_us, policy)
        for c in near:
            tied, more = self._moved(x, current, c, watermark_us, policy)
            others |= {tied} | more
        margin = 1.0 if second < 0 else min(max(self.gain(x, second, best), 0.0), 1.0)
        return Decision(target, others - {target}, margin, None if second < 0 else self.ids[second])

    def _moved(
        self,
        x: Sequence[float],
        current: tuple[str | None, int],
        best: int,
        watermark_us: int,
        policy: Policy,
    ) -> tuple[str, frozenset[str]]:
        segment, since_us = current
        if segment not in self.ids or segment == self.ids[best]:
            return self.ids[best], frozenset()
        if since_us > watermark_us - policy.min_dwell_us:
            return segment, frozenset()
        gain = self.gain(x, self.ids.index(segment), best)
        both = frozenset({segment, self.ids[best]})
        target = self.ids[best] if gain > policy.hysteresis else segment
        return target, both if abs(gain - policy.hysteresis) <= NEAR else frozenset()

    def pulls(self, x: Sequence[float], old: str | None, new: str) -> list[float] | None:
        """What each column contributed to a move (NaN missing); None for a new segment without centroid."""
        if new not in self.ids:
            return None
        b = self.centroids[self.ids.index(new)]
        a = self.centroids[self.ids.index(old)] if old in self.ids else [0.0] * len(b)
        return [(v - p) * (v - p) - (v - q) * (v - q) for v, p, q in zip(x, a, b, strict=True)]
