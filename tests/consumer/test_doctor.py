"""What the doctor says about the port, without a broker."""

from __future__ import annotations

import socket

import pytest

from consumer import doctor
from consumer.config_sources import load_config
from consumer.doctor import Verdict
from consumer.http import Health, StatusServer
from consumer.metrics import Metrics


def verdict(port: int) -> tuple[Verdict, str]:
    """Of the port check."""
    check = doctor._port(load_config(None, {}, {"http.host": "127.0.0.1", "http.port": port}))
    return check.verdict, check.detail


def test_a_running_service_is_no_fault() -> None:
    """The doctor is called in beside it; its port is in use by itself."""
    registry = Metrics(("usage", "billing", "customer"), "1").registry
    server = StatusServer("127.0.0.1", 0, registry, Health(), lambda: {"run_id": "r"})
    try:
        found, detail = verdict(server.port)
        assert found is Verdict.OK
        assert "a segmenter serves" in detail
    finally:
        server.close()
    assert verdict(server.port) == (Verdict.OK, f"127.0.0.1:{server.port} is free")


def test_somebody_else_on_the_port_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer as a worker does."""
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT_S", 0.2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert verdict(other.getsockname()[1])[0] is Verdict.FAILED
