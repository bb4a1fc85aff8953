"""What a data scientist writes: micro-batches through pandas and scikit-learn.

Frozen: this is the yardstick, not a thing to tune. It computes the columns of the default specification,
but over all time: no windows, at least once, nothing after a crash.
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

_KINDS: Final = ("data", "voice", "sms", "topup", "payment", "care_contact")
_MEASURES: Final = ("megabytes", "duration_seconds", "count", "days_late")
_FLAGS: Final = ("roaming", "international", "night", "weekend")
_TOTALS: Final = (*_MEASURES, *_FLAGS, *_KINDS, "revenue")
_PROFILE: Final = ("activated_on", "services", "line_type", "contract", "age", "income", "gender")
_LEVELS: Final = {
    "line_type": ("prepaid", "postpaid"),
    "contract": ("month-to-month", "one-year", "two-year"),
    "gender": ("female", "male"),
}
_NEVER: Final = pd.Timestamp("2026-01-01", tz="UTC")


def totals_of(frame: Any) -> Any:
    """Sums per customer of a micro-batch."""
    kind, hour = frame["type"], frame["time"].dt.hour
    usage = kind.isin(["data", "voice", "sms"])
    columns = {name: pd.to_numeric(frame[name]).fillna(0.0) for name in _MEASURES}
    columns |= {name: frame[name].eq(True).astype("float64") for name in ("roaming", "international")}
    columns["night"] = (usage & ((hour >= 22) | (hour < 6))).astype("float64")
    columns["weekend"] = (usage & (frame["time"].dt.day_of_week >= 5)).astype("float64")
    columns |= {name: (kind == name).astype("float64") for name in _KINDS}
    columns["revenue"] = pd.to_numeric(frame["amount"]).where(kind.isin(["invoice", "topup"]), 0.0)
    return pd.DataFrame(columns).groupby(frame["customer_id"], sort=False).sum()


def features_of(totals: Any, profile: Any, last: Any, now: Any) -> Any:
    """The columns of the default specification float64[m, 25], skewed ones as logarithms."""
    activity = (totals["data"] + totals["voice"] + totals["sms"]).clip(lower=1)
    contacts = (totals["voice"] + totals["sms"]).clip(lower=1)
    logs = totals[["megabytes", "duration_seconds", "count", "revenue", "topup", "care_contact"]].clip(
        lower=0
    )
    columns = {name: np.log1p(logs[name]) for name in logs}
    columns |= {
        f"{name}_share": totals[name] / activity for name in ("voice", "data", "roaming", "night", "weekend")
    }
    columns["international_share"] = totals["international"] / contacts
    columns["days_late"] = totals["days_late"] / totals["payment"].clip(lower=1)
    columns["tenure_days"] = np.log1p((now - profile["activated_on"]).dt.days.clip(lower=0))
    columns["days_since_last_activity"] = np.log1p((now - last).dt.days.clip(lower=0))
    columns["service_count"] = profile["services"].str.len().fillna(0)
    columns |= {f"{field}={v}": profile[field].eq(v) for field, levels in _LEVELS.items() for v in levels}
    columns |= {name: pd.to_numeric(profile[name]).fillna(0.0) for name in ("age", "income")}
    return pd.DataFrame(columns, index=totals.index).to_numpy("float64")


class PandasReader:
    """Consumes a micro-batch, adds it to the table of customers, learns, predicts, produces, commits."""

    def __init__(self, config: Config, topic: str) -> None:
        self._settings = consumer_settings(config, f"{config.app.name}-pandas")
        self._producer = Producer(plain_producer_settings(config))
        self._topic = topic
        self._totals: Any = pd.DataFrame(columns=list(_TOTALS), dtype="float64")
        self._profile: Any = pd.DataFrame(columns=list(_PROFILE), dtype="object")
        self._profile["activated_on"] = pd.Series(dtype="datetime64[ns, UTC]")
        self._last: Any = pd.Series(dtype="datetime64[ns, UTC]")
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
        wanted = ["customer_id", "type", "event_time", "amount", *_MEASURES, "roaming", "international"]
        frame = frame.reindex(columns=[*wanted, *_PROFILE])
        frame["time"] = pd.to_datetime(frame["event_time"], utc=True, format="ISO8601")
        sums = totals_of(frame)
        new = sums.index.difference(self._totals.index)
        if len(new):
            self._grow(new)
        self._totals.loc[sums.index] += sums
        usage = (
            frame[frame["type"].isin(["data", "voice", "sms"])]
            .groupby("customer_id", sort=False)["time"]
            .max()
        )
        self._last.loc[usage.index] = usage
        profiles = frame[frame["type"] == "profile"].groupby("customer_id", sort=False)[list(_PROFILE)].last()
        if len(profiles):
            profiles["activated_on"] = pd.to_datetime(profiles["activated_on"], utc=True)
            self._profile.loc[profiles.index] = profiles
        rows = sums.index
        points = features_of(
            self._totals.loc[rows], self._profile.loc[rows], self._last.loc[rows], frame["time"].max()
        )
        x = self._scaler.partial_fit(points).transform(points)
        if len(x) >= 6 or hasattr(self._kmeans, "cluster_centers_"):
            segments = pd.Series(self._kmeans.partial_fit(x).predict(x), index=rows)
            self._publish(segments, new)

    def _grow(self, new: Any) -> None:
        zeros = pd.DataFrame(0.0, index=new, columns=self._totals.columns)
        self._totals = pd.concat([self._totals, zeros])
        unknown = pd.DataFrame(None, index=new, columns=list(_PROFILE), dtype="object")
        unknown["activated_on"] = _NEVER
        self._profile = pd.concat([self._profile, unknown])
        self._last = pd.concat([self._last, pd.Series(_NEVER, index=new)])

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
