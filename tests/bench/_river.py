"""What a river tutorial leads to: one event at a time through scaler and KMeans.

Frozen: this is the yardstick, not a thing to tune. No windows, no transactions, nothing after a crash.
"""

from __future__ import annotations

import json
import time
from typing import Any

from confluent_kafka import Producer
from river import cluster, preprocessing

from consumer.config import Config
from consumer.kafka_clients import consumer_settings, make_consumer, plain_producer_settings
from tests.bench._cluster import BATCH, WAIT_S, Offsets, assign, without_ends


def _features() -> dict[str, float]:
    # All names from the start: river's KMeans counts a missing feature as 0.
    return dict.fromkeys(
        ("megabytes", "minutes", "messages", "topups", "paid", "days_late", "contacts", "roaming"), 0.0
    )


def add_event(sums: dict[str, float], event: dict[str, Any]) -> None:
    """Running sums of one customer."""
    kind = event["type"]
    if kind == "data":
        sums["megabytes"] += event["megabytes"]
    elif kind == "voice":
        sums["minutes"] += event["duration_seconds"] / 60
    elif kind == "sms":
        sums["messages"] += event.get("count", 1)
    elif kind == "topup":
        sums["topups"] += event["amount"]
    elif kind == "payment":
        sums["days_late"] += event.get("days_late", 0)
    elif kind == "invoice":
        sums["paid"] += event["amount"]
    elif kind == "care_contact":
        sums["contacts"] += 1
    if event.get("roaming"):
        sums["roaming"] += 1


class RiverReader:
    """Consumes, learns, predicts and produces a change where the cluster of a customer is another one."""

    def __init__(self, config: Config, topic: str) -> None:
        self._settings = consumer_settings(config, f"{config.app.name}-river")
        self._producer = Producer(plain_producer_settings(config))
        self._topic = topic
        self._customers: dict[str, dict[str, float]] = {}
        self._segments: dict[str, int] = {}
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
        customer = event["customer_id"]
        sums = self._customers.setdefault(customer, _features())
        add_event(sums, event)
        self._model.learn_one(sums)
        segment = self._model.predict_one(sums)
        if self._segments.get(customer) != segment:
            self._segments[customer] = segment
            change = {"customer_id": customer, "segment": segment, "event_time": event["event_time"]}
            self._producer.produce(self._topic, json.dumps(change).encode(), customer.encode())

    def close(self) -> None:
        """Nothing is left open between measurements."""
