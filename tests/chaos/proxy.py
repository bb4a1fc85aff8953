"""A TCP proxy that can delay what passes, cut its connections and refuse new ones."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Final

_CHUNK: Final = 64 * 1024


class Proxy:
    """Listens on a free loopback port and passes on to `target`, on a thread of its own.

    `delay_s` holds back every chunk of either direction; `refusing` closes new connections at once.
    `cuts` counts the connections cut by `cut`, `passed` the bytes, so that a run can tell a fault that
    happened from one that did not.
    """

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self.delay_s = 0.0
        self.refusing = False
        self.cuts = self.passed = self.delayed = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True, name="proxy")
        self._thread.start()
        ready.wait(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        try:
            there, back = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        self._writers -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if self.delay_s:
                    self.delayed += 1
                    await asyncio.sleep(self.delay_s)
                writer.write(chunk)
                await writer.drain()
                self.passed += len(chunk)
        writer.close()

    def cut(self) -> None:
        """Closes every connection with a reset, data under way included."""

        def close() -> None:
            for writer in list(self._writers):
                self.cuts += 1
                writer.transport.abort()

        self._loop.call_soon_threadsafe(close)

    def close(self) -> None:
        """Ends the proxy."""

        async def end() -> None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._loop.stop()

        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(end(), self._loop)
            self._thread.join(5)
            self._loop.close()
