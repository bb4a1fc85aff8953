"""Windows and features against the slow oracle."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.compile_plan import compile_plan
from online_model.evaluate import evaluate, priors_of, share_totals
from online_model.event_view import N_OUTCOMES
from online_model.intake import Release
from online_model.partition import FIRST_REACH_US, PartitionState
from online_model.plan import FeaturePlan
from online_model.rows import NEVER
from online_model.spec import CONDITIONS
from tests.online_model.oracle import Oracle, first_watermark
from tests.online_model.streams import DAY, DEFAULT, HOUR, T0, TOPIC_OF, Event, Log, random_event, small_spec

OUTCOMES = ("accepted", "duplicate", "late", "future", "misrouted", "closed", "consent")
KINDS = ["data", "voice", "sms"] * 4 + ["invoice", "payment", "topup", "correction", "profile"] * 2
KINDS += ["care_contact", "closed", "forget"]


class Run:
    """A partition and the oracle side by side, fed with the same random steps."""

    def __init__(self, plan: FeaturePlan, seed: int) -> None:
        self.rng = random.Random(seed)
        self.plan = plan
        self.log = Log(plan)
        self.state = PartitionState(0, 0, plan, HOUR)
        self.oracle = Oracle(plan.spec)
        self.watermark: float = -math.inf
        self.past: list[Event] = []

    def step(self, advance: int) -> None:
        """Random events up to a day ahead of the watermark, which moves on by `advance`."""
        before = self.watermark
        self.watermark = T0 if before == -math.inf else self.watermark + advance
        latest = int(self.watermark) + DAY
        events = sorted(self._events(), key=lambda event: int(TOPIC_OF[event["type"]]))
        known = NEVER if before == -math.inf else int(before)
        release = Release(self.log.chunks(events), [], {})
        applied = self.state.apply(release, latest, known)
        judged = before if known != NEVER else first_watermark([event["us"] for event in events])
        expected = Counter(self.oracle.apply(event, judged, latest) for event in events)
        assert applied.outcomes.shape == (3, N_OUTCOMES)
        counted = dict(zip(OUTCOMES, applied.outcomes.sum(axis=0).tolist(), strict=True))
        assert counted == {name: expected[name] for name in OUTCOMES}
        assert sum(counted.values()) == len(events)
        assert sum(part.n for part in applied.rejects) == counted["late"] + counted["future"]

    def _events(self) -> list[Event]:
        events = []
        for _ in range(self.rng.randrange(25)):
            if self.past and self.rng.random() < 0.1:
                events.append(self.rng.choice(self.past[-40:]))
                continue
            event = self._event()
            self.past.append(event)
            events.append(event)
        return events

    def _event(self) -> Event:
        rng = self.rng
        back = rng.choice([rng.uniform(-1, 2), rng.uniform(-1, 2), rng.uniform(0, 35), rng.uniform(0, 120)])
        us = int(self.watermark) - int(back * DAY)
        if rng.random() < 0.02:
            us += 400 * DAY
        customer = rng.choice(["ann", "bob", "eve"])
        kind = rng.choice(KINDS)
        if kind == "profile" and rng.random() < 0.1:
            us = rng.randrange(30 * DAY)  # a clock that started in 1970
        event = random_event(rng, kind, us, customer, len(self.past) + 1)
        if kind == "profile" and rng.random() < 0.2:
            event["consent_profiling"] = rng.choice([True, False, None])
        return event

    def compare(self, priors: list[float]) -> None:
        """Features of every live customer are those of the oracle."""
        now, live = int(self.watermark), self.state.live_rows(0, 1 << 16)
        seen = evaluate(self.state.store.rows, live, now, self.plan, np.array(priors))
        names = [name.decode() for name in self.state.index.ids(live)]
        alive = {name for name, customer in self.oracle.customers.items() if customer.status == "live"}
        assert set(names) == alive
        for row, name in enumerate(names):
            expected = self.oracle.features(name, now, priors)
            np.testing.assert_allclose(seen.raw[row], expected, rtol=1e-12, atol=1e-12, err_msg=name)
            np.testing.assert_allclose(seen.observed_days[row], self.oracle.observed(name, now), rtol=1e-12)


def follow(plan: FeaturePlan, seed: int, steps: int = 10) -> None:
    """Runs `steps` random steps over about two months and compares on the way."""
    run = Run(plan, seed)
    shares = [f.aggregate == "share" for f in plan.spec.features for _ in f.levels or (0,)]
    priors = [run.rng.choice([0.25, math.nan]) if share else math.nan for share in shares]
    for number in range(steps):
        run.step(run.rng.choice([0, HOUR, DAY, 3 * DAY, 12 * DAY, 40 * DAY]))
        if run.rng.random() < 0.5 or number == steps - 1:
            run.compare(priors)


@given(st.integers(0, 1 << 32))
@settings(max_examples=60)
def test_default_features_equal_the_oracle(seed: int) -> None:
    """Corrections, duplicates, disorder, lateness, new lives and cleared attributes, over months."""
    follow(DEFAULT, seed)


MEASURES = [("data", "megabytes"), ("voice", "duration_seconds"), ("sms", "count")]
MEASURES += [("invoice", "amount"), ("payment", "days_late"), ("topup", "amount")]


@st.composite
def specifications(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A few features of any aggregate, window, bucket and filter."""
    features = []
    for number in range(draw(st.integers(1, 6))):
        event, measure = draw(st.sampled_from(MEASURES))
        aggregate = draw(
            st.sampled_from(["sum", "count", "mean", "max", "share", "active_days"])
            | st.sampled_from(["days_since", "last", "lifetime_sum", "tenure", "revenue", "services"])
        )
        feature: dict[str, Any] = {"name": f"f{number}", "block": "all", "aggregate": aggregate}
        if aggregate not in {"tenure", "revenue", "services"}:
            feature["events"] = [event]
        if aggregate in {"sum", "mean", "max", "last", "lifetime_sum"}:
            feature["field"] = measure
        if aggregate in {"sum", "count", "mean", "max", "share", "active_days", "revenue"}:
            feature["window_days"] = draw(st.sampled_from([1, 7, 30, 45]))
            feature["bucket"] = draw(
                st.sampled_from(["day", "week"] if aggregate != "active_days" else ["day"])
            )
            feature["rate"] = draw(st.booleans())
        if aggregate == "share":
            feature["of"] = draw(st.sampled_from([["data", "voice"], [event]]))
        if aggregate == "tenure":
            feature["field"] = draw(st.sampled_from(["days", "months"]))
        if aggregate == "services":
            levels = {"attribute": "services", "levels": ["music", "cloud", "tv"]}
            feature |= {"aggregate": "one_hot", **levels}
        elif aggregate not in {"tenure", "revenue"}:
            chosen = draw(FILTERS)
            feature["where"] = {
                name: value
                for name, value in chosen.items()
                if value in (False, "outgoing") or event in CONDITIONS.get(name, (event,))
            }
        feature["per"] = draw(st.sampled_from([1.0, 60.0])) if aggregate != "services" else 1.0
        features.append(feature)
    return features


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "roaming": st.booleans(),
        "international": st.booleans(),
        "direction": st.sampled_from(["incoming", "outgoing"]),
        "night": st.booleans(),
        "weekend": st.booleans(),
        "technology": st.sampled_from(["4g", "5g"]),
    },
)


@given(specifications(), st.integers(0, 1 << 32))
@settings(max_examples=60)
def test_features_of_any_specification_equal_the_oracle(features: list[dict[str, Any]], seed: int) -> None:
    """Every aggregate, with any window, bucket width and filter."""
    follow(compile_plan(small_spec(json.dumps(features)[1:-1])), seed, steps=6)


def test_a_first_step_refuses_what_is_far_older_than_the_others() -> None:
    """Without a watermark, ten years and the window before nearly all others; nothing else is late."""
    reach = FIRST_REACH_US + 90 * DAY
    olds = {"years": T0 - reach + DAY, "decades": T0 - reach - DAY, "1970": DAY}
    for kind, refused in (("care_contact", {"decades", "1970"}), ("profile", set[str]())):
        rng, log = random.Random(1), Log()
        state = PartitionState(0, 0, DEFAULT, HOUR)
        usual = [random_event(rng, "care_contact", T0 + n, f"c{n}", n) for n in range(100)]
        odd = [random_event(rng, kind, us, name, 0) for name, us in olds.items()]
        applied = state.apply(Release(log.chunks(odd + usual), [], {}), T0 + DAY, NEVER)
        counted = dict(zip(OUTCOMES, applied.outcomes.sum(axis=0).tolist(), strict=True))
        assert counted == dict.fromkeys(OUTCOMES, 0) | {"accepted": 103 - len(refused), "late": len(refused)}
        assert {key for part in applied.rejects for key in part.keys} == {name.encode() for name in refused}
        assert state.first_watermark_us == T0 + 3


def test_priors_are_the_shares_of_the_population() -> None:
    """Summed numerators over summed denominators per share; no prior without events."""
    run = Run(DEFAULT, 7)
    for _ in range(6):
        run.step(DAY)
    live = run.state.live_rows(0, 1 << 16)
    totals = share_totals(run.state.store.rows, live, int(run.watermark), DEFAULT)
    j = DEFAULT.columns.name.index("voice_share_28d")
    inside = [
        event
        for name, customer in run.oracle.customers.items()
        for event in customer.events
        if event["type"] in {"data", "voice", "sms"} and event["us"] <= run.watermark // DAY * DAY + DAY
        if event["us"] // DAY >= run.oracle.start(name) // DAY
    ]
    inside = [event for event in inside if event["us"] // DAY > run.watermark // DAY - 28]
    voice = sum(event["type"] == "voice" for event in inside)
    assert totals[j].tolist() == [voice, len(inside)]
    assert priors_of(totals)[j] == voice / len(inside)
    assert np.isnan(priors_of(np.zeros_like(totals))).all()
