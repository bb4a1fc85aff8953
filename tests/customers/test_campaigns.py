"""Laws of the example campaign engine, through deaths of the service and of its own."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumer.brokers import Broker
from consumer.kafka_clients import make_producer, plain_producer_settings
from deploy.examples.campaign_engine import CampaignEngine
from online_model.model import Model
from online_model.model_json import to_json
from schemas.outbox import Change, Consent, Current, PreviousSegment, Segment, Strategy
from schemas.times import format_time
from tests.customers.membership import catch_up, compacted, members
from tests.customers.quiet import CUSTOMERS, quiet_month
from tests.service.conftest import feed
from tests.service.test_process import Process, wait_until_applied
from tests.service.world import World, check_chain

ENGINE = Path(__file__).parents[2] / "deploy" / "examples" / "campaign_engine.py"
HOUR_US = 3_600_000_000


class Engine:
    """The example as its own process, with one database for all its lives."""

    def __init__(self, world: World, folder: Path) -> None:
        self.database = folder / "campaigns.sqlite"
        self._log = folder / "messages.ndjson"
        config = world.config
        self._line = [sys.executable, str(ENGINE), "--bootstrap", config.kafka.bootstrap]
        self._line += ["--prefix", config.topics.prefix, "--database", str(self.database)]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as sink:
            return subprocess.Popen(self._line, stdout=sink)

    def kill(self) -> None:
        """Dies at once, and begins again."""
        self.process.kill()
        self.process.wait(20)
        self.process = self._start()

    def end(self) -> int:
        """Asked to stop."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def has_read_to(self, ends: dict[tuple[str, int], int]) -> bool:
        """Whether it has taken everything before `ends`."""
        with sqlite3.connect(self.database) as store:
            rows = store.execute("SELECT topic, part, next FROM positions").fetchall()
        store.close()
        at = {(topic, part): offset for topic, part, offset in rows}
        return all(at.get(place, 0) >= end for place, end in ends.items())

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was handed over, as often as it was."""
        return [json.loads(line) for line in self._log.read_bytes().splitlines()]


@pytest.mark.parametrize(
    "broker_fixture", ["embedded_broker", pytest.param("kafka", marks=pytest.mark.kafka)]
)
def test_it_ends_with_the_compacted_membership(
    request: pytest.FixtureRequest, calibrated: Model, tmp_path: Path, broker_fixture: str
) -> None:
    """Service and engine end in the middle of a month: same members, one message per change."""
    broker: Broker = request.getfixturevalue(broker_fixture)
    world = World.make(broker, commit__max_events=500)
    producer = make_producer(plain_producer_settings(world.config))
    producer.produce(world.names.models, to_json(calibrated), str(calibrated.version).encode(), partition=0)
    assert producer.flush(20) == 0
    source, now_us = quiet_month(), time.time_ns() // 1000
    engine = Engine(world, tmp_path)
    try:
        with Process(world, tmp_path / "1.log", commit__max_events=200) as service:
            service.wait_for("partitions live")
            feed(world, source)
            end = time.monotonic() + 60
            while len(world.read(world.names.changes)) < 40:
                assert time.monotonic() < end, service.text[-2000:]
            # On the embedded broker a reader that begins behind an aborted transaction is told of it as well,
            # and misses what its producer writes next: no kill there.
            service.end(signal.SIGTERM if broker.kind == "embedded" else signal.SIGKILL)
        engine.kill()
        with Process(world, tmp_path / "2.log", commit__max_events=200) as service:
            service.wait_for("partitions live")
            wait_until_applied(world, service)
            # News of today, which may start a campaign, some of customers who leave or are erased.
            customers = sorted(compacted(world))
            events = [event for n, name in enumerate(customers) for event in news(world, name, n, now_us)]
            world.send(events)
            wait_until_applied(world, service)
            engine.kill()
            service.end(signal.SIGTERM)
        end = time.monotonic() + 120
        wanted = compacted(world)
        while (found := members(engine.database)) != wanted:
            assert engine.process.poll() is None, "the engine has died"
            assert time.monotonic() < end, [(c, wanted.get(c), found.get(c)) for c in wanted.keys() | found]
            time.sleep(0.3)
        assert engine.end() == 0
    finally:
        engine.process.kill()
        engine.process.wait(20)
    changes = world.read(world.names.changes)
    begun_again = erased(world)
    check_chain([change for change in changes if change.key not in begun_again])
    assert len(wanted) < len(customers) == CUSTOMERS, "some have left"
    catch_up(world, engine.database)
    check_messages(world, engine, wanted)


def check_messages(world: World, engine: Engine, wanted: dict[str, Any]) -> None:
    """One row per change that counts, of those who are still there; handed over once but for a crash."""
    due = Counter(
        (change["customer_id"], change["seq"], change["strategy"]["arm"])
        for change in (record.json for record in world.read(world.names.changes))
        if change["customer_id"] in wanted
        and change["actionable"]
        and change["strategy"] is not None
        and change["consent"]["profiling"]
    )
    with sqlite3.connect(engine.database) as store:
        made = Counter(
            store.execute("SELECT customer, seq, arm FROM messages WHERE customer IS NOT NULL").fetchall()
        )
        last_id = store.execute("SELECT max(id) FROM messages").fetchone()[0]
    store.close()
    assert max(made.values()) == 1, "no duplicate"
    assert made == due
    numbers = [message["message"] for message in engine.messages]
    assert set(numbers) <= set(range(1, last_id + 1))
    told = {(m["message"]): (m["customer"], m["seq"]) for m in engine.messages}
    assert len(set(told.values())) == len(told), "a customer's change has one number, whatever was killed"
    assert len(numbers) - len(set(numbers)) <= 2, "only what a kill interrupted comes twice"


def news(world: World, customer: str, n: int, now_us: int) -> list[tuple[str, dict[str, Any]]]:
    """A lot of use; every tenth customer leaves, every other tenth is erased."""
    names = world.names

    def event(kind: str, ago_s: int, **fields: Any) -> dict[str, Any]:
        base = {"event_id": f"{kind}-{n}-{ago_s}", "customer_id": customer, "type": kind}
        return base | {"event_time": format_time(now_us - ago_s * 1_000_000)} | fields

    events = [(names.usage, event("data", 600, megabytes=40_000.0))] if n % 3 else []
    events += [(names.usage, event("voice", 500, duration_seconds=90_000.0))] if n % 2 else []
    if n % 10 == 0:
        events.append((names.customer, event("closed", 60)))
    if n % 10 == 5:
        events.append((names.customer, event("forget", 60)))
    return events


def erased(world: World) -> set[bytes]:
    """Customers of an erasure."""
    return {r.key for r in world.read(world.names.customer) if r.key and r.json["type"] == "forget"}


# -- hand-written records ------------------------------------------------------------------------


class Outputs:
    """Writes output records as the service would, one transaction at a time."""

    def __init__(self, world: World) -> None:
        self._names = world.names
        settings = plain_producer_settings(world.config) | {"transactional.id": f"{world.config.app.name}-o"}
        self._producer = make_producer(settings)
        self._producer.init_transactions(20)

    def change(self, customer: str, seq: int, at_us: int, **fields: Any) -> Change:
        """A change that may be acted on, unless `fields` say otherwise; the first one has none before it."""
        before = PreviousSegment("s0", "none", format_time(0))
        parts: dict[str, Any] = {
            "customer_id": customer,
            "change": "moved" if seq > 1 else "assigned",
            "seq": seq,
            "segment": Segment("s1", "one"),
            "previous_segment": before if seq > 1 else None,
            "cause": "behaviour",
            "actionable": True,
            "provisional": False,
            "confidence": None,
            "drivers": (),
            "effective_at": format_time(at_us),
            "model_version": 1,
            "strategy": Strategy("offer", 1, "treatment"),
            "consent": Consent(True, format_time(0)),
            "origin": "live",
        }
        return Change(**{**parts, **fields})

    def publish(
        self, *changes: Change, leaving: tuple[str, ...] = (), compacted: tuple[Change, ...] = ()
    ) -> None:
        """Changes with their current records, and null records of `leaving`, in one transaction.

        Before them changes whose current records are gone: later ones of the same customers were compacted.
        """
        self._producer.begin_transaction()
        for change in (*compacted, *changes):
            key = change.customer_id.encode()
            self._producer.produce(self._names.changes, change.encode(), key, 0)
            if change.change != "exited" and change not in compacted:
                values = {name: getattr(change, name) for name in change.__struct_fields__}
                current = Current(**values, since=change.effective_at)
                self._producer.produce(self._names.current, msgspec.json.encode(current), key, 0)
        for customer in leaving:
            self._producer.produce(self._names.current, None, customer.encode(), 0)
        self._producer.commit_transaction(20)


def made(database: Path) -> list[tuple[Any, ...]]:
    """Messages as (customer, seq, arm)."""
    with sqlite3.connect(database) as store:
        rows = store.execute("SELECT customer, seq, arm FROM messages ORDER BY id").fetchall()
    store.close()
    return rows


def test_what_may_be_acted_on(embedded_broker: Broker, tmp_path: Path) -> None:
    """The past, what is not actionable, no consent: no message. Control: written down, not handed over."""
    world, database = World.make(embedded_broker, partitions=1), tmp_path / "c.sqlite"
    outputs = Outputs(world)
    outputs.publish(outputs.change("past", 3, 0))
    catch_up(world, database)
    change = outputs.change
    outputs.publish(
        change("past", 4, HOUR_US),
        change("model", 1, HOUR_US, actionable=False),
        change("no", 1, HOUR_US, consent=Consent(False, format_time(0))),
        change("unasked", 1, HOUR_US, consent=Consent(None, None)),
        change("control", 1, HOUR_US, strategy=Strategy("offer", 1, "control")),
        change("none", 1, HOUR_US, strategy=None),
    )
    catch_up(world, database)
    assert made(database) == [("past", 4, "treatment"), ("control", 1, "control")]
    heard: list[dict[str, Any]] = []
    settings = {"bootstrap.servers": world.config.kafka.bootstrap}
    with CampaignEngine(settings, database, world.config.topics.prefix) as engine:
        assert engine.hand_over(lambda _, message: heard.append(message)) == 1
        assert engine.hand_over(lambda _, message: heard.append(message)) == 0
    assert [message["customer"] for message in heard] == ["past"]


def test_a_seq_that_was_seen_is_dropped(embedded_broker: Broker, tmp_path: Path) -> None:
    """Also when the whole topic is read again; a new life after an erasure begins at 1 and is news."""
    world, database = World.make(embedded_broker, partitions=1), tmp_path / "c.sqlite"
    outputs = Outputs(world)
    catch_up(world, database)
    outputs.publish(outputs.change("ann", 1, HOUR_US), outputs.change("ann", 2, 2 * HOUR_US))
    catch_up(world, database)
    with sqlite3.connect(database) as store:
        store.execute("UPDATE positions SET next = 0")
    store.close()
    catch_up(world, database)
    assert made(database) == [("ann", 1, "treatment"), ("ann", 2, "treatment")]
    outputs.publish(leaving=("ann",))
    outputs.publish(outputs.change("ann", 1, 3 * HOUR_US, change="assigned"))
    catch_up(world, database)
    assert made(database) == [(None, 1, "treatment"), (None, 2, "treatment"), ("ann", 1, "treatment")]


def rewind(world: World, database: Path) -> None:
    """It has read no changes, as far as it knows."""
    with sqlite3.connect(database) as store:
        store.execute("UPDATE positions SET next = 0 WHERE topic = ?", (world.names.changes,))
    store.close()


def test_a_life_owes_nothing_to_the_one_before(embedded_broker: Broker, tmp_path: Path) -> None:
    """Erased and back while the engine was away, twice, and then the changes are read from the start."""
    world, database = World.make(embedded_broker, partitions=1), tmp_path / "c.sqlite"
    outputs = Outputs(world)
    catch_up(world, database)
    for life in range(2):
        at_us = (1 + 10 * life) * HOUR_US
        outputs.publish(*(outputs.change("back", seq, at_us + seq * HOUR_US) for seq in (1, 2, 3)))
        outputs.publish(leaving=("back",))
    outputs.publish(outputs.change("back", 1, 30 * HOUR_US, change="assigned"))
    catch_up(world, database)
    assert made(database) == [("back", 1, "treatment")], "of the last life only"
    rewind(world, database)
    catch_up(world, database)
    assert made(database) == [("back", 1, "treatment")]


def test_an_erasure_that_was_compacted_away(embedded_broker: Broker, tmp_path: Path) -> None:
    """Moved, erased and back while the engine was away, and no null record is left to tell it."""
    world, database = World.make(embedded_broker, partitions=1), tmp_path / "c.sqlite"
    outputs = Outputs(world)
    catch_up(world, database)
    outputs.publish(outputs.change("back", 1, HOUR_US), outputs.change("stays", 1, HOUR_US))
    catch_up(world, database)
    gone = (outputs.change("back", 2, 2 * HOUR_US), outputs.change("back", 1, 4 * HOUR_US))
    outputs.publish(
        outputs.change("back", 2, 6 * HOUR_US), outputs.change("stays", 2, 6 * HOUR_US), compacted=gone
    )
    catch_up(world, database)
    of_before, of_now = [(None, 1), (None, 2)], [("back", 1), ("back", 2)]
    found = [(customer, seq) for customer, seq, _ in made(database)]
    assert [one for one in found if one[0] != "stays"] == of_before + of_now
    assert [one for one in found if one[0] == "stays"] == [("stays", 1), ("stays", 2)], "lives are apart"


def test_back_after_an_exit_that_was_compacted_away(embedded_broker: Broker, tmp_path: Path) -> None:
    """Consent withdrawn and given again: as if the null record had been read, `seq` goes on."""
    world, database = World.make(embedded_broker, partitions=1), tmp_path / "c.sqlite"
    outputs = Outputs(world)
    catch_up(world, database)
    outputs.publish(outputs.change("ann", 1, HOUR_US))
    catch_up(world, database)
    left = outputs.change(
        "ann", 2, 2 * HOUR_US, change="exited", segment=None, strategy=None, actionable=False
    )
    again = outputs.change("ann", 3, 3 * HOUR_US, change="assigned", previous_segment=None)
    outputs.publish(again, compacted=(left,))
    catch_up(world, database)
    assert made(database) == [(None, 1, "treatment"), ("ann", 3, "treatment")]


def test_a_message_leaves_when_all_that_was_there_is_read(embedded_broker: Broker, tmp_path: Path) -> None:
    """What tells that a life is over may be steps behind what the life was told of."""
    world, database = World.make(embedded_broker, partitions=1), tmp_path / "campaigns.sqlite"
    outputs = Outputs(world)
    catch_up(world, database)
    outputs.publish(outputs.change("back", 1, HOUR_US))
    catch_up(world, database)
    others = tuple(outputs.change(f"c{n}", 1, 3 * HOUR_US) for n in range(1200))  # more than two steps take
    gone = (
        outputs.change("back", 2, 2 * HOUR_US),
        *others,
        outputs.change("back", 1, 4 * HOUR_US, segment=Segment("s3", "three")),
    )
    outputs.publish(outputs.change("back", 2, 6 * HOUR_US, segment=Segment("s4", "four")), compacted=gone)
    engine = Engine(world, tmp_path)
    try:
        end = time.monotonic() + 60
        while len(engine.messages) < 2:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert engine.end() == 0
    finally:
        engine.process.kill()
        engine.process.wait(20)
    assert [(m["customer"], m["seq"], m["segment"]) for m in engine.messages] == [
        ("back", 1, "s3"),
        ("back", 2, "s4"),
    ]


def test_an_erasure_is_an_erasure_of_bytes(embedded_broker: Broker, tmp_path: Path) -> None:
    """Members, what was seen and messages of the erased: nothing is in the file, all else stays."""
    world, database = World.make(embedded_broker, partitions=1), tmp_path / "c.sqlite"
    outputs = Outputs(world)
    catch_up(world, database)
    names = [f"erased-{n}" for n in range(50)]
    outputs.publish(*(outputs.change(name, 1, HOUR_US) for name in [*names, "stays"]))
    catch_up(world, database)
    assert b"erased-" in database.read_bytes()
    outputs.publish(leaving=tuple(names))
    catch_up(world, database)
    assert b"erased-" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert set(made(database)) == {(None, 1, "treatment"), ("stays", 1, "treatment")}
    assert set(members(database)) == {"stays"}


def test_nobody_gets_a_message_who_has_left(embedded_broker: Broker, tmp_path: Path) -> None:
    """A change and an erasure that came while the engine was away: nothing is sent, and nothing is kept."""
    world, database = World.make(embedded_broker, partitions=1), tmp_path / "c.sqlite"
    outputs = Outputs(world)
    catch_up(world, database)
    outputs.publish(outputs.change("bob", 1, HOUR_US), outputs.change("eve", 1, HOUR_US))
    outputs.publish(leaving=("bob",))
    exit_of_eve = outputs.change(
        "eve", 2, 2 * HOUR_US, change="exited", segment=None, strategy=None, actionable=False
    )
    outputs.publish(exit_of_eve, leaving=("eve",))
    catch_up(world, database)
    assert made(database) == []
    assert members(database) == {}
    assert b"bob" not in database.read_bytes()
