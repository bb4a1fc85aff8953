"""Real data against its table and against scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from consumer.config_sources import load_config
from consumer.options import ReplayOptions
from consumer.replay import run_replay
from consumer.report.replay_source import read_models
from online_model.model import Model
from tests.replay import ibm

pytestmark = pytest.mark.usefixtures("ibm_set")

#: scikit-learn on tenure and monthly charge, k = 4 (`baseline.json` beside the set).
_INERTIA = 2845.366


@dataclass(frozen=True)
class Run:
    """Summary and customers of a replay, beside the table of the set, both by customer."""

    lines: int
    summary: dict[str, Any]
    customers: pd.DataFrame
    table: pd.DataFrame
    model: Model


def _run(folder: Path, spec: str) -> Run:
    lines = ibm.write_events(folder / "events.ndjson")
    (folder / "spec.yaml").write_text(spec)
    (folder / "strategies.yaml").write_text(ibm.STRATEGIES)
    files = {f"model.{name}": str(folder / f"{name}.yaml") for name in ("spec", "strategies")}
    config = load_config(None, {}, {**files, "model.k": 4})
    summary = run_replay(ReplayOptions(config, (str(folder / "events.ndjson"),), folder / "out"))
    customers = pd.read_parquet(folder / "out" / "customers.parquet").set_index("customer_id").sort_index()
    (model,) = read_models(folder / "out" / "model.json")
    return Run(lines, summary, customers, ibm.table(), model)


@pytest.fixture(scope="module")
def totals(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With tenure, monthly charge and the sum of all invoices."""
    return _run(tmp_path_factory.mktemp("totals"), ibm.SPEC.rstrip() + ibm.TOTAL)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With tenure and monthly charge only."""
    return _run(tmp_path_factory.mktemp("two"), ibm.SPEC)


def test_segments_have_names_and_strategies(totals: Run) -> None:
    """By the words of the specification, and by rules about its features."""
    strategies = totals.model.strategies
    assert {segment.name: strategies[segment.id] for segment in totals.model.segments} == {
        "New high spenders": "new-premium",
        "New low spenders": "new-basic",
        "Long-standing high spenders": "loyal-premium",
        "Long-standing low spenders": "loyal-basic",
    }


def test_every_record_is_accepted(totals: Run) -> None:
    """Six years of invoices in order are neither late nor refused."""
    assert totals.summary["accepted"] == totals.summary["events"] == totals.lines
    assert totals.summary["rejects"] == {}


def test_streamed_features_equal_the_table(totals: Run) -> None:
    """Tenure, monthly and total charges of all customers are those of the table."""
    assert totals.customers.index.tolist() == totals.table.index.tolist()
    assert len(totals.customers) == 7043
    streamed = totals.customers[["raw_tenure", "raw_monthly_charge", "raw_total_charges"]].to_numpy()
    np.testing.assert_allclose(streamed, totals.table.to_numpy(float), rtol=0, atol=1e-6)


def test_inertia_is_that_of_batch_k_means(two: Run) -> None:
    """The sum of squared distances to the own centroid is within one per cent of scikit-learn's."""
    x = two.customers[["x_tenure", "x_monthly_charge"]].to_numpy()
    centroids = two.customers.groupby("segment_id")[["x_tenure", "x_monthly_charge"]].transform("mean")
    inertia = float(((x - centroids.to_numpy()) ** 2).sum())
    assert inertia == pytest.approx(_INERTIA, rel=0.01)
    assert two.summary["inertia"] == pytest.approx(_INERTIA, rel=0.01)
    assert float((two.customers["distance"] ** 2).sum()) == pytest.approx(two.summary["inertia"])


def test_segments_are_those_of_batch_k_means(two: Run) -> None:
    """The segments agree with scikit-learn's clusters of the standardised table."""
    scaled = StandardScaler().fit_transform(two.table[["tenure", "MonthlyCharges"]])
    batch = KMeans(4, n_init=20, random_state=42).fit(scaled)
    assert batch.inertia_ == pytest.approx(_INERTIA, rel=1e-4)
    assert adjusted_rand_score(batch.labels_, two.customers["segment_id"]) >= 0.98
