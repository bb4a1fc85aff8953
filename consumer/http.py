"""/metrics, /livez, /readyz and /status on a thread of their own. Nothing here touches Kafka."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any, Final, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from consumer.errors import ConfigError

#: A loop that has not passed by for this long is stuck: longer than any commit timeout.
STUCK_AFTER_S: Final = 60.0

_POLL_S: Final = 0.1  # how long `close` may wait for the server to notice

StartResponse = Callable[..., Any]
Environ = dict[str, Any]
Status = Mapping[str, Any]


class Health:
    """Liveness and readiness as the loop reports them. Written by the loop, read by the HTTP thread.

    Live: the loop passed by within `stuck_after_s`; whether Kafka answers does not matter, restarting
    us would not help it. Ready: nothing is left in the way (`wait_for`).
    """

    def __init__(
        self, stuck_after_s: float = STUCK_AFTER_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._stuck_after_s = stuck_after_s
        self._monotonic = monotonic
        self._last_beat_s = monotonic()
        self._waiting: Mapping[str, str] = {"start": "starting"}

    def beat(self) -> None:
        """The loop passed by."""
        self._last_beat_s = self._monotonic()

    def wait_for(self, reasons: Mapping[str, str]) -> None:
        """Replace what readiness waits for: reason by name; empty means ready."""
        self._waiting = dict(reasons)

    @property
    def silent_s(self) -> float:
        """Seconds since the loop last passed by."""
        return self._monotonic() - self._last_beat_s

    @property
    def live(self) -> bool:
        """False if the loop is stuck."""
        return self.silent_s <= self._stuck_after_s

    @property
    def waiting(self) -> Mapping[str, str]:
        """What readiness waits for."""
        return self._waiting

    @property
    def ready(self) -> bool:
        """True if the loop runs and waits for nothing."""
        return self.live and not self._waiting


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True

    def server_bind(self) -> None:
        # WSGIServer looks up the host's full name, which may hang on a machine without DNS.
        super(WSGIServer, self).server_bind()
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()


class _QuietHandler(WSGIRequestHandler):
    timeout = 10.0

    def log_message(self, format: str, *args: Any) -> None:
        """A line per scrape would drown the log."""


class StatusServer:
    """The HTTP server. Starts on construction; `port` is the bound one (asked for with 0).

    `status` returns what /status shows, JSON-serialisable; it runs on the HTTP thread and so must only
    read. Raises `ConfigError` if the address cannot be bound.
    """

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, health: Health, status: Callable[[], Status]
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._health = health
        self._status = status
        try:
            self._server = make_server(host, port, self._app, _Server, _QuietHandler)
        except OSError as error:
            raise ConfigError(
                f"http.port = {port}: cannot listen on {host}:{port}: {error.strerror}",
                "choose a free port with http.port (0: any) or stop what uses it; "
                "http.host must be an address of this machine",
            ) from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering and release the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def _app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return cast("Iterable[bytes]", self._metrics(environ, start_response))
        if path == "/livez":
            silent = {"silent_s": round(self._health.silent_s, 3)}
            return _respond(start_response, self._health.live, silent)
        if path == "/readyz":
            return _respond(start_response, self._health.ready, {"waiting_for": dict(self._health.waiting)})
        if path == "/status":
            return _respond(start_response, True, self._status())
        return _respond(
            start_response, False, {"paths": ["/metrics", "/livez", "/readyz", "/status"]}, "404 Not Found"
        )


def _respond(
    start_response: StartResponse, good: bool, body: Status, bad: str = "503 Service Unavailable"
) -> Iterable[bytes]:
    content = json.dumps({"ok": good, **body}).encode() + b"\n"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    start_response("200 OK" if good else bad, headers)
    return [content]
