"""A stateful stand-in for the transactional producer: it refuses what the real one would refuse.

Faults are scripted by step name; everything committed is kept, so that tests can say what is visible.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

Record = tuple[str, int, bytes | None, bytes | None]
Outcome = BaseException | float | tuple[float, BaseException]


def retriable(code: int = KafkaError._TIMED_OUT) -> KafkaException:
    """An error after which the same call may be made again."""
    return KafkaException(KafkaError(code, "scripted", retriable=True))


def abortable(code: int = KafkaError.UNKNOWN_MEMBER_ID) -> KafkaException:
    """An error that only an abort gets out of."""
    return KafkaException(KafkaError(code, "scripted", txn_requires_abort=True))


def fatal(code: int = KafkaError._FENCED) -> KafkaException:
    """An error after which the producer is dead."""
    return KafkaException(KafkaError(code, "scripted", fatal=True))


def nameless(code: int = KafkaError._STATE) -> KafkaException:
    """An error that is neither retriable nor abortable nor fatal."""
    return KafkaException(KafkaError(code, "scripted"))


class FakeTime:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


class FakeKafka:
    """The cluster's side: what is committed, and the epoch that fences old producers."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.epoch = 0
        self.committed: list[Record] = []
        self.offsets: dict[tuple[str, int], int] = {}
        self.script: dict[str, deque[Outcome]] = {}
        self.calls: list[str] = []
        self.on_error: Any = None

    def will(self, step: str, *outcomes: Outcome) -> None:
        """Script the next calls of `step`: raise an exception, take that many seconds, or both."""
        self.script.setdefault(step, deque()).extend(outcomes)

    def factory(self, on_error: Any) -> FakeProducer:
        """A `ProducerFactory`."""
        self.on_error = on_error
        return FakeProducer(self)

    def step(self, name: str) -> None:
        """Record the call and play what is scripted for it."""
        self.calls.append(name)
        outcomes = self.script.get(name)
        if outcomes:
            outcome = outcomes.popleft()
            if isinstance(outcome, tuple):
                self.time.now_s += outcome[0]
                outcome = outcome[1]
            if isinstance(outcome, BaseException):
                raise outcome
            self.time.now_s += outcome


class FakeProducer:
    """One producer of the cluster."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self._epoch = -1
        self._open = False
        self._records: list[Record] = []
        self._offsets: dict[tuple[str, int], int] = {}

    def init_transactions(self, timeout: float, /) -> None:
        """Take over: older producers are fenced from now on."""
        assert timeout > 0
        self._kafka.step("init")
        self._kafka.epoch += 1
        self._epoch = self._kafka.epoch

    def begin_transaction(self) -> None:
        """Begin; refuses a second one."""
        self._kafka.step("begin")
        if self._open or self._epoch < 0:
            raise nameless()
        self._open = True

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int, /, *, headers: Any
    ) -> None:
        """Queue a record; refuses one outside a transaction."""
        self._kafka.step("produce")
        if not self._open:
            raise nameless()
        self._records.append((topic, partition, key, value))

    def poll(self, timeout: float, /) -> int:
        """Make room."""
        self._kafka.step("poll")
        return 0

    def flush(self, timeout: float, /) -> int:
        """Deliver everything, unless the script lets time pass."""
        assert timeout > 0
        before = self._kafka.time.now_s
        self._kafka.step("flush")
        return int(self._kafka.time.now_s - before > timeout)

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], group_metadata: object, timeout: float, /
    ) -> None:
        """Add offsets; refuses old epochs."""
        assert timeout > 0
        self._kafka.step("offsets")
        self._require_epoch()
        self._offsets = {(o.topic, o.partition): o.offset for o in offsets}

    def commit_transaction(self, timeout: float, /) -> None:
        """Make it visible; refuses old epochs."""
        assert timeout > 0
        self._kafka.step("commit")
        self._require_epoch()
        self._kafka.committed += self._records
        self._kafka.offsets |= self._offsets
        self._end()

    def abort_transaction(self, timeout: float, /) -> None:
        """Forget it."""
        assert timeout > 0
        self._kafka.step("abort")
        self._require_epoch()
        self._end()

    def _require_epoch(self) -> None:
        if not self._open:
            raise nameless()
        if self._epoch != self._kafka.epoch:
            raise fatal(KafkaError.INVALID_PRODUCER_EPOCH)

    def _end(self) -> None:
        self._open = False
        self._records = []
        self._offsets = {}
