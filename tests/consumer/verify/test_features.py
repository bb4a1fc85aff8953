"""Plain windows and features against the kernels: the same bits."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.config_sources import load_config
from consumer.verify import Record, Rules
from consumer.verify.events import Event, decode
from consumer.verify.expected import Book, two_bytes
from consumer.verify.features import Features
from consumer.verify.hashing import customer_hash, murmur2, partition_of
from consumer.verify.replica import Applied, Replica
from online_model import id_index
from online_model.change_batch import from_bfloat16, to_bfloat16
from online_model.compile_plan import compile_plan
from online_model.evaluate import evaluate
from online_model.plan import FeaturePlan
from online_model.spec import FeatureSpec
from schemas.batch import StringColumn
from tests.online_model import streams
from tests.online_model.oracle import first_watermark
from tests.online_model.streams import DAY, DEFAULT, HOUR, T0, TOPIC_OF, small_spec, wire
from tests.online_model.test_windows import Run, specifications

RULES = Rules.of(load_config(None, {}, {}), 1)


def replica_of(spec: FeatureSpec) -> Replica:
    """An empty replica."""
    features = Features(spec)
    book = Book(features, RULES.strategies, RULES.names.inputs, RULES.application)
    return Replica(features, book, RULES.policy, RULES.names.inputs)


def plain(event: streams.Event, offset: int = 0) -> Event:
    """The event as the verification reads it."""
    topic = int(TOPIC_OF[event["type"]])
    record = Record(offset, event["customer_id"].encode(), wire(event), ())
    found = decode(record, topic, "EUR")
    assert isinstance(found, Event)
    return found


class Trio(Run):
    """Kernels, oracle and replica side by side."""

    def __init__(self, plan: FeaturePlan, seed: int) -> None:
        super().__init__(plan, seed)
        self.replica = replica_of(plan.spec)
        self.now: list[streams.Event] = []

    def _events(self) -> list[streams.Event]:
        self.now = super()._events()
        return self.now

    def step(self, advance: int) -> None:
        """The step of the others, once more."""
        before = self.watermark
        super().step(advance)
        latest = int(self.watermark) + DAY
        judged = before if before != -math.inf else first_watermark([event["us"] for event in self.now])
        known = None if before == -math.inf else int(before)
        for raw in sorted(self.now, key=lambda event: int(TOPIC_OF[event["type"]])):
            event = plain(raw)
            if event.us <= latest and event.us >= judged - self.replica.features.horizon_us[event.kind]:
                reach = known if known is not None or judged == -math.inf else int(judged)
                self.replica.apply(event, reach, Applied())

    def compare(self, priors: list[float]) -> None:
        """Bit for bit."""
        super().compare(priors)
        now, live = int(self.watermark), self.state.live_rows(0, 1 << 16)
        seen = evaluate(self.state.store.rows, live, now, self.plan, np.array(priors))
        features = self.replica.features
        for row, name in enumerate(self.state.index.ids(live)):
            customer = self.replica.customers[name]
            values = features.values(customer, now, priors)
            assert np.array_equal(seen.raw[row], values, equal_nan=True), (name, seen.raw[row], values)
            assert seen.observed_days[row] == features.observed_days(customer, now)
            assert seen.silent_days[row] == features.silent_days(customer, now)


def follow(plan: FeaturePlan, seed: int, steps: int) -> None:
    """Random steps, compared on the way."""
    trio = Trio(plan, seed)
    shares = [f.aggregate == "share" for f in plan.spec.features for _ in f.levels or (0,)]
    priors = [trio.rng.choice([0.25, math.nan]) if share else math.nan for share in shares]
    for _ in range(steps):
        trio.step(trio.rng.choice([0, HOUR, DAY, 3 * DAY, 12 * DAY, 40 * DAY]))
        trio.compare(priors)


@given(st.integers(0, 1 << 32))
@settings(max_examples=25)
def test_default_features_have_the_bits_of_the_kernels(seed: int) -> None:
    """Corrections, duplicates, disorder, lateness, new lives and cleared attributes, over months."""
    follow(DEFAULT, seed, 8)


@given(specifications(), st.integers(0, 1 << 32))
@settings(max_examples=25)
def test_features_of_any_specification_have_the_bits_of_the_kernels(
    features: list[dict[str, Any]], seed: int
) -> None:
    """Every aggregate, with any window, bucket width and filter."""
    follow(compile_plan(small_spec(json.dumps(features)[1:-1])), seed, 5)


def usage(us: int, n: int, **fields: Any) -> Event:
    """A data session of ann."""
    body = {"type": "data", "megabytes": 100.0, "event_id": f"e{n}", "customer_id": "ann", "us": us}
    return plain(body | fields, n)


SUM = '{"name": "mb", "block": "all", "aggregate": "sum", "events": ["data"], "field": "megabytes"'
SUM += ', "window_days": 7, "rate": false}'


def test_a_window_by_hand() -> None:
    """Three sessions of 100 MB, a correction of -30, one session that is out of the window again."""
    replica = replica_of(small_spec(SUM))
    for n, (days, fields) in enumerate([(0, {}), (2, {}), (5, {"megabytes": 50.0})]):
        assert replica.apply(usage(T0 + days * DAY, n, **fields), T0, Applied()) == "applied"
    correction = {
        "type": "correction",
        "type_corrected": "data",
        "corrects_event_id": "e1",
        "megabytes": -30.0,
    }
    applied = Applied()
    replica.apply(usage(T0 + 2 * DAY, 9, **correction), T0, applied)
    assert applied.touched[b"ann"].corrections_only
    for n, (amount, alone) in enumerate(
        [(-5.0, True), (5.0, False)], 10
    ):  # a credit note corrects, a bill does not
        applied, bill = Applied(), {"type": "invoice", "amount": amount, "currency": "EUR"}
        replica.apply(usage(T0 + 2 * DAY, n, **bill), T0, applied)
        assert applied.touched[b"ann"].corrections_only is alone
    ann = replica.customers[b"ann"]
    assert replica.features.values(ann, T0 + 6 * DAY, [math.nan]) == [220.0]
    assert replica.features.values(ann, T0 + 7 * DAY, [math.nan]) == [120.0]
    assert replica.features.values(ann, T0 + 20 * DAY, [math.nan]) == [0.0]


def test_a_bucket_saturates() -> None:
    """At the largest number of four bytes, in 1/1024 MB."""
    replica = replica_of(small_spec(SUM))
    for n in range(4):
        replica.apply(usage(T0 + n, n, megabytes=1e6), T0, Applied())
    assert replica.features.values(replica.customers[b"ann"], T0 + HOUR, [math.nan]) == [(2**31 - 1) / 1024]


def test_the_last_sixteen_event_ids_of_a_topic_are_known() -> None:
    """The seventeenth pushes out the first."""
    replica = replica_of(small_spec(SUM))
    outcomes = [replica.apply(usage(T0 + n, n % 17), T0, Applied()) for n in range(18)]
    assert outcomes == ["applied"] * 18
    assert replica.apply(usage(T0, 5), T0, Applied()) == "duplicate"


@pytest.mark.parametrize(
    ("kind", "then", "outcome"),
    [
        ("closed", -1, "dropped"),
        ("closed", 1, "applied"),
        ("forget", -1, "dropped"),
        ("forget", 1, "applied"),
    ],
)
def test_what_is_before_the_end_of_a_life_is_dropped(kind: str, then: int, outcome: str) -> None:
    """What is after it begins another one."""
    replica = replica_of(small_spec(SUM))
    replica.apply(usage(T0, 1), T0, Applied())
    end = plain({"type": kind, "event_id": "end", "customer_id": "ann", "us": T0 + HOUR})
    replica.apply(end, T0, Applied())
    assert replica.apply(usage(T0 + HOUR + then, 2), T0, Applied()) == outcome


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8))
def test_hashes_are_those_of_the_index(ids: list[bytes]) -> None:
    """The customer hash and Kafka's murmur2, on any bytes."""
    column = StringColumn.from_bytes(ids)
    expected = id_index.hash_strings(column.data, column.ends).tolist()
    assert [customer_hash(id) for id in ids] == expected
    for id in ids:
        data = np.frombuffer(id, np.uint8)
        assert murmur2(id) == id_index.murmur2(data, 0, len(id))
        assert 0 <= partition_of(id, 7) < 7


@given(st.lists(st.floats(width=32, allow_infinity=False), min_size=1))
def test_two_bytes_are_those_of_the_rows(values: list[float]) -> None:
    """Eight significant bits, half to even; missing stays missing."""
    kept = from_bfloat16(to_bfloat16(np.array(values)))
    assert np.array_equal([two_bytes(value) for value in values], kept, equal_nan=True)
