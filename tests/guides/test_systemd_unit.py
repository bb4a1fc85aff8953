"""The systemd unit of the guide for operations: what it starts the service after, and where it may write."""

from __future__ import annotations

import configparser
from pathlib import PurePosixPath

import pytest

from consumer.config import SnapshotsConfig
from consumer.errors import BrokerUnreachable, RegistryUnreachable
from consumer.exit_codes import WANT_A_PERSON, ExitCode
from tests.guides.markdown import blocks


@pytest.fixture
def unit() -> configparser.ConfigParser:
    """As systemd reads it: names keep their case, and % is a letter."""
    [block] = [b for b in blocks("deploy/guides/operations.md") if b.first.endswith("segmenter.service")]
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block.text)
    return parser


def test_only_what_wants_a_person_keeps_it_down(unit: configparser.ConfigParser) -> None:
    """An outage of Kafka, however long, does not: it is tried again every few seconds, without a limit."""
    service = unit["Service"]
    kept_down = set(map(int, service["RestartPreventExitStatus"].split()))
    assert kept_down == WANT_A_PERSON == {ExitCode.CONFIG, ExitCode.TOPICS, ExitCode.DATA}
    assert not {BrokerUnreachable.exit_code, RegistryUnreachable.exit_code, ExitCode.RESTART} & kept_down
    assert service["Restart"] == "on-failure"
    assert int(service["RestartSec"]) >= 1
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_its_user_may_write_where_snapshots_and_kernels_go(unit: configparser.ConfigParser) -> None:
    """The default of `snapshots.uri` is relative to a directory that systemd makes for the user."""
    service = unit["Service"]
    assert not PurePosixPath(SnapshotsConfig().uri).is_absolute()
    assert service["WorkingDirectory"] == f"/var/lib/{service['StateDirectory']}"
    assert f"NUMBA_CACHE_DIR=/var/cache/{service['CacheDirectory']}" in service["Environment"].split()


def test_it_starts_with_the_machine(unit: configparser.ConfigParser) -> None:
    """`systemctl enable` needs to know when."""
    assert unit["Install"]["WantedBy"] == "multi-user.target"
