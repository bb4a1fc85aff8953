"""What the doctor says about the port, without a broker."""

from __future__ import annotations

import socket
from importlib.resources import files
from pathlib import Path

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


def test_strategies_are_held_against_the_specification(tmp_path: Path) -> None:
    """Rules about what is not there are a fault of a file of one's own, a remark about the built-in one."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "{version: 1, name: s, blocks: {b: {budget: 1}}, dormancy_feature: null, features: "
        "[{name: calls, block: b, aggregate: count, events: [voice], window_days: 7}]}"
    )
    path = files("online_model").joinpath("default_strategies.yaml")

    def strategies(**settings: str) -> doctor.Check:
        names = {f"model.{name}": value for name, value in settings.items()}
        return doctor._files(load_config(None, {}, names))[1]

    assert "features that" not in strategies().detail
    remark = strategies(spec=str(spec))
    assert remark.verdict is Verdict.OK
    assert "built-in: 18 strategies, of which 15 are about features" in remark.detail
    fault = strategies(spec=str(spec), strategies=str(path))
    assert fault.verdict is Verdict.FAILED
    assert "data_mb_30d" in fault.detail


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
