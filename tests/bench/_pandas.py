"""What a data scientist writes: micro-batches through pandas and scikit-learn.

Frozen: this is the yardstick, not a thing to tune. No windows, at least once, nothing after a crash.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

import numpy as np
import pandas as pd
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from sklearn.cluster import MiniBatchKMeans
from sklearn.preprocessing import StandardScaler

from consumer.config import Config
from consumer.kafka_clients import consumer_settings, make_consumer, plain_producer_settings
from tests.bench._cluster import BATCH, WAIT_S, Offsets, assign, without_ends

_MEASURES: Final = ("megabytes", "duration_seconds", "count", "amount", "days_late", "roaming")


class PandasReader:
    """Consumes a micro-batch, adds it to the table of customers, learns, predicts, produces, commits."""

    def __init__(self, config: Config, topic: str) -> None:
        self._settings = consumer_settings(config, f"{config.app.name}-pandas")
        self._producer = Producer(plain_producer_settings(config))
        self._topic = topic
        self._totals: Any = pd.DataFrame(columns=list(_MEASURES), dtype="float64")
        self._segments: Any = pd.Series(dtype="int64")
        self._scaler = StandardScaler()
        self._kmeans = MiniBatchKMeans(n_clusters=6, random_state=7, n_init=1)

    def measure(self, start: Offsets, n: int) -> tuple[int, float]:
        """Handles at least `n` records from `start` on; records and seconds from the first one on."""
        consumer = make_consumer(self._settings)
        assign(consumer, start)
        count, begin = 0, 0.0
        while count < n:
            messages = without_ends(consumer.consume(BATCH, WAIT_S))
            if not count:
                begin = time.perf_counter()
            if messages:
                self._handle(messages)
                self._commit(consumer, messages)
            count += len(messages)
        seconds = time.perf_counter() - begin
        consumer.close()
        return count, seconds

    def _handle(self, messages: list[Message]) -> None:
        frame = pd.DataFrame([json.loads(message.value()) for message in messages])  # type: ignore[arg-type]
        sums = (
            frame.reindex(columns=["customer_id", *_MEASURES])
            .astype(dict.fromkeys(_MEASURES, "float64"))
            .groupby("customer_id", sort=False)
            .sum()
        )
        new = sums.index.difference(self._totals.index)
        if len(new):
            zeros = pd.DataFrame(0.0, index=new, columns=self._totals.columns)
            self._totals = pd.concat([self._totals, zeros])
        self._totals.loc[sums.index] += sums
        points = np.log1p(self._totals.loc[sums.index].clip(lower=0).to_numpy())
        x = self._scaler.partial_fit(points).transform(points)
        if len(x) >= 6 or hasattr(self._kmeans, "cluster_centers_"):
            segments = pd.Series(self._kmeans.partial_fit(x).predict(x), index=sums.index)
            self._publish(segments, new)

    def _publish(self, segments: Any, new: Any) -> None:
        if len(new):
            self._segments = pd.concat([self._segments, pd.Series(-1, index=new, dtype="int64")])
        changed = segments[segments != self._segments.loc[segments.index]]
        self._segments.loc[changed.index] = changed
        for customer, segment in changed.items():
            value = json.dumps({"customer_id": customer, "segment": int(segment)}).encode()
            self._producer.produce(self._topic, value, customer.encode())
        self._producer.flush(60.0)

    def _commit(self, consumer: Consumer, messages: list[Message]) -> None:
        ends = {(m.topic(), m.partition()): int(m.offset() or 0) + 1 for m in messages}
        offsets = [TopicPartition(str(topic), int(number or 0), end) for (topic, number), end in ends.items()]
        consumer.commit(offsets=offsets, asynchronous=False)

    def close(self) -> None:
        """Nothing is left open between measurements."""
