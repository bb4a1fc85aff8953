"""The models topic: reading versions as they are committed, and the coordinator that writes them.

The models topic has one writer, the coordinator: the owner of the single partition of the deltas topic
in the group `<app>-model`. Its versions, the catalog and the delta offsets go into one transaction of
its own, so a version exists exactly once however often the owner changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Self, TypeVar

import msgspec
import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from consumer.background import Background
from consumer.catalog_records import Catalog, CatalogTopic
from consumer.clock import Deadline
from consumer.config import Config
from consumer.core import Core, report_of
from consumer.errors import BrokerUnreachable, Fenced, StateUnknown, TransactionAborted
from consumer.failpoints import failpoint
from consumer.kafka_clients import (
    CloseMember,
    coordinator_settings,
    is_fatal,
    leave_group,
    make_consumer,
    reader_settings,
)
from consumer.models.versions import Versions
from consumer.topics import TopicNames
from consumer.transaction import CALL_LIMIT_S, TransactionalOutput
from online_model.coordinator import Coordinator
from online_model.model import Model, ModelError
from online_model.model_head import Version
from online_model.model_json import from_json, to_json
from schemas.internal import COMMAND_KEY, PROPOSAL_KEY, CommandRecord, DeltaRecord
from schemas.internal import from_json as record_from_json
from schemas.outbox import Headers

_log = structlog.get_logger("model")

_READ_TIMEOUT_S: Final = 30.0

AnyVersion = TypeVar("AnyVersion", bound=Version)


class ModelReader:
    """Versions of the models topic, oldest first, as they become visible."""

    def __init__(self, config: Config, names: TopicNames) -> None:
        self._config = config
        self._topic = names.models
        self._position = 0
        #: Whether a proposal waits for a person.
        self.has_proposal = False
        self._consumer: Consumer = make_consumer(reader_settings(config, committed_only=True))
        self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])

    def read_to_end(self) -> Iterator[Version]:
        """Every version committed or about to be committed at the call, as it is read.

        Scans that were learnt long ago are heads (`Versions`). The end is the end of the log, not of what is
        stable: a transaction that another process has left open is waited for until it ends or times out.
        Raises `BrokerUnreachable` if that takes too long.
        """
        end = self._end_of_log()
        deadline = Deadline(_READ_TIMEOUT_S)
        stream = Versions()
        while self._position < end:
            if deadline.expired:
                raise BrokerUnreachable(
                    f"the models topic {self._topic} could not be read to its end in {_READ_TIMEOUT_S:.0f} s",
                    "check the brokers; an open transaction of another process may hold it back",
                )
            for value in self._take(self._consumer.consume(100, 0.1)):
                yield from _decoded(stream.add(value), stream.old)
        yield from _decoded(stream.rest(), from_json)

    def poll(self) -> list[Model]:
        """Versions that became visible since the last call; does not wait."""
        values = self._take(self._consumer.consume(100, 0.0))
        return list(_decoded(values, from_json))

    @property
    def lag(self) -> int:
        """Offsets between the last record read and the end as last heard of."""
        end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), cached=True)[1]
        return max(int(end) - self._position, 0)

    def _take(self, messages: list[Message]) -> list[bytes]:
        """Records of versions."""
        values: list[bytes] = []
        for message in messages:
            offset = int(message.offset() or 0)
            if _is_end(message):
                self._position = max(self._position, offset)
            elif message.error() is None:
                self._position = offset + 1
                value = message.value()
                if message.key() == PROPOSAL_KEY:
                    self.has_proposal = value is not None
                elif value is not None:
                    values.append(value)
        return values

    def _end_of_log(self) -> int:
        watcher = make_consumer(reader_settings(self._config, committed_only=False))
        try:
            return int(watcher.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=10.0)[1])
        except KafkaException as exception:
            raise BrokerUnreachable(
                f"the end of {self._topic} is not known: {exception.args[0].str()}", "check the brokers"
            ) from exception
        finally:
            watcher.close()

    def close(self) -> None:
        """Stops reading."""
        self._consumer.close()


def _is_end(message: Message) -> bool:
    error = message.error()
    if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise StateUnknown(
            "the models topic lost records that were not read yet", "restart; it is read from its beginning"
        )
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _decoded(values: list[bytes], decode: Callable[[bytes], AnyVersion]) -> Iterator[AnyVersion]:
    """Versions, without those whose records are damaged."""
    for value in values:
        try:
            yield decode(value)
        except ModelError as error:
            _log.error("model record ignored", problem=str(error))


class CoordinatorProcess:
    """Runs the `Coordinator` over the deltas topic, inside the loop of a worker or on its own.

    It acts only while it owns the deltas partition; another process may own it instead. Whoever
    becomes the owner first adopts (`catch_up`) every version that former owners have published, and
    then reads the deltas that came after the newest one. Versions are committed in the background, one
    transaction at a time; deltas are read on when it is done.
    """

    def __init__(
        self,
        consumer: Consumer,
        names: TopicNames,
        coordinator: Coordinator,
        output: TransactionalOutput,
        catalog: CatalogTopic,
        catch_up: Callable[[], None],
    ) -> None:
        self._names = names
        self._coordinator = coordinator
        self._output = output
        self._catalog = catalog
        self._catch_up = catch_up
        self._next = 0
        self._commands: dict[int, CommandRecord] = {}
        self._consumer = consumer
        self._member = self._assigned = self._owner = False
        self._publishing: Background[None] = Background("publish", CALL_LIMIT_S)
        self._consumer.subscribe(
            [names.deltas], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    @classmethod
    def of(
        cls,
        core: Core,
        names: TopicNames,
        instance: str,
        output: TransactionalOutput,
        catch_up: Callable[[], None],
    ) -> Self:
        """For the coordinator of `core`, as the member `instance` of the group."""
        catalog = catalog_topic(core)
        consumer = make_consumer(coordinator_settings(core.config, instance))
        return cls(consumer, names, core.coordinator, output, catalog, catch_up)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._member, self._assigned, self._owner = True, bool(partitions), False
        consumer.assign([])  # nothing is read before `_become_owner`

    def _on_revoke(self, _: Consumer, __: list[TopicPartition]) -> None:
        self._publishing.settle()
        self._assigned = self._owner = False

    @property
    def is_owner(self) -> bool:
        """Whether this process coordinates."""
        return self._owner

    @property
    def is_standing_by(self) -> bool:
        """Whether it has a place in the group, and another process coordinates."""
        return self._member and not self._assigned

    @property
    def next_delta(self) -> int:
        """Offset of the next delta to be read by the owner."""
        return self._next

    @property
    def commands(self) -> list[CommandRecord]:
        """Commands that are not done yet, in order."""
        return list(self._commands.values())

    def done(self, commands: list[CommandRecord]) -> None:
        """These need not be carried out (again)."""
        ids = {command.id for command in commands}
        self._commands = {at: c for at, c in self._commands.items() if c.id not in ids}

    def poll(self) -> None:
        """Folds the deltas that have come and begins to publish what they complete.

        Raises what an earlier publication failed with, as `TransactionalOutput.commit`.
        """
        if self._publishing.is_busy:
            return
        self._publishing.result()
        try:
            messages = self._consumer.consume(200, 0.0)
            if self._assigned and not self._owner:
                self._become_owner()
                return
        except KafkaException as exception:
            raise StateUnknown(
                f"reading deltas failed: {exception.args[0].str()}", "restart; the process restores"
            ) from exception
        made: list[Model] = []
        for message in messages:
            if _is_delta(message) and self._owner:
                made += self._fold(message)
        if made:
            self.publish(made)

    def _become_owner(self) -> None:
        """Goes on where the former owner stopped; its last version is visible before its offset moves."""
        failpoint("coordinator.assigned")
        self._catch_up()
        place = TopicPartition(self._names.deltas, 0)
        committed = self._consumer.committed([place], timeout=30.0)[0].offset
        self._next = max(committed, 0)
        self._commands.clear()
        self._coordinator.forget_reports()
        self._catalog.begin()
        self._consumer.assign([TopicPartition(self._names.deltas, 0, self._next)])
        self._owner = True
        failpoint("coordinator.owner")
        _log.info("coordinating", from_delta=self._next)

    def _fold(self, message: Message) -> list[Model]:
        offset = int(message.offset() or 0)
        self._next = offset + 1
        try:
            if message.key() == COMMAND_KEY:
                self._commands[offset] = record_from_json(message.value() or b"", CommandRecord)
                return []
            report = report_of(record_from_json(message.value() or b"", DeltaRecord))
        except (msgspec.DecodeError, ValueError, KeyError) as error:
            _log.error("delta record ignored", offset=message.offset(), problem=str(error))
            return []
        model = self._coordinator.offer(report)
        if model is None:
            return []
        failpoint("coordinator.fold")
        return [model]

    def publish(self, models: list[Model], proposal: Model | None = None) -> None:
        """Begins to make versions visible with their catalog, and the deltas they rest on done.

        A `proposal` takes the place of the one before; a recalibrated or restored version takes it away.
        Deltas after a command that is not done are read again by another owner, and are known to be folded.
        Raises what an earlier publication failed with, as `TransactionalOutput.commit`.
        """
        self._publishing.result()
        # Asked here: the client does not answer the publishing thread while a callback waits for it.
        metadata = self._consumer.consumer_group_metadata()
        place = TopicPartition(self._names.deltas, 0, min([self._next, *self._commands]))
        settled = proposal is None and any(model.kind in ("recalibrated", "restored") for model in models)
        value = None if proposal is None else to_json(proposal)
        proposals = [value] if proposal is not None or settled else []
        # Made here: what is known of the segments goes on with the next version that the loop makes.
        entries = self._catalog.records(models)
        self._publishing.start(lambda: self._publish(models, proposals, entries, (place, metadata)))

    def _publish(
        self,
        models: list[Model],
        proposals: list[bytes | None],
        entries: list[tuple[bytes, bytes, Headers]],
        end: tuple[TopicPartition, object],
    ) -> None:
        """Commits `models` and what goes with them; an aborted transaction is written once more."""
        failpoint("publish.before")
        try:
            self._write(models, proposals, entries, end)
        except TransactionAborted as error:
            _log.warning("transaction aborted, writing the model again", problem=error.problem)
            self._write(models, proposals, entries, end)
        failpoint("publish.after")
        for model in models[-1:]:
            _log.info("model published", version=model.version, kind=model.kind, k=model.k)

    def _write(
        self,
        models: list[Model],
        proposals: list[bytes | None],
        entries: list[tuple[bytes, bytes, Headers]],
        end: tuple[TopicPartition, object],
    ) -> None:
        for model in models:
            self._output.produce(self._names.models, 0, str(model.version).encode(), to_json(model))
        for value in proposals:
            self._output.produce(self._names.models, 0, PROPOSAL_KEY, value)
        self._output.produce_many(
            self._names.catalog,
            0,
            [key for key, _, _ in entries],
            [value for _, value, _ in entries],
            [headers for _, _, headers in entries],
        )
        failpoint("publish.produced")
        place, metadata = end
        self._output.commit([place], metadata)

    def close(self, close_member: CloseMember = leave_group) -> None:
        """Waits for the publication under way and ends the membership among the coordinators."""
        self._publishing.close()
        close_member(self._consumer, "coordinator")


def _is_delta(message: Message) -> bool:
    """False for events. Raises `Fenced` if the client says that its place in the group is gone."""
    error = message.error()
    if error is not None and is_fatal(error):
        raise Fenced(
            f"the coordinators have no place for this process any more: {error.str()}",
            "restart; give every process its own app.instance",
        )
    return error is None and message.value() is not None


def catalog_topic(core: Core) -> CatalogTopic:
    """The catalog of the coordinator of `core`."""
    catalog = Catalog(core.plan.columns, core.strategies, core.coordinator.segments)
    return CatalogTopic(catalog, f"/{core.config.app.name}", core.run_id)
