"""An open-loop source: events leave at their scheduled times, whether or not anybody keeps up."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from consumer.config import Config
from tests.bench._cluster import Loader
from tests.bench._events import LIGHT, START_US, Events, Population
from tests.bench._remote import say

_TICK_S: Final = 0.002
#: A data session like no light user has: the next evaluation must move the customer.
_JUMP_MB: Final = 80_000.0


class Source:
    """Background traffic with planted behaviour changes in it, all made before the first is sent."""

    def __init__(self, config: Config, customers: int, seed: int) -> None:
        self._loader = Loader(config, **{"linger.ms": 5})
        self._population = Population(customers, seed, b"s")
        self._chunks: list[Events] = []
        self._due: list[tuple[float, int, int, int]] = []

    def prepare(self, plan: dict[str, Any]) -> int:
        """Makes `rate` events per second for `seconds`, and `jumps` of light users from `warm_s` on.

        Event time runs at `speed`. Returns how many jumps were planted (there may be too few light users).
        """
        rate, seconds, speed = plan["rate"], plan["seconds"], plan["speed"]
        light = np.flatnonzero(self._population.persona == LIGHT)[: plan["jumps"]]
        at_s = np.linspace(plan["warm_s"], seconds, len(light), endpoint=False)
        per_tick = max(1, round(rate * _TICK_S))
        size = per_tick * 5000
        total = int(rate * seconds)
        span_us = int(seconds * speed * 1e6)
        for events in self._population.traffic(total, START_US, span_us, size):
            number, first = len(self._chunks), len(self._chunks) * size
            self._chunks.append(events)
            self._due += [
                ((first + low) / rate, number, low, min(low + per_tick, events.n))
                for low in range(0, events.n, per_tick)
            ]
        times = START_US + (at_s * speed * 1e6).astype(np.int64)
        number = len(self._chunks)
        self._chunks.append(self._population.jumps(light, times, _JUMP_MB))
        self._due += [(float(at), number, i, i + 1) for i, at in enumerate(at_s)]
        self._due.sort()
        return len(light)

    def run(self) -> dict[str, float]:
        """Sends everything at its time; how many, how late at worst, and how long it took."""
        begin, latest, sent = time.monotonic(), 0.0, 0
        for at_s, number, low, high in self._due:
            wait = begin + at_s - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            latest = max(latest, -wait)
            self._loader.send(self._chunks[number], low, high)
            sent += high - low
        seconds = time.monotonic() - begin
        self._loader.flush()
        say(f"sent {sent:,} events in {seconds:.1f} s, at worst {latest * 1e3:.0f} ms behind schedule")
        return {"sent": sent, "seconds": seconds, "behind_ms": latest * 1e3}

    def close(self) -> None:
        """Nothing is left open: `run` has flushed."""
