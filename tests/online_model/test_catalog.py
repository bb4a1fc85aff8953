"""Laws of profiles and of the catalog."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.catalog import FIXED_SEGMENTS, Population, make_catalog, make_profiles
from online_model.columns import Columns
from online_model.model import Profile
from tests.online_model.populations import USAGE, calibration, numeric_columns, personas

RAW, _ = personas(300)
FITTED = calibration(RAW)


def profile(deviation: list[float], mean: list[float], columns: Columns) -> Profile:
    """A profile with the given deviations and means."""
    order = sorted(range(len(deviation)), key=lambda j: -abs(deviation[j]))
    return Profile(
        size=1,
        share=0.5,
        mean=list(mean),
        median=list(mean),
        index=[1.0] * len(mean),
        deviation=deviation,
        significant=[columns.name[j] for j in order if abs(deviation[j]) >= 0.4],
        nearest=None,
    )


def test_profile_by_hand() -> None:
    """Two segments of two and one customers: sizes, means, medians, index, deviation, nearest."""
    raw = np.array([[1.0, 10.0], [3.0, np.nan], [8.0, 40.0]])
    x = np.array([[-1.0, 1.0], [-1.0, np.nan], [2.0, -1.0]])
    labels = np.array([0, 0, 1])
    first, second = make_profiles(
        Population(raw, x, labels),
        numeric_columns("a", "b"),
        np.array([[-1.0, 1.0], [2.0, -1.0]]),
        ["s1", "s2"],
    )
    assert (first.size, first.share, first.nearest) == (2, 2 / 3, "s2")
    assert first.mean == [2.0, 10.0]
    assert second.median == [8.0, 40.0]
    assert first.index == [0.5, 0.4]
    np.testing.assert_allclose(first.deviation, [-1 / np.sqrt(2), 1.0])
    assert first.significant == ["b", "a"]


@given(st.permutations(range(5)))
def test_the_order_of_customers_does_not_matter(order: list[int]) -> None:
    """Permuting rows leaves the catalog as it is; permuting segments permutes profiles."""
    raw, fitted = RAW, FITTED
    x = np.log1p(raw)
    rows = np.argsort([order[i % 5] for i in range(300)], kind="stable")
    ids = ["s1", "s2", "s3", "s4", "s5"]
    catalog = make_catalog(Population(raw, x, fitted.labels), USAGE, fitted.centroids, ids)
    permuted = make_catalog(Population(raw[rows], x[rows], fitted.labels[rows]), USAGE, fitted.centroids, ids)
    assert [s.name for s in permuted] == [s.name for s in catalog]
    for a, b in zip(catalog, permuted, strict=True):
        assert a.profile is not None
        assert b.profile is not None
        np.testing.assert_allclose(a.profile.deviation, b.profile.deviation, rtol=1e-9)
        assert (a.profile.size, a.profile.median) == (b.profile.size, b.profile.median)


def test_an_empty_segment_has_a_profile_too() -> None:
    """No customers: null means, no deviation, a name all the same."""
    population = Population(np.ones((2, 1)), np.zeros((2, 1)), np.array([0, 0]))
    catalog = make_catalog(population, numeric_columns("a"), np.array([[0.0], [1.0]]), ["s1", "s2"])
    assert catalog[1].profile is not None
    assert catalog[1].profile.mean == [None]
    assert [segment.name for segment in catalog] == ["Average customers", "Average customers 2"]


def test_special_segments_have_fixed_ids() -> None:
    """Dormant and unclassified are always the same."""
    assert [segment.id for segment in FIXED_SEGMENTS] == ["dormant", "unclassified"]


def test_wrong_shapes_are_refused() -> None:
    """Raw and scaled rows must be the same customers."""
    population = Population(np.ones((2, 1)), np.ones((3, 1)), np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="shapes differ"):
        make_profiles(population, numeric_columns("a"), np.zeros((1, 1)), ["s1"])
