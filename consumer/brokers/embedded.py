"""The embedded broker: `noida-db`, one small native process that speaks the Kafka protocol.

For the demo and for a first look: it needs neither Java nor Docker. It keeps everything in memory, and
consumers that fetch record by record stall on it, so read it in batches. Not for exactly-once tests or
benchmarks, which need a real Apache Kafka.
"""

from __future__ import annotations

import os
from importlib import metadata, resources
from pathlib import Path

from consumer.brokers.broker import Broker, BrokerOptions
from consumer.brokers.local_process import LocalProcess, free_port, pinned
from consumer.brokers.readiness import answers
from consumer.clock import Deadline
from consumer.errors import BrokerUnreachable


def executable() -> Path | None:
    """The native program inside the installed package, None if it is not there."""
    try:
        path = Path(str(resources.files("noida_db").joinpath("noida-db")))
    except ModuleNotFoundError:
        return None
    return path if path.is_file() else None


def unavailable() -> str | None:
    """Why this way cannot work here, None if it can."""
    return None if executable() else "the package noida-db is not installed for this platform"


def start(options: BrokerOptions) -> Broker:
    """Start the embedded broker on a free loopback port.

    Raises:
        BrokerUnreachable: it is not installed, or did not come up; its log is kept and named.
    """
    program = executable()
    if program is None:
        raise BrokerUnreachable("no embedded broker: noida-db is not installed", "pip install noida-db")
    if not os.access(program, os.X_OK):
        program.chmod(0o755)  # wheels do not carry the executable bit everywhere
    port = free_port()
    address = f"127.0.0.1:{port}"
    process = LocalProcess("embedded")
    where = ["--host", "127.0.0.1", "--data-dir", str(process.directory / "data")]
    command = [str(program), "start", "--only", "kafka", "--kafka-port", str(port), *where]
    try:
        process.start(pinned(command, options.cpus))
        deadline = Deadline(options.start_timeout_s)
        if not answers(address, deadline, lambda: process.exit_code() is None):
            raise BrokerUnreachable(
                f"the embedded broker did not start; the end of its log:\n{process.tail()}",
                f"read the whole log: {process.log}",
            )
    except BaseException:
        process.abandon()
        raise
    description = f"embedded broker (noida-db {metadata.version('noida-db')})"
    return Broker(address, "embedded", description, process.stop, process.pid)
