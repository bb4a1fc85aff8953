"""`segmenter doctor`: is everything there that the service needs, and if not, what to do."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import socket
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message

from consumer import kafka_clients, topics
from consumer.clock import Deadline
from consumer.config import Config
from consumer.errors import SegmenterError
from consumer.masking import without_userinfo
from consumer.registry import unframe_of
from consumer.transaction import TransactionalOutput

#: First confluent-kafka without skipped messages in `consume()` after errors (librdkafka #4844).
MIN_CLIENT_VERSION: Final = (2, 13, 2)

#: A clock off by more turns live events into events of the future.
MAX_CLOCK_SKEW_S: Final = 5.0

CONNECT_TIMEOUT_S: Final = 5.0
#: A worker on the port answers within this time, or is taken for something else.
PROBE_TIMEOUT_S: Final = 2.0
TRANSACTION_TIMEOUT_S: Final = 20.0  # the first one ever makes the brokers create an internal topic


class Verdict(Enum):
    """Outcome of a check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check: what was found, and for a failed one what to do."""

    name: str
    verdict: Verdict
    detail: str
    fix: str = ""


def examine(config: Config) -> list[Check]:
    """Run every check. Never raises for what it finds.

    Nothing is changed but for one empty transaction, and a small file that comes and goes with snapshots.
    """
    checks = [_client_version(), *_files(config), _port(config), *_registry(config)]
    checks.append(_guarded("snapshots", lambda: _snapshots(config)))
    unconnected = [Check(n, Verdict.SKIPPED, "no connection") for n in ("topics", "transactions", "clock")]
    try:
        admin = kafka_clients.make_admin(config)
    except SegmenterError as error:
        return [*checks, Check("connection", Verdict.FAILED, error.problem, error.fix), *unconnected]
    connection = _guarded("connection", lambda: _connection(config, admin))
    checks.append(connection)
    if connection.verdict is not Verdict.OK:
        return checks + unconnected
    names_of_topics = topics.TopicNames.with_prefix(config.topics.prefix)
    checks += _topics(admin, names_of_topics)
    checks.append(_guarded("transactions", lambda: _transactions(config)))
    checks.append(_guarded("clock", lambda: _clock(config, admin, names_of_topics)))
    return checks


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """`check()`, an expected error as a failed check."""
    try:
        return check()
    except SegmenterError as error:
        return Check(name, Verdict.FAILED, error.problem, error.fix)
    except KafkaException as exception:
        refusal = topics.broker_error(exception.args[0])
        return Check(name, Verdict.FAILED, refusal.problem, refusal.fix)


def _registry(config: Config) -> list[Check]:
    """The Schema Registry, where one is set."""
    if not config.kafka.registry:
        return []

    def check() -> Check:
        unframe_of(config)
        from consumer.registry.schemas import WriterSchemas

        return Check("registry", Verdict.OK, f"{WriterSchemas(config.kafka).subjects()} subjects")

    return [_guarded("registry", check)]


def _snapshots(config: Config) -> Check:
    """Whether snapshots can be written, read and deleted: rights, and for a bucket its address and keys."""
    from consumer.snapshots import SnapshotStore

    store = SnapshotStore(config.snapshots.uri, config.app.name)
    try:
        store.try_out()
    except (OSError, ValueError) as error:  # ValueError: Arrow, of what no bucket can be called
        return Check(
            "snapshots",
            Verdict.FAILED,
            without_userinfo(f"{store.place} cannot be used: {error}"),
            "let the user of the service write, read and delete there, or choose another snapshots.uri; a "
            "relative one lies in the working directory",
        )
    return Check("snapshots", Verdict.OK, f"{store.place} can be written, read and deleted in")


def _client_version() -> Check:
    version = importlib.metadata.version("confluent-kafka")
    wanted = ".".join(map(str, MIN_CLIENT_VERSION))
    numbers = tuple(int(p) for p in version.split("-")[0].split(".")[:3] if p.isdigit())
    detail = f"confluent-kafka {version}, librdkafka {confluent_kafka.libversion()[0]}"
    if numbers < MIN_CLIENT_VERSION:
        return Check(
            "client",
            Verdict.FAILED,
            f"{detail}: older than {wanted}",
            f"pip install 'confluent-kafka>={wanted}'",
        )
    return Check("client", Verdict.OK, detail)


def _files(config: Config) -> list[Check]:
    checks = []
    for name, check in (("specification", _specification), ("strategies", _strategies)):
        checks.append(_guarded(name, partial(check, config)))
    return checks


def _specification(config: Config) -> Check:
    from consumer.models import files as model_files

    spec = model_files.load_spec(config.model.spec)
    detail = f"{config.model.spec or 'built-in'}: {len(spec.features)} features"
    return Check("specification", Verdict.OK, detail)


def _strategies(config: Config) -> Check:
    from consumer.models import files as model_files
    from online_model.compile_plan import compile_plan

    path = config.model.strategies
    strategies = model_files.load_strategies(path)
    columns = compile_plan(model_files.load_spec(config.model.spec)).columns.name
    model_files.check_rules(strategies, columns, path)
    detail = f"{path or 'built-in'}: {len(strategies.strategies)} strategies"
    if impossible := strategies.impossible(columns):
        detail += f", of which {len(impossible)} are about features that the specification does not have"
    return Check("strategies", Verdict.OK, detail)


def _port(config: Config) -> Check:
    host, port = config.http.host, config.http.port
    if port == 0:
        return Check("port", Verdict.OK, "any free port")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_ours(host, port):
            return Check("port", Verdict.OK, f"a segmenter serves on {host}:{port}")
        return Check(
            "port",
            Verdict.FAILED,
            f"cannot listen on {host}:{port}: {error.strerror}",
            "choose a free port with http.port (0: any) or stop what uses it; "
            "http.host must be an address of this machine",
        )
    return Check("port", Verdict.OK, f"{host}:{port} is free")


def _is_ours(host: str, port: int) -> bool:
    """Whether a worker answers there: the doctor is called in beside a running service."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/status", timeout=PROBE_TIMEOUT_S) as answer:
            body = json.loads(answer.read())
    except (OSError, ValueError):
        return False
    return isinstance(body, dict) and "run_id" in body


def _connection(config: Config, admin: kafka_clients.Admin) -> Check:
    metadata = topics.cluster_metadata(admin, CONNECT_TIMEOUT_S)
    brokers = len(metadata.brokers)
    detail = (
        f"{config.kafka.bootstrap}: {brokers} broker{'s' * (brokers != 1)}, cluster {metadata.cluster_id}"
    )
    return Check("connection", Verdict.OK, detail)


def _topics(admin: kafka_clients.Admin, names: topics.TopicNames) -> list[Check]:
    try:
        findings = topics.check(admin, names)
    except SegmenterError as error:
        return [Check("topics", Verdict.FAILED, error.problem, error.fix)]
    if findings:
        return [Check(f"topic {f.topic}", Verdict.FAILED, f.problem, f.fix) for f in findings]
    return [Check("topics", Verdict.OK, "all present, co-partitioned, cleanup policies as they must be")]


def _transactions(config: Config) -> Check:
    """An empty transaction of an id of its own: rights, broker features and the coordinator at once."""
    started = time.monotonic()
    output = TransactionalOutput(
        kafka_clients.producer_factory(config, "doctor"), kafka_clients.transactional_id(config, "doctor")
    )
    try:
        output.start(TRANSACTION_TIMEOUT_S)
    finally:
        output.close()
    return Check("transactions", Verdict.OK, f"granted in {(time.monotonic() - started) * 1000:.0f} ms")


def _clock(config: Config, admin: kafka_clients.Admin, names: topics.TopicNames) -> Check:
    """Compare clocks by a record that the broker stamps itself, if a topic is stamped by the broker."""
    topic = next((n for n in names.inputs if _is_broker_stamped(admin, n)), None)
    if topic is None:
        return Check("clock", Verdict.SKIPPED, "no input topic carries the broker's time")
    stamped = _newest_timestamp_s(config, topic)
    if stamped is None:
        return Check("clock", Verdict.SKIPPED, f"{topic} is empty")
    ahead_s = stamped - time.time()
    if ahead_s > MAX_CLOCK_SKEW_S:
        return Check(
            "clock",
            Verdict.FAILED,
            f"the newest record of {topic} is {ahead_s:.1f} s ahead of this machine's clock",
            "synchronise the clocks of this machine and the brokers (NTP)",
        )
    return Check("clock", Verdict.OK, f"newest record of {topic} is {-ahead_s:.1f} s old")


def _is_broker_stamped(admin: kafka_clients.Admin, topic: str) -> bool:
    told = topics.topic_settings(admin, [topic], "message.timestamp.type", CONNECT_TIMEOUT_S)
    return told.get(topic) == "LogAppendTime"


def _newest_timestamp_s(config: Config, topic: str) -> float | None:
    """Time of the last record of partition 0, seconds since the epoch, or None if it holds none."""
    reader = kafka_clients.make_consumer(kafka_clients.reader_settings(config, committed_only=False))
    deadline = Deadline(CONNECT_TIMEOUT_S)
    try:
        place = confluent_kafka.TopicPartition(topic, 0)
        low, high = reader.get_watermark_offsets(place, timeout=deadline.remaining_s(), cached=False)
        if high <= low:
            return None
        reader.assign([confluent_kafka.TopicPartition(topic, 0, high - 1)])
        while not deadline.expired:
            message: Message | None = reader.poll(0.2)
            error = None if message is None else message.error()
            if message is not None and error is None:
                return message.timestamp()[1] / 1000
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                return None
        return None
    finally:
        reader.close()


__all__ = ["Check", "Verdict", "examine"]
