"""Passwords are not shown: in no message, no log and no table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryError

from consumer import kafka_clients
from consumer.commands.common import load_config as load_for_command
from consumer.config import Config, KafkaConfig, SnapshotsConfig
from consumer.config_sources import load_config, load_with_origins, rows_for_display
from consumer.core import Core
from consumer.errors import ConfigError
from consumer.masking import is_secret, masked, masked_name, without_userinfo
from consumer.models.population import SnapshotPlace
from consumer.models.snapshot_customers import SnapshotCustomers
from consumer.registry.schemas import WriterSchemas
from consumer.snapshots import SnapshotStore

#: In everything that must not be shown.
HIDDEN = "hush99"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:hush99@bucket/x", "s3://***@bucket/x"),
        ("s3://KEY:hu/hush99@bucket/x?region=eu", "s3://***@bucket/x?region=eu"),
        ("s3://KEY:hu@hush99/b@bucket/x", "s3://***@bucket/x"),
        ("https://hush99@host", "https://***@host"),
        ("https://me@example.com:hush99@host:81/", "https://***@host:81/"),
        ("http://u:hush99@a:1,http://v:hush99@b:1", "http://***@a:1,http://***@b:1"),
        ("no URL: 'user:hush99@host' is none", "no URL: '***@host' is none"),
        ("abfs://c@account/x?client_secret=hush99&tenant_id=t", "abfs://***@account/x?client_secret=***&tenant_id=t"),
        ("https://host/x?sv=2026&sig=hush99", "https://host/x?sv=2026&sig=***"),
    ],
)  # fmt: skip
def test_credentials_of_addresses_are_left_out(text: str, shown: str) -> None:
    """With whatever characters that should have been encoded, in lists, sentences and parameters."""
    assert without_userinfo(text) == shown
    assert without_userinfo(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        *(
            "snapshots",
            "/data/a@b",
            "file:///data/a@b",
            "s3://bucket/2026-03-01@x",
            "gs://bucket/x?scheme=http",
        ),
        *("kafka-1:9093,kafka-2:9093", "at 10:00:00, by user@example.com", "http://host:8081/subjects"),
    ],
)
def test_other_text_stays(text: str) -> None:
    """What has no credentials."""
    assert without_userinfo(text) == text


@pytest.mark.parametrize(
    "name",
    [
        *("sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config"),
        *("sasl.oauthbearer.assertion.private.key.passphrase", "sasl.oauthbearer.assertion.private.key.pem"),
        *("ssl.key.pem", "SSL_KEY_PEM", "sasl.jaas.config", "schema.registry.basic.auth.user.info"),
        *("schema.registry.bearer.auth.token", "private-key", "api_key"),
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    """However words are put apart."""
    assert is_secret(name)
    assert masked({name: HIDDEN}) == {name: "***"}
    assert masked({"a": [{name: HIDDEN}]}) == {"a": [{name: "***"}]}


@pytest.mark.parametrize(
    "name", ["sasl.username", "sasl.mechanism", "security.protocol", "ssl.key.location", "ssl.ca.pem"]
)
def test_what_helps_to_find_a_mistake_is_shown(name: str) -> None:
    """Names of users, mechanisms and files."""
    assert masked({name: "seen"}) == {name: "seen"}
    assert masked_name(name) == name


@pytest.mark.parametrize(
    "line",
    [
        *("password: hush99: x", "password: *hush99", "password: !hush99 x", "password: [hush99"),
        *("password: !hush99!x y", 'password: "hush99\\q"', "password: @hush99", "password: %hush99"),
        *("password: 'hush99", "password: &hush99 a\n    b: &hush99 c", "password: !h',hush99 x"),
        *("password: {a: 1}hush99", "password=hush99"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_line_does_not_show_the_line(line: str, tmp_path: Path) -> None:
    """The message has the place of it; what stands there is read in the file."""
    path = tmp_path / "segmenter.yaml"
    path.write_text(f"kafka:\n  client:\n    {line}\n")
    with pytest.raises(ConfigError, match=r"segmenter\.yaml") as caught:
        load_config(path)
    assert HIDDEN not in str(caught.value)


def test_the_place_of_a_mistake_is_told(tmp_path: Path) -> None:
    """Lines and columns as editors count."""
    path = tmp_path / "segmenter.yaml"
    path.write_text("kafka:\n  client:\n    sasl.password: hush99: x\n")
    with pytest.raises(ConfigError, match="mapping values are not allowed here, line 3, column 26"):
        load_config(path)
    for number in ("2026-99-99", "0b_"):  # PyYAML says so with a ValueError
        path.write_text(f"kafka: {{client: {{sasl.password: {number}}}}}\n")
        with pytest.raises(ConfigError, match="a number or a date") as caught:
            load_config(path)
        assert number not in str(caught.value)


@pytest.mark.parametrize(
    "client",
    [
        *("password=hush99", "[password=hush99]", "{password=hush99}", "{password:hush99}"),
        *("{sasl.password: hush99, acks: 1}", "{sasl.password: [hush99]}", "{sasl: {password: hush99}}"),
        *("{schema.registry.urls: 'http://u:hush99@host'}", "{passphrase: hush99, b: [1]}"),
        "hush99: 2026-99-99",
    ],
)  # fmt: skip
def test_a_wrong_value_of_the_clients_settings_is_not_repeated(client: str) -> None:
    """Whatever shape it came in."""
    with pytest.raises(ConfigError, match=r"kafka") as caught:
        load_config(None, {"SEGMENTER_KAFKA__CLIENT": client}, {})
    assert HIDDEN not in str(caught.value)


def test_a_value_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    """A text where a group should be; an option without the sign between name and value."""
    path = tmp_path / "segmenter.yaml"
    path.write_text("kafka: sasl.password=hush99\n")
    with pytest.raises(ConfigError, match="must be a group of settings, not str") as caught:
        load_config(path)
    assert HIDDEN not in str(caught.value)
    path.write_text("kafka: {sasl.password=hush99}\n")
    with pytest.raises(ConfigError, match=r"unknown setting kafka\.sasl\.password") as caught:
        load_config(path)
    assert HIDDEN not in str(caught.value)
    with pytest.raises(ConfigError, match="NAME=VALUE") as caught:
        load_for_command(None, ["kafka.client.sasl.password: hush99"])
    assert HIDDEN not in str(caught.value)


def test_the_table_of_settings_has_no_credentials() -> None:
    """Of addresses in any setting, and of the client's."""
    given = {
        "snapshots.uri": "s3://KEY:hush99@bucket/x",
        "kafka.client": "{schema.registry.url: 'http://user:hush99@host', ssl.key.passphrase: hush99}",
    }
    rows = {row["setting"]: row["value"] for row in rows_for_display(load_with_origins(None, {}, given))}
    assert rows["snapshots.uri"] == "s3://***@bucket/x"
    assert rows["kafka.client"]["schema.registry.url"] == "http://***@host"
    assert HIDDEN not in json.dumps(rows)


def test_messages_about_snapshots_have_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the store, which others repeat, and those of a coordinator, which /status shows."""
    monkeypatch.setitem(os.environ, "AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match=r"snapshots\.uri") as caught:
        SnapshotStore("nothing://KEY:hush99@bucket/x", "app")
    assert HIDDEN not in str(caught.value)
    uri = "s3://KEY:hush99@bucket/x?region=eu-west-1"  # with a region nothing is asked
    assert SnapshotStore(uri, "app").uri == "s3://***@bucket/x?region=eu-west-1"
    config = Config(snapshots=SnapshotsConfig(uri=uri))
    assert SnapshotPlace.of(config, 1, ("u", "b", "c")).uri == uri
    customers = SnapshotCustomers(Core(config, 1), ("u", "b", "c"))
    assert customers._lacking({}).startswith("snapshots under s3://***@bucket/x")


def test_messages_about_the_registry_have_no_credentials() -> None:
    """Nor has what its client says."""

    def settings(url: str) -> KafkaConfig:
        return KafkaConfig(client={"schema.registry.url": url})

    with pytest.raises(ConfigError) as caught:
        WriterSchemas(settings("user:hush99@host"))
    assert "***@host" in str(caught.value)
    assert HIDDEN not in str(caught.value)
    schemas = WriterSchemas(settings("http://user:hush99@host:1"))
    problem = str(SchemaRegistryError(401, 40101, "no entry for http://user:hush99@host:1/subjects"))
    assert "http://***@host:1 does not answer" in str(schemas._unreachable(problem))
    assert HIDDEN not in str(schemas._unreachable(problem))


def test_what_the_kafka_client_refuses_has_no_credentials() -> None:
    """It repeats values that it does not take."""
    client: dict[str, Any] = {"security.protocol": "https://user:hush99@host"}
    with pytest.raises(ConfigError, match=r"security\.protocol") as caught:
        kafka_clients.make_admin(Config(kafka=KafkaConfig(client=client)))
    assert HIDDEN not in str(caught.value)
