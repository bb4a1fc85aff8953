"""The service under simulated load, watched by a real Prometheus; faults are planted from outside."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np
import yaml
from confluent_kafka import Producer

from consumer.brokers import Broker
from consumer.kafka_clients import make_producer, plain_producer_settings
from consumer.simulator import Faults, KafkaFeed, Simulation, SimulationSettings
from tests.deploy.prometheus import HASTE, Prometheus, free_port
from tests.service.world import World

CUSTOMERS: Final = 3000
HISTORY_DAYS: Final = 31
SCAN_S: Final = 5
ROOT: Final = Path(__file__).parent.parent.parent


class Process:
    """A worker in a process of its own."""

    def __init__(self, world: World, folder: Path, instance: str, **settings: Any) -> None:
        self.port = free_port()
        self._log = folder / f"{instance}-{self.port}.log"
        config = world.config
        app = config.app.model_copy(update={"instance": instance})
        http = config.http.model_copy(update={"port": self.port})
        content = config.model_copy(update={"app": app, "http": http}).model_dump(mode="json")
        for name, value in settings.items():
            group, _, key = name.partition("__")
            content[group][key] = value
        self.config = folder / f"{instance}.yaml"
        self.config.write_text(yaml.safe_dump(content), encoding="utf-8")
        command = [sys.executable, "-m", "tests.deploy.worker", str(self.config), str(SCAN_S)]
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=sink)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self._process.pid, number)

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()
        self._process.wait(20)


class Rig:
    """One group of workers on topics of its own, with a month of history and load from then on.

    The load is `Rig.tick`: a second's worth of ordinary events; what else is sent is the test's.
    """

    def __init__(
        self,
        broker: Broker,
        folder: Path,
        workers: int = 1,
        haste: int = HASTE,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        **settings: Any,
    ) -> None:
        self._closers = ExitStack()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.world = World.make(
            broker,
            partitions=4,
            **{
                "model__min_customers": 2000,
                "model__min_history_days": 28.0,
                "watermark__idle_grace_s": 2.0,
                "decision__min_dwell_days": 0.0,
                "snapshots__interval_s": 5.0,
                **settings,
            },
        )
        self._producer: Producer = make_producer(plain_producer_settings(self.world.config))
        self._numbers = itertools.count()
        self._rng = np.random.default_rng(5)
        self.customers: list[str] = []
        self._send_history()
        self.prometheus = self._closers.enter_context(
            Prometheus(folder / "prometheus", haste, thresholds or {})
        )
        self.workers = [self.start(chr(ord("a") + n)) for n in range(workers)]

    def start(self, instance: str, **settings: Any) -> Process:
        """A worker."""
        worker = Process(self.world, self.folder, instance, **settings)
        self._closers.callback(worker.end)
        return worker

    def watch(self) -> None:
        """Prometheus scrapes all workers."""
        self.prometheus.watch([worker.port for worker in self.workers])

    def _send_history(self) -> None:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        simulation = Simulation(
            SimulationSettings(
                customers=CUSTOMERS,
                days=HISTORY_DAYS + 1,
                start=midnight - timedelta(days=HISTORY_DAYS),
                activity=0.5,
                new_customer_share=0.0,
                silent_churn_share=0.0,
                closed_share=0.0,
                faults=Faults(),
            )
        )
        feed = KafkaFeed(
            plain_producer_settings(self.world.config),
            simulation,
            topic_prefix=self.world.config.topics.prefix,
        )
        feed.step(int(time.time() * 1e6))
        feed.close()
        self.customers = simulation.population.ids.tolist()

    # -- load ------------------------------------------------------------------------------------

    def base(self, customer: str) -> dict[str, Any]:
        """What every event of now has."""
        return {
            "event_id": f"rig-{next(self._numbers)}",
            "customer_id": customer,
            "event_time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }

    def event(self, customer: str, kind: str, **fields: Any) -> dict[str, Any]:
        """An event of now."""
        return {**self.base(customer), "type": kind, **fields}

    def usage(self, customer: str, megabytes: float = 10.0) -> dict[str, Any]:
        """A data session of now."""
        return self.event(customer, "data", megabytes=megabytes, roaming=False, technology="4g")

    def send(self, topic: str, events: Iterable[Mapping[str, Any] | bytes]) -> None:
        """Sends bodies, keyed by customer; bytes as they are, keyed by the first customer."""
        for event in events:
            if isinstance(event, bytes):
                self._producer.produce(topic, event, self.customers[0].encode())
            else:
                self._producer.produce(topic, msgspec.json.encode(event), event["customer_id"].encode())
        if self._producer.flush(30):
            raise RuntimeError("the broker did not take the load")

    def tick(self, rejects: float = 0.0, n: int = 40) -> None:
        """A second of load: small sessions of some customers, a share of broken records."""
        chosen = self._rng.choice(len(self.customers), n)
        events: list[Mapping[str, Any] | bytes] = [
            self.usage(self.customers[i], megabytes=float(self._rng.lognormal(1.0, 0.5))) for i in chosen
        ]
        broken = round(n * rejects / max(1.0 - rejects, 0.01))
        self.send(self.world.names.usage, [*events, *([b'{"broken"'] * broken)])

    def run(self, seconds: float, rejects: float = 0.0) -> None:
        """Load for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begin = time.monotonic()
            self.tick(rejects)
            time.sleep(max(0.0, 1.0 - (time.monotonic() - begin)))

    def until(self, expr: str, timeout_s: float, rejects: float = 0.0) -> None:
        """Load until a query has a value. Raises TimeoutError with the logs."""
        end = time.monotonic() + timeout_s
        while not self.prometheus.query(expr):
            if time.monotonic() > end:
                logs = "\n".join(worker.log[-1500:] for worker in self.workers)
                raise TimeoutError(f"{expr}: nothing after {timeout_s:g} s\n{logs}")
            self.run(1.0, rejects)

    def settle(self, timeout_s: float = 240.0) -> None:
        """Until there is a model, everybody has a segment and the drift figures of a scan are there."""
        self.watch()
        self.until("sum(segmenter_segment_customers) > 2900", timeout_s)
        self.until("max(segmenter_drift_samples) > 2000 and max(segmenter_quantization_error_ratio) > 0", 60)
        # What came with the history is no load: rates forget it.
        self.run(8.0)

    def status(self) -> dict[str, Any]:
        """The log of the first worker, last line."""
        body: dict[str, Any] = json.loads(self.workers[0].log.splitlines()[-1])
        return body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closers.close()
