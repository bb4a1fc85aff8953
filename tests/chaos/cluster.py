"""One or more Apache Kafka nodes that can be killed and started again, each behind a proxy."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from consumer.brokers import BrokerOptions
from consumer.brokers import maven as kafka
from consumer.brokers.local_process import LocalProcess, free_port
from consumer.brokers.readiness import answers
from consumer.brokers.server_properties import server_properties
from consumer.clock import Deadline
from consumer.errors import BrokerUnreachable
from tests.chaos.proxy import Proxy

HEAP_MB: Final = 512
_START_S: Final = 90.0


@dataclass(slots=True)
class Node:
    """A broker and controller. `direct`: its address for the harness; workers come through `proxy`."""

    number: int
    direct: str
    controller: str
    proxy: Proxy
    process: LocalProcess
    command: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Starts the broker on the data that it left, and returns before it answers."""
        self.process.start(self.command)

    def wait(self) -> None:
        """Returns when it answers; raises `BrokerUnreachable` with the end of its log."""
        if not answers(self.direct, Deadline(_START_S), lambda: self.process.exit_code() is None):
            raise BrokerUnreachable(f"broker {self.number} is down:\n{self.process.tail()}", "read its log")

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        if self.process.pid is not None and self.process.exit_code() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.abandon()


class Cluster:
    """`size` nodes. Use as a context manager.

    `direct`: bootstrap for the harness; `proxied`: for the workers, whose every connection goes through
    the node's proxy.
    """

    def __init__(self, size: int = 1) -> None:
        controllers = [f"127.0.0.1:{free_port()}" for _ in range(size)]
        voters = ",".join(f"{n}@{address}" for n, address in enumerate(controllers, 1))
        self.nodes: list[Node] = []
        try:
            for number, controller in enumerate(controllers, 1):
                self.nodes.append(self._make(number, controller, voters, size))
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                node.wait()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _make(number: int, controller: str, voters: str, size: int) -> Node:
        jars = kafka.class_path(BrokerOptions().download_timeout_s)
        address, behind = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        proxy = Proxy(behind)
        process = LocalProcess(f"chaos-{number}")
        copies, least = str(min(size, 3)), str(max(1, min(size, 3) - 1))
        protocols = "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT"
        changed = {
            **server_properties(address, address, controller),
            "node.id": str(number),
            "listeners": f"PLAINTEXT://{address},PROXIED://{behind},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{address},PROXIED://{proxy.address}",
            "listener.security.protocol.map": protocols,
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.quorum.voters": voters,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": least,
            "min.insync.replicas": least,
            "default.replication.factor": copies,
            # A dead broker's partitions must find a new leader within a run.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # Runs delete their topics: hundreds of them would make the broker slow.
            "file.delete.delay.ms": "1000",
        }
        # Two nodes on this machine must not share a metrics port or a directory; both are per process.
        options = BrokerOptions(heap_mb=HEAP_MB if size == 1 else 320, overrides=tuple(changed.items()))
        settings = kafka._write_settings(process.directory, address, options)
        kafka._format(process, jars, settings)
        return Node(
            number,
            address,
            controller,
            proxy,
            process,
            kafka._java(jars, options, process.directory, settings),
        )

    @property
    def direct(self) -> str:
        """Bootstrap servers without proxies."""
        return ",".join(node.direct for node in self.nodes)

    @property
    def proxied(self) -> str:
        """Bootstrap servers behind proxies."""
        return ",".join(node.proxy.address for node in self.nodes)

    def close(self) -> None:
        """Ends all nodes and removes their data."""
        for node in self.nodes:
            node.proxy.close()
            node.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
