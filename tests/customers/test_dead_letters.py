"""Laws of `segmenter dlq`: letters are counted and shown as they are, and sent again once."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import msgspec
import pytest

from consumer import cli
from consumer.brokers import Broker
from consumer.core import Core
from consumer.dead_letters import DeadLetters, Replay, Selection
from consumer.dead_letters.ledger import Ledger
from consumer.dead_letters.replay import REPLAYED_FROM
from consumer.errors import DataError, Fenced
from consumer.exit_codes import ExitCode
from consumer.kafka_clients import make_consumer, make_producer, plain_producer_settings, reader_settings
from consumer.log_reader import LogReader
from consumer.replay_feed import partition_of
from consumer.restore.tail import Tail
from schemas.times import format_time
from tests.customers.conftest import catch_up
from tests.customers.quiet import END_US
from tests.service.world import PARTITIONS, Record, World, is_settled, turn_until

MINUTE_US = 60_000_000
ODD = b'{"event_id": "\xff\x00"'


def arguments(world: World, *more: str, **settings: Any) -> list[str]:
    """`segmenter dlq` on the world."""
    config = world.config
    chosen = {
        "kafka.bootstrap": config.kafka.bootstrap,
        "topics.prefix": config.topics.prefix,
        "app.name": config.app.name,
        "log.level": "error",
    } | {name.replace("__", "."): value for name, value in settings.items()}
    return ["dlq", *more, *(part for name, value in chosen.items() for part in ("--set", f"{name}={value}"))]


def told(capsys: pytest.CaptureFixture[str], line: list[str]) -> Any:
    """What a command that must succeed says with --json."""
    capsys.readouterr()
    assert cli.execute([*line, "--json"]) == ExitCode.OK
    return json.loads(capsys.readouterr().out)


def bill(customer: str, number: int, currency: str = "EUR") -> dict[str, Any]:
    """A top-up of the last day."""
    return {
        "event_id": f"bill-{number}",
        "customer_id": customer,
        "event_time": format_time(END_US - number * MINUTE_US),
        "type": "topup",
        "amount": 5.0,
        "currency": currency,
    }


def customers_of(world: World, n: int) -> list[str]:
    """Some customers with a segment."""
    return sorted({cast("bytes", record.key).decode() for record in world.read(world.names.current)})[:n]


@pytest.fixture
def refused(settled: World) -> World:
    """Five bills in another currency, one of last year, a record that is no JSON, a misrouted one."""
    a, b = customers_of(settled, 2)
    names = settled.names
    producer = make_producer(plain_producer_settings(settled.config))
    for number in range(5):
        producer.produce(names.billing, msgspec.json.encode(bill(a, number, "USD")), a.encode())
    late = bill(b, 9) | {"event_time": format_time(END_US - 200 * 1440 * MINUTE_US)}
    producer.produce(names.billing, msgspec.json.encode(late), b.encode())
    producer.produce(names.usage, ODD, b.encode())
    elsewhere = (partition_of(b.encode(), PARTITIONS) + 1) % PARTITIONS
    call = bill(b, 11) | {"type": "sms", "count": 1}
    producer.produce(names.usage, msgspec.json.encode(call), b.encode(), elsewhere)
    assert producer.flush(20) == 0
    catch_up(settled, END_US)
    return settled


def replay_of(world: World, **settings: Any) -> Replay:
    """A replay as the command makes it, as of the end of the month."""
    config = world.config.model_copy(update=settings)
    return Replay(config, Core(config, PARTITIONS), END_US)


def test_letters_are_counted_and_shown(refused: World, capsys: pytest.CaptureFixture[str]) -> None:
    """By topic and reason, most first; the exact bytes of each, also where they are no text."""
    names = refused.names
    rows = told(capsys, arguments(refused, "list"))
    counted = {(row["topic"], row["reason"]): row["letters"] for row in rows}
    assert counted == {
        (names.billing, "currency"): 5,
        (names.billing, "late"): 1,
        (names.usage, "malformed_json"): 1,
        (names.usage, "misrouted"): 1,
    }
    assert rows[0]["reason"] == "currency"
    assert all(row["sent_again"] == 0 and row["first"] <= row["last"] for row in rows)
    (one,) = told(capsys, arguments(refused, "show", "--reason", "malformed_json"))
    assert base64.b64decode(one["value_base64"]) == ODD
    assert one["value"] == '{"event_id": "\\xff\x00"'
    assert told(capsys, arguments(refused, "show", one["letter"])) == [one]
    assert len(told(capsys, arguments(refused, "show", "--last", "3"))) == 3
    assert cli.execute(arguments(refused, "list", "--reason", "late")) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[1].split("\t")[:3] == [names.billing, "late", "1"]


def test_what_is_fit_now_is_sent_once(refused: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A record for another partition is fit, in a new currency the bills are; a second run sends nothing."""
    names = refused.names
    euro = arguments(refused, "replay")
    dry = told(capsys, [*euro, "--dry-run"])
    assert dry["sent"] == []
    assert {(row["reason"], row["outcome"]): row["letters"] for row in dry["outcomes"]} == {
        ("misrouted", "would be sent"): 1,
        ("currency", "left: would be refused again (currency)"): 5,
        ("late", "left: would be refused again (late)"): 1,
        ("malformed_json", "left: would be refused again (malformed_json)"): 1,
    }
    before = refused.ends()
    assert not Ledger(refused.config).exists
    assert [one["reason"] for one in told(capsys, euro)["sent"]] == ["misrouted"]
    assert told(capsys, euro)["sent"] == []
    dollar = arguments(refused, "replay", "--reason", "currency", currency="USD")
    assert len(told(capsys, dollar)["sent"]) == 5
    assert told(capsys, dollar)["sent"] == []
    sent = [record for topic in names.inputs for record in new_records(refused, topic, before)]
    assert len(sent) == 6
    letters = {letter.name: letter for letter in DeadLetters(refused.config).read(Selection())}
    for record in sent:
        origin = record.headers[REPLAYED_FROM].decode().removeprefix(f"{names.dlq}:")
        assert (record.key, record.value) == (letters[origin].key, letters[origin].value)
        assert record.partition == partition_of(cast("bytes", record.key), PARTITIONS)
    rows = {row["reason"]: row["sent_again"] for row in told(capsys, arguments(refused, "list"))}
    assert rows == {"currency": 5, "late": 0, "malformed_json": 0, "misrouted": 1}


def new_records(world: World, topic: str, before: dict[tuple[str, int], int]) -> list[Record]:
    """Records of an input topic after `before`."""
    return [record for record in world.read(topic) if record.offset >= before[topic, record.partition]]


def test_the_service_counts_what_was_sent_again(refused: World) -> None:
    """With the new currency the bills are applied; the letters are as they were, as a restart needs them."""
    dollars = World(refused.config.model_copy(update={"currency": "USD"}), refused.names)
    letters = DeadLetters(dollars.config).read(Selection(reasons=frozenset({"currency"})))
    run = replay_of(dollars)
    run.send(letters, lambda _: None)
    run.close()
    with dollars.service(END_US) as service:
        turn_until(service, lambda: is_settled(service))
        assert service.recorder.totals.sum() == 5
        assert service.recorder.totals[:, 0].sum() == 5, "all accepted"
    assert len(list(DeadLetters(dollars.config).read(Selection()))) == 8
    with LogReader(lambda only: make_consumer(reader_settings(dollars.config, only))) as log:
        tails = [Tail.read(log, dollars.names, partition, 0) for partition in range(PARTITIONS)]
    assert sum(len(offsets) for tail in tails for offsets in tail.refused) == 8, "no foreign record there"


def test_filters_take_what_they_say(refused: World) -> None:
    """By topic of origin, partition and offsets of the letters."""
    letters = DeadLetters(refused.config)
    everything = list(letters.read(Selection()))
    usage = refused.names.usage
    assert {x.topic for x in letters.read(Selection(topics=frozenset({usage})))} == {usage}
    one = everything[3]
    assert list(letters.read(Selection(partition=one.partition, offsets=(one.offset, one.offset)))) == [one]
    assert letters.one(one.partition, one.offset) == one
    with pytest.raises(DataError, match="no letter 0:99999"):
        letters.one(0, 99_999)
    with pytest.raises(DataError, match="no letter 77:0"):
        letters.one(77, 0)


def test_of_two_runs_at_once_one_sends(refused: World) -> None:
    """The second takes over; the first, with an older ledger, is fenced, and nothing of it is seen."""
    chosen = Selection(reasons=frozenset({"misrouted"}))
    first, second = replay_of(refused), replay_of(refused)
    before = refused.ends()

    def while_reading() -> Any:
        for letter in DeadLetters(refused.config).read(chosen):
            second.send([letter], lambda _: None)
            yield letter

    with pytest.raises(Fenced, match="another replay took over"):
        first.send(while_reading(), lambda _: None)
    assert len([r for t in refused.names.inputs for r in new_records(refused, t, before)]) == 1
    assert len(Ledger(refused.config).read()) == 1
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("list", "--reason", "boredom"), "--reason boredom"),
        (("list", "--topic", "weather"), "is no input topic"),
        (("show", "nowhere"), "3:1042"),
        (("replay", "--offsets", "1-2"), "--partition"),
        (("replay", "-p", "0", "--offsets", "1:2"), "100-199"),
    ],
)
def test_mistakes_are_named(
    embedded_broker: Broker, capsys: pytest.CaptureFixture[str], line: tuple[str, ...], words: str
) -> None:
    """One message with what to write instead."""
    world = World.make(embedded_broker)
    assert cli.execute(arguments(world, *line)) == ExitCode.CONFIG
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_without_topics_the_command_says_so(
    embedded_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 4."""
    line = ["dlq", "list", "-b", embedded_broker.bootstrap, "--set", "topics.prefix=nobody."]
    assert cli.execute(line) == ExitCode.TOPICS
    assert "topics create" in capsys.readouterr().err
