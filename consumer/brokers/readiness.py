"""When a broker counts as started: it answers a metadata request with itself in it."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from consumer.clock import Deadline

PAUSE_S = 0.1
REQUEST_S = 2.0


def answers(bootstrap: str, deadline: Deadline, alive: Callable[[], bool] = lambda: True) -> bool:
    """Wait until the broker at `bootstrap` answers; False at the deadline or as soon as not `alive()`."""
    # Without the logger argument librdkafka prints every refused connection of the wait to stderr.
    admin = AdminClient(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 200,
            "socket.connection.setup.timeout.ms": 2000,
        }
    )
    while alive() and not deadline.expired:
        try:
            if admin.list_topics(timeout=min(REQUEST_S, max(0.1, deadline.remaining_s()))).brokers:
                return True
        except KafkaException:
            pass  # not yet: the loop asks again until the deadline
        time.sleep(PAUSE_S)
    return False
