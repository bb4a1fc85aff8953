"""What a river tutorial leads to: one event at a time through scaler and KMeans.

Frozen: this is the yardstick, not a thing to tune. It computes the columns of the default specification,
but over all time: no windows, no transactions, nothing after a crash.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

from confluent_kafka import Producer
from river import cluster, preprocessing

from consumer.config import Config
from consumer.kafka_clients import consumer_settings, make_consumer, plain_producer_settings
from tests.bench._cluster import BATCH, WAIT_S, Offsets, assign, without_ends

_NIGHT: Final = frozenset((22, 23, 0, 1, 2, 3, 4, 5))
_SATURDAY: Final = 5
_NOBODY: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Customer:
    """Running totals and attributes of one customer."""

    totals: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    profile: dict[str, Any] = field(default_factory=dict)
    last: datetime = _NOBODY
    segment: int = -1

    def add(self, event: dict[str, Any], time: datetime) -> None:
        """Counts one event."""
        kind, totals = event["type"], self.totals
        totals[kind] += 1
        if kind in ("data", "voice", "sms"):
            totals["megabytes"] += event.get("megabytes", 0.0)
            totals["minutes"] += event.get("duration_seconds", 0.0) / 60
            totals["messages"] += event.get("count", 0)
            totals["roaming"] += event.get("roaming", False)
            totals["international"] += event.get("international", False)
            totals["night"] += time.hour in _NIGHT
            totals["weekend"] += time.weekday() >= _SATURDAY
            self.last = time
        elif kind in ("invoice", "topup"):
            totals["revenue"] += event["amount"]
        elif kind == "payment":
            totals["days_late"] += event.get("days_late", 0)
        elif kind == "profile":
            self.profile |= event

    def features(self, time: datetime) -> dict[str, float]:
        """The columns of the default specification, over all time instead of windows.

        All names from the start: river's KMeans counts a missing feature as 0.
        """
        t, p = self.totals, self.profile
        activity = t["data"] + t["voice"] + t["sms"] or 1.0
        contacts = t["voice"] + t["sms"] or 1.0
        since = date.fromisoformat(p.get("activated_on", "2026-01-01"))
        return {
            "data_mb": t["megabytes"],
            "mou": t["minutes"],
            "sms": t["messages"],
            "voice_share": t["voice"] / activity,
            "data_share": t["data"] / activity,
            "roaming_share": t["roaming"] / activity,
            "international_share": t["international"] / contacts,
            "night_share": t["night"] / activity,
            "weekend_share": t["weekend"] / activity,
            "revenue": t["revenue"],
            "topup_count": t["topup"],
            "days_late": t["days_late"] / (t["payment"] or 1.0),
            "care_contacts": t["care_contact"],
            "tenure_days": float((time.date() - since).days),
            "days_since_last_activity": float((time - self.last).days),
            "service_count": float(len(p.get("services", ()))),
            "prepaid": float(p.get("line_type") == "prepaid"),
            "postpaid": float(p.get("line_type") == "postpaid"),
            "month_to_month": float(p.get("contract") == "month-to-month"),
            "one_year": float(p.get("contract") == "one-year"),
            "two_year": float(p.get("contract") == "two-year"),
            "age": float(p.get("age") or 0),
            "income": float(p.get("income") or 0),
            "female": float(p.get("gender") == "female"),
            "male": float(p.get("gender") == "male"),
        }


class RiverReader:
    """Consumes, learns, predicts and produces a change where the cluster of a customer is another one."""

    def __init__(self, config: Config, topic: str) -> None:
        self._settings = consumer_settings(config, f"{config.app.name}-river")
        self._producer = Producer(plain_producer_settings(config))
        self._topic = topic
        self._customers: defaultdict[str, Customer] = defaultdict(Customer)
        self._model = preprocessing.StandardScaler() | cluster.KMeans(n_clusters=6, seed=7)

    def measure(self, start: Offsets, n: int) -> tuple[int, float]:
        """Handles at least `n` records from `start` on; records and seconds from the first one on."""
        consumer = make_consumer(self._settings)
        assign(consumer, start)
        count, begin = 0, 0.0
        while count < n:
            # Smaller batches, so that the end of a short measurement is not overrun by much.
            messages = without_ends(consumer.consume(min(BATCH, 1000), WAIT_S))
            if not count:
                begin = time.perf_counter()
            for message in messages:
                self._handle(json.loads(message.value()))  # type: ignore[arg-type]
            self._producer.poll(0)
            count += len(messages)
        self._producer.flush(60.0)
        seconds = time.perf_counter() - begin
        consumer.close()
        return count, seconds

    def _handle(self, event: dict[str, Any]) -> None:
        key, time = event["customer_id"], datetime.fromisoformat(event["event_time"])
        customer = self._customers[key]
        customer.add(event, time)
        x = customer.features(time)
        self._model.learn_one(x)
        segment = self._model.predict_one(x)
        if customer.segment != segment:
            customer.segment = segment
            change = {"customer_id": key, "segment": segment, "event_time": event["event_time"]}
            self._producer.produce(self._topic, json.dumps(change).encode(), key.encode())

    def close(self) -> None:
        """Nothing is left open between measurements."""
