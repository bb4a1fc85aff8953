"""The settings of a single-node Apache Kafka that starts fast and commits transactions fast."""

from __future__ import annotations

import re
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")

#: Any fixed id will do: the log directory is new every time.
CLUSTER_ID = "dGVsZWNvbS1zZWdtZW50ZQ"


def kafka_version() -> str:
    """Version of Apache Kafka in `pom.xml`, which is also the tag of the Docker image."""
    match = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", POM.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{POM} has no kafka.version")
    return match.group(1)


def server_properties(listen: str, advertise: str, controller: str) -> dict[str, str]:
    """Properties of one combined broker and controller (KRaft).

    Args:
        listen: ``host:port`` the broker binds to.
        advertise: ``host:port`` clients are told to use.
        controller: ``host:port`` of the controller listener.
    """
    return {
        "node.id": "1",
        "process.roles": "broker,controller",
        "listeners": f"PLAINTEXT://{listen},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{advertise}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{controller}",
        "num.partitions": "1",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        # The default of 10 s would let a killed instance hold its readers for that long.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # Index files are preallocated: the default of 10 MiB each costs time with many test topics.
        "log.index.size.max.bytes": "1048576",
        "log.cleaner.dedupe.buffer.size": "16777216",
    }
