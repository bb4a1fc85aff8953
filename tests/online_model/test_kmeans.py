"""Laws of the sequential K-Means: river's results, without river's traps."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from river import base

from online_model.kmeans import Learner, RiverKMeans, SequentialKMeans

Float64Array = npt.NDArray[np.float64]

# Quarters with a step of 1/2: river and we compute without rounding, so ties are real ties.
exact = st.integers(-20, 20).map(lambda quarter: quarter / 4)


@given(
    arrays(np.float64, st.tuples(st.integers(0, 12), st.just(3)), elements=exact),
    arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=exact),
)
def test_equals_river_with_ties(points: Float64Array, start: Float64Array) -> None:
    """Exact arithmetic: the same labels before every step and bit-equal centres after it, ties included."""
    ours, rivers = SequentialKMeans(start, range(3), step=0.5), RiverKMeans(start, step=0.5)
    for point in points:
        x = dict(enumerate(point.tolist()))
        assert ours.predict_one(x) == rivers.model.predict_one(x)  # type: ignore[no-untyped-call]
        ours.learn_one(x)
        rivers.learn(point[None])
        np.testing.assert_array_equal(ours.centroids, rivers.centroids)


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 1.0), st.integers(1, 8), st.integers(1, 15))
def test_equals_river_on_any_points(seed: int, step: float, k: int, d: int) -> None:
    """Learning many at once gives river's centres after the same points one by one."""
    rng = np.random.default_rng(seed)
    x, start = rng.normal(size=(60, d)), rng.normal(size=(k, d))
    learners: tuple[Learner, Learner] = (SequentialKMeans(start, range(d), step), RiverKMeans(start, step))
    for learner in learners:
        learner.learn(x)
    np.testing.assert_allclose(learners[0].centroids, learners[1].centroids, rtol=1e-12, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_many_is_one_by_one(seed: int, split: int) -> None:
    """learn_many on any split, of a frame or an array, equals learn_one on each row, bit for bit."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(30, 3)), columns=["b", "c", "a"], index=range(100, 130))
    start = rng.normal(size=(4, 3))
    one, many = (SequentialKMeans(start, ["a", "b", "c"], 0.1) for _ in range(2))
    for record in frame.to_dict("records"):
        one.learn_one(record)
    many.learn_many(frame.iloc[:split])
    many.learn_many(frame[["a", "b", "c"]].to_numpy()[split:])
    np.testing.assert_array_equal(one.centroids, many.centroids)
    predicted = many.predict_many(frame)
    assert list(predicted.index) == list(frame.index)
    assert predicted.tolist() == [one.predict_one(record) for record in frame.to_dict("records")]


def test_one_step_by_hand() -> None:
    """The nearest centre goes a quarter of the way to the point; the other stays."""
    learner = SequentialKMeans([[0.0, 0.0], [10.0, 10.0]], ["x", "y"], step=0.25)
    learner.learn_one({"y": 2.0, "x": 4.0})
    assert learner.centers == {0: {"x": 1.0, "y": 0.5}, 1: {"x": 10.0, "y": 10.0}}


def test_is_a_river_clusterer_that_pickles_and_clones() -> None:
    """A pickle continues where it was, a clone starts at the start centres, parameters survive."""
    learner = SequentialKMeans([[0.0], [1.0]], ["x"], step=0.5)
    learner.learn_one({"x": 5.0})
    assert isinstance(learner, base.Clusterer)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(learner)).centroids, learner.centroids)
    clone = learner.clone()
    np.testing.assert_array_equal(clone.centroids, [[0.0], [1.0]])
    assert (clone.features, clone.step) == (("x",), 0.5)


@pytest.mark.parametrize(
    "x", [{"x": 1.0, "z": 1.0}, {"x": 1.0}, {"x": 1.0, "y": 2.0, "z": 3.0}, {"x": 1.0, "y": np.nan}]
)
def test_bad_points_are_errors_and_change_nothing(x: dict[str, float]) -> None:
    """Unknown, absent and non-finite values raise on learning and predicting; the centres stay."""
    learner = SequentialKMeans(np.eye(2), ["x", "y"])
    for method in (learner.learn_one, learner.predict_one):
        with pytest.raises(ValueError, match=r"features do not match|finite"):
            method(x)
    with pytest.raises(ValueError, match=r"features do not match|finite"):
        learner.learn_many(pd.DataFrame([x]))
    np.testing.assert_array_equal(learner.centroids, np.eye(2))


@pytest.mark.parametrize("make", [lambda s: SequentialKMeans(s, range(2)), RiverKMeans])
def test_learners_refuse_whole_batches_with_nan(make: Any) -> None:
    """One non-finite value refuses the batch before anything is learnt."""
    learner: Learner = make(np.eye(2))
    with pytest.raises(ValueError, match="row 1"):
        learner.learn(np.array([[1.0, 2.0], [np.nan, 0.0]]))
    np.testing.assert_array_equal(learner.centroids, np.eye(2))


def test_predicting_never_changes_the_model() -> None:
    """Predictions leave every bit of the centres alone."""
    learner = SequentialKMeans(np.eye(3), range(3))
    learner.predict_many(np.random.default_rng(0).normal(size=(50, 3)))
    learner.predict_one({0: 1.0, 1: 2.0, 2: 3.0})
    np.testing.assert_array_equal(learner.centroids, np.eye(3))


@pytest.mark.parametrize(
    ("start", "features", "step", "message"),
    [
        ([0.0], ["x"], 0.1, "shape"),
        ([[0.0, 1.0]], ["x"], 0.1, "2 columns"),
        ([[0.0, 1.0]], ["x", "x"], 0.1, "unique"),
        ([[0.0]], ["x"], 0.0, "step"),
        ([[np.nan]], ["x"], 0.1, "finite"),
    ],
)
def test_construction_refuses(start: Any, features: list[str], step: float, message: str) -> None:
    """Wrong shapes, names, steps and centres are errors that say which."""
    with pytest.raises(ValueError, match=message):
        SequentialKMeans(start, features, step)
