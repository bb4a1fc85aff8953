"""Where runs take place: a cluster, a nursery of workers, inputs; and one run's topics and workers."""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka.cimpl import NewTopic

from consumer.config_sources import load_config
from consumer.failpoints import LOG_VARIABLE, SEED_VARIABLE, VARIABLE
from consumer.kafka_clients import Admin, make_admin
from consumer.topics import TopicNames, shapes
from tests.chaos.cluster import Cluster
from tests.chaos.inputs import InputSet, make_inputs
from tests.chaos.nursery import Child, Nursery
from tests.chaos.observer import Observer
from tests.chaos.oracle import Outcome, State
from tests.chaos.worker import DUMP, INPUTS, MUTANT, NEWS, SCRIPT
from tests.service.world import PARTITIONS, World

#: A clean stop gives up a client that hangs after 38 s, and its open transaction after 5 more.
_STOP_S: Final = 45.0


class Stage:
    """Everything that runs share. Use as a context manager; `directory` holds logs and scripts."""

    def __init__(self, directory: Path, brokers: int = 1) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.brokers = brokers
        self.nursery = Nursery()
        try:
            self.cluster = Cluster(brokers)
        except BaseException:
            self.nursery.close()
            raise
        self._inputs: dict[int, InputSet] = {}
        self._expected: dict[tuple[int, int, bool], Outcome] = {}

    @property
    def replication(self) -> int:
        """Copies of every topic."""
        return min(self.brokers, 3)

    def inputs(self, seed: int) -> InputSet:
        """The input topics of `seed`, made when first asked for."""
        if seed not in self._inputs:
            prefix = f"in{seed}.{uuid.uuid4().hex[:6]}."
            self._inputs[seed] = make_inputs(self.cluster.direct, seed, prefix, self.replication)
        return self._inputs[seed]

    def expected(self, seed: int, n_models: int, news: bool) -> Outcome:
        """What the failure-free run of `seed` leaves behind."""
        if (seed, n_models, news) not in self._expected:
            with Run(self, seed, "reference", Options(n_models=n_models, news=news)) as run:
                run.start()
                run.wait_until_done()
                self._expected[seed, n_models, news] = run.finish()
        return self._expected[seed, n_models, news]

    def admin(self) -> Admin:
        """A client for topics."""
        return make_admin(load_config(None, {}, {"kafka.bootstrap": self.cluster.direct}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.nursery.close()
        self.cluster.close()


@dataclass(frozen=True, slots=True)
class Options:
    """Of a run. `n_models` versions are there from the start.

    With `scripted` they are adopted as the script says and the commits are the script's. `mutant` names
    a deliberate bug of every worker, `settings` are the service's, `stall_s`: without a commit for so long,
    with nothing to hold it back, a run has failed. `calm`: no worker may end by itself. `several`: workers,
    of which some may be dead at the end; the final state is then what another one restores. `news`: changes
    may be actionable although the month is over.
    """

    n_models: int = 1
    scripted: bool = True
    mutant: str = ""
    calm: bool = False
    several: bool = False
    news: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stall_s(self) -> float:
        """Mutants may hang as long as they like; they are not waited for."""
        return 15.0 if self.mutant else 60.0


class Run:
    """Fresh output topics, a group of their own, and workers on them. Use as a context manager."""

    def __init__(
        self,
        stage: Stage,
        seed: int,
        name: str,
        options: Options = Options(),
    ) -> None:
        n_models, scripted, mutant = options.n_models, options.scripted, options.mutant
        self.stage = stage
        self.options = options
        self.inputs = stage.inputs(seed)
        self.id = f"{name.replace(':', '-').replace('.', '-')}-{uuid.uuid4().hex[:6]}"
        self.directory = stage.directory / self.id
        self.directory.mkdir(parents=True)
        prefix = f"{self.id}."
        own = TopicNames.with_prefix(prefix)
        usage, billing, customer = self.inputs.names.inputs
        fields = {name: getattr(own, name) for name in own.__slots__}
        self.names = TopicNames(**fields | {"usage": usage, "billing": billing, "customer": customer})
        self.settings: dict[str, Any] = {
            "kafka.bootstrap": stage.cluster.proxied,
            "topics.prefix": prefix,
            "app.name": f"app-{self.id}",
            "http.host": "127.0.0.1",
            "http.port": 0,
            "watermark.idle_grace_s": "null",
            "commit.interval_ms": 5,
            "model.learner": "frozen" if scripted else "own",
            "model.k": 5,
            "model.recalibrate_days": "null",
            "snapshots.uri": str(self.directory / "snapshots"),
        } | dict(options.settings)
        direct = self.settings | {"kafka.bootstrap": stage.cluster.direct, "watermark.idle_grace_s": None}
        self.world = World(load_config(None, {}, direct), self.names)
        self._env = {INPUTS: self.inputs.prefix, LOG_VARIABLE: str(self.fired_path), MUTANT: mutant}
        if options.news:
            self._env[NEWS] = "1"
        if scripted:
            self._env[SCRIPT] = str(self.inputs.script(n_models, self.directory / "script.json"))
        self.children: list[Child] = []
        self._dumps: list[Path] = []
        self._create()
        self.inputs.publish_models(self.world.config, self.names, n_models)
        self.observer = Observer(self.world.config, self.names)

    @property
    def fired_path(self) -> Path:
        """Where failpoints write that they fired."""
        return self.directory / "fired"

    @property
    def fired(self) -> list[dict[str, Any]]:
        """Firings so far."""
        if not self.fired_path.exists():
            return []
        return [json.loads(line) for line in self.fired_path.read_text().splitlines()]

    def _create(self) -> None:
        admin = self.stage.admin()
        wanted = [shape for shape in shapes(self.names) if shape.name not in self.names.inputs]
        # A small index per partition: hundreds of runs share a broker.
        topics = [
            NewTopic(s.name, s.partitions or PARTITIONS, self.stage.replication, config=s.config)
            for s in wanted
        ]
        for future in admin.create_topics(topics, operation_timeout=10, request_timeout=15).values():
            future.result(20)
        end = time.monotonic() + 20
        names = {s.name for s in wanted}
        while names - admin.list_topics(timeout=10).topics.keys():
            assert time.monotonic() < end, "the topics do not appear"
            time.sleep(0.02)

    def start(self, failpoints: str = "", instance: str = "a", seed: int = 0) -> Child:
        """A worker with `failpoints` armed."""
        number = len(self.children)
        dump = self.directory / f"{number}.state.json"
        env = self._env | {VARIABLE: failpoints, SEED_VARIABLE: str(seed), DUMP: str(dump)}
        settings = self.settings | {"app.instance": instance}
        argv = ["run", *(part for name, value in settings.items() for part in ("--set", f"{name}={value}"))]
        child = self.stage.nursery.start(argv, env, self.directory / f"{number}.{instance}.log")
        self.children.append(child)
        self._dumps.append(dump)
        return child

    def start_command(self, command: str) -> Child:
        """Another command of `segmenter` on the run's topics."""
        env = {name: value for name, value in self._env.items() if name in (INPUTS, NEWS)}
        settings = [part for name, value in self.settings.items() for part in ("--set", f"{name}={value}")]
        return self.stage.nursery.start(
            [command, "--json", *settings], env, self.directory / f"{command}.log"
        )

    def rename_group(self) -> None:
        """Goes on with a consumer group that has committed nothing yet."""
        self.settings["app.name"] += "-2"
        self.world = self.world.with_settings(name=self.settings["app.name"])

    @property
    def is_done(self) -> bool:
        """Whether all of the input is committed."""
        return self.observer.is_done(self.inputs.ends)

    def wait_until_done(self, timeout_s: float = 120.0) -> None:
        """Returns when all of the input is committed; raises `Stuck` without a commit for too long.

        A worker that ended by itself is started again, as an operator's supervisor does.
        """
        end = time.monotonic() + timeout_s
        while not self.is_done:
            if time.monotonic() > end or self.observer.quiet_s > self.options.stall_s:
                raise Stuck(f"no end after {self.observer.commits} commits: {self.stacks()}")
            self.revive()
            time.sleep(0.02)

    def stacks(self) -> str:
        """Of every worker that still runs."""
        running = [child for child in self.children if child.code is None]
        return "\n".join(_stacks(child) for child in running or self.children[-1:])

    def revive(self) -> None:
        """Starts a clean worker where none runs any more."""
        if all(child.code is not None for child in self.children):
            if len(self.children) > 40:
                raise Stuck(f"workers keep ending: {self.children[-1].text[-1500:]}")
            time.sleep(0.2)
            self.start()

    def finish(self) -> Outcome:
        """Stops the workers as an operator does, and reads what is there. Raises `Stuck`."""
        running = [pair for pair in zip(self.children, self._dumps, strict=True) if pair[0].code is None]
        for child, _ in running:
            child.signal(signal.SIGTERM)
        for child, _ in running:
            if child.wait(_STOP_S) is None:
                raise Stuck(f"a worker does not stop: {_stacks(child)}")
        # What others have written, who stopped before the end, has customers who have left since.
        states = [json.loads(dump.read_text()) for _, dump in running if dump.exists()]
        return Outcome.read(self.world, states)

    def wait_until_live(self, child: Child, timeout_s: float = 60.0) -> None:
        """Returns when `child` has restored what it was given, or has ended."""
        end = time.monotonic() + timeout_s
        while child.code is None and "partitions live" not in child.text:
            if time.monotonic() > end:
                raise Stuck(f"a worker does not become live: {_stacks(child)}")
            time.sleep(0.02)

    def restored(self) -> State:
        """The state that a worker makes of what is in the topics, in a group of its own."""
        self.rename_group()
        child = self.start(instance="restored")
        self.wait_until_live(child)
        child.signal(signal.SIGTERM)
        if child.wait(30) != 0:
            raise Stuck(f"a worker does not stop: {_stacks(child)}")
        state: State = json.loads(self._dumps[-1].read_text())
        return state

    def traceback(self) -> list[str]:
        """Ends of logs of workers that ended in an unexpected error."""
        return [f"unexpected error: {child.text[-1500:]}" for child in self.children if child.code == 1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children:
            child.signal(signal.SIGKILL)
        for child in self.children:
            child.wait(10)
        self.observer.__exit__(kind, error, trace)
        own = [s.name for s in shapes(self.names) if s.name not in self.names.inputs]
        for future in self.stage.admin().delete_topics(own, operation_timeout=10).values():
            future.exception(20)


class Stuck(RuntimeError):
    """A run made no progress although nothing held it back."""


def _stacks(child: Child) -> str:
    """Where a worker hangs: the end of its log, with the stacks of its threads if it still runs."""
    if child.code is None:
        child.signal(signal.SIGUSR1)
        time.sleep(0.3)
    return child.text[-3000:]
