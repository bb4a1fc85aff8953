"""Laws of the coordinator: which reports are folded, and that workers do not matter."""

from __future__ import annotations

import random

import numpy as np

from online_model.coordinator import Coordinator, CoordinatorSettings, Report, is_ready
from online_model.engine import PartitionStep
from online_model.fold import ScanStatistics, empty
from online_model.model import Model
from online_model.model_json import from_json, to_json
from tests.online_model.streams import DAY, HOUR, T0, Event, Log, engine_of
from tests.online_model.tiny import POLICY, TINY, World, model


def coordinator(learner: str = "own", partitions: int = 3) -> Coordinator:
    """With a first model, a half-life of a day and hourly scans."""
    return Coordinator(CoordinatorSettings(partitions, DAY, HOUR, learner), model())


def statistics(mb: float, rows: int = 10) -> ScanStatistics:
    """`rows` customers at `mb` megabytes, all in the first segment."""
    out = empty(2, 3)
    out.counts[0] += rows
    out.present[0] += rows
    out.sums[0, 0] += round(mb * rows * (1 << 20))
    out.totals[0] += rows
    return out


def report(partition: int, scan: int, version: int = 1, mb: float = 10.0) -> Report:
    """A report of one scan."""
    return Report(partition, scan, version, statistics(mb))


def test_a_scan_is_folded_when_every_partition_has_reported_it() -> None:
    """One version per scan, whatever the order of the partitions."""
    versions = []
    for order in ((0, 1, 2), (2, 0, 1)):
        c = coordinator()
        made = [c.offer(report(p, 5, mb=10.0 * p)) for p in order]
        assert made[:2] == [None, None]
        assert made[2] is c.model
        versions.append(made[2])
    first, second = versions
    assert first is not None
    assert second is not None
    assert (first.version, first.parent, first.kind, first.covers.scan_id) == (2, 1, "folded", 5)
    assert first.covers.boundary_us == 5 * HOUR
    assert 0 < first.centroids[0, 0] <= 10.0
    assert to_json(first) == to_json(second)


def test_a_version_tells_how_many_customers_are_where() -> None:
    """By the nearest centroid, dormant and unclassified, over all partitions; each counts once."""
    c = coordinator(partitions=2)
    for partition, (rows, dormant, unclassified) in enumerate([(10, 3, 1), (20, 0, 2)]):
        seen = statistics(1.0, rows)
        seen.totals[:2] += (dormant + unclassified, dormant + unclassified)
        seen.dormant[0] = dormant
        made = c.offer(Report(partition, 5, 1, seen))
    assert made is not None
    assert made.observed is not None
    assert made.observed.members == [30, 0, 3, 3]
    assert sum(made.observed.members) == made.observed.rows
    assert c.segments.members == {"s1": 30, "s2": 0, "dormant": 3, "unclassified": 3}
    back = from_json(to_json(made)).observed
    assert back == made.observed


def test_what_is_stale_counts_nothing() -> None:
    """Reports of another version, and of scans already folded, are ignored."""
    c = coordinator()
    assert c.offer(report(0, 5, version=2)) is None
    for p in (0, 1):
        c.offer(report(p, 5))
    assert c.offer(report(0, 5, version=9)) is None
    made = c.offer(report(2, 5))
    assert made is not None
    for p in range(3):
        assert c.offer(report(p, 6, version=1)) is None
        assert c.offer(report(p, 5, version=2)) is None
    assert c.model is made


def test_a_scan_that_is_overtaken_is_folded_with_whom_it_has() -> None:
    """A silent partition does not stop learning: the next scan of another one closes this."""
    c = coordinator()
    assert c.offer(report(0, 5)) is None
    made = c.offer(report(0, 6))
    assert made is not None
    assert (made.version, made.covers.scan_id) == (2, 5)
    assert made.weights[0] < 1 + 10.0
    assert c.offer(report(1, 6, version=2)) is None


def test_a_frozen_learner_measures_drift_only() -> None:
    """No new versions, but the drift of every scan."""
    c = coordinator("frozen", partitions=1)
    for scan in (5, 6):
        assert c.offer(report(0, scan)) is None
        assert c.drift is not None
        c.drift = None
    assert c.model is not None
    assert c.model.version == 1


def test_without_a_model_there_is_nothing_to_fold() -> None:
    """Reports before the first calibration are dropped; an older model is never adopted."""
    c = Coordinator(CoordinatorSettings(1, DAY, HOUR))
    assert c.offer(report(0, 1)) is None
    c.adopt(model(3))
    c.adopt(model(2))
    assert c.model is not None
    assert c.model.version == 3


def test_a_waiting_report_does_not_outlive_its_model() -> None:
    """A promotion while reports wait: they were counted under the old version."""
    c = coordinator(partitions=2)
    c.offer(report(0, 5))
    c.adopt(model(2))
    assert c.offer(report(1, 5, version=2)) is None
    assert c.offer(report(0, 5, version=2)) is not None


def test_when_a_calibration_may_start() -> None:
    """Both enough customers and enough history."""
    assert is_ready(100, 28 * DAY, 100, 28.0)
    assert not is_ready(99, 28 * DAY, 100, 28.0)
    assert not is_ready(100, 28 * DAY - 1, 100, 28.0)


def history(partitions: int) -> list[tuple[list[Event], int]]:
    """Two days of events in steps of half an hour."""
    rng, world, steps = random.Random(6), World(partitions), []
    for i in range(96):
        now = T0 + i * HOUR // 2
        names = [f"c{rng.randrange(40)}" for _ in range(30)]
        events = [world.event(name, "data", now, megabytes=rng.uniform(0, 20)) for name in names]
        steps.append((events, now))
    return steps


def learn(workers: int, partitions: int = 3) -> list[Model]:
    """Versions made when `workers` engines share the partitions."""
    engines = [engine_of(TINY, partitions, policy=POLICY) for _ in range(workers)]
    for number in range(partitions):
        for w, engine in enumerate(engines):
            if number % workers != w:
                engine.drop_partition(number)
    log, c, versions = Log(TINY, partitions), coordinator(partitions=partitions), []
    for engine in engines:
        engine.offer_model(model())
    for events, now in history(partitions):
        poll = log.poll(events)
        steps = [engine.step(poll, now) for engine in engines]
        for part in sorted((p for step in steps for p in step.partitions), key=lambda p: p.partition):
            made = c.offer(_report(part)) if part.scanned and part.scanned.completed else None
            if made is not None:
                versions.append(made)
                for engine in engines:
                    engine.offer_model(made)
    return versions


def _report(part: PartitionStep) -> Report:
    assert part.scanned is not None
    assert part.scanned.completed is not None
    return Report(part.partition, part.scanned.id, part.model_version, part.scanned.completed)


def test_one_worker_and_three_make_the_same_versions() -> None:
    """Bit for bit, because what partitions report are integers."""
    one, three = learn(1), learn(3)
    assert len(one) > 20
    assert [to_json(m) for m in one] == [to_json(m) for m in three]
    assert not np.array_equal(one[-1].centroids, model().centroids)


def far(partition: int, scan: int, version: int) -> Report:
    """A report of 3,000 customers who are all in the first segment: the shares are far off."""
    return Report(partition, scan, version, statistics(10.0, 3000))


def test_a_new_owner_has_the_alarms_of_the_former() -> None:
    """Versions carry what their scans said: whoever has read them decides alike, whoever made them."""
    owner, reader = coordinator(partitions=2), coordinator(partitions=2)
    for scan in range(30, 36):
        made = [owner.offer(far(p, scan, scan - 29)) for p in range(2)][-1]
        assert made is not None
        owner.adopt(made)  # as it comes back from the log
        reader.adopt(from_json(to_json(made)))
    assert {reason.kind for reason in owner.alarms if reason.severity == "act"} >= {"share"}
    assert reader.alarms == owner.alarms
    assert list(reader.history) == list(owner.history)
    assert [seen.scan_id for seen in reader.history] == list(range(30, 36))
    assert {seen.rows for seen in reader.history} == {6000}  # of both partitions


def test_a_calibration_begins_a_new_history() -> None:
    """What was drift from the old one says nothing about the new one."""
    c = coordinator(partitions=1)
    for scan in range(30, 36):
        c.offer(far(0, scan, scan - 29))
    assert c.alarms
    c.adopt(model(50))
    assert c.alarms == []
    assert not c.history


def test_the_alarms_of_a_frozen_learner_are_in_memory() -> None:
    """It makes no versions, and its model stays its own origin."""
    c = coordinator("frozen", partitions=1)
    for scan in range(30, 36):
        c.offer(far(0, scan, 1))
    assert "share" in {reason.kind for reason in c.alarms}
    assert len(c.history) == 6
    assert Coordinator(c.settings).alarms == []
