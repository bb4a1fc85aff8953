"""The least a Python program can do: take the messages and count them."""

from __future__ import annotations

import time

from consumer.config import Config
from consumer.kafka_clients import consumer_settings, make_consumer
from tests.bench._cluster import BATCH, WAIT_S, Offsets, assign, without_ends


class BareReader:
    """A `consume` loop with the settings of the service."""

    def __init__(self, config: Config) -> None:
        self._settings = consumer_settings(config, f"{config.app.name}-bare")

    def measure(self, start: Offsets, n: int) -> tuple[int, float]:
        """Reads at least `n` records from `start` on; records and seconds after the first batch.

        All that is counted here is reading, so the batch that starts the clock is not counted.
        """
        consumer = make_consumer(self._settings)
        assign(consumer, start)
        count, begin = 0, 0.0
        while not begin or count < n:
            messages = without_ends(consumer.consume(BATCH, WAIT_S))
            if begin:
                count += len(messages)
            elif messages:
                begin = time.perf_counter()
        seconds = time.perf_counter() - begin
        consumer.close()
        return count, seconds

    def close(self) -> None:
        """Nothing is left open between measurements."""
