"""The planted behaviour is where it should be: contract, rhythm, tails, personas, lives."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from consumer.simulator import Drift, Migration, Simulation, SimulationSettings
from schemas.events import EVENT, TOPIC_OF_TYPE
from tests.simulator.frames import DAY_US, event_table, feature_matrix

SETTINGS = SimulationSettings(customers=1000)
USAGE = ("data", "voice", "sms")


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    """A run with natural behaviour only."""
    return Simulation(SETTINGS)


@pytest.fixture(scope="module")
def events(simulation: Simulation) -> pd.DataFrame:
    """Its events."""
    return event_table(simulation)


def test_every_record_fits_the_contract() -> None:
    """Without faults the published models accept every record, on its topic, under its key."""
    topics = ["telecom.usage.v1", "telecom.billing.v1", "telecom.customer.v1"]
    settings = SimulationSettings(customers=120, days=35, migration=Migration(0.3, 20), closed_share=0.1)
    ids = set()
    for chunk in Simulation(settings).chunks():
        for topic, key, value in zip(chunk.topic, chunk.key, chunk.value, strict=True):
            event = EVENT.validate_json(value)
            ids.add(event.event_id)
            assert event.customer_id == key.decode()
            assert topic == topics[TOPIC_OF_TYPE[event.type]]
        times = [json.loads(v)["event_time"] for v in chunk.value]
        parsed = pd.to_datetime(pd.Series(times), utc=True).astype("datetime64[us, UTC]").astype("int64")
        assert (parsed.to_numpy() == chunk.event_time_us).all()
    simulation = Simulation(settings)
    assert len(ids) == sum(chunk.n for chunk in simulation.chunks())


def test_volume_is_as_documented(events: pd.DataFrame) -> None:
    """About eleven events per customer and day, and `activity` scales usage."""
    assert 9.5 < len(events) / (1000 * 42) < 12.5
    fifth = Simulation(SimulationSettings(customers=300, days=10, activity=0.2))
    full = Simulation(SimulationSettings(customers=300, days=10))
    counts = []
    for run in (fifth, full):
        for _ in run.chunks():
            pass
        counts.append(sum(run.truth.sent.by_type[t] for t in USAGE))
    assert 0.18 < counts[0] / counts[1] < 0.22


def test_day_and_week_have_a_rhythm(events: pd.DataFrame) -> None:
    """The small hours are quiet, calls more so than data; each day of the week has its share."""
    for kind, quiet in (("voice", 0.01), ("data", 0.03)):
        hours = np.bincount(events["hour"][events["type"] == kind], minlength=24)
        hours = hours / hours.sum()
        assert hours[3:5].max() < quiet
        assert hours[9:20].min() > 2 * hours[3:5].max()
    week = np.bincount(events["weekday"][events["type"].isin(USAGE)], minlength=7)
    week = week / week.sum()
    assert week.min() > 0.11
    assert week.max() < 0.17


def test_weekends_and_nights_tell_personas_apart(simulation: Simulation, events: pd.DataFrame) -> None:
    """Business customers rest at the weekend; night streamers are up at night."""
    persona = simulation.truth.customers["persona"].to_numpy()[events["row"]]
    usage = events["type"].isin(USAGE)
    weekend = (events["weekday"] >= 5)[usage].groupby(persona[usage]).mean()
    night = ((events["hour"] >= 22) | (events["hour"] < 6))[usage].groupby(persona[usage]).mean()
    assert weekend["business_traveller"] < 0.18 < 0.3 < weekend["family_bundle"]
    assert night["night_streamer"] > 0.5
    assert night.drop("night_streamer").max() < 0.35


def test_tails_are_heavy(events: pd.DataFrame) -> None:
    """The top fifth of the customers has over 45 % of the events and most of the megabytes."""
    usage = events[events["type"].isin(USAGE)]
    for weights, least in ((None, 0.45), (usage["megabytes"].fillna(0.0), 0.65)):
        totals = np.sort(np.bincount(usage["row"], weights, 1000))[::-1]
        assert totals[:200].sum() > least * totals.sum()
    calls = events["duration_seconds"][events["type"] == "voice"]
    answered = calls[calls > 0]
    assert 0.08 < (calls == 0).mean() < 0.12
    assert 35 < answered.median() < 65
    assert answered.mean() > 1.6 * answered.median()
    assert 3600 < answered.max() <= 7200


def test_personas_are_separable(simulation: Simulation, events: pd.DataFrame) -> None:
    """K-means on simple log-usage features finds the planted personas, but not without error."""
    truth = simulation.truth.customers
    from_start = truth["activated_at"] == truth["activated_at"].min()
    stays = (from_start & truth["churned_at"].isna() & truth["closed_at"].isna()).to_numpy()
    matrix = feature_matrix(events, SETTINGS.customers)[stays]
    labels = KMeans(8, n_init=10, random_state=0).fit_predict(matrix)
    assert 0.9 <= adjusted_rand_score(truth["persona"][stays], labels) < 0.99


def test_lives_begin_and_end_as_the_truth_says(simulation: Simulation, events: pd.DataFrame) -> None:
    """A profile comes first; nothing follows a closure or a silent churn; only closures say so."""
    truth = simulation.truth.customers
    first = events.drop_duplicates("row")
    assert len(first) == SETTINGS.customers
    assert (first["type"] == "profile").all()
    joined = truth["activated_at"].astype("int64").to_numpy()
    assert (first["time_us"].to_numpy() == joined[first["row"]]).all()
    new = truth["activated_at"] > truth["activated_at"].min()
    assert new.sum() == 40
    last = events.groupby("row")["time_us"].max()
    for column in ("churned_at", "closed_at"):
        rows = np.flatnonzero(truth[column].notna())
        assert (last[rows] <= truth[column].astype("int64")[rows]).all()
    closed = events[events["type"] == "closed"]
    assert sorted(closed["row"]) == np.flatnonzero(truth["closed_at"].notna()).tolist()
    assert len(closed) > 0


def test_bills_follow_cycles(events: pd.DataFrame) -> None:
    """One invoice a month on the customer's day, days spread; payments repeat an amount, some late."""
    invoices = events[events["type"] == "invoice"]
    days = pd.to_datetime(invoices["period_end"]).dt.day
    assert days.nunique() == 28
    assert (days.groupby(invoices["row"]).nunique() == 1).all()
    assert invoices.groupby("row").size().max() == 2
    start, end = pd.to_datetime(invoices["period_start"]), pd.to_datetime(invoices["period_end"])
    assert (end - start).dt.days.between(1, 31).all()
    payments = events[events["type"] == "payment"]
    assert 0.03 < (payments["days_late"] > 0).mean() < 0.2
    amounts = set(zip(invoices["row"], invoices["amount"], strict=True))
    late_in_run = payments[payments["time_us"] > SETTINGS.start_us + 38 * DAY_US]
    known = late_in_run[late_in_run["days_late"] == 0]
    assert all(pair in amounts for pair in zip(known["row"], known["amount"], strict=True))
    prepaid = set(events["row"][(events["type"] == "profile") & (events["line_type"] == "prepaid")])
    assert set(events["row"][events["type"] == "topup"]) <= prepaid
    assert prepaid.isdisjoint(invoices["row"])


def test_few_are_abroad(events: pd.DataFrame) -> None:
    """One to four percent of the active customers are abroad on a day."""
    usage = events[events["type"].isin(USAGE)]
    day = usage["time_us"] // DAY_US
    abroad = usage[usage["roaming"]]
    share = abroad.groupby(day)["row"].nunique() / usage.groupby(day)["row"].nunique()
    assert 0.01 < share.mean() < 0.05


def test_drift_multiplies_megabytes_and_nothing_else() -> None:
    """With the same seed every session is the same but for the factor, which ramps up linearly."""
    plain = SimulationSettings(customers=60, days=8)
    drifted = SimulationSettings(customers=60, days=8, drift=Drift(2.0, 3.0, 4.0))
    a, b = event_table(Simulation(plain)), event_table(Simulation(drifted))
    assert (a["event_id"] == b["event_id"]).all()
    assert (a["duration_seconds"].fillna(0) == b["duration_seconds"].fillna(0)).all()
    data = a["megabytes"] > 1
    days = (a["time_us"][data] - plain.start_us) / DAY_US
    factor = 1 + 2 * np.clip((days - 2) / 4, 0, 1)
    expected = np.minimum(a["megabytes"][data] * factor, 20_000)
    assert np.allclose(b["megabytes"][data], expected, rtol=3e-3)


def test_migrants_behave_like_their_new_persona() -> None:
    """After the planted day migrants use like the target, and a profile tells their new plan."""
    settings = SimulationSettings(
        customers=400, days=16, migration=Migration(0.2, 8, "night_streamer"), silent_churn_share=0.0
    )
    simulation = Simulation(settings)
    table = event_table(simulation)
    truth = simulation.truth.customers
    moved = truth["migrated_at"].notna().to_numpy()
    assert (truth["persona_after"][moved] == "night_streamer").all()
    assert (truth["persona"][moved] != "night_streamer").all()
    assert (truth["persona"] == truth["persona_after"])[~moved].all()
    assert 60 <= moved.sum() <= 80
    at_us = settings.start_us + 8 * DAY_US
    assert (truth["migrated_at"][moved].astype("int64") == at_us).all()
    usage = table[table["type"].isin(USAGE) & moved[table["row"]]]
    night = (usage["hour"] >= 22) | (usage["hour"] < 6)
    after = usage["time_us"] >= at_us
    assert night[after].mean() > 0.5 > 0.35 > night[~after].mean()
    assert usage["megabytes"][after].median() > 5 * usage["megabytes"][~after].median()
    told = table[(table["type"] == "profile") & (table["time_us"] == at_us)]
    assert set(told["row"]) == set(np.flatnonzero(moved))
    assert (told["plan"] == "unlimited-5g").all()
