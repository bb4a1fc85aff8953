"""How long brokers may take to do what a topic's settings ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from consumer.kafka_clients import Admin
from consumer.topics import cluster_metadata

#: How often segments that are over are looked for, and how long a cleaner with nothing to do sleeps.
_CHECK: Final = "log.retention.check.interval.ms"
_BACKOFF: Final = "log.cleaner.backoff.ms"
#: Kafka's own defaults, for brokers that do not tell.
_DEFAULTS: Final = {_CHECK: 300_000, _BACKOFF: 15_000}
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class BrokerTimes:
    """Milliseconds until retention is looked at again, and until the log cleaner is."""

    check_ms: int = _DEFAULTS[_CHECK]
    backoff_ms: int = _DEFAULTS[_BACKOFF]

    @classmethod
    def of(cls, admin: Admin) -> BrokerTimes:
        """The longest of all brokers; Kafka's defaults where a client may not ask."""
        brokers = cluster_metadata(admin, _TIMEOUT_S).brokers
        asked = [ConfigResource(ResourceType.BROKER, str(number)) for number in brokers]
        found: dict[str, list[int]] = {name: [] for name in _DEFAULTS}
        for future in admin.describe_configs(asked, request_timeout=_TIMEOUT_S).values():
            try:
                entries: dict[str, Any] = future.result(_TIMEOUT_S)
            except (KafkaException, TimeoutError):
                entries = {}
            for name, default in _DEFAULTS.items():
                value = entries[name].value if name in entries else None
                found[name].append(int(value) if value else default)
        return cls(
            max(found[_CHECK], default=_DEFAULTS[_CHECK]),
            max(found[_BACKOFF], default=_DEFAULTS[_BACKOFF]),
        )
