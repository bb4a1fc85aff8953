"""When there is history enough for the first model, and what travels as a delta."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from consumer.config_sources import load_config
from consumer.core import Core, Positions, delta_of, report_of
from online_model.engine import Pass
from online_model.fold import ScanStatistics, empty
from online_model.partition import PartitionState
from online_model.scan import KEYS
from schemas.internal import DeltaRecord, from_json, to_json
from schemas.records import RawRecords
from tests.online_model.streams import partition_of

DAY_US = 86_400_000_000


def core_with(spans: list[tuple[int, float]], partition_count: int = 0, **settings: Any) -> Core:
    """A core that owns partitions with (customers, days of history); others own the rest, if any."""
    core = Core(
        load_config(None, {}, {f"model.{name}": value for name, value in settings.items()}),
        partition_count or len(spans),
    )
    for number, (customers, days) in enumerate(spans):
        state: PartitionState = core.engine.add_partition(number)
        state.index.n = customers
        state.first_watermark_us = 0
        state.intake.watermark_us = int(days * DAY_US)
    return core


@pytest.mark.parametrize(
    ("spans", "days"),
    [
        ([], 0.0),
        ([(10, 30.0)], 30.0),
        ([(10, 30.0), (10, 28.0), (10, 29.0)], 29.0),
        ([(500, 30.0), (0, 0.0), (3, -2410.0), (1, 1.0)], 30.0),  # empty, a bad clock, new
        ([(10, 2.0), (10, 2.0), (1, 400.0)], 2.0),  # a bad clock the other way
        ([(10, -5.0)], 0.0),
    ],
)
def test_history_is_what_half_of_the_customers_have(spans: list[tuple[int, float]], days: float) -> None:
    """An empty partition and one that began with a bad clock hold nobody back and hurry nobody."""
    assert core_with(spans).history_days() == days


def test_a_calibration_waits_for_customers_and_history() -> None:
    """Both, as configured."""
    needs = {"min_customers": 100, "min_history_days": 28}
    assert core_with([(60, 28.0), (60, 28.0)], **needs).is_ready_to_calibrate
    assert not core_with([(60, 27.9), (60, 28.0)], **needs).is_ready_to_calibrate
    assert not core_with([(40, 28.0), (40, 28.0)], **needs).is_ready_to_calibrate


@pytest.mark.parametrize(
    ("spans", "partition_count", "ready"),
    [
        ([(1_700, 28.0)], 3, True),  # three workers, 5,100 customers
        ([(1_660, 28.0)], 3, False),  # 4,980
        ([(900, 28.0), (860, 28.0)], 6, True),
        ([(5_000, 28.0)], 1, True),
        ([(4_999, 28.0)], 1, False),
        ([(210, 28.0)], 24, True),
        ([(199, 28.0)], 1_000, False),  # too few to be a sample
    ],
)
def test_a_worker_counts_the_customers_of_all_by_its_share(
    spans: list[tuple[int, float]], partition_count: int, ready: bool
) -> None:
    """5,000 customers in all are enough, however many workers share them."""
    core = core_with(spans, partition_count, min_customers=5_000, min_history_days=28, k="5-10")
    assert core.is_ready_to_calibrate == ready


def test_a_delta_returns_every_sum_and_one_of_before_separation_is_read() -> None:
    """Through the bytes of the deltas topic; a worker that does not know separation counts nobody for it."""
    statistics = empty(2, 3)
    for number, item in enumerate(dataclasses.fields(ScanStatistics)):
        getattr(statistics, item.name).reshape(-1)[-1] = (1 << 62) + number
    scanned = Pass(7, 0, KEYS, 10, statistics, None)
    record = from_json(to_json(delta_of(3, scanned, 4, 3_600_000_000)), DeltaRecord)
    report = report_of(record)
    assert (report.partition, report.scan_id, report.model_version) == (3, 7, 4)
    for item in dataclasses.fields(ScanStatistics):
        np.testing.assert_array_equal(getattr(report.statistics, item.name), getattr(statistics, item.name))
    del record.statistics["separation"]
    old = report_of(record).statistics
    np.testing.assert_array_equal(old.separation, np.zeros((2, 3)))
    np.testing.assert_array_equal(old.totals, statistics.totals)


def usage(customer: str, number: int) -> bytes:
    """A data session."""
    return (
        f'{{"event_id":"e{number}","customer_id":"{customer}","event_time":"2026-03-01T12:00:0{number}Z",'
        f'"type":"data","megabytes":1}}'
    ).encode()


def test_nothing_offered_before_a_partition_was_lost_is_applied_to_it_when_it_is_back() -> None:
    """It is read again from where the restored state ends; the other partition keeps what was offered."""
    core = Core(load_config(None, {}, {}), 2)
    names = ["c1", "c2", "c3", "c4", "c5", "c6"]
    by_partition = {p: [n for n in names if partition_of(n, 2) == p] for p in range(2)}
    for number in range(2):
        core.engine.add_partition(number)
    for number, customers in by_partition.items():
        values = [usage(customer, i) for i, customer in enumerate(customers)]
        keys = [customer.encode() for customer in customers]
        raw = RawRecords.of_topic(0, values, keys, partition=number)
        core.offer(raw, Positions({(number, 0): raw.n}, {(number, topic): True for topic in range(3)}))
    core.drop_partition(0)
    core.engine.add_partition(0)
    nothing = RawRecords.of_topic(0, [], [])
    step = core.process(nothing, Positions({}, {}), 1_780_000_000_000_000)
    applied = {part.partition: (int(part.outcomes.sum()), int(part.end[0])) for part in step.partitions}
    assert applied == {0: (0, 0), 1: (len(by_partition[1]), len(by_partition[1]))}
    assert min(map(len, by_partition.values())) > 0
