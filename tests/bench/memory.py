"""Memory: bytes per customer of everything a worker keeps, fed without Kafka.

Every customer gets a profile and usage on many days; then a model is calibrated and everybody is assigned,
so that id index, windows, duplicates and segments are really written to. Measured is the growth of the
resident set of the process, not what the arrays claim.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from consumer.config import Config
from consumer.config_sources import load_config
from consumer.core import Core, Positions
from online_model.coordinator import make_first_model
from online_model.id_index import murmur2
from schemas.records import RawRecords
from tests.bench._events import START_US, Events, Population
from tests.bench._remote import Remote, say, two_cores

HISTORY_DAYS: Final = 30
_SAMPLE: Final = 20_000
_BATCH: Final = 20_000


def resident_bytes() -> int:
    """Resident set of this process, after giving back what is free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Feeder:
    """Feeds a `Core` as a poll would, with every customer in the partition that its key hashes to."""

    def __init__(self, core: Core, population: Population, partitions: int) -> None:
        self._core = core
        self._partitions = partitions
        self._partition_of = _partitions_of(population, partitions)
        self._next = np.zeros((partitions, 3), np.int64)
        for number in range(partitions):
            core.engine.add_partition(number)

    def feed(self, chunks: Iterable[Events]) -> int:
        """Applies all chunks; returns how many events were accepted."""
        accepted = 0
        for events in chunks:
            for low in range(0, events.n, _BATCH):
                accepted += self._step(events, slice(low, min(low + _BATCH, events.n)))
        self._poll(RawRecords([], [], *_nothing()))
        return accepted

    def settle(self) -> None:
        """Steps without events until every partition has finished its scan."""
        scanning = True  # the first step takes up the model and begins
        while scanning:
            self._poll(RawRecords([], [], *_nothing()))
            scanning = any(state.scan.active for state in self._core.engine.partitions.values())

    def _step(self, events: Events, part: slice) -> int:
        topic = events.topic[part]
        partition = self._partition_of[events.customer[part]]
        offset = np.empty(len(topic), np.int64)
        for number in range(self._partitions):
            for code in range(3):
                rows = np.flatnonzero((partition == number) & (topic == code))
                offset[rows] = self._next[number, code] + np.arange(len(rows))
                self._next[number, code] += len(rows)
        values: list[bytes | None] = list(events.values[part])
        keys: list[bytes | None] = list(events.keys[part])
        return self._poll(RawRecords(values, keys, topic, partition, offset))

    def _poll(self, raw: RawRecords) -> int:
        places = [(number, code) for number in range(self._partitions) for code in range(3)]
        # Each topic counts as read to its end after each step, so that none holds another back.
        positions = Positions({at: int(self._next[at]) for at in places}, dict.fromkeys(places, True))
        step = self._core.process(raw, positions, START_US)
        return sum(int(part.outcomes[:, 0].sum()) for part in step.partitions)


def _nothing() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    return np.empty(0, np.uint8), np.empty(0, np.int32), np.empty(0, np.int64)


def _partitions_of(population: Population, partitions: int) -> npt.NDArray[np.int32]:
    found = np.empty(population.n, np.int32)
    for row, customer in enumerate(population.ids):
        found[row] = (murmur2(np.frombuffer(customer, np.uint8), 0, len(customer)) & 0x7FFFFFFF) % partitions
    return found


class Measurement:
    """Fills a core and looks at the process; runs in a child of its own."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._config: Config = load_config(
            None, {}, {"model.k": 6, "model.min_customers": 2, "watermark.idle_grace_s": None}
        )

    def _fill(self, customers: int, per_customer: int) -> tuple[Core, int]:
        core = Core(self._config, self._partitions)
        population = Population(customers)
        feeder = Feeder(core, population, self._partitions)
        accepted = feeder.feed(population.history(per_customer, HISTORY_DAYS))
        model = make_first_model(
            core.engine.population(_SAMPLE),
            core.plan,
            core.strategies,
            core.calibration,
            self._config.decision.dormant_after_days,
        )
        core.engine.offer_model(model)
        feeder.settle()
        return core, accepted

    def run(self, customers: int, per_customer: int) -> dict[str, float]:
        """Growth of the process by `customers` customers; compiled code and libraries are there before."""
        self._fill(2000, 10)
        before = resident_bytes()
        core, accepted = self._fill(customers, per_customer)
        states = list(core.engine.partitions.values())
        held = sum(state.index.n for state in states)
        assigned = sum(int((state.store.rows.hot["segment"][: state.index.n] >= 0).sum()) for state in states)
        after = resident_bytes()
        if held != customers:
            raise RuntimeError(f"{held} of {customers} customers are held")
        return {
            "bytes_per_customer": round((after - before) / held, 1),
            "customers": held,
            "rss_bytes": after,
            "rss_before_bytes": before,
            "rss_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "state_bytes_per_customer": round(sum(state.nbytes for state in states) / held, 1),
            "index_bytes_per_customer": round(sum(state.index.nbytes for state in states) / held, 1),
            "customers_with_segment": assigned,
            "events": accepted,
            "partitions": self._partitions,
        }

    def close(self) -> None:
        """Nothing to let go."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--events", type=int, default=10, help="usage and billing events per customer")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: to see that it works, not to measure"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.customers, options.events = 5000, 10
    return options


def main() -> None:
    """Runs the benchmark; the last line of stdout is the result."""
    options = parse()
    with Remote(two_cores()[0], Measurement, options.partitions) as child:
        say(f"filling {options.customers:,} customers with {options.events} events each")
        print(json.dumps(child.call("run", options.customers, options.events)))


if __name__ == "__main__":
    main()
