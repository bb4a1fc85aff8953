"""What every way to a broker returns: an address, a description, and how to stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

BrokerKind = Literal["explicit", "docker", "maven", "embedded"]


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """How a broker that we start ourselves is run; an explicit one looks at `connect_timeout_s` only.

    Attributes:
        heap_mb: heap of the Java broker, MiB.
        cpus: processors to pin a local broker to, as `taskset --cpu-list` takes them ("1", "0,2-3").
        start_timeout_s: seconds until the started broker must answer (a busy two-core machine takes 30).
        connect_timeout_s: seconds until an explicit broker must answer.
        download_timeout_s: seconds the first download of the Java artifacts or the image may take.
        overrides: broker properties that replace the defaults of `server_properties`.
    """

    heap_mb: int = 768
    cpus: str | None = None
    start_timeout_s: float = 120.0
    connect_timeout_s: float = 15.0
    download_timeout_s: float = 600.0
    overrides: tuple[tuple[str, str], ...] = ()


def nothing_to_stop() -> None:
    """The `stopper` of a broker that is not ours."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker. Use it as a context manager, or call `stop` (again is harmless).

    Attributes:
        bootstrap: ``host:port`` for clients on this machine.
        kind: how it was had.
        description: for people, with the version, e.g. "Apache Kafka 4.4.0 (Maven, KRaft)".
        stopper: ends it and removes its data.
        pid: process id of a broker that runs as a local process, for measuring and for chaos tests.
    """

    bootstrap: str
    kind: BrokerKind
    description: str
    stopper: Callable[[], None] = nothing_to_stop
    pid: int | None = None

    def stop(self) -> None:
        """End the broker and remove its data; an explicit one is left alone."""
        self.stopper()

    def __str__(self) -> str:
        return f"{self.description} on {self.bootstrap}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
