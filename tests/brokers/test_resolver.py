"""Which broker is chosen, and what is said when none can be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from consumer.brokers import Broker, BrokerOptions, docker, resolve, unavailable
from consumer.brokers.local_process import free_port
from consumer.brokers.server_properties import kafka_version, server_properties
from consumer.errors import BrokerUnreachable, ConfigError


class Engine(BaseHTTPRequestHandler):
    """As much of a Docker engine as a first handshake needs."""

    def do_GET(self) -> None:
        """Answer /version and /_ping."""
        body = b'{"ApiVersion": "1.45"}' if self.path.endswith("/version") else b"OK"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def engine() -> Iterator[str]:
    """Address of a Docker engine that only answers."""
    with HTTPServer(("127.0.0.1", 0), Engine) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Docker, Java and Maven."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")


def test_an_address_wins(embedded_broker: Broker) -> None:
    """A given bootstrap is used as it is, and stopping it leaves it alone."""
    with resolve("auto", embedded_broker.bootstrap) as broker:
        assert (broker.kind, broker.bootstrap) == ("explicit", embedded_broker.bootstrap)
    assert resolve("explicit", embedded_broker.bootstrap).kind == "explicit"


def test_an_address_that_does_not_answer_is_named() -> None:
    """The error has the address and comes at the deadline, not later."""
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(BrokerUnreachable, match=address):
        resolve("explicit", address, BrokerOptions(connect_timeout_s=0.5))


def test_contradictions_are_errors() -> None:
    """Starting one broker and using another, or using one without its address, is refused."""
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1 names"):
        resolve("maven", "127.0.0.1:1")
    with pytest.raises(ConfigError, match="--bootstrap"):
        resolve("explicit")


@pytest.mark.usefixtures("nothing_here")
def test_without_docker_and_java_the_reasons_and_the_fix_are_told() -> None:
    """No real Kafka: one error that says what is missing and what to install."""
    with pytest.raises(BrokerUnreachable) as error:
        resolve("real")
    assert "docker: no Docker engine listens" in error.value.problem
    assert "maven: java and mvn not found" in error.value.problem
    assert "Java 17 and Maven" in error.value.fix
    with pytest.raises(BrokerUnreachable, match="java and mvn not found"):
        resolve("maven")


@pytest.mark.usefixtures("nothing_here")
def test_auto_ends_at_the_embedded_broker() -> None:
    """On a machine with nothing but Python there still is a broker."""
    with resolve() as broker:
        assert broker.kind == "embedded"
        assert broker.pid is not None


def test_a_docker_engine_that_answers_is_found(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake of docker-py and testcontainers succeeds against an engine's address."""
    monkeypatch.setenv("DOCKER_HOST", engine)
    assert unavailable("docker") is None


def test_the_container_gets_every_property() -> None:
    """The image's rule (KAFKA_A_B becomes a.b) turns the environment back into the same properties."""
    options = BrokerOptions(heap_mb=512, overrides=(("num.partitions", "7"),))
    environment = docker.environment("localhost:5", options)
    assert environment.pop("KAFKA_HEAP_OPTS") == "-Xms512m -Xmx512m"
    assert environment.pop("CLUSTER_ID")
    wanted = server_properties("0.0.0.0:9092", "localhost:5", "localhost:9093") | {"num.partitions": "7"}
    decoded = {k.removeprefix("KAFKA_").lower().replace("_", "."): v for k, v in environment.items()}
    assert decoded == wanted


def test_docker_and_maven_run_the_same_version() -> None:
    """The image's tag is the version of the Maven artifacts."""
    assert docker.image() == f"apache/kafka:{kafka_version()}"
    assert kafka_version()[0].isdigit()
