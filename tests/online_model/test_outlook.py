"""Laws of the outlook: what silent customers will become is what they do become."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.active_model import segment_number
from online_model.decision import DAY_US, Candidates, DecisionPolicy, decide
from online_model.outlook import Expected, dormant_from_us, first_scan_us, last_activity_us, outlook
from online_model.rows import SEGMENT_DORMANT
from schemas.times import format_time, parse_time
from tests.consumer.verify.book import PARTITIONS, Service, partition_of
from tests.customers.quiet import END_US, quiet_service
from tests.online_model.streams import DAY, HOUR, T0
from tests.online_model.tiny import POLICY, TINY, World, listed, model

INTERVAL_US = 43_200_000_000


@given(
    st.integers(min_value=0, max_value=4 * 10**15),
    st.floats(min_value=0.001, max_value=400.0, allow_nan=False),
)
def test_the_first_dormant_microsecond_is_the_decisions(active_us: int, days: float) -> None:
    """At that watermark `decide` says dormant, a microsecond before it does not."""
    policy = DecisionPolicy(dormant_after_days=days)
    at = dormant_from_us(active_us, policy)
    for watermark, dormant in ((at - 1, False), (at, True)):
        silent = np.array([max(watermark - active_us, 0) / DAY_US])
        candidates = Candidates(np.zeros(1, np.int16), np.zeros(1, np.int64), silent)
        made = decide(np.zeros((1, 1)), candidates, np.zeros((1, 1)), np.ones(1), watermark, policy)
        assert (made.target[0] == -2) == dormant


def test_a_boundary_is_its_own_first_scan() -> None:
    """The pass of a boundary looks at the boundary."""
    assert [first_scan_us(at, HOUR) for at in (0, 1, HOUR, HOUR + 1)] == [0, HOUR, HOUR, 2 * HOUR]


def test_the_hand_solved_customer() -> None:
    """Ann has 100 MB of today: in ten days they leave the window, but after five she is dormant already."""
    world = World()
    world.engine.offer_model(model())
    world.tell([world.event("ann", "data", T0 + 7, megabytes=100.0)], T0 + HOUR)
    state = world.engine.partitions[0]
    active = state.active
    assert active is not None
    assert last_activity_us(state, 0) == T0 + 7
    assert dormant_from_us(T0 + 7, POLICY) == T0 + 7 + 5 * DAY
    boundary = T0 + 5 * DAY + HOUR
    assert outlook(state, 0, active, POLICY, 30.0) == [Expected(boundary, SEGMENT_DORMANT)]
    assert outlook(state, 0, active, POLICY, 5.0) == []
    later = DecisionPolicy(hysteresis=0.1, min_dwell_us=DAY, dormant_after_days=50.0, min_present=0.5)
    moved = outlook(state, 0, active, later, 60.0)
    assert [one.number for one in moved] == [1, SEGMENT_DORMANT], "the window is empty before that"
    assert moved[0].at_us == first_scan_us(T0 + 10 * DAY, HOUR)


def test_without_a_dormancy_feature_nobody_is_dormant() -> None:
    """There is no time that silence counts from."""
    world = World()
    world.tell([world.event("ann", "data", T0)], T0)
    state = world.engine.partitions[0]
    limits = TINY.limits._replace(activity_group=-1)
    state.plan = type(TINY)(**{name: getattr(TINY, name) for name in TINY.__slots__} | {"limits": limits})
    assert last_activity_us(state, 0) is None


@pytest.fixture(scope="module")
def silent() -> tuple[Service, dict[bytes, list[Expected]], dict[bytes, list[tuple[int, int]]]]:
    """A month of simulated customers, then silence but for one ticking customer per partition.

    The service, what was expected of everybody at its begin, and what came (watermark, segment).
    """
    service = quiet_service(**{"model.learner": "frozen"})
    _tick(service, END_US, 0)
    expected: dict[bytes, list[Expected]] = {}
    for state in service.core.engine.partitions.values():
        active = state.active
        assert active is not None
        rows = state.live_rows(0, 1 << 16)
        for row, customer in zip(rows.tolist(), state.index.ids(rows), strict=True):
            policy = service.core.engine.settings.policy
            if not customer.startswith(b"tick"):
                expected[customer] = outlook(state, row, active, policy, 36.0)
    before = {place: len(records) for place, records in service.log.topics.items()}
    for n in range(1, 73):
        _tick(service, END_US + n * INTERVAL_US, n)
    found: dict[bytes, list[tuple[int, int]]] = {customer: [] for customer in expected}
    for partition in range(PARTITIONS):
        place = (service.names.changes, partition)
        for record in service.log.topics[place][before.get(place, 0) :]:
            if record.key in found:
                found[record.key].append(_said(record))
    return service, expected, found


def _tick(service: Service, at_us: int, n: int) -> None:
    for partition in range(PARTITIONS):
        name = next(f"tick{i}" for i in range(100) if partition_of(f"tick{i}".encode()) == partition)
        body: dict[str, Any] = {"event_id": f"t{n}-{name}", "customer_id": name, "type": "sms"}
        service.send(service.names.usage, body | {"event_time": format_time(at_us), "count": 1})
    service.drain(at_us + HOUR)


def _said(record: Any) -> tuple[int, int]:
    body = msgspec.json.decode(record.value)
    at_us = parse_time(body["effective_at"])
    assert at_us is not None
    return at_us, segment_number(body["segment"]["id"])


def test_the_outlook_of_silent_customers_is_exact(
    silent: tuple[Service, dict[bytes, list[Expected]], dict[bytes, list[tuple[int, int]]]],
) -> None:
    """Every change of every customer, to its scan boundary; all of them end dormant."""
    _, expected, found = silent
    assert len(expected) >= 100
    assert {c: [(one.at_us, one.number) for one in moves] for c, moves in expected.items()} == found
    assert all(moves and moves[-1][1] == SEGMENT_DORMANT for moves in found.values())
    assert any(len(moves) > 1 for moves in found.values()), "some move on the way"


def test_dormancy_is_the_rule_and_the_next_boundary(
    silent: tuple[Service, dict[bytes, list[Expected]], dict[bytes, list[tuple[int, int]]]],
) -> None:
    """The boundary is the first one at or after the last activity and the rule's days."""
    service, _, found = silent
    policy = service.core.engine.settings.policy
    for state in service.core.engine.partitions.values():
        rows = state.live_rows(0, 1 << 16)
        for row, customer in zip(rows.tolist(), state.index.ids(rows), strict=True):
            active_us = last_activity_us(state, row)
            assert active_us is not None
            if customer in found:
                assert found[customer][-1][0] == first_scan_us(
                    dormant_from_us(active_us, policy), INTERVAL_US
                )


def test_listed_changes_agree() -> None:
    """In the engine's own words: the tiny customer becomes dormant at the boundary that was expected."""
    world = World(idle_grace_us=0)
    world.engine.offer_model(model())
    world.tell([world.event("ann", "data", T0 + 7)], T0 + HOUR)
    state = world.engine.partitions[0]
    assert state.active is not None
    (one,) = outlook(state, 0, state.active, POLICY, 9.0)
    for before in (one.at_us - HOUR, one.at_us - 1):
        assert listed(world.tell([], before)) == []
    (change,) = listed(world.tell([], one.at_us))
    assert change["new"] == one.number
