"""Planted faults are what they say, and the truth counts them exactly."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from consumer.simulator import EventChunk, FaultKind, Faults, Simulation, SimulationSettings
from schemas.events import EVENT, TOPIC_OF_TYPE
from schemas.times import parse_time
from tests.simulator.frames import DAY_US

HOUR_US = 3_600_000_000
FAULTS = Faults(
    duplicates=0.1,
    late=0.05,
    late_day=0.03,
    late_week=0.02,
    late_window=0.02,
    out_of_order=0.05,
    bad_clock=0.05,
    malformed=0.2,
    misrouted=0.02,
)
SETTINGS = SimulationSettings(customers=150, days=20, seed=5, faults=FAULTS)
TOPICS = ("telecom.usage.v1", "telecom.billing.v1", "telecom.customer.v1")


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    """A run with every fault."""
    return Simulation(SETTINGS)


@pytest.fixture(scope="module")
def chunks(simulation: Simulation) -> list[EventChunk]:
    """Its chunks."""
    return list(simulation.chunks())


def records(chunks: list[EventChunk], *faults: FaultKind) -> list[tuple[str, bytes, bytes, int, int]]:
    """Topic, key, value, arrival and event time of the records with one of `faults`."""
    found = []
    for chunk in chunks:
        for row in np.flatnonzero(np.isin(chunk.fault, faults)).tolist():
            times = int(chunk.arrival_us[row]), int(chunk.event_time_us[row])
            found.append((chunk.topic[row], chunk.key[row], chunk.value[row], *times))
    return found


def accepted(topic: str, key: bytes, value: bytes) -> bool:
    """Whether the contract accepts a record (currency included)."""
    try:
        event = EVENT.validate_json(value)
    except ValidationError:
        return False
    on_topic = topic == TOPICS[TOPIC_OF_TYPE[event.type]]
    return on_topic and key.decode() == event.customer_id and getattr(event, "currency", "EUR") == "EUR"


def test_counters_equal_what_was_yielded(simulation: Simulation, chunks: list[EventChunk]) -> None:
    """Conservation: every split of the counters adds up to the records handed out."""
    sent = simulation.truth.sent
    assert sent.total == sum(chunk.n for chunk in chunks)
    assert sum(sent.by_fault.values()) == sent.total
    assert sum(sent.by_type.values()) == sent.total
    assert sent.by_topic == Counter(topic for chunk in chunks for topic in chunk.topic)
    counted = Counter(FaultKind(code).name.lower() for chunk in chunks for code in chunk.fault.tolist())
    assert sent.by_fault == counted
    assert len(sent.by_fault) == len(FaultKind)


def test_malformed_records_are_refused_and_all_others_accepted(chunks: list[EventChunk]) -> None:
    """The contract refuses exactly the records planted as malformed."""
    for fault in FaultKind:
        refused = FaultKind.BROKEN_JSON <= fault <= FaultKind.KEY_MISMATCH
        found = records(chunks, fault)
        assert found, fault.name
        for topic, key, value, _, _ in found:
            assert accepted(topic, key, value) is not refused, (fault.name, topic, key, value)


def test_envelope_faults_leave_the_text_valid(chunks: list[EventChunk]) -> None:
    """Wrong topics, keys and partitions are valid records in themselves."""
    assert {f for f in FaultKind if f.needs_kafka} == {
        *(FaultKind.WRONG_TOPIC, FaultKind.KEY_MISMATCH, FaultKind.MISROUTED)
    }
    for _, _, value, _, _ in records(chunks, *(f for f in FaultKind if f.needs_kafka)):
        EVENT.validate_json(value)


@pytest.mark.parametrize(
    ("fault", "least_us", "most_us"),
    [
        (FaultKind.NONE, 0, 0),
        (FaultKind.OUT_OF_ORDER, 1, 300_000_000),
        (FaultKind.DUPLICATE, 1, 600_000_000),
        (FaultKind.LATE, HOUR_US, 20 * HOUR_US),
        (FaultKind.LATE_DAY, DAY_US + 1, 6 * DAY_US),
        (FaultKind.LATE_WEEK, 7 * DAY_US + 1, 20 * DAY_US),
        (FaultKind.LATE_WINDOW, 95 * DAY_US, 120 * DAY_US),
        (FaultKind.CLOCK_DAYS_AHEAD, -30 * DAY_US, -DAY_US),
        (FaultKind.CLOCK_YEARS_AHEAD, -3650 * DAY_US, -365 * DAY_US),
        (FaultKind.CLOCK_1970, 20_000 * DAY_US, 30_000 * DAY_US),
    ],
)
def test_times_are_wrong_by_as_much_as_planted(
    chunks: list[EventChunk], fault: FaultKind, least_us: int, most_us: int
) -> None:
    """Arrival minus event time is in the range of the fault; the text says the event time."""
    for _, _, value, arrival_us, event_time_us in records(chunks, fault):
        assert least_us <= arrival_us - event_time_us <= most_us
        assert parse_time(json.loads(value)["event_time"]) == event_time_us


def test_duplicates_are_copies_of_earlier_records(chunks: list[EventChunk]) -> None:
    """A duplicate equals its original, which came before; every other event id is unique."""
    seen: set[bytes] = set()
    ids: list[str] = []
    for chunk in chunks:
        for value, fault in zip(chunk.value, chunk.fault.tolist(), strict=True):
            if fault == FaultKind.DUPLICATE:
                assert value in seen
            elif fault == FaultKind.NONE:
                seen.add(value)
                ids.append(json.loads(value)["event_id"])
    assert len(ids) == len(set(ids))


def test_shares_are_as_set(simulation: Simulation) -> None:
    """Each share comes out within sampling error."""
    sent = simulation.truth.sent
    originals = sent.total - sent.by_fault["duplicate"]
    malformed = sum(
        sent.by_fault[f.name.lower()]
        for f in FaultKind
        if FaultKind.BROKEN_JSON <= f <= FaultKind.KEY_MISMATCH
    )
    clocks = sum(sent.by_fault[k] for k in ("clock_days_ahead", "clock_years_ahead", "clock_1970"))
    for count, share in (
        (malformed, FAULTS.malformed),
        (clocks, FAULTS.bad_clock),
        (sent.by_fault["late"], FAULTS.late),
        (sent.by_fault["misrouted"], FAULTS.misrouted),
        (sent.by_fault["duplicate"], FAULTS.duplicates * sent.by_fault["none"] / originals),
    ):
        # What would arrive after the end is left as it was, hence the room below.
        assert 0.9 * share < count / originals < 1.06 * share


def test_everything_can_be_sent_twice() -> None:
    """Switches write two copies of each record: a share of 1 doubles (almost) all."""
    simulation = Simulation(SimulationSettings(customers=50, days=3, faults=Faults(duplicates=1.0)))
    for _ in simulation.chunks():
        pass
    faults = simulation.truth.sent.by_fault
    assert 0.98 * faults["none"] < faults["duplicate"] <= faults["none"]


def test_faults_leave_the_behaviour_alone() -> None:
    """With and without faults the same events happen; only their delivery differs."""
    plain = SimulationSettings(customers=40, days=4)
    faulty = SimulationSettings(customers=40, days=4, faults=Faults(late=0.3, duplicates=0.3))
    values = [
        {value for chunk in Simulation(settings).chunks() for value in chunk.value}
        for settings in (plain, faulty)
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize("wrong", [{"late": -0.1}, {"duplicates": 1.5}, {"late": 0.6, "malformed": 0.6}])
def test_impossible_shares_are_refused(wrong: dict[str, float]) -> None:
    """Shares are in 0..1 and fit together."""
    with pytest.raises(ValueError, match="share"):
        Faults(**wrong)


def test_late_records_cross_chunks(chunks: list[EventChunk]) -> None:
    """Lateness beyond a chunk moves a record to a later one."""
    for earlier, later in pairwise(chunks):
        assert later.n > 0
        assert later.arrival_us[0] >= earlier.arrival_us[-1]
    assert any((chunk.event_time_us < chunk.end_us - 2 * DAY_US).any() for chunk in chunks)
