"""librdkafka settings of every client, and the clients themselves.

The settings that exactly-once processing rests on are fixed here; `kafka.client` adds to them but
cannot replace them (`config.PROTECTED_CLIENT_SETTINGS`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from consumer.config import Config
from consumer.errors import ConfigError
from consumer.logs import CLIENT_LOGGER
from consumer.masking import without_userinfo
from consumer.ports import OnError, ProducerFactory

ClientSettings = dict[str, Any]
_Client = TypeVar("_Client", Consumer, Producer, "Admin")

#: Records up to this size can be written: dead letters hold a whole input record, models are documents.
MAX_RECORD_BYTES: Final = 8 * 1024 * 1024

#: A client that has not closed after this long never will.
CLOSE_LIMIT_S: Final = 10.0
#: A rebalance that a client has begun is heard of within this.
QUIET_S: Final = 0.2
#: How a member of a group ends: told the client and a name for messages; whether it has.
CloseMember = Callable[[Consumer, str], bool]
_left: Final[list[Consumer]] = []

_log = structlog.get_logger("kafka")


class Admin(AdminClient):
    """An admin client that knows whom it asks, and what last stood in the way."""

    def __init__(self, settings: ClientSettings, logger: logging.Logger) -> None:
        self.bootstrap: str = settings["bootstrap.servers"]
        self._trouble = ""
        on_error = settings["error_cb"]

        def listen(error: KafkaError) -> None:
            if error.code() != KafkaError._ALL_BROKERS_DOWN:  # follows from the others
                self._trouble = error.str()
            on_error(error)

        # Its calls end in an exception that says it all; a line per attempt to connect would drown that.
        quiet = {"log_level": 0, "error_cb": listen}
        super().__init__(settings | quiet, logger=logger)

    @property
    def trouble(self) -> str:
        """The last failed connection: address and reason; empty if there was none."""
        self.poll(0)  # errors wait to be fetched
        return self._trouble


def common_settings(config: Config) -> ClientSettings:
    """What every client shares: how to reach the cluster."""
    return {
        "bootstrap.servers": config.kafka.bootstrap,
        "client.id": f"{config.app.name}-{config.app.instance}",
        "socket.nagle.disable": True,
        "log_level": 5,  # notices; the application's own level filters again
        **config.kafka.librdkafka,
    }


def consumer_settings(config: Config, group: str | None = None) -> ClientSettings:
    """Settings of a group consumer of the input topics; `group` defaults to the application's name."""
    return common_settings(config) | {
        "group.id": group or config.app.name,
        # A restart within the session timeout gets its partitions back without a rebalance.
        "group.instance.id": config.app.instance,
        # range keeps partition p of all topics on one member; others split them (DESIGN 7.5).
        "partition.assignment.strategy": "range",
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 2_000,
        "max.poll.interval.ms": 120_000,
        # Partitions that are added move customers: what comes before we hear of them is a dead letter.
        "topic.metadata.refresh.interval.ms": 10_000,
        # A position nobody chose must stop us, never skip or repeat silently.
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        **_fetch_settings(),
        # In live traffic there is always a record, and a fetch for every few of them keeps the broker busy
        # that has to commit our transactions. What comes within 20 ms comes together.
        "fetch.min.bytes": 64 * 1024,
        "fetch.wait.max.ms": 20,
    }


def coordinator_settings(config: Config, instance: str) -> ClientSettings:
    """Settings of a member of the coordinators' group, which has one partition to give."""
    return consumer_settings(config, group=f"{config.app.name}-model") | {
        "group.instance.id": instance,
        # Deltas older than their retention are lost for good; the next scan is complete again.
        "auto.offset.reset": "earliest",
    }


def reader_settings(config: Config, committed_only: bool) -> ClientSettings:
    """Settings of a consumer with hand-assigned partitions and no group (restore, tail, verify).

    `committed_only=False` sees the high watermark instead of the last stable offset.
    """
    return common_settings(config) | {
        "group.id": f"{config.app.name}-reader",  # librdkafka asks for one; nothing is ever committed
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "check.crcs": True,
        **_fetch_settings(),
        "isolation.level": "read_committed" if committed_only else "read_uncommitted",
    }


def transactional_id(config: Config, role: str = "") -> str:
    """Transactional id of this process, stable over restarts; `role` tells several producers apart."""
    parts = [config.app.name, config.app.instance, role]
    return "-".join(p for p in parts if p)


def producer_settings(config: Config, role: str = "") -> ClientSettings:
    """Settings of a transactional producer."""
    return common_settings(config) | {
        "transactional.id": transactional_id(config, role),
        "enable.idempotence": True,
        "acks": "all",
        "transaction.timeout.ms": 10_000,
        "message.timeout.ms": 8_000,  # must end before the transaction does
        "retry.backoff.ms": 500,  # makes a repeated request visible as a slow step (transaction.SLOW_STEP_S)
        "partitioner": "murmur2_random",  # as Java's; librdkafka's default is another one
        # Records wait for their partitions to join the transaction, which is batching enough.
        "linger.ms": 0,
        "compression.type": "lz4",
        "batch.size": 512 * 1024,
        "batch.num.messages": 50_000,
        "message.max.bytes": config.kafka.client.get("message.max.bytes", MAX_RECORD_BYTES),
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 262_144,
        # A flush looks every 10 ms whether all is delivered; a report wakes it at once.
        "delivery.report.only.error": False,
    }


def plain_producer_settings(config: Config) -> ClientSettings:
    """Settings of an idempotent producer without transactions (simulator, probes)."""
    return common_settings(config) | {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "linger.ms": 20,
        "compression.type": "lz4",
        "batch.size": 512 * 1024,
        "batch.num.messages": 50_000,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 262_144,
        "delivery.report.only.error": True,
    }


def make_consumer(settings: ClientSettings, on_error: OnError | None = None) -> Consumer:
    """Consumer with its errors and logs routed to structlog, and errors also to `on_error`.

    Raises `ConfigError` if librdkafka does not take the settings, as do the two below.
    """
    return _made(Consumer, settings, on_error)


def make_producer(settings: ClientSettings, on_error: OnError | None = None) -> Producer:
    """Producer with its errors and logs routed to structlog, and errors also to `on_error`."""
    return _made(Producer, settings, on_error)


def make_admin(config: Config, on_error: OnError | None = None) -> Admin:
    """Admin client with its errors and logs routed to structlog, and errors also to `on_error`."""
    return _made(Admin, common_settings(config), on_error)


def producer_factory(config: Config, role: str = "") -> ProducerFactory:
    """Factory for `TransactionalOutput`: each call builds a producer with the same transactional id."""
    settings = producer_settings(config, role)
    return lambda on_error: make_producer(settings, on_error)


def rdkafka_logger() -> logging.Logger:
    """Standard logger that librdkafka's own log lines go to; `consumer.logs` formats it."""
    return logging.getLogger(CLIENT_LOGGER)


def is_fatal(error: KafkaError) -> bool:
    """Whether a consumer that handed out `error` is of no use any more.

    One that was fenced says so with a code only, and without the flag (confluent-kafka-python issue 869).
    """
    return error.fatal() or error.code() == KafkaError._FATAL


def _made(kind: Callable[..., _Client], settings: ClientSettings, on_error: OnError | None) -> _Client:
    try:
        return kind(settings | {"error_cb": _error_callback(on_error)}, logger=rdkafka_logger())
    except (KafkaException, TypeError, ValueError) as error:  # an unknown name, a wrong value, a wrong type
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise ConfigError(
            f"kafka.client: the Kafka client does not take its settings: {without_userinfo(reason)}",
            "correct kafka.client; its names and values are librdkafka's (CONFIGURATION.md there)",
        ) from None


def _fetch_settings() -> ClientSettings:
    """A reader that hears of a record at once, and of the end of a topic within `fetch.wait.max.ms`."""
    return {
        "isolation.level": "read_committed",
        "queued.max.messages.kbytes": 65_536,  # the memory bound of the fetch queue
        "queued.min.messages": 100_000,
        # A partition whose queue is full is asked again after this; librdkafka's default of a second
        # left the reader of a backlog idle 40 % of the time.
        "fetch.queue.backoff.ms": 10,
        "fetch.wait.max.ms": 50,
        "fetch.min.bytes": 1,
        "fetch.message.max.bytes": 1024 * 1024,
        "fetch.max.bytes": 32 * 1024 * 1024,
    }


def _error_callback(on_error: OnError | None) -> Callable[[KafkaError], None]:
    def callback(error: KafkaError) -> None:
        # Informational unless fatal: librdkafka reconnects by itself. Must never raise, or `consume`
        # drops the batch it has already fetched.
        log = _log.error if error.fatal() else _log.debug  # librdkafka logs the others itself
        log("client error", code=error.name(), reason=error.str(), fatal=error.fatal())
        if on_error is not None:
            on_error(error)

    return callback


def leave_group(consumer: Consumer, name: str, limit_s: float = CLOSE_LIMIT_S) -> bool:
    """Ends a membership, inside a process that goes on; whether it ended within `limit_s`.

    Where it does not, the client is left to its thread. See `leave_behind` for why a process that is about
    to end does without.
    """
    closing = threading.Thread(target=_leave, args=(consumer, limit_s), name=f"close-{name}", daemon=True)
    closing.start()
    closing.join(limit_s)
    if closing.is_alive():
        _log.warning("a client does not close and is left behind", client=name, after_s=limit_s)
    return not closing.is_alive()


def _leave(consumer: Consumer, limit_s: float) -> None:
    """Closes a member once no rebalance is under way: one that comes while it closes may hang for ever.

    A client without a subscription joins nothing any more, so what is left are the events of rebalances that
    began before. They are heard here, where librdkafka still answers the `assign` of their callbacks.
    """
    now = time.monotonic()
    limit, quiet = now + limit_s / 2, now + QUIET_S
    consumer.unsubscribe()
    while now < min(quiet, limit):
        consumer.consume(1_000, QUIET_S / 10)  # records that were fetched are dropped with the client
        now = time.monotonic()
        if consumer.assignment():  # its revocation is yet to come
            quiet = now + QUIET_S
    consumer.close()


def leave_behind(consumer: Consumer, _: str) -> bool:
    """Leaves a member of a group as it is until the process ends, which must be by `os._exit`. Always True.

    librdkafka (issue 4884) may wait for ever for the answer to an `assign` inside the callback of a
    rebalance that comes while it closes: after its session timed out, for example. The binding holds the
    interpreter's lock meanwhile (confluent-kafka-python issue 1023), so that no time limit helps: the process
    stands still. Static members tell the group nothing when they close, so nothing is lost by not closing.
    """
    _left.append(consumer)  # letting go of a client closes it
    return True


def are_left_behind() -> bool:
    """Whether clients must not be let go of: the process may only end by `os._exit`."""
    return bool(_left)
