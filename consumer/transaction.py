"""Transactional output: everything one commit makes visible, or nothing of it.

Two ideas. One state enum says what the producer may be asked; and every client error is translated
once, by `consumer.reaction`, into what to do about it:

    AGAIN   the same call again, until the deadline
    ABORT   the transaction is lost: abort, raise `TransactionAborted`; the caller, if it still owns the
            partitions, writes the same payload once more
    EXIT    fenced, or nobody knows: raise `Fenced` or `StateUnknown`; the process restarts and restores

librdkafka sends EndTxn again by itself after a timeout, and without KIP-890 a late copy could end the
*next* transaction. So after any error, and after any transactional step that was slow enough to hide
such a repetition, the producer is replaced before the next transaction begins: `init_transactions` of
the new one raises the epoch, which fences what is still under way.

This class does not decide when to commit, and it does not retry payloads.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.clock import Deadline
from consumer.errors import (
    BrokerRefused,
    BrokerUnreachable,
    DataError,
    Fenced,
    StateUnknown,
    TransactionAborted,
)
from consumer.failpoints import failpoint
from consumer.ports import Headers, ProducerFactory, TransactionalProducer
from consumer.reaction import DISCONNECTED_CODES, FENCING_CODES, REFUSED_CODES, Reaction, reaction_to

#: A transactional step slower than this may have been repeated inside librdkafka: each repetition waits
#: retry.backoff.ms (500, set in `kafka_clients`) less 20 % of jitter.
SLOW_STEP_S: Final = 0.4

#: The broker aborts a transaction after 10 s (transaction.timeout.ms); ours must have ended before.
COMMIT_TIMEOUT_S: Final = 9.0
ABORT_TIMEOUT_S: Final = 5.0
START_TIMEOUT_S: Final = 30.0
#: From the beginning of a transaction on, attempts that were aborted included, the producer may be replaced
#: for so long. An outage that lasts longer ends the process.
REBUILD_TIMEOUT_S: Final = 22.0
#: So a payload is committed, or aborted for the second time, after this at most. Two seconds are for what is
#: between the calls. A clean stop adds an abort; supervisors grant 45 s, and a loop is stuck after 60.
CALL_LIMIT_S: Final = REBUILD_TIMEOUT_S + COMMIT_TIMEOUT_S + ABORT_TIMEOUT_S + 2.0

_FULL_QUEUE_WAIT_S: Final = 0.05


T = TypeVar("T")


class State(Enum):
    """What the output can be asked to do."""

    NEW = "new"  # start() comes first
    IDLE = "idle"  # no transaction; the next produce begins one
    OPEN = "open"  # a transaction is under way
    STALE = "stale"  # no transaction; the producer is replaced before the next begin
    DEAD = "dead"  # fenced or unknown: only close()
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class CommitTimes:
    """Seconds spent in the three steps of a commit."""

    flush_s: float
    offsets_s: float
    end_s: float

    @property
    def total_s(self) -> float:
        """Seconds from the flush to the end of the transaction."""
        return self.flush_s + self.offsets_s + self.end_s


class TransactionalOutput:
    """One transactional producer and its replacements.

    `factory` builds a producer and is given a function for the client's error callback.
    `name`: the transactional id, for messages. `rebuilds` counts replacements by reason (`slow`,
    `error`, `disconnected`). Not thread-safe: everything, callbacks included, runs on the loop's thread.
    """

    def __init__(
        self, factory: ProducerFactory, name: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._factory = factory
        self._name = name
        self._monotonic = monotonic
        self._producer: TransactionalProducer | None = None
        self._state = State.NEW
        self._rebuilding: Deadline | None = None  # of the payload under way
        self._suspicion = ""  # why the producer must be replaced after the open transaction
        self.rebuilds: dict[str, int] = {"slow": 0, "error": 0, "disconnected": 0}

    @property
    def state(self) -> State:
        """What the output can be asked to do."""
        return self._state

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Connect and abort what a former process of this name left open.

        Must come before any progress is read, otherwise that transaction could still be committed
        after the reading. Raises `BrokerUnreachable`, `BrokerRefused` or `Fenced`.
        """
        self._require(State.NEW)
        self._connect(Deadline(timeout_s, self._monotonic))

    def produce(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
    ) -> None:
        """Add one record to the transaction, beginning one if none is open.

        Blocks while the queue is full. Raises `TransactionAborted`, `BrokerUnreachable` if no broker answers
        a producer that takes the place of another, or `DataError` if the record is too large for Kafka.
        Delivery errors surface at `commit`.
        """
        self.produce_many(topic, partition, (key,), (value,), None if headers is None else (headers,))

    def produce_many(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Headers] | None = None,
    ) -> None:
        """Add `n` records of one partition, in order: `keys`, `values` and `headers` are parallel.

        As `produce`, at about a microsecond per record less.
        """
        if not keys:
            return
        if self._state is not State.OPEN:
            self._begin()
        assert self._producer is not None
        produce = self._producer.produce
        row, n = 0, len(keys)
        while row < n:
            try:
                while row < n:
                    produce(topic, values[row], keys[row], partition, headers=headers and headers[row])
                    row += 1
            except BufferError:  # the same record again, once there is room
                self._producer.poll(_FULL_QUEUE_WAIT_S)
            except KafkaException as exception:
                self._refuse_record(exception, topic, len(values[row] or b""))
        failpoint("produce.batch")

    def commit(self, offsets: list[TopicPartition], group_metadata: object) -> CommitTimes:
        """Commit the records added and `offsets` (next offset to read per input partition).

        `group_metadata` must be fresh from `Consumer.consumer_group_metadata()`: it carries the
        generation that fences former owners. Without records a transaction of offsets only is made.
        Raises `TransactionAborted`, `Fenced` or `StateUnknown`; in each case the producer is not used again.
        """
        if not offsets:
            raise ValueError("a commit without offsets: nothing owned, nothing to commit")
        if self._state is not State.OPEN:
            self._begin()
        producer = self._producer
        assert producer is not None
        deadline = Deadline(COMMIT_TIMEOUT_S, self._monotonic)
        started = self._monotonic()
        # Flushed first, so that the steps below last only as long as their own requests.
        waiting = self._in_transaction(
            lambda: producer.flush(_slice(deadline)), deadline, "the flush", Reaction.ABORT
        )
        if waiting:
            self._lose_transaction("records were not delivered in time")
        failpoint("flush.after")

        def send_offsets() -> None:
            failpoint("offsets.before")
            producer.send_offsets_to_transaction(offsets, group_metadata, _slice(deadline))
            failpoint("offsets.after")

        def end() -> None:
            failpoint("commit.before")
            producer.commit_transaction(_slice(deadline))
            failpoint("commit.after")

        flushed = self._monotonic()
        self._in_transaction(send_offsets, deadline, "sending the offsets", Reaction.ABORT)
        sent = self._monotonic()
        self._in_transaction(end, deadline, "the commit", Reaction.EXIT)
        ended = self._monotonic()
        times = CommitTimes(flushed - started, sent - flushed, ended - sent)
        self._rebuilding = None
        if max(times.offsets_s, times.end_s) >= SLOW_STEP_S:
            self._suspect("slow")
        self._leave_transaction()
        return times

    def abort(self) -> None:
        """Drop the open transaction, if any. Raises `Fenced` or `StateUnknown`."""
        if self._state is not State.OPEN:
            return
        producer = self._producer
        assert producer is not None
        deadline = Deadline(ABORT_TIMEOUT_S, self._monotonic)
        started = self._monotonic()
        while True:
            try:
                failpoint("abort.before")
                producer.abort_transaction(_slice(deadline))
                failpoint("abort.after")
                break
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                self._suspect("error")
                if reaction_to(error) is Reaction.EXIT:
                    self._die(error, "the abort")
                if deadline.expired:
                    break  # the successor's init_transactions aborts it
        if self._monotonic() - started >= SLOW_STEP_S:
            self._suspect("slow")
        self._leave_transaction()

    def close(self) -> None:
        """Abort what is open and let the producer go. Never raises, may be called twice."""
        # Fenced: whoever fenced us ends the transaction, and so does the broker's timeout.
        with contextlib.suppress(Fenced, StateUnknown):
            self.abort()
        self._producer = None
        self._state = State.CLOSED

    def serve(self) -> None:
        """Run waiting client callbacks (errors, logs). For idle times; `commit` does it by itself."""
        if self._producer is not None:
            self._producer.poll(0.0)

    def _begin(self) -> None:
        self.serve()  # an error that waits to be told counts before the transaction, not in it
        deadline = self._rebuilding = self._rebuilding or Deadline(REBUILD_TIMEOUT_S, self._monotonic)
        if self._state is State.STALE:
            self._producer = None  # destroyed here: its queue is empty or abandoned
            failpoint("producer.rebuild")
            if deadline.expired:
                self._give_up("the time for it is over")
            self._connect(deadline)
            failpoint("producer.started")
        self._require(State.IDLE)
        assert self._producer is not None
        try:
            self._producer.begin_transaction()
        except KafkaException as exception:
            self._die(exception.args[0], "beginning a transaction")
        self._state = State.OPEN
        failpoint("transaction.begun")

    def _connect(self, deadline: Deadline) -> None:
        """A new producer with a new epoch."""
        self._suspicion = ""
        try:
            producer = self._factory(self._on_error)
        except KafkaException as exception:
            raise BrokerRefused(
                f"the Kafka client refuses its settings: {exception.args[0].str()}",
                "correct kafka.bootstrap and kafka.client",
            ) from exception
        while True:
            try:
                producer.init_transactions(_slice(deadline))
                break
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                if error.code() in REFUSED_CODES:
                    self._state = State.DEAD
                    raise BrokerRefused(
                        f"Kafka refuses transactions of {self._name!r}: {error.str()}",
                        "allow this client to write with that transactional id (ACL), see kafka.client",
                    ) from exception
                if reaction_to(error) is not Reaction.AGAIN:
                    self._die(error, "starting the producer")
                if deadline.expired:
                    self._give_up(error.str())
        self._suspicion = ""
        self._producer = producer
        self._state = State.IDLE

    def _give_up(self, problem: str) -> NoReturn:
        self._state = State.DEAD
        raise BrokerUnreachable(
            f"no transaction coordinator answered for {self._name!r}: {problem}",
            "check kafka.bootstrap and that the brokers are up; 'segmenter doctor' tells more",
        )

    def _in_transaction(self, call: Callable[[], T], deadline: Deadline, what: str, when_late: Reaction) -> T:
        """Make a transactional call until it succeeds; `when_late`: reaction at the deadline."""
        while True:
            try:
                return call()
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                reaction = reaction_to(error)
                if reaction is Reaction.AGAIN and deadline.expired:
                    reaction = when_late
                self._suspect("error")
                if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    self._refuse_size(f"the broker refuses a record: {error.str()}")
                if reaction is Reaction.ABORT and error.code() not in FENCING_CODES:
                    self._lose_transaction(f"{what} failed: {error.str()}")
                if reaction is not Reaction.AGAIN:
                    self._die(error, what)

    def _refuse_record(self, exception: KafkaException, topic: str, size: int) -> NoReturn:
        error: KafkaError = exception.args[0]
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._refuse_size(f"a record of {size} bytes is too large for topic {topic}")
        # Mostly "local: erroneous state": a delivery failed in the background and broke the transaction.
        self._lose_transaction(f"a record was refused: {error.str()}")

    def _refuse_size(self, problem: str) -> NoReturn:
        """Abort and raise `DataError`: written again it would be refused again."""
        self.abort()
        raise DataError(problem, "raise message.max.bytes in kafka.client and max.message.bytes of the topic")

    def _lose_transaction(self, problem: str) -> NoReturn:
        """Abort and raise `TransactionAborted` (or what the abort raises)."""
        self._suspect("error")
        self.abort()
        raise TransactionAborted(
            f"the transaction of {self._name!r} was aborted: {problem}",
            "nothing of it is visible; the process writes it again or restores",
        )

    def _die(self, error: KafkaError, what: str) -> NoReturn:
        self._state = State.DEAD
        detail = f"{what} failed for {self._name!r}: {error.str()} ({error.name()})"
        if error.code() in FENCING_CODES:
            raise Fenced(
                f"another process took over: {detail}",
                "restart; give every process its own app.instance",
            )
        raise StateUnknown(
            f"it is unknown whether the last commit happened: {detail}",
            "restart; the committed audit log decides",
        )

    def _leave_transaction(self) -> None:
        if self._suspicion:
            self.rebuilds[self._suspicion] += 1
            self._state = State.STALE
        else:
            self._state = State.IDLE

    def _suspect(self, reason: str) -> None:
        self._suspicion = self._suspicion or reason

    def _on_error(self, error: KafkaError) -> None:
        """Error callback of the client: a lost connection may mean a repeated request.

        Between transactions too: librdkafka 2.15 can hang in the first `send_offsets_to_transaction` after.
        """
        if self._state is State.OPEN and error.code() in DISCONNECTED_CODES:
            self._suspect("disconnected")
        elif self._state is State.IDLE and error.code() in DISCONNECTED_CODES:
            self.rebuilds["disconnected"] += 1
            self._state = State.STALE

    def _require(self, state: State) -> None:
        if self._state is not state:
            raise RuntimeError(f"the output is {self._state.value}, not {state.value}")


def _slice(deadline: Deadline) -> float:
    """What is left, but never 0: librdkafka reads 0 as "do not wait"."""
    return max(0.01, deadline.remaining_s())
