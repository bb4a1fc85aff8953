"""Laws of the separation of segments from sums."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score

from online_model.distance import nearest
from online_model.fold import ScanStatistics, empty
from online_model.scaler import apply
from online_model.separation import add_calibrated, add_separation, davies_bouldin, silhouette
from tests.online_model.populations import model, personas

MODEL = model(3000)


def counted(label: list[int], own: list[float], other: list[float], k: int = 2) -> ScanStatistics:
    """Statistics of rows with these distances (not squared)."""
    statistics = empty(k, 2)
    add_separation(statistics, np.array(label, np.int16), np.square(own), np.square(other))
    return statistics


def test_the_silhouette_by_hand() -> None:
    """Distances 1 and 4 give 3/4, equal ones 0, a row at its centroid 1; the unclassified do not count."""
    statistics = counted([0, 1, 0, -1], [1.0, 2.0, 0.0, np.nan], [4.0, 2.0, 5.0, np.nan])
    assert silhouette(statistics) == pytest.approx((0.75 + 0.0 + 1.0) / 3)
    assert statistics.separation[:, 0].tolist() == [2, 1]


def test_davies_bouldin_by_hand() -> None:
    """Mean distances 1 and 2 at centroids 5 apart give 3/5; a third, empty segment does not count."""
    statistics = counted([0, 0, 1], [0.5, 1.5, 2.0], [5.0, 5.0, 5.0], k=3)
    centroids = np.array([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]])
    assert davies_bouldin(statistics, centroids) == pytest.approx(0.6)


def test_davies_bouldin_is_scikit_learns() -> None:
    """Where the centroids are the means of their rows."""
    raw, _ = personas(3000)
    x = apply(MODEL.scaler, raw)
    label, d2, _, d2_other = nearest(x, MODEL.centroids, MODEL.scaler.importance)
    statistics = empty(MODEL.k, 3)
    add_separation(statistics, label, d2, d2_other)
    value = davies_bouldin(statistics, MODEL.centroids)
    assert value == pytest.approx(davies_bouldin_score(x, label), rel=1e-3)
    assert MODEL.reference.davies_bouldin == pytest.approx(value, rel=1e-3)
    assert MODEL.reference.silhouette == pytest.approx(silhouette(statistics), rel=1e-3)


def test_one_segment_or_none_has_no_separation() -> None:
    """Nothing to stand apart from; neither have equal centroids, nor rows that nobody counted."""
    alone = counted([0], [1.0], [np.inf], k=1)
    assert silhouette(alone) is None
    assert davies_bouldin(alone, np.zeros((1, 2))) is None
    assert silhouette(empty(2, 2)) is None
    assert davies_bouldin(counted([0, 1], [1.0, 1.0], [2.0, 2.0]), np.zeros((2, 2))) is None


def test_distances_of_different_rows_are_refused() -> None:
    """Labels and distances belong together."""
    with pytest.raises(ValueError, match="shapes differ"):
        add_separation(empty(2, 2), np.zeros(2, np.int16), np.zeros(2), np.zeros(1))


def test_a_calibration_may_label_a_row_otherwise_than_its_means_would() -> None:
    """The other centroid is then the nearest one, and the silhouette of the row is negative."""
    statistics, x = empty(2, 1), np.array([[0.0], [1.0], [9.0], [10.0]])
    label = np.array([0, 0, 0, 1], np.int16)
    statistics.counts[:] = statistics.present[:, 0] = [3, 1]
    statistics.sums[:, 0] = [10 << 20, 10 << 20]
    d2 = np.square(x[:, 0] - np.array([10 / 3, 10 / 3, 10 / 3, 10.0]))
    centroids = add_calibrated(statistics, x, label, d2, np.ones(1))
    assert centroids[:, 0].tolist() == pytest.approx([10 / 3, 10.0])
    one = (1.0 - 17 / 3) / (17 / 3)  # the row at 9
    rest = (20 / 3) / 10 + (20 / 3) / 9 + 1.0
    assert silhouette(statistics) == pytest.approx((one + rest) / 4, abs=1e-5)
