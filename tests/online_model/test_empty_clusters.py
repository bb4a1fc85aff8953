"""Clusters that nobody is in when all customers are counted: they are dropped, and k follows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from online_model.calibration import CalibrationPolicy, Identity, first_model
from online_model.distance import nearest
from online_model.lloyd import without_empty
from online_model.model_json import from_json, to_json
from online_model.panel import Candidate, choose
from tests.online_model.populations import USAGE, calibration, personas
from tests.online_model.test_recalibration import CENTERS, again, first, people


def choose_a_far_cluster(
    candidates: Sequence[Candidate], policy: CalibrationPolicy
) -> tuple[Candidate, Candidate | None, str]:
    """As `choose`, but with one more cluster, far from everybody: the first of them."""
    chosen, runner_up, explanation = choose(candidates, policy)
    far = np.full((1, chosen.centers.shape[1]), 50.0)
    row = structs.replace(chosen.row, k=chosen.row.k + 1)
    return Candidate(row, np.concatenate([far, chosen.centers])), runner_up, explanation


@example(6861, 1)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_cluster_without_customers_is_dropped(seed: int, lost: int) -> None:
    """Whoever else's number it is: nobody changes cluster, distances stay, every cluster has a customer."""
    rng = np.random.default_rng(seed)
    x, importance = rng.normal(size=(80, 3)), np.full(3, 1 / 3)
    far = np.full((lost, 3), 50.0) + rng.normal(size=(lost, 3))
    start = rng.permutation(np.concatenate([rng.normal(size=(3, 3)), far]))
    labels, d2, _, _ = nearest(x, start, importance)
    labels[::9] = -1
    kept, relabelled = without_empty(start, labels)
    assert len(kept) == len(np.unique(labels[labels >= 0])) <= 3
    np.testing.assert_array_equal(kept[relabelled[labels >= 0]], start[labels[labels >= 0]])
    np.testing.assert_array_equal(relabelled < 0, labels < 0)
    there = labels >= 0  # who is nowhere may have been the only one near a cluster
    np.testing.assert_array_equal(nearest(x, kept, importance)[1][there], d2[there])
    same = without_empty(kept, relabelled)
    assert same[0] is kept
    assert without_empty(start, np.full(80, -1, np.int16))[0] is start


def test_a_calibration_goes_on_without_a_cluster_that_nobody_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The k of the model is that of its segments; the reason and the panel tell which k it comes from."""
    monkeypatch.setattr("online_model.calibration.choose", choose_a_far_cluster)
    raw, _ = personas(600)
    result = calibration(raw, k=5)
    assert len(result.centroids) == len(result.reference.segment_shares) == result.quality.k == 5
    assert (result.quality.panel_k, result.quality.chosen) == (6, 6)
    assert result.quality.explanation.endswith(
        "1 of its clusters had no customers when all were counted: k = 5."
    )
    identity = Identity(1, 0, "hash", np.full(3, np.nan))
    made = from_json(to_json(first_model(result, raw, USAGE, identity)))
    assert (made.k, len(made.segments), made.quality) == (5, 5, result.quality)


@pytest.mark.parametrize("k", [2, 5])
def test_a_recalibration_proposes_what_is_left(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids, lineage and reference of the others, as ever; another number of segments needs a person."""
    old = first(people(CENTERS[:4], [300] * 4, 1)[0], k=4)
    monkeypatch.setattr("online_model.recalibration.choose", choose_a_far_cluster)
    proposal = again(old, people(CENTERS[:4], [300] * 4, 2)[0], k=k)
    model, transition = from_json(to_json(proposal.model)), proposal.model.transition
    assert transition is not None
    assert model.k == len(model.segments) == len(transition.to_ids) == model.quality.k == k
    assert (model.weights > 0).all()
    assert model.quality.chosen == k + 1
    assert f"had no customers when all were counted: k = {k}." in model.quality.explanation
    assert f"from 4 to {k}" in transition.concerns[0]
