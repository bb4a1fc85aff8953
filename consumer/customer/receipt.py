"""The receipt of an erasure: what is gone, what is left where, and when the broker drops it."""

from __future__ import annotations

from typing import Any, Final

from consumer.config import Config
from consumer.customer.erasure import Effect, Request
from consumer.kafka_clients import make_admin
from consumer.models.files import load_spec
from consumer.snapshots import SnapshotStore
from consumer.topics import TopicNames, topic_settings
from online_model.partition import tombstone
from schemas.times import format_time

_MS_US: Final = 1000
#: A lag that is meant as none at all; Kafka's default of `max.compaction.lag.ms`.
_ENDLESS_MS: Final = 1 << 62
_SETTINGS: Final = ("cleanup.policy", "retention.ms", "segment.ms", "max.compaction.lag.ms")


def receipt(
    config: Config, customer: str, request: Request, effect: Effect | None, now_us: int
) -> dict[str, Any]:
    """For the records of whoever asked: nothing in it names the customer but a hash.

    The hash is the one under which snapshots remember that the id was erased.
    """
    spec = load_spec(config.model.spec)
    places = [] if effect is None else [_memory(effect), *_snapshots(config, request, effect)]
    return {
        "time": format_time(now_us),
        "application": config.app.name,
        "customer_hash": tombstone(customer.encode(), spec.name).hex(),
        "event": {
            "event_id": request.event_id,
            "event_time": format_time(request.event_time_us),
            "topic": request.topic,
            "partition": request.partition,
            "offset": request.offset,
        },
        "effective": effect is not None,
        "commit": None if effect is None else effect.commit,
        "tombstone_offset": None if effect is None else effect.tombstone,
        "places": places + _topics(config, request, effect, now_us),
    }


def _place(place: str, state: str, gone_by: str | None, detail: str) -> dict[str, Any]:
    return {"place": place, "state": state, "gone_by": gone_by, "detail": detail}


def _memory(effect: Effect) -> dict[str, Any]:
    return _place(
        "memory of the service", "erased", None, f"with commit {effect.commit}; a hash and the time are kept"
    )


def _snapshots(config: Config, request: Request, effect: Effect) -> list[dict[str, Any]]:
    """Those that a part copied before the erasure is in go when two newer ones are there."""
    store = SnapshotStore(config.snapshots.uri, config.app.name)
    where = f"snapshots of partition {request.partition}"
    try:
        old = [
            number
            for number in store.numbers(request.partition)
            if store.manifest(request.partition, number).first_n < effect.commit
        ]
    except (OSError, ValueError) as error:
        return [_place(where, "unknown", None, f"{store.uri} cannot be read: {error}")]
    if not old:
        return [_place(where, "erased", None, "none of before the erasure is left")]
    numbers = ", ".join(f"n={number}" for number in old)
    wait = f"two newer ones, one every {config.snapshots.interval_s:g} s while there is input"
    return [_place(where, "kept", None, f"{numbers}: removed after {wait}")]


def _topics(config: Config, request: Request, effect: Effect | None, now_us: int) -> list[dict[str, Any]]:
    names = TopicNames.with_prefix(config.topics.prefix)
    admin = make_admin(config)
    topics = [*names.inputs, names.changes, names.dlq, names.current]
    told = {setting: topic_settings(admin, topics, setting) for setting in _SETTINGS}
    rows = []
    for topic in topics:
        of = {setting: told[setting].get(topic) for setting in _SETTINGS}
        if of["cleanup.policy"] == "compact" or (of["cleanup.policy"] is None and topic == names.current):
            rows.append(_compacted(topic, of, effect, now_us))
        else:
            rows.append(_deleted(topic, of, now_us))
    nothing = ", ".join((names.audit, names.deltas, names.models, names.catalog))
    return [*rows, _place(nothing, "never had it", None, "they hold nothing about single customers")]


def _deleted(topic: str, of: dict[str, str | None], now_us: int) -> dict[str, Any]:
    """A record goes with its segment, which is closed `segment.ms` after it was begun at the latest."""
    retention, segment = _number(of["retention.ms"]), _number(of["segment.ms"])
    if retention is None:
        return _place(topic, "kept", None, "the broker does not tell retention.ms")
    if retention < 0:
        return _place(topic, "kept", None, "for ever: set retention.ms of the topic")
    if segment is None:
        by_us = now_us + retention * _MS_US
        return _place(topic, "kept", format_time(by_us), f"retention.ms {retention} + a segment")
    by_us = now_us + (retention + segment) * _MS_US
    return _place(topic, "kept", format_time(by_us), f"retention.ms {retention} + segment.ms {segment}")


def _compacted(topic: str, of: dict[str, str | None], effect: Effect | None, now_us: int) -> dict[str, Any]:
    state = "kept" if effect is None else "tombstone"
    lag = _number(of["max.compaction.lag.ms"])
    if lag is None or lag >= _ENDLESS_MS:
        why = "older records go with the next compaction; max.compaction.lag.ms would set a limit"
        return _place(topic, state, None, why)
    by_us = now_us + lag * _MS_US
    return _place(topic, state, format_time(by_us), f"max.compaction.lag.ms {lag}")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
