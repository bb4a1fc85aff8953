"""Streams of events for tests: plain dictionaries, through the real decoder, into chunks and polls.

An event is a dictionary as on the wire, with `us` (microseconds) in place of `event_time`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from online_model.compile_plan import compile_plan
from online_model.engine import Engine, EngineSettings
from online_model.evaluate import Evaluated, evaluate
from online_model.id_index import murmur2
from online_model.intake import Chunk
from online_model.plan import FeaturePlan
from online_model.poll import Poll
from online_model.spec import FeatureSpec, default_spec, parse_spec
from schemas import Decoder, RawRecords
from schemas.batch import StringColumn, Topic

Event = dict[str, Any]

DAY = 86_400_000_000
HOUR = 3_600_000_000
#: A Monday in March 2026, 00:00 UTC; week buckets begin on Thursdays.
T0 = 20_514 * DAY

TOPIC_OF = {
    **dict.fromkeys(("data", "voice", "sms", "correction"), Topic.USAGE),
    **dict.fromkeys(("invoice", "payment", "topup"), Topic.BILLING),
    **dict.fromkeys(("profile", "care_contact", "closed", "forget"), Topic.CUSTOMER),
}
DEFAULT = compile_plan(default_spec())


def small_spec(features: str, **settings: Any) -> FeatureSpec:
    """Specification of one block from YAML list items of `features`."""
    head = {"version": 1, "name": "small", "blocks": {"all": {"budget": 1.0}}, "dormancy_feature": None}
    return parse_spec(json.dumps({**head, **settings})[:-1] + ', "features": [' + features + "]}")


def partition_of(customer: str, partitions: int) -> int:
    """Partition of a key as Kafka's clients choose it."""
    data = np.frombuffer(customer.encode(), np.uint8)
    return int(murmur2(data, 0, len(data)) & 0x7FFFFFFF) % partitions


class Log:
    """Appends events to the topics of a log and decodes them as polls."""

    def __init__(self, plan: FeaturePlan = DEFAULT, partitions: int = 1) -> None:
        self.plan = plan
        self.partitions = partitions
        self.decoder = Decoder(plan.vocabulary, "EUR")
        self.offsets: dict[tuple[int, int], int] = {}

    def poll(
        self, events: Sequence[Event | bytes], at_end: bool = True, topics: Sequence[int] = (0, 1, 2)
    ) -> Poll:
        """The poll of `events` (bytes: a broken usage record); all of `topics` are `at_end` or not."""
        values, keys, topic, partition, offset = [], [], [], [], []
        for event in events:
            body = event if isinstance(event, bytes) else wire(event)
            t = int(Topic.USAGE if isinstance(event, bytes) else TOPIC_OF[event["type"]])
            p = 0 if isinstance(event, bytes) else partition_of(event["customer_id"], self.partitions)
            at = self.offsets.get((p, t), 0)
            self.offsets[p, t] = at + 1
            values.append(body)
            keys.append(b"k" if isinstance(event, bytes) else event["customer_id"].encode())
            topic.append(t)
            partition.append(p)
            offset.append(at)
        raw = RawRecords(
            list(values),
            list(keys),
            np.array(topic, np.uint8),
            np.array(partition, np.int32),
            np.array(offset, np.int64),
        )
        batch, rejects = self.decoder.decode(raw)
        ends = {(p, int(t)): at_end for p in range(self.partitions) for t in topics}
        return Poll(raw, batch, rejects, dict(self.offsets), ends)

    def chunks(self, events: Sequence[Event]) -> list[Chunk]:
        """The same as chunks of partition 0, in topic order."""
        poll = self.poll(events)
        topic = poll.batch.topic
        return [
            Chunk(poll.batch, np.flatnonzero(topic == t), poll.rejects, self.offsets[0, t], poll.raw)
            for t in range(3)
            if (topic == t).any()
        ]


def wire(event: Event) -> bytes:
    """JSON of an event."""
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event["us"])
    body = {name: value for name, value in event.items() if name != "us"}
    return json.dumps({**body, "event_time": time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}).encode()


def engine_of(plan: FeaturePlan, partitions: int = 1, **settings: Any) -> Engine:
    """Engine of all partitions, that checks no routing where there is one only."""
    engine = Engine(plan, EngineSettings(partitions, **{"idle_grace_us": None, **settings}))
    for number in range(partitions):
        engine.add_partition(number)
    return engine


def features(engine: Engine, priors: np.ndarray[Any, np.dtype[np.float64]], partition: int = 0) -> Features:
    """Live customers of a partition with their features at its watermark."""
    state = engine.partitions[partition]
    rows = state.live_rows(0, 1 << 16)
    seen = evaluate(state.store.rows, rows, state.watermark_us, engine.plan, priors)
    return by_customer(state.index.ids(rows), seen)


Features = dict[bytes, tuple[bytes, float, float]]


def by_customer(ids: Sequence[bytes], seen: Evaluated) -> Features:
    """Customer to the exact bits of the raw features, observed and silent days."""
    return {
        customer: (seen.raw[i].tobytes(), float(seen.observed_days[i]), float(seen.silent_days[i]))
        for i, customer in enumerate(ids)
    }


def ids_of(*names: bytes) -> StringColumn:
    """Column of ids."""
    return StringColumn.from_bytes(names)


#: Ends of billed periods that begin with the year; activations before and in the weeks that tests play in.
ENDS = ("2026-02-01", "2026-01-16", "2026-04-01", "2027-01-01")
SOON = ("2026-03-09", "2026-03-21", "2026-05-05")
SERVICES = ("tv", "music", "Cloud", "roaming_pass", "carrier-pigeon")


def random_event(rng: random.Random, kind: str, us: int, customer: str, number: int) -> Event:
    """An event of type `kind` with random fields."""
    event: Event = {"event_id": f"e{number}", "customer_id": customer, "us": us, "type": kind}
    if kind == "correction":
        event |= {"corrects_event_id": "e0", "type_corrected": rng.choice(["data", "voice", "sms"])}
        event |= _usage(rng, event["type_corrected"], sign=-1)
    elif kind in {"data", "voice", "sms"}:
        event |= _usage(rng, kind, sign=1)
    elif kind == "invoice":
        event |= {"amount": round(rng.uniform(-10, 90), 2), "currency": "EUR"}
        if rng.random() < 0.7:
            event |= {"period_start": "2026-01-01", "period_end": rng.choice(ENDS)}
    elif kind == "payment":
        event |= {"amount": round(rng.uniform(1, 90), 2), "currency": "EUR", "days_late": rng.randrange(40)}
    elif kind == "topup":
        event |= {"amount": round(rng.uniform(1, 50), 2), "currency": "EUR"}
    elif kind == "care_contact":
        event |= {"channel": rng.choice(["phone", "chat", "fax"])}
    elif kind == "profile":
        event |= _profile(rng)
    return event


def _usage(rng: random.Random, kind: str, sign: int) -> Event:
    fields: Event = {"roaming": rng.random() < 0.3}
    if kind == "data":
        technology = {"technology": rng.choice(["4g", "5g", "smoke"])} if rng.random() < 0.6 else {}
        return fields | technology | {"megabytes": sign * rng.uniform(0, 500)}
    fields |= {"international": rng.random() < 0.3, "direction": rng.choice(["outgoing", "incoming"])}
    if kind == "voice":
        return fields | {"duration_seconds": sign * rng.uniform(0, 900)}
    return fields | {"count": sign * rng.randint(1, 9)}


def _profile(rng: random.Random) -> Event:
    choices: Event = {
        "activated_on": ["2024-03-31", "2025-12-15", "2026-01-31", *SOON],
        "age": [17, 54],
        "income": [12_345.0, 98_765.5],
        "gender": ["female", "male", "other"],
        "line_type": ["prepaid", "postpaid"],
        "contract": ["month-to-month", "Two_Year", "barter"],
        "services": [[], ["tv"], list(SERVICES)],
    }
    return {
        name: None if rng.random() < 0.2 else rng.choice(values)
        for name, values in choices.items()
        if rng.random() < 0.5
    }
