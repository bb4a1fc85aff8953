"""Silent customers become dormant in time on real Kafka, also where a partition or everybody is silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from consumer.brokers import Broker
from consumer.clock import FixedClock
from consumer.service import Service
from consumer.simulator import Simulation, SimulationSettings
from consumer.verify import Rules, Verifier
from consumer.verify.log import KafkaSource
from schemas.times import format_time, parse_time
from tests.online_model.streams import partition_of
from tests.service.conftest import Run, world_with_model
from tests.service.world import PARTITIONS, Record, World, check_chain, is_settled, turn_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

DAY_US = 86_400_000_000
GRACE_US = 300_000_000
DORMANT_AFTER_DAYS = 3
#: The clock moves on by so much; a day has four of them.
TICK_US = DAY_US // 4
#: Customers of this partition say nothing more; those of the others do for a while.
IDLE = 0
#: What counts as activity (`days_since_last_activity` of the default specification).
ACTIVITY = {"data", "voice", "sms", "topup"}


@dataclass(slots=True, repr=False)
class Silence:
    """What was said last, by customer, and what came of it."""

    world: World
    last_us: dict[str, int]
    idle_until_us: int
    changes: list[Record] = field(default_factory=list)
    while_others_spoke: list[Record] = field(default_factory=list)

    def dormant(self, changes: list[Record]) -> dict[str, dict[str, Any]]:
        """The change of each customer that became dormant."""
        return {
            record.json["customer_id"]: record.json | {"headers": record.headers}
            for record in changes
            if (record.json["segment"] or {}).get("id") == "dormant"
        }


def last_activity(world: World) -> dict[str, int]:
    """Newest time of an activity per customer, from the input topics."""
    last: dict[str, int] = {}
    for topic in world.names.inputs[:2]:
        for record in world.read(topic):
            body = record.json
            if body["type"] in ACTIVITY:
                time_us = parse_time(body["event_time"]) or 0
                last[body["customer_id"]] = max(time_us, last.get(body["customer_id"], 0))
    return last


def pass_time(service: Service, clock: FixedClock, until_us: int) -> None:
    """The clock goes on in ticks; after each everything is read and every scan is finished."""
    while clock.value_us < until_us:
        clock.value_us += TICK_US
        due = clock.value_us - GRACE_US
        states = service.core.engine.partitions
        turn_until(
            service,
            lambda: all(s.watermark_us >= due for s in states.values()) and is_settled(service),  # noqa: B023
        )


@pytest.fixture(scope="module")
def silence(run: Run, kafka: Broker) -> Silence:
    """Four days in which one partition is silent and others are not, then four in which all are."""
    # Nobody leaves: who has left is not silent.
    source = Simulation(SimulationSettings(customers=60, days=3, seed=2, activity=0.2, closed_share=0.0))
    world = world_with_model(
        run, kafka, source, watermark__idle_grace_s=300, decision__dormant_after_days=DORMANT_AFTER_DAYS
    )
    made = Silence(world, last_activity(world), source.settings.end_us + 4 * DAY_US)
    speakers = sorted(c for c in made.last_us if partition_of(c, PARTITIONS) != IDLE)[:20]
    clock = FixedClock(source.settings.end_us)
    with Service(world.config, clock) as service:
        turn_until(service, lambda: is_settled(service))
        number = 0
        while clock.value_us < made.idle_until_us:
            number += 1
            time_us = clock.value_us
            body = {"type": "data", "megabytes": 5.0, "event_time": format_time(time_us)}
            world.send(
                [
                    (world.names.usage, body | {"event_id": f"on-{number}-{name}", "customer_id": name})
                    for name in speakers
                ]
            )
            made.last_us |= dict.fromkeys(speakers, time_us)
            pass_time(service, clock, clock.value_us + TICK_US)
        made.while_others_spoke = world.read(world.names.changes)
        pass_time(service, clock, clock.value_us + 4 * DAY_US)
    made.changes = world.read(world.names.changes)
    return made


def test_a_partition_that_says_nothing_becomes_dormant(silence: Silence) -> None:
    """While others go on: all of its customers, and none of those who speak."""
    dormant = silence.dormant(silence.while_others_spoke)
    expected = {
        c
        for c, last in silence.last_us.items()
        if last + (DORMANT_AFTER_DAYS + 1) * DAY_US <= silence.idle_until_us - GRACE_US
    }
    idle = {c for c in silence.last_us if partition_of(c, PARTITIONS) == IDLE}
    assert len(idle) > 8
    assert idle <= expected <= dormant.keys()


def test_when_nobody_speaks_all_become_dormant(silence: Silence) -> None:
    """Also those who were the last to speak."""
    assert silence.dormant(silence.changes).keys() >= silence.last_us.keys()
    assert len(silence.last_us) > 50


def test_time_is_the_cause_and_takes_a_day_at_most(silence: Silence) -> None:
    """No event, no trigger; effective within a day of the rule, counted from what was said last."""
    check_chain(silence.changes)
    dormant = silence.dormant(silence.changes)
    for customer, last_us in silence.last_us.items():
        change = dormant[customer]
        assert change["cause"] == "time", change
        rule_us = last_us + DORMANT_AFTER_DAYS * DAY_US
        assert rule_us <= (parse_time(change["effective_at"]) or 0) <= rule_us + DAY_US
        assert not [name for name in change["headers"] if "trigger" in name], change["headers"]


def test_current_says_so_too(silence: Silence) -> None:
    """Membership as of the last change."""
    current = {r.key: r for r in silence.world.read(silence.world.names.current)}
    segments = {
        record.json["customer_id"]: record.json["segment"]["id"]
        for record in current.values()
        if record.value is not None
    }
    assert {segments[customer] for customer in silence.last_us} == {"dormant"}


def test_it_can_be_derived_again(silence: Silence) -> None:
    """Decisions without an event go through the same commits: `verify` finds each as it must be."""
    rules = Rules.of(silence.world.config, PARTITIONS)
    report = Verifier(rules, KafkaSource(silence.world.config)).verify()
    assert report.kinds == {}
    assert report.unverified == []
