"""The smallest change of features that moves a customer to a given segment.

The target must be nearer than every other centroid, and against the segment the customer is in by the
hysteresis of `decision`. With squared distances each of these conditions is linear in the scaled features:

    |x - c|^2 - |x - t|^2 > m     <=>     2 (t - c) . (x' - x) > m - (|x - c|^2 - |x - t|^2)

so for one feature they are an interval, for two a polygon, and the nearest point of either is computed.
It is then taken back to real units, rounded away from where the customer is, and kept only if the decision
itself, on the rounded values, says that the customer moves. The other features are held: where in life they
move too (a share with a volume), the answer is about the features, not about their causes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.decision import Candidates, DecisionPolicy, decide
from online_model.model import Model
from online_model.plan import FeaturePlan, Op
from online_model.scaler import apply as scale
from online_model.scaler import inverse

Float64Array = npt.NDArray[np.float64]

#: Significant digits of a difference that are tried, fewest first; then all of them.
_DIGITS: Final = (3, 4, 6, 9)
#: How far inside the border, as a share of the way across, is tried.
_INSIDE: Final = (1e-9, 1e-6, 1e-4, 1e-2, 0.1, 0.5)
#: A border is passed by this much of the squared distance between the two centroids.
_BEYOND: Final = 1e-9

_WHOLE: Final = (Op.SERVICE_COUNT, Op.TENURE_DAYS, Op.TENURE_MONTHS, Op.DAYS_SINCE, Op.AGE)
#: Operations that no behaviour changes: profile and time.
_GIVEN: Final = (Op.TENURE_DAYS, Op.TENURE_MONTHS, Op.AGE, Op.INCOME, Op.SERVICE_COUNT, Op.LEVEL, Op.SERVICE)
_FAR: Final = 1e15


@dataclass(frozen=True, slots=True)
class Situation:
    """A customer as the decision sees them.

    `raw` float64[D] in real units (NaN missing); `current`: decision code of the segment, `inactive_days`
    as in `Candidates`. Dwell is not looked at: when it ends is known apart from this.
    """

    raw: Float64Array
    current: int
    inactive_days: float


@dataclass(frozen=True, slots=True)
class Step:
    """A column that changes, in real units; `before` is NaN where it was missing."""

    column: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Move:
    """Changes that together move the customer; none if the customer moves as they are.

    `size`: their length in scaled units, in which the importance of a feature counts.
    """

    steps: tuple[Step, ...]
    size: float


@dataclass(frozen=True, slots=True)
class Answer:
    """`singles`: the ways by one feature, smallest first; `pair`: the smallest by two of behaviour."""

    singles: tuple[Move, ...]
    pair: Move | None

    @property
    def best(self) -> Move | None:
        """The smallest of all."""
        moves = [*self.singles, *([] if self.pair is None else [self.pair])]
        return min(moves, key=lambda move: (move.size, len(move.steps)), default=None)


class Mover:
    """Answers for one model, plan and policy."""

    def __init__(self, plan: FeaturePlan, model: Model, policy: DecisionPolicy) -> None:
        self._plan = plan
        self._model = model
        self._policy = policy
        self._code = np.array([int(op) for op in plan.ops.code])
        low, high = self._domain()
        self._low, self._high = scale(model.scaler, low[None])[0], scale(model.scaler, high[None])[0]
        self._silence = plan.spec.dormancy_feature

    def is_behaviour(self, column: int) -> bool:
        """Whether what the customer does changes it (else it is profile or time)."""
        return int(self._code[column]) not in _GIVEN

    def lands(self, at: Situation, target: int) -> bool:
        """Whether the decision puts the customer into segment code `target`, dwell aside."""
        model = self._model
        candidates = Candidates(
            np.array([at.current], np.int16), np.zeros(1, np.int64), np.array([at.inactive_days])
        )
        made = decide(
            scale(model.scaler, at.raw[None]),
            candidates,
            model.centroids,
            model.scaler.importance,
            self._policy.min_dwell_us,
            self._policy,
        )
        return int(made.target[0]) == target

    def applied(self, at: Situation, move: Move) -> Situation:
        """The situation after `move`; silence changes with the feature that tells it."""
        raw, inactive = at.raw.copy(), at.inactive_days
        for step in move.steps:
            raw[step.column] = step.after
            if self._plan.columns.feature[step.column] == self._silence:
                inactive = step.after / float(self._plan.ops.unit[step.column])
        return Situation(raw, at.current, inactive)

    def answer(self, at: Situation, target: int) -> Answer:
        """How `at` gets to the segment of centroid `target`; nothing if no feature or pair can do it."""
        if self.lands(at, target):
            return Answer((Move((), 0.0),), None)
        x = scale(self._model.scaler, at.raw[None])[0]
        slopes, needs = self._conditions(x, at, target)
        numeric = [j for j in range(len(x)) if self._can_change(x, j)]
        singles = [self._single(at, x, j, slopes[:, j], needs, target) for j in numeric]
        singles += self._levels(at, x, target)
        pairs = (
            self._pair(at, x, pair, slopes[:, pair], needs, target)
            for pair in map(list, combinations([j for j in numeric if self.is_behaviour(j)], 2))
        )
        found = sorted((move for move in singles if move is not None), key=lambda move: move.size)
        pair = min((move for move in pairs if move is not None), key=lambda move: move.size, default=None)
        return Answer(tuple(found), pair)

    # -- conditions ------------------------------------------------------------------------------

    def _domain(self) -> tuple[Float64Array, Float64Array]:
        """Least and greatest value of each column, real units float64[D]."""
        ops, d = self._plan.ops, self._plan.columns.n
        low, high = np.zeros(d), np.full(d, _FAR)
        low[self._code == Op.REVENUE] = -_FAR
        high[self._code == Op.SHARE] = ops.unit[self._code == Op.SHARE]
        days = ops.window * ops.bucket_days * ops.unit
        high[self._code == Op.ACTIVE_DAYS] = days[self._code == Op.ACTIVE_DAYS]
        silent = np.array([f == self._plan.spec.dormancy_feature for f in self._plan.columns.feature])
        high[silent] = (math.ceil(self._policy.dormant_after_days) - 1) * ops.unit[silent]
        return low, high

    def _can_change(self, x: Float64Array, column: int) -> bool:
        """Whether a number of this column is known, tells segments apart and is not a level."""
        return bool(
            np.isfinite(x[column])
            and self._model.scaler.scale[column] != 0.0
            and not self._plan.columns.one_hot[column]
        )

    def _conditions(self, x: Float64Array, at: Situation, target: int) -> tuple[Float64Array, Float64Array]:
        """Slopes float64[k - 1, D] and needs float64[k - 1]: a change d lands if ``slopes @ d > needs``."""
        centroids, present = self._model.centroids, np.isfinite(x)
        others = [c for c in range(len(centroids)) if c != target]
        t, c = centroids[target][present], centroids[others][:, present]
        gain = ((x[present] - c) ** 2).sum(axis=1) - ((x[present] - t) ** 2).sum()
        apart = ((c - t) ** 2).sum(axis=1)
        margin = np.where(np.array(others) == at.current, self._policy.hysteresis, 0.0) + _BEYOND
        slopes = np.zeros((len(others), len(x)))
        slopes[:, present] = 2 * (t - c)
        return slopes, margin * apart - gain

    # -- one feature -----------------------------------------------------------------------------

    def _single(
        self, at: Situation, x: Float64Array, j: int, slope: Float64Array, needs: Float64Array, target: int
    ) -> Move | None:
        if (needs[slope == 0.0] > 0.0).any():
            return None
        up, down = slope > 0.0, slope < 0.0
        low = max([*(needs[up] / slope[up]).tolist(), self._low[j] - x[j]])
        high = min([*(needs[down] / slope[down]).tolist(), self._high[j] - x[j]])
        if not low <= high:
            return None
        near, far = (low, high) if low > 0.0 else (high, low)
        across = math.copysign(min(abs(far - near), 1.0 + abs(near)), far - near)
        for inside in _INSIDE:
            move = self._in_real_units(at, x, [j], np.array([near + inside * across]), target)
            if move is not None:
                return move
        return None

    def _levels(self, at: Situation, x: Float64Array, target: int) -> list[Move | None]:
        """The other levels of features that have levels, of which a customer has one; services one by one."""
        columns, moves = self._plan.columns, list[Move | None]()
        names = dict.fromkeys(f for f, hot in zip(columns.feature, columns.one_hot, strict=True) if hot)
        for name in names:
            group = [j for j in range(columns.n) if columns.feature[j] == name]
            if not np.isfinite(at.raw[group]).all():
                continue
            if self._code[group[0]] == Op.SERVICE:
                flips = [(Step(j, float(at.raw[j]), 1.0 - float(at.raw[j])),) for j in group]
                moves += [self._checked(at, x, steps, target) for steps in flips]
                continue
            for level in group:
                steps = tuple(
                    Step(j, float(at.raw[j]), float(j == level)) for j in group if at.raw[j] != (j == level)
                )
                if steps:
                    moves.append(self._checked(at, x, steps, target))
        return moves

    # -- two features ----------------------------------------------------------------------------

    def _pair(
        self,
        at: Situation,
        x: Float64Array,
        pair: list[int],
        slopes: Float64Array,
        needs: Float64Array,
        target: int,
    ) -> Move | None:
        edges = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        room = np.stack([self._low[pair] - x[pair], x[pair] - self._high[pair]], axis=1).reshape(-1)
        nearest = _nearest_in_polygon(np.vstack([slopes, edges]), np.concatenate([needs, room]))
        return None if nearest is None else self._in_real_units(at, x, pair, nearest, target)

    # -- real units ------------------------------------------------------------------------------

    def _in_real_units(
        self, at: Situation, x: Float64Array, columns: Sequence[int], change: Float64Array, target: int
    ) -> Move | None:
        """The change of scaled `columns` as steps that land; None if no rounding of it does."""
        moved = x.copy()
        moved[columns] += change
        exact = inverse(self._model.scaler, moved)
        # A missing number may stand for one: nothing counted is 0, or what is usual.
        here = np.where(np.isfinite(at.raw), at.raw, inverse(self._model.scaler, x))
        for digits in (*_DIGITS, None):
            steps = []
            for j in columns:
                difference = float(exact[j] - here[j])
                if int(self._code[j]) in _WHOLE:
                    difference = math.copysign(math.ceil(abs(difference) - 1e-9), difference)
                elif digits is not None:
                    difference = _away(difference, digits)
                steps.append(Step(j, float(at.raw[j]), float(here[j]) + difference))
            move = self._checked(at, x, tuple(s for s in steps if s.after != s.before), target)
            if move is not None:
                return move
        return None

    def _checked(self, at: Situation, x: Float64Array, steps: tuple[Step, ...], target: int) -> Move | None:
        """The move, if the decision on its values says so."""
        move = Move(steps, 0.0)
        after = self.applied(at, move)
        if not self.lands(after, target):
            return None
        way = scale(self._model.scaler, after.raw[None])[0] - x
        return Move(steps, float(np.sqrt(np.nansum(way**2))))


def _away(value: float, digits: int) -> float:
    """`value` with so many significant digits, rounded away from 0."""
    if value == 0.0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    return math.copysign(math.ceil(abs(value) / unit - 1e-9) * unit, value)


def _nearest_in_polygon(a: Float64Array, b: Float64Array) -> Float64Array | None:
    """The shortest d float64[2] with ``a @ d >= b`` (float64[m, 2], float64[m]); None if there is none.

    It is 0, the foot on one border, or a corner of two.
    """
    best, length = None, math.inf
    for point in _corners_and_feet(a, b):
        square = float(point @ point)
        if square < length and (a @ point >= b - 1e-12 * (1.0 + np.abs(b))).all():
            best, length = point, square
    return best


def _corners_and_feet(a: Float64Array, b: Float64Array) -> Iterator[Float64Array]:
    yield np.zeros(2)
    norms = (a**2).sum(axis=1)
    for i in np.flatnonzero((norms > 0.0) & (b > 0.0)).tolist():
        yield a[i] * (b[i] / norms[i])
    for i, j in combinations(np.flatnonzero(norms > 0.0).tolist(), 2):
        turn = a[i, 0] * a[j, 1] - a[i, 1] * a[j, 0]
        if abs(turn) > 1e-12 * math.sqrt(norms[i] * norms[j]):
            yield np.array([b[i] * a[j, 1] - b[j] * a[i, 1], a[i, 0] * b[j] - a[j, 0] * b[i]]) / turn
