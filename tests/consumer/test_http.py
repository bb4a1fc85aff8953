"""Laws of the HTTP endpoints."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from consumer.errors import ConfigError
from consumer.http import Health, StatusServer
from tests.consumer.fake_producer import FakeTime

Served = tuple[StatusServer, Health, FakeTime]


@pytest.fixture
def served() -> Iterator[Served]:
    """A running server with a clock of its own."""
    time = FakeTime()
    health = Health(stuck_after_s=60, monotonic=time)
    registry = CollectorRegistry()
    Counter("seen_total", "Seen.", registry=registry).inc()
    server = StatusServer("127.0.0.1", 0, registry, health, lambda: {"customers": 3})
    yield server, health, time
    server.close()


def get(server: StatusServer, path: str) -> tuple[int, str]:
    """Status code and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_served(served: Served) -> None:
    """/metrics is the registry's exposition."""
    code, body = get(served[0], "/metrics")
    assert code == 200
    assert "seen_total 1.0" in body


def test_ready_only_when_nothing_is_waited_for(served: Served) -> None:
    """/readyz names what is missing."""
    server, health, _ = served
    assert get(server, "/readyz")[0] == 503
    health.wait_for({"partition 3": "restoring, 100 records left"})
    code, body = get(server, "/readyz")
    assert (code, json.loads(body)["waiting_for"]) == (503, {"partition 3": "restoring, 100 records left"})
    health.wait_for({})
    assert get(server, "/readyz")[0] == 200


def test_a_silent_loop_is_neither_live_nor_ready(served: Served) -> None:
    """/livez fails when the loop no longer passes by, and recovers with it."""
    server, health, time = served
    health.wait_for({})
    time.now_s += 61
    assert (get(server, "/livez")[0], get(server, "/readyz")[0]) == (503, 503)
    health.beat()
    assert (get(server, "/livez")[0], get(server, "/readyz")[0]) == (200, 200)


def test_status_is_json(served: Served) -> None:
    """/status is what the service says about itself."""
    assert json.loads(get(served[0], "/status")[1]) == {"ok": True, "customers": 3}


def test_an_unknown_path_names_the_known_ones(served: Served) -> None:
    """404 helps."""
    code, body = get(served[0], "/")
    assert code == 404
    assert "/metrics" in body


def test_a_taken_port_is_one_clear_error(served: Served) -> None:
    """The message names the setting and the fix; after closing the port is free again."""
    server = served[0]
    with pytest.raises(ConfigError, match=rf"http\.port = {server.port}"):
        StatusServer("127.0.0.1", server.port, CollectorRegistry(), Health(), dict)
    server.close()
    StatusServer("127.0.0.1", server.port, CollectorRegistry(), Health(), dict).close()
