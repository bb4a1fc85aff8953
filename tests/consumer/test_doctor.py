"""What the doctor says about port, files and snapshots, without a broker."""

from __future__ import annotations

import io
import socket
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest

from consumer import doctor
from consumer.config_sources import load_config
from consumer.doctor import Verdict
from consumer.http import Health, StatusServer
from consumer.metrics import Metrics
from consumer.snapshots import SnapshotStore


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


def test_snapshots_are_tried_out_and_nothing_is_left(tmp_path: Path) -> None:
    """A file comes and goes, and with it the folders that were not there."""
    config = load_config(None, {}, {"snapshots.uri": str(tmp_path / "a/b")})
    check = doctor._snapshots(config)
    assert check == doctor.Check(
        "snapshots", Verdict.OK, f"{tmp_path}/a/b/segmenter can be written, read and deleted in"
    )
    assert list(tmp_path.iterdir()) == []
    kept = tmp_path / "a/b/segmenter/partition=0"
    kept.mkdir(parents=True)
    assert doctor._snapshots(config).verdict is Verdict.OK
    assert list(kept.parent.iterdir()) == [kept]


def failed_snapshots(uri: str) -> doctor.Check:
    """The check of a place where it must fail, with a fix."""
    config = load_config(None, {}, {"snapshots.uri": uri})
    check = doctor._guarded("snapshots", lambda: doctor._snapshots(config))
    assert (check.name, check.verdict) == ("snapshots", Verdict.FAILED)
    assert check.fix
    return check


def test_a_place_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    check = failed_snapshots(str(tmp_path / "file"))
    assert f"{tmp_path}/file/segmenter cannot be used" in check.detail
    assert "snapshots.uri" in check.fix
    assert (tmp_path / "file").is_file()


def test_a_place_that_gives_back_something_else_is_a_fault(tmp_path: Path) -> None:
    """What was written is read again."""
    store = SnapshotStore(str(tmp_path), "app")
    store._fs = SimpleNamespace(
        create_dir=lambda _, recursive: None,
        open_output_stream=lambda _: io.BytesIO(),
        open_input_file=lambda _: io.BytesIO(b"other"),
        delete_file=lambda _: None,
    )
    with pytest.raises(OSError, match="something else"):
        store.try_out()


def test_a_fault_of_a_place_has_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where nothing answers, nor where the address is none."""

    def refuse(_: SnapshotStore) -> None:
        raise OSError("no answer from http://KEY:hush99@bucket")

    monkeypatch.setattr(SnapshotStore, "try_out", refuse)
    for uri in ("s3://KEY:hush99@bucket/x?region=eu-west-1", "nothing://KEY:hush99@bucket/x"):
        check = failed_snapshots(uri)
        assert "***@bucket" in check.detail
        assert "hush99" not in check.detail + check.fix


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
