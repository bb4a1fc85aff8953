"""How well segments of a stream find the planted personas, beside batch K-Means on the same features."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from consumer.simulator import Simulation, SimulationSettings, write_ndjson
from tests.replay.simulated import replay

#: What of the Adjusted Rand Index an online model may give away to a batch one.
_ALLOWED = 0.03
#: Features that tell the personas apart badly would serve both equally; the worst seed has 0.89.
_LEAST = 0.8


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_segments_find_the_personas_as_well_as_batch_k_means(seed: int, tmp_path: Path) -> None:
    """Calibrated in the stream, learning from then on: as good as a batch fit at the end, for every seed."""
    simulation = Simulation(SimulationSettings(customers=1500, days=42, seed=seed, activity=0.5))
    write_ndjson(simulation, tmp_path / "events.ndjson")
    done = replay(
        tmp_path / "events.ndjson",
        tmp_path / "out",
        calibrate="ready",
        k=8,
        min_customers=500,
        min_history_days=27.9,
    )
    assert done.summary["model"]["kind"] == "folded"
    customers = done.customers
    assert len(customers) >= 1400
    customers = customers[customers["segment_id"].str.fullmatch(r"s\d+")]
    assert len(customers) >= 1400
    assert customers["segment_id"].nunique() == 8
    personas = simulation.truth.customers.set_index("customer_id")["persona_after"].reindex(customers.index)
    assert personas.notna().all()
    x = customers[[name for name in customers if name.startswith("x_")]].fillna(0).to_numpy()
    batch = KMeans(8, n_init=10, random_state=0).fit(x)
    online_ari = adjusted_rand_score(personas, customers["segment_id"])
    assert online_ari >= _LEAST
    assert online_ari >= adjusted_rand_score(personas, batch.labels_) - _ALLOWED
