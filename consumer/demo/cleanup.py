"""Leaves somebody else's Kafka as it was: the demo's topics and groups are deleted."""

from __future__ import annotations

from typing import Final

import structlog
from confluent_kafka import KafkaException

from consumer.config import Config
from consumer.kafka_clients import make_admin
from consumer.topics import TopicNames, shapes

_TIMEOUT_S: Final = 15.0

_log = structlog.get_logger("demo")


def delete_everything(config: Config, names: TopicNames) -> None:
    """Deletes topics and consumer groups of the run; what cannot be deleted is named in the log."""
    admin = make_admin(config)
    listed = [shape.name for shape in shapes(names)]
    futures = admin.delete_topics(listed, operation_timeout=_TIMEOUT_S, request_timeout=_TIMEOUT_S)
    groups = [config.app.name, f"{config.app.name}-model"]
    futures |= admin.delete_consumer_groups(groups, request_timeout=_TIMEOUT_S)
    for name, future in futures.items():
        try:
            future.result(_TIMEOUT_S)
        except KafkaException as exception:
            _log.warning("not deleted", name=name, problem=exception.args[0].str())
