"""Brokers, topics and hypothesis profiles for all tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import settings

from consumer.brokers import Broker, BrokerOptions, resolve, unavailable

#: Creates a topic with a name of its own: `topic = new_topic("changes", partitions=4, config={...})`.
NewTopicCall = Callable[..., str]

# No deadline: the machines that run this are shared, and numba compiles on the first example.
settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=150, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

#: Pinned; the version of the document in it is fixed by the name of the file.
ASYNCAPI_SPECS = "@asyncapi/specs@6.11.1"

BROKERS = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--bootstrap``: run the Kafka tests on a broker that is already there."""
    parser.addoption("--bootstrap", help="address of a Kafka broker for the tests (default: start one)")


class FailuresAtOnce:
    """Tells a failure when it comes: a run that is stopped from outside has no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """After the letter of the test."""
        if report.failed:
            terminal: Any = self._config.pluginmanager.get_plugin("terminalreporter")
            terminal.write_line("")
            terminal.section(f"{report.nodeid} ({report.when})", "_")
            terminal.write_line(report.longreprtext)


def pytest_configure(config: pytest.Config) -> None:
    """A place to note the brokers that were used; the process that reports tells failures at once."""
    config.stash[BROKERS] = []
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs a part of the tests tells its notes to the one that reports."""
    told: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["brokers"] = session.config.stash[BROKERS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Such a process has ended; one that crashed has told nothing."""
    told: dict[str, Any] = getattr(node, "workeroutput", {})
    node.config.stash[BROKERS].extend(told.get("brokers", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which brokers the tests ran on."""
    for line in config.stash[BROKERS]:
        terminalreporter.write_line(f"broker: {line}")


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A real Apache Kafka: given with ``--bootstrap``, else in Docker, else from Maven, else skip."""
    bootstrap: str | None = request.config.getoption("--bootstrap")
    reasons = {"docker": unavailable("docker"), "maven": unavailable("maven")}
    if bootstrap is None and all(reasons.values()):
        reason = ", ".join(f"{kind}: {why}" for kind, why in reasons.items())
        request.config.stash[BROKERS].append(f"NO APACHE KAFKA ({reason}): its tests were skipped")
        pytest.skip(f"no Apache Kafka here ({reason})")
    with resolve("real", bootstrap, BrokerOptions(heap_mb=512)) as broker:
        request.config.stash[BROKERS].append(str(broker))
        yield broker


@pytest.fixture(scope="session")
def apache_kafka_here(request: pytest.FixtureRequest) -> None:
    """Java and Maven, for tests that kill their broker; else skip."""
    if reason := unavailable("maven"):
        request.config.stash[BROKERS].append(f"NO APACHE KAFKA TO KILL ({reason}): its tests were skipped")
        pytest.skip(f"no Apache Kafka to kill here ({reason})")


@pytest.fixture(scope="session")
def embedded_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The embedded broker of the demo."""
    with resolve("embedded") as broker:
        request.config.stash[BROKERS].append(str(broker))
        yield broker


@pytest.fixture(scope="session")
def prometheus_here(request: pytest.FixtureRequest) -> None:
    """Prometheus and promtool (package `prometheus` of Debian); else skip."""
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        reason = f"{', '.join(missing)} not installed"
        request.config.stash[BROKERS].append(f"NO PROMETHEUS ({reason}): its tests were skipped")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> str:
    """Chromium without a window (package `chromium` of Debian); else skip."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        request.config.stash[BROKERS].append("NO CHROMIUM (not installed): pages were not looked at")
        pytest.skip("chromium is not installed")
    return found


@pytest.fixture(scope="session")
def grafana_schema() -> dict[str, Any]:
    """Grafana's JSON Schema of dashboards, which is not part of the project; skip without it."""
    path = Path(__file__).parent.parent.parent / "shared" / "data" / "grafana" / "dashboard.jsonschema.json"
    if not path.is_file():
        pytest.skip(f"Grafana's JSON Schema is not at {path}")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def asyncapi_schema(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The JSON Schema of AsyncAPI 3.0.0 as its initiative publishes it with npm; skip without npm."""
    folder = tmp_path_factory.mktemp("asyncapi")
    command = ["npm", "pack", "--silent", f"--pack-destination={folder}", ASYNCAPI_SPECS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        failure = done.stderr.strip()[-200:] if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        failure = str(error)
    if failure is not None:
        request.config.stash[BROKERS].append(f"NO ASYNCAPI SCHEMA ({failure}): its tests were skipped")
        pytest.skip(f"npm cannot fetch {ASYNCAPI_SPECS}: {failure}")
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        file = packed.extractfile("package/schemas/3.0.0-without-$id.json")
        assert file is not None
        found: dict[str, Any] = json.loads(file.read())
    return found


@pytest.fixture(scope="session")
def apicurio_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Apicurio Registry from Maven, unpacked; else skip."""
    from tests.registry.registries import fetch

    folder = tmp_path_factory.mktemp("apicurio")
    if reason := unavailable("maven") or fetch(folder):
        request.config.stash[BROKERS].append(f"NO SCHEMA REGISTRY ({reason}): only its stand-in was used")
        pytest.skip(f"no Schema Registry from Maven: {reason}")
    return folder


@pytest.fixture(scope="session")
def ibm_set() -> None:
    """The IBM telco set, which is not part of the project; skip without it."""
    from tests.replay import ibm

    if not ibm.CSV.is_file():
        pytest.skip(f"the IBM set is not at {ibm.FOLDER}")


@pytest.fixture(scope="session")
def package_index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An index that pip reaches, for tests that install packages; else skip."""
    wheel = ["download", "--no-deps", "--quiet", "--retries=0", "--timeout=10", "setuptools"]
    folder = tmp_path_factory.mktemp("index")
    command = [sys.executable, "-m", "pip", *wheel, f"--dest={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip reaches no package index here: {done.stderr.strip()[-200:]}")


@pytest.fixture(scope="session")
def amtool() -> str:
    """Alertmanager's own checker; else skip."""
    if (found := shutil.which("amtool")) is None:
        pytest.skip("amtool (of Alertmanager) is not installed")
    return found


def create_topic(broker: Broker, name: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
    """Create topic `name` and wait until the broker has it."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
    for done in admin.create_topics([topic], operation_timeout=20).values():
        done.result(30)
    end = time.monotonic() + 60
    # The controller has it; the broker that clients ask learns of it a moment later.
    while len(getattr(admin.list_topics(timeout=10).topics.get(name), "partitions", ())) != partitions:
        assert time.monotonic() < end, f"topic {name} does not appear"
        time.sleep(0.05)


def unique_name(request: pytest.FixtureRequest, stem: str) -> str:
    """A topic, group or transactional id that no other test and no other run uses."""
    test = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")[:60]
    return f"{stem}.{test}.{uuid.uuid4().hex[:8]}"


@pytest.fixture
def new_name(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """`new_name("group")`: a name that starts like this and is used once."""
    return lambda stem: unique_name(request, stem)


@pytest.fixture
def new_topic(request: pytest.FixtureRequest, kafka: Broker) -> NewTopicCall:
    """`new_topic(stem, partitions=1, config=None)` on the real Kafka; the name is its result."""

    def call(stem: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        name = unique_name(request, stem)
        create_topic(kafka, name, partitions, config)
        return name

    return call
