"""Laws of calibration: k panel, choice, comparison, Lloyd, quality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from online_model.calibration import CalibrationPolicy, calibrate, edges_between, lloyd, significance
from online_model.comparison import compare, knee_eps
from online_model.distance import nearest
from online_model.drift import psi
from online_model.model import PanelRow
from online_model.panel import Candidate, choose, score
from online_model.scaler import apply
from tests.online_model.populations import USAGE, calibration, model, numeric_columns, personas

POLICY = CalibrationPolicy(k_min=3, k_max=7, sample=800)


def test_calibration_finds_the_personas() -> None:
    """Five separate personas: k = 5 of 3..7, every customer where it belongs, the steps reported."""
    raw, persona = personas(1200)
    steps: list[tuple[int, int, str]] = []
    result = calibrate(
        raw, USAGE, {"all": 3.0}, POLICY, np.random.default_rng(0), lambda *step: steps.append(step)
    )
    assert result.quality.k == 5
    assert result.quality.explanation.startswith("k = 5 has the best silhouette of the")
    assert result.quality.runner_up is not None
    assert adjusted_rand_score(persona, result.labels) == pytest.approx(1.0)
    assert [row.k for row in result.quality.panel] == [3, 4, 5, 6, 7]
    assert result.quality.stability > 0.95
    assert result.quality.silhouette > 0.5
    assert {row.algorithm for row in result.quality.comparison} == {"k-means", "ward", "dbscan"}
    assert (np.diff(np.bincount(result.labels)) <= 0).all()
    assert steps[0][2] == "k = 3"
    assert steps[-1] == (7, 7, "done")


def test_the_same_generator_gives_the_same_calibration() -> None:
    """Bit for bit."""
    raw, _ = personas(600)
    a, b = calibration(raw), calibration(raw)
    np.testing.assert_array_equal(a.centroids, b.centroids)
    np.testing.assert_array_equal(a.labels, b.labels)
    assert a.quality == b.quality


def test_a_given_k_is_kept_and_cost_equals_batch() -> None:
    """K = 4 on five personas stays 4; inertia equals sklearn's K-Means on the same scaled table."""
    raw, _ = personas(900)
    result = calibration(raw, k=4)
    x = apply(result.scaler, raw)
    batch = KMeans(4, n_init=10, random_state=0).fit(x)
    assert result.quality.k == len(result.centroids) == 4
    assert result.quality.inertia == pytest.approx(batch.inertia_, rel=0.01)
    assert "was given" in result.quality.explanation


def test_missing_values_do_not_stop_a_calibration() -> None:
    """With a tenth of all values missing the personas are still found; hopeless rows are unclassified."""
    raw, persona = personas(1200)
    raw[np.random.default_rng(3).random(raw.shape) < 0.1] = np.nan
    result = calibration(raw)
    classified = result.labels >= 0
    assert adjusted_rand_score(persona[classified], result.labels[classified]) > 0.9
    np.testing.assert_array_equal(classified, np.isfinite(raw).sum(axis=1) >= 2)
    assert result.reference.missing.sum() == pytest.approx(0.3, abs=0.05)


@given(st.integers(0, 2**32 - 1))
def test_lloyd_ends_where_every_centroid_is_its_mean(seed: int) -> None:
    """The cost never exceeds that of the start, and centroids are the means of their rows."""
    rng = np.random.default_rng(seed)
    x, start, importance = rng.normal(size=(120, 3)), rng.normal(size=(4, 3)), np.full(3, 1 / 3)
    centroids, labels, d2 = lloyd(x, start, importance)
    assert d2.sum() <= nearest(x, start, importance)[1].sum() + 1e-9
    for c in np.unique(labels):
        np.testing.assert_allclose(centroids[c], x[labels == c].mean(axis=0), atol=1e-9)


def candidate(k: int, **changes: float) -> Candidate:
    """A stable candidate without tiny segments, changed."""
    row = PanelRow(k, 100.0, 0.3, 1.0, 50.0, 0.9, 0.05)
    values = {
        name: changes.get(name, getattr(row, name)) for name in PanelRow.__struct_fields__ if name != "k"
    }
    return Candidate(PanelRow(k=k, **values), np.zeros((k, 1)))


def test_choice_by_hand() -> None:
    """Stable and large first, then silhouette, then Davies-Bouldin; the runner-up is named."""
    policy = CalibrationPolicy()
    unstable, tiny = (
        candidate(5, silhouette=0.9, stability=0.5),
        candidate(6, silhouette=0.8, smallest_share=0.01),
    )
    good, better = candidate(7, silhouette=0.301), candidate(8, silhouette=0.299, davies_bouldin=0.9)
    chosen, runner_up, why = choose([unstable, tiny, good, better], policy)
    assert (chosen, runner_up) == (better, good)
    assert why.startswith(
        "k = 8 has, like k = 7 (0.301), the best silhouette of the 2 stable candidates without a segment "
        "below 2% when rounded to 0.01, and the lowest Davies-Bouldin index of these (0.900; k = 7: 1.000) ("
    )
    assert why.endswith("runner-up k = 7.")
    chosen, _, why = choose([unstable, candidate(6, stability=0.6)], policy)
    assert chosen.row.k == 6
    assert "no k reached a stability of 0.80" in why
    chosen, runner_up, why = choose([tiny], policy)
    assert (chosen, runner_up) == (tiny, None)
    assert "every k had a segment below 2%" in why


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([], "k = 7 is the only stable candidate ("),
        (
            [candidate(8, silhouette=0.31, smallest_share=0.01)],
            "only stable candidate without a segment below 2% (",
        ),
        ([candidate(8, silhouette=0.2)], "k = 7 has the best silhouette of the 2 stable candidates ("),
        (
            [candidate(8), candidate(9, davies_bouldin=2.0), candidate(6, silhouette=0.1)],
            "k = 7 has, like k = 8 (0.300), k = 9 (0.300), the best silhouette of the 4 stable candidates "
            "when rounded to 0.01, and the lowest Davies-Bouldin index of these (1.000; k = 8: 1.000, "
            "k = 9: 2.000), where that is the same the higher Calinski-Harabasz index or else fewer segments",
        ),
    ],
)
def test_the_reason_is_true(others: list[Candidate], words: str) -> None:
    """It says what decided, and among which: a tie of silhouettes with the numbers that broke it."""
    chosen, _, why = choose([*others, candidate(7)], CalibrationPolicy())
    assert chosen.row.k == 7
    assert words in why


def test_the_reason_without_a_stable_candidate_is_true() -> None:
    """Who was passed over for a tiny segment may be stable; several may be the most stable."""
    unstable = [
        candidate(5, stability=0.6),
        candidate(6, stability=0.6, silhouette=0.2),
        candidate(7, stability=0.5),
    ]
    tiny = candidate(8, smallest_share=0.01)
    policy = CalibrationPolicy()
    why = choose([*unstable, tiny], policy)[2]
    assert why.startswith(
        "no k without a segment below 2% reached a stability of 0.80; k = 5 is the most stable with k = 6; "
        "k = 5 has the best silhouette of these (stability 0.60"
    )
    why = choose(unstable[1:], policy)[2]
    assert why.startswith("no k reached a stability of 0.80; k = 6 is the most stable (stability 0.60")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.295, 0.304, 0.31]), st.sampled_from([0.9, 1.0]), st.sampled_from([0.01, 0.05])
        ),
        min_size=1,
        max_size=5,
    )
)
def test_only_the_best_silhouette_is_called_so(scores: list[tuple[float, float, float]]) -> None:
    """Where it is not the best to the last digit, the sentence says that it is rounded, and names others."""
    tried = [
        candidate(5 + i, silhouette=s, davies_bouldin=db, smallest_share=share)
        for i, (s, db, share) in enumerate(scores)
    ]
    chosen, _, why = choose(tried, CalibrationPolicy())
    pool = [c.row for c in tried if c.row.smallest_share >= 0.02] or [c.row for c in tried]
    best = max(row.silhouette for row in pool)
    if "has the best silhouette of" in why:
        assert [row.k for row in pool if row.silhouette == best] == [chosen.row.k]
    if "rounded to 0.01" in why:
        assert round(best, 2) == round(chosen.row.silhouette, 2)
        assert all(
            f"k = {row.k} (" in why
            for row in pool
            if row.k != chosen.row.k and round(row.silhouette, 2) == round(best, 2)
        )
    assert ("without a segment below 2%" in why) == (len(pool) < len(tried))


def test_comparison_on_separate_groups() -> None:
    """Three far groups and a few strays: Ward agrees with K-Means, DBSCAN calls the strays noise."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]]), 100, axis=0)
    x = np.concatenate([groups + rng.normal(size=(300, 2)), [[500.0, 500.0], [-400.0, 300.0]]])
    labels = np.concatenate([np.repeat([0, 1, 2], 100), [1, 2]])
    kmeans, ward, dbscan = compare(x[:300], labels[:300], 3, rng)
    assert (kmeans.ari_to_kmeans, ward.ari_to_kmeans) == (1.0, 1.0)
    _, _, dbscan = compare(x, labels, 3, rng)
    assert dbscan.n_clusters == 3
    assert dbscan.noise_share >= 2 / 302
    assert "eps" in dbscan.note


def test_knee_by_hand() -> None:
    """Nine points a step apart and one far away: the knee is the step."""
    x = np.concatenate([np.arange(9.0), [1000.0]])[:, None]
    assert knee_eps(x, 2) == 1.0
    assert knee_eps(np.zeros((4, 1)), 2) > 0


def test_scores_of_given_labels() -> None:
    """Negative labels are left out; one cluster has no score; the sample is bounded."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(2500, 2)), rng.normal(size=(2500, 2)) + 20, [[1e6, 0.0]]])
    labels = np.concatenate([np.repeat([0, 1], 2500), [-1]])
    scores = score(x, labels, rng)
    assert scores.silhouette > 0.9
    assert scores.sample_size == 3000
    assert np.isnan(score(x, np.zeros(5001, dtype=np.int64), rng).silhouette)


def test_significance_by_hand() -> None:
    """A column the clusters explain wholly has 1, one they do not explain 0, a constant 0."""
    x = np.array([[0.0, 0.0, 1.0], [0.0, 2.0, 1.0], [4.0, 0.0, 1.0], [4.0, 2.0, 1.0], [9.0, 9.0, 1.0]])
    np.testing.assert_allclose(significance(x, np.array([0, 0, 1, 1, -1])), [1.0, 0.0, 0.0], atol=1e-12)


def test_the_first_model_is_complete() -> None:
    """Ids s1.. by size, a name, a profile and a strategy for each, weights = sizes."""
    first = model()
    assert [segment.id for segment in first.segments] == ["s1", "s2", "s3", "s4", "s5"]
    assert len({segment.name for segment in first.segments}) == 5
    sizes = [segment.profile.size for segment in first.segments if segment.profile is not None]
    assert first.weights.tolist() == sizes
    assert set(first.strategies) == {"s1", "s2", "s3", "s4", "s5", "dormant", "unclassified"}
    assert first.reference.segment_shares.sum() == pytest.approx(1.0)


def test_too_few_customers_is_a_clear_error() -> None:
    """Fewer distinct rows than the smallest k cannot be calibrated."""
    columns = replace(numeric_columns("a"))
    with pytest.raises(ValueError, match="k = 3 segments need as many distinct rows, there are 2"):
        calibrate(np.tile([[1.0], [2.0]], (50, 1)), columns, {"all": 1.0}, POLICY, np.random.default_rng(0))


@pytest.mark.parametrize("policy", [{"k_min": 1}, {"k_min": 9, "k_max": 8}, {"k": 0}, {"min_share": 1.0}])
def test_impossible_policies_are_refused(policy: dict[str, float]) -> None:
    """Bounds that leave no k, or no customer, are errors."""
    with pytest.raises(ValueError, match=next(iter(policy))):
        CalibrationPolicy(**policy)  # type: ignore[arg-type]


def test_edges_are_between_the_values() -> None:
    """Deciles of a continuous column; around an atom, the lowest too, there is room on both sides."""
    even = edges_between(np.arange(1000.0))
    np.testing.assert_allclose(even, np.arange(100.0, 1000.0, 100.0) - 0.5)
    counts = np.repeat([0.0, 1.0, 2.0], [50, 30, 20])
    assert edges_between(counts).tolist() == [-0.5] * 4 + [0.5] * 3 + [1.5] * 2
    assert edges_between(np.full(7, 3.0)).tolist() == [3.0] * 9


def test_no_edge_divides_a_heap() -> None:
    """Not the only one, and not one beside continuous values, which are divided as they come."""
    heap = 5.0 + np.linspace(0.0, 1e-6, 400)
    assert (edges_between(heap) < 4.9).all()
    values = np.sort(np.concatenate([heap, np.random.default_rng(1).uniform(0.0, 3.0, 600)]))
    edges = edges_between(values)
    np.testing.assert_allclose(edges[:5], np.quantile(values, [0.1, 0.2, 0.3, 0.4, 0.5]), atol=0.02)
    assert ((edges[6:] > 3.5) & (edges[6:] < 4.5)).all()


@pytest.mark.parametrize("apart", [0.0, 1e-7, 0.01])
def test_atoms_that_move_a_little_are_no_drift(apart: float) -> None:
    """A count over 32 days, as a rate for 90: a day later everybody's is 3 % smaller.

    Also if four partitions were read so many days apart.
    """
    rng = np.random.default_rng(4)
    count, partition = rng.poisson(1.0, 4000).astype(np.float64), rng.integers(0, 4, 4000)
    at = [count * 90 / (days + partition * apart) for days in (32, 33, 45)]
    edges = edges_between(np.sort(at[0]))
    bins = [np.bincount(np.searchsorted(edges, x, side="right"), minlength=10)[None, :] for x in at]
    shares = bins[0] / 4000
    assert [psi(now, shares)[0] for now in bins[:2]] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert psi(bins[2], shares)[0] > 0.1
