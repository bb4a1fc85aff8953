"""Campaign engines that follow a run while they are killed themselves: what they end with must be exact."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import msgspec
from confluent_kafka import Producer

from consumer.kafka_clients import make_consumer, reader_settings
from consumer.log_reader import LogReader
from deploy.examples.campaign_engine import TABLES
from schemas.times import format_time, parse_time
from tests.chaos.due import Due, Made, due_of
from tests.chaos.engine import DIES_AT, MUTANT
from tests.chaos.lives import Verdict
from tests.chaos.nursery import Child
from tests.chaos.stage import Run, Stuck
from tests.customers.membership import catch_up, compacted, members
from tests.service.world import PARTITIONS

#: What is done to an engine, and how often each is drawn: `moment` is a death at a statement of its database,
#: `rewind` one after which it begins to read the changes again.
_DEATHS: Final = {"kill": 4, "moment": 6, "rewind": 1}
#: Moments are counted from the start of a life; a message has eight of them, ten if it begins a life.
_MOMENTS: Final = 24
#: Fewer messages than this say nothing.
_LEAST: Final = 20
_CATCH_UP_S: Final = 90.0


class Follower:
    """One engine: one database, any number of lives."""

    def __init__(self, run: Run, name: str, mutant: str) -> None:
        self._run = run
        self._name = name
        self._mutant = mutant
        self._database = run.directory / f"{name}.sqlite"
        with closing(sqlite3.connect(self._database)) as store:  # so that others may look at any time
            store.executescript(TABLES)
        self._lives: list[Child] = []
        #: Per partition the end of the changes when it had its first membership, None before.
        self.since: dict[int, int] | None = None
        self.start()

    def start(self, dies_at: int = 0) -> None:
        """A life that ends at a moment; 0: it does not."""
        argv = ["--bootstrap", self._run.settings["kafka.bootstrap"], "--database", str(self._database)]
        argv += ["--prefix", self._run.settings["topics.prefix"]]
        env = {MUTANT: self._mutant, DIES_AT: str(dies_at or "")}
        log = self._run.directory / f"{self._name}.{len(self._lives)}.log"
        self._lives.append(self._run.stage.nursery.start(argv, env, log, "engine"))

    def kill(self) -> bool:
        """Kill -9; False if it had ended before."""
        life = self._lives[-1]
        was_alive = life.code is None
        life.signal(signal.SIGKILL)
        life.wait(10)
        return was_alive

    def rewind(self) -> None:
        """While it is dead: it has read no changes yet, as far as it knows."""
        with closing(sqlite3.connect(self._database)) as store:
            store.execute("UPDATE positions SET next = 0 WHERE topic = ?", (self._run.names.changes,))
            store.commit()

    def revive(self) -> None:
        """What has died or ended begins again."""
        if self._lives[-1].code is not None:
            self.start()

    @property
    def has_membership(self) -> bool:
        """Whether it has read the membership for the first time: from then on it is to miss nothing."""
        with closing(sqlite3.connect(self._database)) as store:
            return bool(store.execute("PRAGMA user_version").fetchone()[0])

    def is_at(self, ends: dict[tuple[str, int], int]) -> bool:
        """Whether it has taken everything before `ends` and handed over what came of it."""
        with closing(sqlite3.connect(self._database)) as store:
            rows = store.execute("SELECT topic, part, next FROM positions").fetchall()
            waiting = store.execute(
                "SELECT count(*) FROM messages WHERE handed_over = 0 AND arm = 'treatment' "
                "AND customer IS NOT NULL"
            ).fetchone()[0]
        at = {(topic, part): offset for topic, part, offset in rows}
        return not waiting and all(at.get(place, 0) >= end for place, end in ends.items())

    def end(self) -> list[str]:
        """Stops it as an operator does; what is wrong with how its lives ended."""
        life = self._lives[-1]
        life.signal(signal.SIGTERM)
        problems = [] if life.wait(30) == 0 else [f"it does not stop: {life.text[-1500:]}"]
        for life in self._lives:
            # A broker that is away ends it, and whoever runs it starts it again; nothing else does.
            last = (life.text.splitlines() or [""])[-1]
            if life.code not in (0, -signal.SIGKILL) and "KafkaException" not in last:
                problems.append(f"it ended by itself, code {life.code}: {life.text[-1500:]}")
        return problems

    @property
    def died(self) -> int:
        """Lives that ended by SIGKILL."""
        return sum(life.code == -signal.SIGKILL for life in self._lives)

    def problems(self, due: list[Due], current: dict[str, dict[str, Any]]) -> list[str]:
        """What does not hold when it has ended."""
        found = members(self._database)
        wrong = [name for name in sorted(current.keys() | found) if current.get(name) != found.get(name)]
        problems = [f"members {wrong[:3]} of {len(wrong)} are not those of the topic"] if wrong else []
        made = Made.of(self._database, [life.log for life in self._lives])
        return problems + made.problems(due, self.since or {}, len(self._lives) - 1)


class Followers:
    """One engine from before the first commit, one that joins on the way; both die all the time.

    Use as a context manager around what happens to the service; `judge` afterwards. A third one, which
    joins when all is over, is part of the judgement.
    """

    def __init__(self, run: Run, seed: int, mutant: str = "") -> None:
        self._run = run
        self._mutant = mutant
        self._rng = random.Random(seed)
        self._joins_at = self._rng.randint(2, 8)
        self._followers = {"first": Follower(run, "first", mutant)}
        self._followers["first"].since = dict.fromkeys(range(PARTITIONS), 0)
        self.deaths: Counter[str] = Counter()
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._haunt, daemon=True, name="followers")
        while not self._followers["first"].has_membership:
            time.sleep(0.02)
        self._thread.start()

    def _haunt(self) -> None:
        ticks = 0
        try:
            while not self._over.wait(self._rng.uniform(0.3, 2.0)):
                ticks += 1
                if ticks == self._joins_at:
                    self._followers["late"] = Follower(self._run, "late", self._mutant)
                name = self._rng.choice(sorted(self._followers))
                death = self._rng.choices(list(_DEATHS), list(_DEATHS.values()))[0]
                self._die(self._followers[name], death)
                for follower in self._followers.values():
                    self._look_at(follower)
                    follower.revive()
        except BaseException as error:
            self._failure = error
            raise

    def _look_at(self, follower: Follower) -> None:
        if follower.since is None and follower.has_membership:
            ends = self._ends(self._run.names.changes)  # asked for afterwards: of these it knows nothing yet
            follower.since = {part: end for (_, part), end in ends.items()}

    def _die(self, follower: Follower, death: str) -> None:
        moment = self._rng.randint(1, _MOMENTS)
        self.deaths["subscriber-kill"] += follower.kill()
        if death == "rewind":
            follower.rewind()
            self.deaths["subscriber-rewind"] += 1
        follower.start(moment if death == "moment" else 0)

    def _ends(self, *topics: str) -> dict[tuple[str, int], int]:
        config = self._run.world.config
        with LogReader(lambda only: make_consumer(reader_settings(config, only))) as log:
            return {(topic, p): log.bounds(topic, p)[1] for topic in topics for p in range(PARTITIONS)}

    def judge(self, verdict: Verdict) -> None:
        """Lets them come to the end, and adds what does not hold. Raises `Stuck`."""
        self._stop()
        if self._failure is not None:
            raise self._failure
        names, world = self._run.names, self._run.world
        ends = self._ends(names.changes, names.current)
        self._followers.setdefault("late", Follower(self._run, "late", self._mutant))
        end = time.monotonic() + _CATCH_UP_S
        for name, follower in self._followers.items():
            while not follower.is_at(ends):
                if time.monotonic() > end:
                    raise Stuck(f"engine {name} does not come to the end")
                follower.revive()
                time.sleep(0.1)
            self._look_at(follower)
        problems = [
            f"engine {name}: {problem}" for name, one in self._followers.items() for problem in one.end()
        ]
        due, current = due_of(world), compacted(world)
        if len(due) < _LEAST:
            problems.append(f"only {len(due)} changes that count: nothing was tested")
        for name, follower in self._followers.items():
            problems += [f"engine {name}: {problem}" for problem in follower.problems(due, current)]
        if not self._mutant:
            problems += self._last(current)
        died = sum(one.died for one in self._followers.values())
        self.deaths["subscriber-moment"] = died - self.deaths["subscriber-kill"]
        verdict.problems += problems
        verdict.faults += list(self.deaths.elements())

    def _last(self, current: dict[str, dict[str, Any]]) -> list[str]:
        """One that comes when all is over knows the members, and acts on nothing."""
        database = self._run.directory / "last.sqlite"
        catch_up(self._run.world, database)
        problems = [] if members(database) == current else ["engine last: not the members of the topic"]
        if made := Made.of(database, []).rows:
            problems.append(f"engine last: {len(made)} messages of what was before it came")
        return problems

    def _stop(self) -> None:
        self._over.set()
        self._thread.join(60)

    def __enter__(self) -> Followers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        for follower in self._followers.values():
            follower.kill()


@contextmanager
def never_committed(run: Run) -> Iterator[None]:
    """A well-formed change of a member, with its current record, in a transaction that is aborted."""
    member = next(
        (
            record.json
            for record in run.world.read(run.names.current)
            if record.value and record.json["strategy"]
        ),
        None,
    )
    if member is None:
        raise Stuck("nobody has a strategy yet")
    now_us = (parse_time(member["effective_at"]) or 0) + 1_000_000
    untrue = member | {"seq": member["seq"] + 1, "effective_at": format_time(now_us), "actionable": True}
    untrue |= {"consent": {"profiling": True, "as_of": None}}
    stray = Producer(
        {
            "bootstrap.servers": run.stage.cluster.direct,
            "transactional.id": f"untrue-{run.id}",
            "partitioner": "murmur2_random",
            "log_level": 0,
        }
    )
    stray.init_transactions(20)
    stray.begin_transaction()
    for topic in (run.names.changes, run.names.current):
        stray.produce(topic, msgspec.json.encode(untrue), member["customer_id"].encode())
    assert stray.flush(20) == 0
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            stray.abort_transaction(10)
