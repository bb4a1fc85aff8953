"""Schema Registries for tests: a real one (Apicurio, from Maven), and a stand-in with the calls that we use.

The stand-in is none: it keeps texts by id in memory, checks no schema and no compatibility. The same tests
run with both, which is what makes it worth something; only it can be told to fail.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from consumer.brokers.local_process import LocalProcess, free_port
from consumer.brokers.maven import maven_to_itself

POM: Final = Path(__file__).with_name("pom.xml")
_START_S: Final = 90.0


def fetch(folder: Path) -> str | None:
    """Unpacks Apicurio Registry into `folder`; why it cannot be had, None if it is there."""
    command = [
        "mvn",
        "-B",
        "-q",
        "-f",
        str(POM),
        "dependency:copy-dependencies",
        f"-DoutputDirectory={folder}",
    ]
    try:
        with maven_to_itself():
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return done.stdout.strip()[-300:]
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()
    return None


@contextmanager
def apicurio(folder: Path) -> Iterator[str]:
    """Runs what `fetch` unpacked, with its storage in memory; the address of Confluent's API."""
    port = free_port()
    [jar] = folder.glob("*-runner.jar")
    process = LocalProcess("registry")
    flags = ["-Xmx300m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    address = ["-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}"]
    try:
        process.start(["java", *flags, *address, "-jar", str(jar)])
        url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
        _wait(url, process)
        yield url
    finally:
        process.stop()


def _wait(url: str, process: LocalProcess) -> None:
    end = time.monotonic() + _START_S
    while not _answers(f"{url}/subjects"):
        assert process.exit_code() is None, f"the registry ended:\n{process.tail()}"
        assert time.monotonic() < end, f"the registry does not answer:\n{process.tail()}"
        time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


class StandIn:
    """A stand-in for a registry on a port of its own; a context manager.

    `status`: answer every request with this code instead. `asked`: paths of the requests.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.asked: list[str] = []
        self._schemas: list[dict[str, Any]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*stand_in.get(self.path.partition("?")[0]))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(*stand_in.post(body))

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self, status: int, document: Any) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def get(self, path: str) -> tuple[int, Any]:
        """A schema by id, or the subjects, of which it keeps none."""
        self.asked.append(path)
        if self.status is not None:
            return self.status, {"error_code": 50001, "message": "told to fail"}
        if path == "/subjects":
            return 200, []
        folder, _, name = path.rpartition("/")
        number = int(name) if folder == "/schemas/ids" else 0
        if not 1 <= number <= len(self._schemas):
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, self._schemas[number - 1]

    def post(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Registers a schema, or finds it."""
        schema: dict[str, Any] = {key: body[key] for key in ("schema", "schemaType") if key in body}
        if schema not in self._schemas:
            self._schemas.append(schema)
        number = self._schemas.index(schema) + 1
        return 200, {"id": number, "version": number, **schema}
