"""A real Apache Kafka (KRaft, one node) in Docker, through testcontainers.

testcontainers' own KafkaContainer drives Confluent's image; this runs the Apache project's.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from consumer.brokers.broker import Broker, BrokerOptions
from consumer.brokers.local_process import free_port
from consumer.brokers.readiness import answers
from consumer.brokers.server_properties import CLUSTER_ID, kafka_version, server_properties
from consumer.clock import Deadline
from consumer.errors import BrokerUnreachable

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

PORT = 9092
DEFAULT_HOST = "unix:///var/run/docker.sock"
PING_TIMEOUT_S = 3
LOG_TAIL_BYTES = 2000


def image() -> str:
    """The pinned image."""
    return f"apache/kafka:{kafka_version()}"


def unavailable() -> str | None:
    """Why this way cannot work here, None if a Docker engine answers."""
    try:
        from docker.errors import DockerException
        from testcontainers.core.docker_client import DockerClient, get_docker_host
    except ImportError:
        return "the extra `docker` (testcontainers) is not installed"

    host = get_docker_host() or DEFAULT_HOST
    if not _may_listen(host):
        return f"no Docker engine listens at {host}"
    try:
        client = DockerClient(timeout=PING_TIMEOUT_S).client
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, OSError) as error:
        return f"no Docker engine answers at {host}: {error}"
    return None


def _may_listen(host: str) -> bool:
    """False if `host` is a Unix socket that nobody listens on.

    The usual case of no Docker; asking docker-py would leave an open socket behind (docker 7.2).
    """
    scheme, _, path = host.partition("://")
    if scheme not in ("unix", "http+unix"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def environment(advertise: str, options: BrokerOptions) -> dict[str, str]:
    """Environment of the container: the image turns ``KAFKA_A_B`` into the property ``a.b``."""
    properties = server_properties(f"0.0.0.0:{PORT}", advertise, "localhost:9093")
    properties |= dict(options.overrides)
    variables = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in properties.items()}
    heap = f"-Xms{options.heap_mb}m -Xmx{options.heap_mb}m"
    return {**variables, "CLUSTER_ID": CLUSTER_ID, "KAFKA_HEAP_OPTS": heap}


def start(options: BrokerOptions) -> Broker:
    """Start Apache Kafka in a container with one published port.

    Raises:
        BrokerUnreachable: no engine, no image, or the broker did not come up (with the end of its log).
    """
    reason = unavailable()
    if reason is not None:
        raise BrokerUnreachable(
            f"no Apache Kafka in Docker: {reason}", "start Docker, or choose another broker"
        )
    from docker.errors import DockerException
    from testcontainers.core.container import DockerContainer

    # Clients are told the port, so it must be known before the start: fixed, not mapped by the engine.
    port = free_port()
    container = DockerContainer(image())
    address = f"{container.get_docker_client().host()}:{port}"
    container.with_bind_ports(PORT, port).with_envs(**environment(address, options))
    if options.cpus is not None:
        container.with_kwargs(cpuset_cpus=options.cpus)
    try:
        container.start()
        if not answers(address, Deadline(options.start_timeout_s)):
            raise BrokerUnreachable(
                f"{image()} did not answer at {address}; the end of its log:\n{_log(container)}",
                "check that the published port can be reached from here",
            )
    except DockerException as error:
        container.stop()
        raise BrokerUnreachable(
            f"{image()} could not be started: {error}", f"try: docker pull {image()}"
        ) from error
    except BaseException:
        container.stop()
        raise
    description = f"Apache Kafka {kafka_version()} (Docker, KRaft)"
    return Broker(address, "docker", description, container.stop)


def _log(container: DockerContainer) -> str:
    output, errors = container.get_logs()
    return (output + errors).decode(errors="replace")[-LOG_TAIL_BYTES:]
