"""The topics of the contract: their names, their shape, creating them and checking them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from consumer.clock import Deadline
from consumer.errors import BrokerRefused, BrokerUnreachable, TopicError
from consumer.kafka_clients import MAX_RECORD_BYTES, Admin

_DAY_MS: Final = 86_400_000
_WEEK_MS: Final = 7 * _DAY_MS

_BROKER_TIME: Final = {"message.timestamp.type": "LogAppendTime"}

#: Seconds that one administrative action may take.
ADMIN_TIMEOUT_S: Final = 15.0

#: Seconds after which a cluster that says nothing counts as unreachable.
CONTACT_TIMEOUT_S: Final = 5.0


#: What to do when the number of partitions has changed under a group.
MOVE_FIX: Final = (
    "start a new group (app.name) on new topics (topics.prefix, made by 'segmenter topics create'): copy the "
    "input records into them in the order of their event times, then run it there"
)

#: Errors of describing a topic that say nothing about the topic.
_NOT_TOLD: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,  # made or deleted this moment: not every broker knows yet
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
    }
)


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Names of all topics: the contract's names behind a prefix."""

    usage: str
    billing: str
    customer: str
    changes: str
    current: str
    catalog: str
    dlq: str
    models: str
    deltas: str
    audit: str

    @classmethod
    def with_prefix(cls, prefix: str = "") -> TopicNames:
        """The contract's names, each behind `prefix`."""
        return cls(
            usage=f"{prefix}telecom.usage.v1",
            billing=f"{prefix}telecom.billing.v1",
            customer=f"{prefix}telecom.customer.v1",
            changes=f"{prefix}segments.changes.v1",
            current=f"{prefix}segments.current.v1",
            catalog=f"{prefix}segments.catalog.v1",
            dlq=f"{prefix}segmenter.dlq.v1",
            models=f"{prefix}segmenter.models",
            deltas=f"{prefix}segmenter.deltas",
            audit=f"{prefix}segmenter.audit",
        )

    @property
    def inputs(self) -> tuple[str, str, str]:
        """Input topics, in the order of `schemas.batch.Topic`."""
        return self.usage, self.billing, self.customer

    @property
    def replayed(self) -> str:
        """The ledger of dead letters sent again; `segmenter dlq replay` makes it when it is first used."""
        return f"{self.dlq.removesuffix('.v1')}.replayed"


@dataclass(frozen=True, slots=True)
class TopicShape:
    """What a topic must look like. `partitions` None: as many as the input topics have."""

    name: str
    partitions: int | None
    config: dict[str, str]

    @property
    def cleanup_policy(self) -> str:
        """`delete` or `compact`."""
        return self.config["cleanup.policy"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a topic, and what to do about it."""

    topic: str
    problem: str
    fix: str


@dataclass(frozen=True, slots=True)
class Created:
    """Outcome of `create`: names of topics made and of topics that were there already."""

    created: tuple[str, ...]
    existing: tuple[str, ...]


def shapes(names: TopicNames) -> tuple[TopicShape, ...]:
    """The shape of every topic, inputs first."""
    large = {"max.message.bytes": str(MAX_RECORD_BYTES)}
    stream = {"cleanup.policy": "delete", "retention.ms": str(30 * _DAY_MS)}
    table = {"cleanup.policy": "compact"}
    return (
        # Restart replays windows: input must outlive the longest of them (90 days) and some.
        *(
            # Stamped by the broker: retention then counts from arrival, whatever the sender's clock says.
            TopicShape(name, None, stream | {"retention.ms": str(120 * _DAY_MS), **_BROKER_TIME})
            for name in names.inputs
        ),
        TopicShape(names.changes, None, stream),
        # A day after an erasure the broker compacts, whatever share of the topic has changed.
        TopicShape(names.current, None, table | {"max.compaction.lag.ms": str(_DAY_MS)}),
        # The audit keeps every record for a week, so that each decision of it can be re-derived.
        TopicShape(names.audit, None, table | large | {"min.compaction.lag.ms": str(_WEEK_MS)}),
        TopicShape(names.dlq, None, stream | large),
        TopicShape(names.catalog, 1, table),
        TopicShape(names.models, 1, table | large),
        TopicShape(names.deltas, 1, {"cleanup.policy": "delete", "retention.ms": str(_WEEK_MS)} | large),
    )


def create(admin: Admin, names: TopicNames, partitions: int, replication: int) -> Created:
    """Create the topics that are missing; existing ones are left as they are.

    The new topics take the partition count of existing inputs. Raises `TopicError` if a topic cannot be
    created or if `partitions` contradicts existing inputs, `BrokerUnreachable` if nobody answers.
    """
    deadline = Deadline(ADMIN_TIMEOUT_S)
    existing = _partition_counts(_metadata(admin, deadline))
    counts = {existing[name] for name in names.inputs if name in existing}
    if counts and counts != {partitions}:
        raise TopicError(
            f"the input topics have {_join(counts)} partitions, not {partitions}",
            f"use --partitions {max(counts)}, or delete the input topics first; all three need one count",
        )
    missing = [s for s in shapes(names) if s.name not in existing]
    requests = [
        NewTopic(
            shape.name,
            num_partitions=shape.partitions or partitions,
            replication_factor=replication,
            config=shape.config,
        )
        for shape in missing
    ]
    futures = admin.create_topics(requests, operation_timeout=10, request_timeout=10) if requests else {}
    created = tuple(name for name, future in futures.items() if _was_created(name, future, deadline))
    _wait_until_known(admin, [s.name for s in missing], deadline)
    return Created(created, tuple(s.name for s in shapes(names) if s.name not in created))


def check(admin: Admin, names: TopicNames) -> list[Finding]:
    """Everything wrong with the topics: missing, partition counts, cleanup policies.

    Empty if the service can run. Raises `BrokerUnreachable`.
    """
    deadline = Deadline(ADMIN_TIMEOUT_S)
    counts = _partition_counts(_metadata(admin, deadline))
    findings = [
        Finding(s.name, "the topic does not exist", "run 'segmenter topics create'")
        for s in shapes(names)
        if s.name not in counts
    ]
    present = [s for s in shapes(names) if s.name in counts]
    findings += _count_findings(present, counts, names)
    policies = topic_settings(admin, [s.name for s in present], "cleanup.policy", deadline.remaining_s())
    findings += _policy_findings(present, policies)
    return findings


def require(admin: Admin, names: TopicNames) -> int:
    """Number of input partitions. Raises `TopicError` naming every finding of `check`."""
    findings = check(admin, names)
    if findings:
        lines = "\n".join(f"  - {f.topic}: {f.problem} ({f.fix})" for f in findings)
        raise TopicError(
            f"the topics are not as they must be:\n{lines}",
            "follow the hints in brackets; 'segmenter topics check' shows what is left",
        )
    return input_partitions(admin, names)


def input_partitions(admin: Admin, names: TopicNames) -> int:
    """Number of partitions of the three input topics.

    Raises `TopicError` if one is missing or the counts differ, `BrokerUnreachable`.
    """
    counts = _partition_counts(_metadata(admin, Deadline(ADMIN_TIMEOUT_S)))
    missing = [name for name in names.inputs if name not in counts]
    if missing:
        raise TopicError(f"input topics are missing: {', '.join(missing)}", "run 'segmenter topics create'")
    if len({counts[name] for name in names.inputs}) > 1:
        listing = ", ".join(f"{name}: {counts[name]}" for name in names.inputs)
        raise TopicError(
            f"partition counts of the input topics differ ({listing})",
            f"if they are unused, recreate them with one count; if they are in use, {MOVE_FIX}",
        )
    return counts[names.usage]


def partitions_of(admin: Admin, topic: str) -> int:
    """Number of partitions of `topic`. Raises `TopicError` if it is missing, `BrokerUnreachable`."""
    counts = _partition_counts(_metadata(admin, Deadline(ADMIN_TIMEOUT_S)))
    if topic not in counts:
        raise TopicError(
            f"the topic {topic} does not exist", "check topics.prefix, or run 'segmenter topics create'"
        )
    return counts[topic]


def newest_input_us(admin: Admin, names: TopicNames) -> int:
    """Timestamp of the newest input record, microseconds since the epoch; negative if there is none.

    Raises `BrokerUnreachable` or `BrokerRefused`.
    """
    counts = _partition_counts(_metadata(admin, Deadline(ADMIN_TIMEOUT_S)))
    newest: Callable[[], OffsetSpec] = OffsetSpec.max_timestamp
    asked = {
        TopicPartition(name, partition): newest()
        for name in names.inputs
        for partition in range(counts.get(name, 0))
    }
    futures = admin.list_offsets(asked, request_timeout=ADMIN_TIMEOUT_S)
    try:
        return max((future.result().timestamp * 1000 for future in futures.values()), default=-1)
    except KafkaException as exception:
        raise broker_error(exception.args[0], admin.bootstrap) from exception


def cluster_metadata(admin: Admin, timeout_s: float) -> ClusterMetadata:
    """Metadata of the cluster. Raises `BrokerUnreachable` or `BrokerRefused`."""
    return _metadata(admin, Deadline(timeout_s))


def _metadata(admin: Admin, deadline: Deadline) -> ClusterMetadata:
    try:
        return admin.list_topics(timeout=max(0.1, min(CONTACT_TIMEOUT_S, deadline.remaining_s())))
    except KafkaException as exception:
        raise broker_error(exception.args[0], f"{admin.bootstrap}: {admin.trouble}") from exception


def broker_error(error: KafkaError, contact: str = "") -> BrokerUnreachable | BrokerRefused:
    """The exception that an administrative call's error means; `contact`: who was asked, and the trouble."""
    if error.code() in (
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError.REQUEST_TIMED_OUT,
    ):
        return BrokerUnreachable(
            f"no Kafka broker answered at {contact or error.str()}".rstrip(": "),
            "check kafka.bootstrap (SEGMENTER_KAFKA__BOOTSTRAP, --bootstrap), that a broker listens there "
            "and that kafka.client holds its security settings",
        )
    return BrokerRefused(
        f"Kafka refuses the request: {error.str()} ({error.name()})",
        "check the rights of this client (ACL) and kafka.client",
    )


def _partition_counts(metadata: ClusterMetadata) -> dict[str, int]:
    return {
        name: len(topic.partitions)
        for name, topic in metadata.topics.items()
        if topic.error is None and topic.partitions
    }


def _was_created(name: str, future: Future[Any], deadline: Deadline) -> bool:
    try:
        future.result(timeout=max(0.1, deadline.remaining_s()))
        return True
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was quicker
            return False
        if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
            fix = "use a --replication no larger than the number of brokers"
        elif error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
            fix = "allow this client to create topics, or have them created as 'topics check' says"
        else:
            raise broker_error(error) from exception
        raise TopicError(f"topic {name} cannot be created: {error.str()}", fix) from exception
    except TimeoutError:
        raise BrokerUnreachable(
            f"creating topic {name} did not finish in time", "look at the broker's log and try again"
        ) from None


def _wait_until_known(admin: Admin, names: list[str], deadline: Deadline) -> None:
    """Brokers learn of a new topic a moment after the controller has made it."""
    while set(names) - _partition_counts(_metadata(admin, deadline)).keys():
        if deadline.expired:
            raise BrokerUnreachable(
                "the brokers do not know the created topics yet",
                "run 'segmenter topics check' a little later",
            )
        time.sleep(0.05)


def _count_findings(
    present: Iterable[TopicShape], counts: dict[str, int], names: TopicNames
) -> list[Finding]:
    inputs = {counts[n] for n in names.inputs if n in counts}
    if not inputs:
        return []
    wanted = max(inputs)
    listing = ", ".join(f"{n}: {counts[n]}" for n in names.inputs if n in counts)
    findings = []
    for shape in present:
        have, want = counts[shape.name], shape.partitions or wanted
        if have == want or (shape.name == names.dlq and have >= want):
            continue
        if shape.name in names.inputs:
            problem = f"partition counts of the input topics differ ({listing})"
            fix = f"if it is unused, recreate it with {want} partitions; if it is in use, {MOVE_FIX}"
        elif shape.partitions is None:
            problem = f"has {have} partitions, the input topics have {want}"
            fix = (
                f"if it is unused, delete it and run 'segmenter topics create --partitions {want}'; "
                f"if the input topics have grown, {MOVE_FIX}"
            )
        else:
            problem = f"has {have} partitions, must have {want}: its order is global"
            fix = "delete it and run 'segmenter topics create'"
        findings.append(Finding(shape.name, problem, fix))
    return findings


def _policy_findings(present: Iterable[TopicShape], policies: dict[str, str]) -> list[Finding]:
    findings = []
    for shape in present:
        have = policies.get(shape.name)
        # A broker that does not tell (no right to describe) is no reason to stop.
        if have is None or set(have.split(",")) == {shape.cleanup_policy}:
            continue
        findings.append(
            Finding(
                shape.name,
                f"cleanup.policy is {have}, must be {shape.cleanup_policy}",
                f"kafka-configs --alter --entity-type topics --entity-name {shape.name} "
                f"--add-config cleanup.policy={shape.cleanup_policy}",
            )
        )
    return findings


def topic_settings(
    admin: Admin, topics: list[str], setting: str, timeout_s: float = ADMIN_TIMEOUT_S
) -> dict[str, str]:
    """Value of `setting` by topic, of those the broker tells about (a client may lack the right)."""
    if not topics:
        return {}
    deadline = Deadline(timeout_s)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    values: dict[str, str] = {}
    for resource, future in admin.describe_configs(resources, request_timeout=10).items():
        try:
            entry = future.result(timeout=max(0.1, deadline.remaining_s())).get(setting)
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() in _NOT_TOLD:
                continue
            raise broker_error(error) from exception
        if entry is not None and entry.value:
            values[resource.name] = entry.value
    return values


def _join(values: Iterable[int]) -> str:
    return " and ".join(str(v) for v in sorted(values))
