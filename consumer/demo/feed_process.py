"""The simulator in a process of its own, so that it does not take the service's processor."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final

from consumer.config import Config
from consumer.errors import BrokerUnreachable
from consumer.kafka_clients import plain_producer_settings
from consumer.simulator.settings import SimulationSettings

#: The clock goes in steps of this: less than an event may be ahead of it (`watermark.max_future_s`).
_TICK_US: Final = 15 * 60_000_000
_PAUSE_S: Final = 0.01
_CLOSE_S: Final = 30.0
_LOOK_S: Final = 0.1
_FAILED: Final = 3


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delays Ctrl-C; processes started inside never see it, whoever started them decides their end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the two processes tell each other: event times, a counter, and the end."""

    until_us: Any
    clock_us: Any
    sent: Any
    ready: Any
    done: Any
    stop: Any


class FeedProcess:
    """Sends a simulated run up to the event time it is allowed to. It is also the run's clock."""

    def __init__(self, simulation: SimulationSettings, config: Config, partitions: int) -> None:
        context = get_context("spawn")
        self._shared = _Shared(
            until_us=context.Value("q", simulation.start_us),
            clock_us=context.Value("q", simulation.start_us),
            sent=context.Value("q", 0),
            ready=context.Event(),
            done=context.Event(),
            stop=context.Event(),
        )
        # Silent: the broker is stopped after us, and nobody reads this process's log.
        producer = plain_producer_settings(config) | {"log_level": 0}
        prefix = config.topics.prefix
        self._process = context.Process(
            target=_feed,
            args=(simulation, producer, partitions, prefix, self._shared),
            name="simulator",
            daemon=True,
        )
        with interrupts_held():
            self._process.start()

    def allow(self, until_us: int) -> None:
        """Send what arrives before that event time."""
        self._shared.until_us.value = until_us

    def now_us(self) -> int:
        """The simulated clock: everything sent has arrived before it."""
        return int(self._shared.clock_us.value)

    @property
    def sent(self) -> int:
        """Records sent; exact when `done`, before that those of the last minutes may be missing."""
        return int(self._shared.sent.value)

    @property
    def done(self) -> bool:
        """Whether the whole run is delivered. Raises `BrokerUnreachable` if the process ended before."""
        if self._shared.done.is_set():
            return True
        self._require_alive()
        return False

    def wait_until_ready(self) -> None:
        """Returns when the simulator could begin. Raises `BrokerUnreachable` if it ended instead."""
        while not self._shared.ready.wait(_LOOK_S):
            self._require_alive()

    def _require_alive(self) -> None:
        if not self._process.is_alive() and not self._shared.done.is_set():
            raise BrokerUnreachable(
                f"the simulator ended early (exit code {self._process.exitcode})",
                "its message is above; check the broker and run the demo again",
            )

    def close(self) -> None:
        """Ends the process."""
        self._shared.stop.set()
        self._process.join(_CLOSE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _feed(
    simulation: SimulationSettings, producer: dict[str, Any], partitions: int, prefix: str, shared: _Shared
) -> None:
    """The child: steps of a few minutes of event time, the clock always ahead of what is sent."""
    from consumer.simulator import FeedError, KafkaFeed, Simulation

    parent = os.getppid()
    feed = KafkaFeed(producer, Simulation(simulation), partitions=partitions, topic_prefix=prefix)
    at_us = simulation.start_us
    shared.ready.set()
    # A parent that was killed cannot say stop.
    while not feed.done and not shared.stop.is_set() and os.getppid() == parent:
        step_us = min(at_us + _TICK_US, shared.until_us.value)
        if step_us <= at_us:
            shared.stop.wait(_PAUSE_S)
            continue
        shared.clock_us.value = at_us = step_us
        feed.step(at_us)
        shared.sent.value = feed.sent
    try:
        feed.close()
    except FeedError as error:
        print(f"simulator: {error}", flush=True)  # noqa: T201 - a child without logs
        os._exit(_FAILED)
    if feed.done:
        shared.done.set()
