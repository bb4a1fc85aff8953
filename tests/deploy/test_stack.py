"""The compose file and what it mounts: valid, hardened, and true to the product."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml
from compose_spec import PyCompose

from consumer.brokers import docker
from consumer.cli import app
from consumer.config_sources import load_config
from tests.deploy.dockerfile import DOCKERFILE, ROOT, stages

DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
EXAMPLE: Final = (DEPLOY / ".env.example").read_text(encoding="utf-8")
PASSWORD: Final = "GRAFANA_ADMIN_PASSWORD"

#: ${NAME:-default} or ${NAME:?what is wrong without it}
VARIABLE: Final = re.compile(r"\$\{(\w+):([-?])([^}]*)\}")

#: Services without a health check, and why.
UNCHECKED: Final = {
    "topics": "ends: those who wait for it look at its exit code",
    "simulator": "serves nothing, and ends when it cannot send",
    "segmenter": "the image brings its own",
}
#: Restart policies other than `unless-stopped`, and why.
RESTARTS: Final = {"topics": "on-failure"}  # it is done when it has succeeded


def document(values: dict[str, str] | None = None) -> dict[str, Any]:
    """The compose file with `values` and the defaults of the other variables, put in as Compose does."""
    given = {PASSWORD: "of a test"} | (values or {})

    def value(match: re.Match[str]) -> str:
        assert match[1] in given or match[2] == "-", f"{match[1]} has no default"
        return given.get(match[1], match[3])

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: filled(inner) for name, inner in part.items()}
        if isinstance(part, list):
            return [filled(inner) for inner in part]
        return VARIABLE.sub(value, part) if isinstance(part, str) else part

    loaded = yaml.safe_load(COMPOSE)
    assert isinstance(loaded, dict)
    return {name: filled(part) for name, part in loaded.items() if not name.startswith("x-")}


STACK: Final = document()
SERVICES: Final[dict[str, dict[str, Any]]] = STACK["services"]
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def mounts(name: str) -> list[tuple[str, str, str]]:
    """Source, target and mode of the volumes of a service."""
    rows = [str(volume).split(":") for volume in SERVICES[name].get("volumes", [])]
    return [(row[0], row[1], row[2] if len(row) > 2 else "rw") for row in rows]


def options(entries: list[str]) -> dict[str, str]:
    """`--name=value` of a command."""
    return dict(e.removeprefix("--").split("=", 1) for e in entries if e.startswith("--") and "=" in e)


def test_the_file_follows_the_specification() -> None:
    """As the Compose Specification says; every volume and secret that is used is declared."""
    compose = PyCompose.from_json(json.dumps(STACK))
    compose.validate()
    compose.to_spec()
    assert set(compose.service_names()) >= {
        "kafka", "topics", "segmenter", "simulator", "prometheus", "alertmanager", "grafana",
    }  # fmt: skip
    assert "version" not in STACK


@each_service
def test_every_service_is_hardened(name: str) -> None:
    """Read-only, no capabilities, no new privileges, a bound of memory, no superuser's doors."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["tmpfs"]
    assert all("size=" in entry for entry in service["tmpfs"]), "memory without a bound"
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "container_name"} & service.keys()
    assert not [source for source, *_ in mounts(name) if "docker.sock" in source]
    assert service["restart"] == RESTARTS.get(name, "unless-stopped")


@each_service
def test_every_image_is_pinned_and_can_be_replaced(name: str) -> None:
    """A tag that says a version, without a registry's address, in a variable that may add a digest."""
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z-]+(/[a-z-]+)?:v?\d+\.\d+\.\d+", image)
    assert re.search(r"\$\{\w+_IMAGE:-" + re.escape(image) + r"\}", COMPOSE)


@each_service
def test_every_service_is_asked_whether_it_is_well(name: str) -> None:
    """By a health check, or it is said why not."""
    check = SERVICES[name].get("healthcheck")
    if name not in UNCHECKED:
        assert check is not None
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries", "start_period"} <= check.keys()
    elif name == "segmenter":
        assert check is None
        assert [
            step for step in stages(DOCKERFILE.read_text(encoding="utf-8"))[-1] if step.name == "HEALTHCHECK"
        ]
    else:
        assert check == {"disable": True}


@each_service
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    """Published ports are bound to the loopback address, each to one port of its own."""
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_the_order_of_the_start_and_the_end() -> None:
    """Kafka answers, then the topics are made, then they are used; all heed a stop."""
    made = {
        "kafka": {"condition": "service_healthy"},
        "topics": {"condition": "service_completed_successfully"},
    }
    assert SERVICES["topics"]["depends_on"] == {"kafka": made["kafka"]}
    for name in ("segmenter", "simulator"):
        assert SERVICES[name]["depends_on"] == made
    # As process 1 a program without a handler of its own would not end on SIGTERM.
    assert all(SERVICES[name]["init"] is True for name in ("topics", "segmenter", "simulator"))
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["simulator"]


def test_workers_can_be_many() -> None:
    """No port of the machine, no name, no instance of its own: the host name tells replicas apart."""
    service = SERVICES["segmenter"]
    assert "ports" not in service
    assert "hostname" not in service
    assert "SEGMENTER_APP__INSTANCE" not in service["environment"]
    assert mounts("segmenter") == [("snapshots", service["environment"]["SEGMENTER_SNAPSHOTS__URI"], "rw")]


def test_environment_and_commands_are_the_products() -> None:
    """Settings load as the service loads them; commands and options are those of the command line."""
    assert {type(value) for value in SERVICES["segmenter"]["environment"].values()} == {str}
    config = load_config(None, SERVICES["segmenter"]["environment"], {})
    assert config.http.host == "0.0.0.0"
    assert f"{config.http.port}" in SERVICES["segmenter"]["expose"]
    assert config.watermark.idle_grace_s is None
    for values in ({}, {"IDLE_GRACE_S": "300", "LOG_LEVEL": "debug"}):
        load_config(None, document(values)["services"]["segmenter"]["environment"], {})
    for name in ("topics", "simulator"):
        command: Any = typer.main.get_command(app)
        arguments = list(SERVICES[name]["command"])
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        found = command.make_context(name, arguments).params
        assert found["bootstrap"] == config.kafka.bootstrap


def test_the_broker_is_the_one_that_is_tested_with() -> None:
    """One version of Kafka, and its inner listener is where the others look for it."""
    service = SERVICES["kafka"]
    assert service["image"] == docker.image()
    assert "INSIDE://kafka:9092" in service["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert ("kafka-data", service["environment"]["KAFKA_LOG_DIRS"], "rw") in mounts("kafka")


@each_service
def test_what_is_mounted_exists(name: str) -> None:
    """Files of the repository are there, and cannot be written; the other volumes are declared."""
    for source, target, mode in mounts(name):
        assert target.startswith("/")
        if source.startswith("."):
            assert mode == "ro"
            assert (DEPLOY / source).exists(), source
        else:
            assert source in STACK["volumes"]


def test_prometheus_looks_where_the_workers_are() -> None:
    """Its job finds every replica of the service by name and port; alerts go to Alertmanager."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "segmenter"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == ["segmenter"]
    assert str(found["port"]) in SERVICES["segmenter"]["expose"]
    (target,) = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert SERVICES[host]["ports"][0].endswith(f":{port}")
    places = {target for _, target, _ in mounts("prometheus")}
    config_file = options(SERVICES["prometheus"]["command"])["config.file"]
    assert {config_file, *(f"{Path(config_file).parent}/{rules}" for rules in config["rule_files"])} <= places


def test_alertmanager_accepts_its_file(amtool: str) -> None:
    """`amtool check-config` finds nothing."""
    file = DEPLOY / "prometheus" / "alertmanager.yaml"
    done = subprocess.run(
        [amtool, "check-config", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "on-call"), ("warning", "team"), ("other", "nobody")]
)
def test_alerts_reach_their_receiver(amtool: str, severity: str, receiver: str) -> None:
    """By severity; what has an unknown one is at least seen."""
    file = DEPLOY / "prometheus" / "alertmanager.yaml"
    command = [amtool, "config", "routes", "test", f"--config.file={file}", f"severity={severity}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == receiver


def test_alerts_that_silence_others_and_severities_exist() -> None:
    """What Alertmanager matches by name or severity is what the rules say."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "alertmanager.yaml").read_text(encoding="utf-8"))
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    sources = " ".join(matcher for rule in config["inhibit_rules"] for matcher in rule["source_matchers"])
    assert set(re.findall(r'alertname="(\w+)"', sources)) <= {rule["alert"] for rule in alerts}
    routed = {re.sub(r"\W|severity", "", route["matchers"][0]) for route in config["route"]["routes"]}
    assert {rule["labels"]["severity"] for rule in alerts} <= routed


def test_grafana_finds_its_source_and_boards() -> None:
    """The source is the stack's Prometheus, boards are read where they are mounted; nobody enters unasked."""
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert SERVICES[host]["ports"][0].endswith(f":{port}")
    (provider,) = yaml.safe_load((folder / "dashboards" / "boards.yaml").read_text("utf-8"))["providers"]
    assert ("./grafana/boards", provider["options"]["path"], "ro") in mounts("grafana")
    variables = SERVICES["grafana"]["environment"]
    assert variables["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert variables["GF_SECURITY_ADMIN_PASSWORD"] == "of a test"


def test_the_example_lists_every_variable_with_its_default() -> None:
    """.env.example and the compose file agree; the password alone has no default, and none is given."""
    used = {match[1]: None if match[2] == "?" else match[3] for match in VARIABLE.finditer(COMPOSE)}
    shown = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert shown == {name: default or "" for name, default in used.items()}
    assert [name for name, default in used.items() if default is None] == [PASSWORD]
    assert "deploy/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
