"""The receipt of an erasure: what is gone, what is left where, and when the broker drops it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from consumer.config import Config
from consumer.customer.broker_times import BrokerTimes
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
_SETTINGS: Final = (
    "cleanup.policy",
    "retention.ms",
    "segment.ms",
    "max.compaction.lag.ms",
    "delete.retention.ms",
    "file.delete.delay.ms",
)
#: Kafka's defaults, for brokers that do not tell.
_TOMBSTONE_MS: Final = 86_400_000
_FILE_DELAY_MS: Final = 60_000


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
    detail = (
        f"with commit {effect.commit}; a keyed hash and the time are kept. A worker that gave the partition "
        "up before may hold it for a minute; freed memory is overwritten as it is used again"
    )
    return _place("memory of the service", "erased", None, detail)


def _snapshots(config: Config, request: Request, effect: Effect) -> list[dict[str, Any]]:
    """Those that a part copied before the erasure is in go when two newer ones are there."""
    store = SnapshotStore(config.snapshots.uri, config.app.name)
    where = f"snapshots of partition {request.partition}"
    try:
        old = []
        for number in store.numbers(request.partition):
            with suppress(FileNotFoundError):  # removed since it was listed
                if store.manifest(request.partition, number).first_n < effect.commit:
                    old.append(number)
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
    times = BrokerTimes.of(admin)
    rows = []
    for topic in topics:
        of = {setting: told[setting].get(topic) for setting in _SETTINGS}
        if of["cleanup.policy"] == "compact" or (of["cleanup.policy"] is None and topic == names.current):
            rows += _compacted(topic, of, times, effect, now_us)
        else:
            rows.append(_deleted(topic, of, times, now_us))
    nothing = ", ".join((names.audit, names.deltas, names.models, names.catalog))
    return [*rows, _place(nothing, "never had it", None, "they hold nothing about single customers")]


def _deleted(topic: str, of: dict[str, str | None], times: BrokerTimes, now_us: int) -> dict[str, Any]:
    """A record goes with its segment, which is closed `segment.ms` after it was begun at the latest.

    The broker looks for such segments now and then, and takes them off the disk a while later.
    """
    retention, segment = _number(of["retention.ms"]), _number(of["segment.ms"])
    if retention is None:
        return _place(topic, "kept", None, "the broker does not tell retention.ms")
    if retention < 0:
        return _place(topic, "kept", None, "for ever: set retention.ms of the topic")
    if segment is None:
        by_us = now_us + retention * _MS_US
        return _place(topic, "kept", format_time(by_us), f"retention.ms {retention} + a segment")
    extra = times.check_ms + _file_delay(of)
    by_us = now_us + (retention + segment + extra) * _MS_US
    detail = f"retention.ms {retention} + segment.ms {segment} + {extra} until the broker has looked"
    return _place(topic, "kept", format_time(by_us), detail)


def _compacted(
    topic: str, of: dict[str, str | None], times: BrokerTimes, effect: Effect | None, now_us: int
) -> list[dict[str, Any]]:
    """Older records go with the next compaction; the null record, whose key is the id, in a later one.

    A segment is closed by a record that comes when it is old enough: while none comes nothing is compacted.
    """
    state, null = "kept" if effect is None else "tombstone", f"{topic}: the null record"
    lag = _number(of["max.compaction.lag.ms"])
    keep = _number(of["delete.retention.ms"])
    keep = _TOMBSTONE_MS if keep is None else keep
    if lag is None or lag >= _ENDLESS_MS:
        why = "older records go with the next compaction; max.compaction.lag.ms would set a limit"
        later = f"its key is the id; goes with a compaction delete.retention.ms {keep} after that"
        return [_place(topic, state, None, why), _place(null, "kept", None, later)]
    by_us = now_us + (lag + times.backoff_ms + _file_delay(of)) * _MS_US
    null_us = by_us + (keep + lag + times.backoff_ms) * _MS_US
    why = f"max.compaction.lag.ms {lag}, or when the next record of the partition comes after that"
    later = f"its key is the id; delete.retention.ms {keep} later, and the compaction after that"
    return [
        _place(topic, state, format_time(by_us), why),
        _place(null, "kept", format_time(null_us), later),
    ]


def _file_delay(of: dict[str, str | None]) -> int:
    delay = _number(of["file.delete.delay.ms"])
    return _FILE_DELAY_MS if delay is None else delay


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
