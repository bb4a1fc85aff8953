"""Several processes in one group: they share the load and hand over, whatever becomes of them."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest

from consumer.brokers import Broker
from consumer.exit_codes import ExitCode
from schemas.times import format_time
from tests.service.conftest import Run, get, simulation, world_with_model
from tests.service.test_process import Process, wait_until_applied
from tests.service.world import PARTITIONS, World, check_chain

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

#: A member that has gone without a word is missed after the session timeout (10 s), and so is one that was
#: stopped: members are static. Then the others restore.
HANDED_OVER_S = 40.0


class Workers:
    """Processes `a`, `b`, ... of one group, each with a log of its own."""

    def __init__(self, world: World, folder: Path, stack: ExitStack) -> None:
        self._world, self._folder, self._stack = world, folder, stack
        self.running: dict[str, Process] = {}

    def start(self, name: str) -> Process:
        """Starts one; commits are small, so that they are many."""
        world = self._world.with_settings(instance=name)
        small: dict[str, Any] = {"commit__max_events": 500, "commit__interval_ms": 5}
        process = self._stack.enter_context(Process(world, self._folder / f"{name}.log", **small))
        self.running[name] = process
        return process

    def stop(self, name: str, number: signal.Signals) -> None:
        """Ends one, by its exit code as it should."""
        code = self.running.pop(name).end(number)
        assert code == (ExitCode.OK if number == signal.SIGTERM else -number)

    def wait_until_shared(self, *names: str) -> float:
        """Waits until `names` own every partition, each some and none in common; the seconds that took."""
        begin = time.monotonic()
        while True:
            shares = [owned(self.running[name].text) for name in names]
            if all(shares) and sorted(chain.from_iterable(shares)) == list(range(PARTITIONS)):
                return time.monotonic() - begin
            assert time.monotonic() < begin + HANDED_OVER_S, shares
            for name in names:
                process = self.running[name]
                assert process.process.poll() is None, process.text[-3000:]
            time.sleep(0.05)


def owned(log: str) -> list[int]:
    """Partitions that a process last reported live."""
    found = re.findall(r'"partitions": \[([\d, ]*)\], "event": "partitions live"|', log)
    last = [numbers for numbers in found if numbers]
    return [int(number) for number in last[-1].split(",")] if last else []


def more_events(world: World, customers: Iterable[str], round_number: int) -> None:
    """An event for each of `customers`, an hour ago."""
    time_us = int(time.time() * 1e6) - 3_600_000_000 + round_number
    body = {"type": "data", "megabytes": 900.0, "event_time": format_time(time_us)}
    world.send(
        [
            (world.names.usage, body | {"event_id": f"more-{round_number}-{name}", "customer_id": name})
            for name in customers
        ]
    )


def wait_for_restore(process: Process) -> None:
    """Until the process says that it restores a partition."""
    port = int(process.wait_for(r'"http_port": ?(\d+)').group(1))
    end = time.monotonic() + 30
    while '"partition ' not in get(port, "/readyz")[1]:
        assert time.monotonic() < end
        time.sleep(0.01)


def check_everything(world: World) -> None:
    """No change twice or missing, commits without a gap, every record counted, current as last changed."""
    changes, audits, current = world.read(world.names.changes), world.audits(), {}
    check_chain(changes)
    assert len({r.headers["ce_id"] for r in changes}) == len(changes)
    for partition in range(world.partitions):
        mine = [a for a in audits if a.partition == partition]
        assert [a.n for a in mine] == list(range(1, len(mine) + 1))
        assert all(after.from_offsets == before.to_offsets for before, after in pairwise(mine))
        assert mine[0].from_offsets == dict.fromkeys(world.names.inputs, 0)
    assert sum(a.outputs for a in audits) == len(changes)
    assert sum(a.rejects for a in audits) == len(world.read(world.names.dlq))
    assert world.committed() == world.ends()
    for record in world.read(world.names.current):
        current[record.key] = record
    last = {r.key: r.json for r in changes}
    alive = {key: r.json for key, r in current.items() if r.value is not None}
    assert {key: (body["seq"], body["segment"]) for key, body in alive.items()} == {
        key: (body["seq"], body["segment"]) for key, body in last.items() if body["change"] != "exited"
    }


def test_workers_come_and_go_and_nothing_is_lost_or_doubled(run: Run, kafka: Broker, tmp_path: Path) -> None:
    """Two and three workers; one is killed while another restores, one stopped."""
    world = world_with_model(run, kafka, simulation())
    customers = sorted(key.decode() for key in run.features)[:200]
    with ExitStack() as stack:
        workers = Workers(world, tmp_path, stack)
        workers.start("a")
        workers.start("b")
        workers.wait_until_shared("a", "b")
        more_events(world, customers, 1)
        wait_for_restore(workers.start("c"))
        workers.stop("a", signal.SIGKILL)
        more_events(world, customers, 2)
        workers.wait_until_shared("b", "c")
        workers.start("a")
        workers.wait_until_shared("a", "b", "c")
        more_events(world, customers, 3)
        workers.stop("b", signal.SIGTERM)
        more_events(world, customers, 4)
        workers.wait_until_shared("a", "c")
        wait_until_applied(world, workers.running["a"])
        workers.stop("a", signal.SIGTERM)
        workers.stop("c", signal.SIGTERM)
    check_everything(world)
    assert len({a.run_id for a in world.audits()}) == 4
