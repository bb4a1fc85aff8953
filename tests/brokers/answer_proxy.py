"""A TCP proxy that reads Kafka's framing, so that single answers can be held back or lost."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator

END_TXN = 26
TXN_OFFSET_COMMIT = 28


class AnswerProxy:
    """Stands before one broker. `seen`: requests by API key.

    `lose` and `delay_s` apply to the next answers of an API: lost means that the broker has done it, and the
    connection breaks before the client hears of it. `lost`: the requests whose answers were, by API key.
    """

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.split(":")
        self._broker = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        # Brokers name themselves in their answers: the name is replaced by ours, which is as long.
        self._names = (
            host.encode() + struct.pack(">i", int(port)),
            host.encode() + struct.pack(">i", self.port),
        )
        self.seen: Counter[int] = Counter()
        self.lose: Counter[int] = Counter()
        self.lost: dict[int, bytes] = {}
        self.delay_s: dict[int, float] = {}
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        """Ends every connection."""
        for sock in (self._listener, *self._open):
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(self._broker)
                self._open += [client, broker]
                asked: dict[int, tuple[int, bytes]] = {}
                for target in (self._requests, self._answers):
                    threading.Thread(target=target, args=(client, broker, asked), daemon=True).start()

    def again(self, request: bytes) -> bytes:
        """Sends a request to the broker once more, over a connection of its own; the answer's body."""
        with socket.create_connection(self._broker, timeout=10) as broker:
            broker.sendall(request)
            return next(_frames(broker))[8:]

    def _requests(
        self, client: socket.socket, broker: socket.socket, asked: dict[int, tuple[int, bytes]]
    ) -> None:
        with contextlib.suppress(OSError):
            for frame in _frames(client):
                api, _, correlation = struct.unpack_from(">hhi", frame, 4)
                asked[correlation] = api, frame
                self.seen[api] += 1
                broker.sendall(frame)
        _shut(client, broker)

    def _answers(
        self, client: socket.socket, broker: socket.socket, asked: dict[int, tuple[int, bytes]]
    ) -> None:
        with contextlib.suppress(OSError):
            for frame in _frames(broker):
                api, request = asked.pop(struct.unpack_from(">i", frame, 4)[0])
                if self.lose[api]:
                    self.lost[api] = request
                    self.lose[api] -= 1
                    break
                time.sleep(self.delay_s.get(api, 0.0))
                client.sendall(frame.replace(*self._names))
        _shut(client, broker)


def error_of_end(body: bytes) -> int:
    """The error code in the answer to an EndTxn request of versions 0 to 2."""
    return int(struct.unpack_from(">ih", body)[1])


def ended_otherwise(request: bytes) -> bytes:
    """An EndTxn request with commit turned into abort and abort into commit: its last byte."""
    return request[:-1] + bytes([1 - request[-1]])


def _frames(sock: socket.socket) -> Iterator[bytes]:
    """Frames with their length in front, until the connection ends."""
    with sock.makefile("rb") as stream:
        while len(head := stream.read(4)) == 4:
            yield head + stream.read(struct.unpack(">i", head)[0])


def _shut(*socks: socket.socket) -> None:
    for sock in socks:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
