"""Laws of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumer.config import PROTECTED_CLIENT_SETTINGS, SETTINGS, Config, value_of
from consumer.config_sources import load_config, load_with_origins, rows_for_display
from consumer.errors import ConfigError
from consumer.kafka_clients import consumer_settings, producer_settings, reader_settings


def written(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "segmenter.yaml"
    path.write_text(text)
    return path


def test_there_are_fewer_than_30_settings_and_each_is_explained() -> None:
    """What cannot be counted on three hands' fingers is not read; what is not explained is guessed."""
    assert len(SETTINGS) < 30
    assert [name for name, info in SETTINGS.items() if not info.description] == []


def test_later_sources_win_and_are_named(tmp_path: Path) -> None:
    """Default < file < environment < option, and each value knows which of them it is."""
    path = written(tmp_path, "commit: {interval_ms: 200, max_events: 5}\nscan: {interval_s: 60}\nhttp:\n")
    env = {"SEGMENTER_COMMIT__INTERVAL_MS": "300", "SEGMENTER_COMMIT__MAX_EVENTS": "6", "PATH": "/bin"}
    loaded = load_with_origins(path, env, {"commit.interval_ms": "400"})
    commit = loaded.config.commit
    assert (commit.interval_ms, commit.max_events, loaded.config.scan.interval_s) == (400, 6, 60)
    kinds = {s: loaded.origins[s].kind for s in SETTINGS}
    assert kinds["commit.interval_ms"] == "option"
    assert str(loaded.origins["commit.max_events"]) == "env SEGMENTER_COMMIT__MAX_EVENTS"
    assert str(loaded.origins["scan.interval_s"]) == f"file {path}"
    assert kinds["http.port"] == "default"


@pytest.mark.parametrize(
    ("env", "overrides", "words"),
    [
        ({}, {"kafka.bootsrap": "x:1"}, ["kafka.bootsrap", "did you mean kafka.bootstrap?"]),
        ({}, {"interval_ms": "5"}, ["interval_ms", "did you mean"]),
        ({"SEGMENTER_COMIT__INTERVAL_MS": "5"}, {}, ["SEGMENTER_COMIT__INTERVAL_MS", "SEGMENTER_COMMIT__"]),
        ({"SEGMENTER_HTTP__PORT": "x"}, {}, ["http.port = 'x'", "env SEGMENTER_HTTP__PORT", "integer"]),
        ({}, {"http.port": "70000"}, ["http.port = '70000'", "option --set http.port", "65535"]),
        ({}, {"model.k": "11-10"}, ["model.k = '11-10'", "the smaller one first", "option"]),
        ({}, {"currency": "Euro"}, ["currency = 'Euro'", "[A-Z]{3}"]),
        ({}, {"kafka.client": "{acks: 1}"}, ["must not set acks"]),
        ({}, {"kafka.client": "acks"}, ["kafka.client = '***'", "dictionary"]),
        ({}, {"watermark.max_future_s": "inf"}, ["watermark.max_future_s", "finite"]),
    ],
)
def test_a_wrong_setting_is_named_with_value_source_and_limit(
    env: dict[str, str], overrides: dict[str, Any], words: list[str]
) -> None:
    """The message has everything that is needed to correct it."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, env, overrides)
    assert [w for w in words if w not in str(caught.value)] == []
    assert "fix:" in str(caught.value)


def test_all_wrong_settings_are_told_at_once() -> None:
    """One run, one complete list."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, {"http.port": "x", "model.k": "1", "log.level": "loud"})
    assert [s for s in ("http.port", "model.k", "log.level") if s not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kafka: [", "not valid YAML"),
        ("http: {port: 1}\nhttp: {port: 2}", "http is given twice"),
        ("http: {port: 1, port: 2}", "port is given twice"),
        ("? [a]\n: 1", "not valid YAML"),
        ("- a\n- b", "holds a list"),
        ("kafka: localhost", "must be a group"),
        ("kafka: {bootstrap: 5}", "kafka.bootstrap = 5"),
        ("kafka: {servers: a:1}", "unknown setting kafka.servers"),
        ("colour: red", "unknown setting colour"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, text: str, words: str) -> None:
    """Broken YAML, wrong shapes and unknown keys are configuration errors, not tracebacks."""
    with pytest.raises(ConfigError, match=r"segmenter\.yaml") as caught:
        load_config(written(tmp_path, text))
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that was asked for must exist."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml")


def test_null_and_mappings_can_come_as_text() -> None:
    """`null` takes an optional setting away; client settings are a YAML mapping."""
    env = {"SEGMENTER_WATERMARK__IDLE_GRACE_S": "null", "SEGMENTER_KAFKA__CLIENT": "{client.rack: a}"}
    config = load_config(None, env, {"model.recalibrate_days": "null"})
    assert config.watermark.idle_grace_s is None
    assert config.kafka.client == {"client.rack": "a"}
    assert config.model.recalibrate_days is None


def test_variables_that_kubernetes_sets_are_no_settings() -> None:
    """A service named segmenter adds SEGMENTER_SERVICE_HOST and the like to every pod."""
    load_config(
        None, {"SEGMENTER_SERVICE_HOST": "127.0.0.1", "SEGMENTER_PORT_9464_TCP": "tcp://127.0.0.1:9464"}
    )


def test_secrets_are_not_shown() -> None:
    """`config show` and error messages may be pasted into a ticket."""
    client = "{sasl.password: hidden, ssl.key.password: hidden, sasl.username: seen}"
    loaded = load_with_origins(None, {}, {"kafka.client": client})
    shown = str(rows_for_display(loaded))
    assert "seen" in shown
    assert "hidden" not in shown
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, {"kafka.client": "{sasl.password: hidden, acks: 1}"})
    assert "hidden" not in str(caught.value)


def test_every_setting_has_a_value_and_configurations_do_not_change() -> None:
    """Dotted names reach every value, and nothing can be set afterwards."""
    config = load_config()
    assert all(value_of(config, name) == value_of(Config(), name) for name in SETTINGS)
    with pytest.raises(ValueError, match="frozen"):
        config.http.port = 1  # type: ignore[misc]


def test_client_settings_reach_every_client_but_never_replace_the_fixed_ones() -> None:
    """`kafka.client` adds; what exactly-once rests on stays."""
    config = load_config(None, {}, {"kafka.client": "{client.rack: a, security.protocol: SSL}"})
    for settings in (consumer_settings(config), producer_settings(config), reader_settings(config, True)):
        assert settings["client.rack"] == "a"
        assert settings["security.protocol"] == "SSL"
    fixed = consumer_settings(config) | producer_settings(config)
    assert fixed["partition.assignment.strategy"] == "range"
    assert fixed["auto.offset.reset"] == "error"
    assert fixed["partitioner"] == "murmur2_random"
    assert fixed["message.timeout.ms"] < fixed["transaction.timeout.ms"]
    assert {"transactional.id", "isolation.level", "group.instance.id"} <= PROTECTED_CLIENT_SETTINGS


@pytest.mark.parametrize(("k", "bounds"), [(6, (6, 6)), ("6", (6, 6)), ("5-10", (5, 10))])
def test_the_number_of_segments_is_a_number_or_bounds(k: object, bounds: tuple[int, int]) -> None:
    """One number fixes it."""
    assert load_config(None, {}, {"model.k": k}).model.k_bounds == bounds
