"""A real Apache Kafka (KRaft, one node) from Maven artifacts and the machine's Java."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer.brokers.broker import Broker, BrokerOptions
from consumer.brokers.local_process import LocalProcess, free_port, pinned
from consumer.brokers.readiness import answers
from consumer.brokers.server_properties import CLUSTER_ID, POM, kafka_version, server_properties
from consumer.clock import Deadline
from consumer.errors import BrokerUnreachable

MINIMUM_JAVA = 17
FIX_TOOLS = "install a Java runtime (17 or newer) and Maven (Debian: default-jre-headless, maven)"
LOG4J = """\
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=stdout
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=[%d] %p %m (%c)%n
"""


def unavailable() -> str | None:
    """Why this way cannot work here, None if it can (as far as that is known without trying)."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not found"
    version = java_version()
    if version < MINIMUM_JAVA:
        return f"Java {version} is too old, Apache Kafka needs {MINIMUM_JAVA}"
    return None


def java_version() -> int:
    """Major version of `java` on the path; 0 if it does not say."""
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False, timeout=30)
    match = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    return int(match.group(1)) if match else 0


def cache_directory() -> Path:
    """Where the list of jar files is remembered between starts."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "telecom-segmenter"


def class_path(timeout_s: float) -> str:
    """Java class path of Apache Kafka, downloaded into Maven's local repository if need be.

    Raises:
        BrokerUnreachable: Maven could not resolve it.
    """
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    remembered = cache_directory() / f"kafka-{digest}.classpath"
    with maven_to_itself():
        if remembered.exists():
            known = remembered.read_text(encoding="utf-8")
            if all(Path(jar).exists() for jar in known.split(os.pathsep)):
                return known
        return _resolve(remembered, timeout_s)


@contextmanager
def maven_to_itself() -> Iterator[None]:
    """While no other process of this project downloads: Maven's repository does not bear two writers."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / "maven.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing the file gives it back, and so does the end of the process
        yield


def _resolve(remembered: Path, timeout_s: float) -> str:
    fresh = remembered.with_suffix(f".{os.getpid()}")
    goal = ["dependency:build-classpath", f"-Dmdep.outputFile={fresh}"]
    command = ["mvn", "-B", "-q", "-f", str(POM), *goal]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as late:
        raise BrokerUnreachable(
            f"Maven did not finish downloading Apache Kafka within {timeout_s:.0f} s",
            "try again (what was downloaded is kept), or check Maven's access to a repository",
        ) from late
    if done.returncode != 0:
        raise BrokerUnreachable(
            f"Maven could not resolve Apache Kafka {kafka_version()}:\n{done.stdout[-2000:]}",
            f"check Maven's access to a repository with: mvn -f {POM} dependency:build-classpath",
        )
    fresh.replace(remembered)  # atomic: another process may read it now
    return remembered.read_text(encoding="utf-8")


def start(options: BrokerOptions) -> Broker:
    """Start Apache Kafka on free loopback ports.

    Raises:
        BrokerUnreachable: Java or Maven is missing, or the broker did not come up; its log is kept
            and named in the message.
    """
    reason = unavailable()
    if reason is not None:
        raise BrokerUnreachable(f"no Apache Kafka from Maven: {reason}", FIX_TOOLS)
    jars = class_path(options.download_timeout_s)
    address = f"127.0.0.1:{free_port()}"
    process = LocalProcess("kafka")
    try:
        settings = _write_settings(process.directory, address, options)
        _format(process, jars, settings)
        process.start(pinned(_java(jars, options, process.directory, settings), options.cpus))
        deadline = Deadline(options.start_timeout_s)
        if not answers(address, deadline, lambda: process.exit_code() is None):
            raise _not_started(process)
    except BaseException:
        process.abandon()
        raise
    description = f"Apache Kafka {kafka_version()} (Maven, KRaft)"
    return Broker(address, "maven", description, process.stop, process.pid)


def _write_settings(directory: Path, address: str, options: BrokerOptions) -> Path:
    properties = server_properties(address, address, f"127.0.0.1:{free_port()}")
    properties |= {"log.dirs": str(directory / "data"), **dict(options.overrides)}
    (directory / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
    settings = directory / "server.properties"
    lines = [f"{name}={value}\n" for name, value in properties.items()]
    settings.write_text("".join(lines), encoding="utf-8")
    return settings


def _format(process: LocalProcess, jars: str, settings: Path) -> None:
    tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(settings)]
    # A short life: the first compiler tier and one collector thread halve its time.
    command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", jars, *tool]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    process.log.write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode != 0:
        raise _not_started(process)


def _java(jars: str, options: BrokerOptions, directory: Path, settings: Path) -> list[str]:
    heap = f"{options.heap_mb}m"
    flags = [f"-Xms{heap}", f"-Xmx{heap}", "-XX:+UseG1GC", "-Djava.awt.headless=true"]
    logging = f"-Dlog4j2.configurationFile={directory / 'log4j2.properties'}"
    return ["java", *flags, logging, "-cp", jars, "kafka.Kafka", str(settings)]


def _not_started(process: LocalProcess) -> BrokerUnreachable:
    code, tail = process.exit_code(), process.tail()
    return BrokerUnreachable(
        f"Apache Kafka did not start (exit code {code}); the end of its log:\n{tail}",
        f"read the whole log: {process.log}",
    )
