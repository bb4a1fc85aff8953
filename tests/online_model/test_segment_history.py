"""Laws of what is known about segments over all versions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from online_model.lineage import Registry, match
from online_model.model import Covers, Kind, Lineage
from online_model.model_head import Head, HeadQuality, HeadSegment
from online_model.observation import Observation
from online_model.plan import DAY_US
from online_model.segment_history import TREND_DAYS, Descent, SegmentHistory
from online_model.timeline import daily_shares, shares_of, trend

HOUR_US = DAY_US // 24
N = 40


def head(
    version: int,
    ids: Sequence[str],
    kind: Kind = "recalibrated",
    lineage: Sequence[Lineage] = (),
    at_us: int = 0,
    observed: Observation | None = None,
) -> Head:
    """A version with these segments, named after their ids."""
    return Head(
        version=version,
        parent=version - 1,
        created_us=at_us,
        kind=kind,
        spec_hash="spec",
        weights=[1.0] * len(ids),
        segments=[HeadSegment(i, f"name of {i}") for i in ids],
        strategies={},
        quality=HeadQuality(0.3),
        lineage=[*lineage],
        covers=Covers(version, at_us),
        observed=observed,
    )


#: Who is in which cluster, for some recalibrations in a row; -1: in none.
RECALIBRATIONS = st.lists(st.lists(st.integers(-1, 4), min_size=N, max_size=N), min_size=2, max_size=7)


def recalibrated(labellings: list[list[int]]) -> list[Head]:
    """Versions as recalibrations would make them of the same customers, each with a fold behind it."""
    made: list[Head] = []
    ids: tuple[str, ...] = ()
    old, next_segment = np.full(N, -1), 1
    for labels in labellings:
        new = np.unique(labels, return_inverse=True)[1] - (min(labels) < 0)
        version = len(made) + 1
        matching = match(old, new, Registry(ids, next_segment, version))
        ids, old, next_segment = matching.ids, new, matching.next_segment
        if ids:
            made.append(head(version, ids, lineage=matching.events))
            made.append(head(version + 1, ids, "folded"))
    return made


@given(RECALIBRATIONS)
def test_every_segment_has_one_life_that_is_told_right(labellings: list[list[int]]) -> None:
    """First and last version, and segments of the versions around it as origins and successors."""
    versions = recalibrated(labellings)
    history, present = SegmentHistory(), []
    for version in versions:
        history.adopt(version)
        present.append([segment.id for segment in version.segments])
    for segment_id, descent in history.descents.items():
        having = [v.version for v, ids in zip(versions, present, strict=True) if segment_id in ids]
        assert descent.since_version == having[0]
        assert descent.name == f"name of {segment_id}"
        is_there = segment_id in present[-1]
        assert descent.retired_version == (None if is_there else having[-1] + 1)
        assert segment_id not in (*descent.derived_from, *descent.successors)
        assert len(set(descent.derived_from)) == len(descent.derived_from)
        for source in descent.derived_from:
            assert history.descents[source].since_version < versions[-1].version
        if not is_there:
            assert set(descent.successors) <= set(present[having[-1]])
    assert set(history.descents) == {i for ids in present for i in ids}


@given(RECALIBRATIONS)
def test_scans_in_between_do_not_matter(labellings: list[list[int]]) -> None:
    """What became of segments is in the versions that changed them."""
    versions = recalibrated(labellings)
    whole, sparse = SegmentHistory(), SegmentHistory()
    for version in versions:
        whole.adopt(version)
        if version.kind != "folded":
            sparse.adopt(version)
    assert whole.descents == sparse.descents


def test_a_life_by_hand() -> None:
    """Split, merged, retired, brought back, renamed."""
    history = SegmentHistory()
    history.adopt(head(1, ["s1", "s2"], "calibrated"))
    history.adopt(head(2, ["s1", "s2", "s3"], lineage=[Lineage("s3", "split", 2, ["s1"])]))
    assert history.descents["s3"] == Descent("name of s3", 2, ("s1",))
    merged = [Lineage("s1", "merged", 3, ["s1", "s3"]), Lineage("s3", "retired", 3, [], ["s1"])]
    history.adopt(head(3, ["s1", "s2"], lineage=merged))
    assert history.descents["s1"] == Descent("name of s1", 1, ("s3",))
    assert history.descents["s3"] == Descent("name of s3", 2, ("s1",), 3, ("s1",))
    back = [Lineage("s3", "restored", 4, ["s3"]), Lineage("s2", "retired", 4)]
    history.adopt(head(4, ["s1", "s3"], "restored", back))
    assert history.descents["s3"] == Descent("name of s3", 2, ("s1",))
    assert history.descents["s2"] == Descent("name of s2", 1, (), 4)
    history.adopt(head(5, ["s1", "s3"], "renamed", [Lineage("s3", "renamed", 5, ["s3"])]))
    assert history.descents["s3"] == Descent("name of s3", 2, ("s1",))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=120), st.sampled_from(["s1", "s2"]))
def test_the_trend_is_that_of_all_versions(hours: list[int], segment_id: str) -> None:
    """However much of the history is still kept, and whoever has read it from the beginning."""
    history, versions, at_us = SegmentHistory(), [], 0
    rng = np.random.default_rng(len(hours))
    for number, pause in enumerate(hours, 1):
        at_us += pause * HOUR_US
        version = head(number, ["s1", "s2"], "folded", at_us=at_us)
        versions.append(structs.replace(version, weights=rng.uniform(1, 9, 2).tolist()))
        history.adopt(versions[-1])
        assert history.trend(segment_id) == trend(daily_shares(versions), segment_id, TREND_DAYS)
    assert len(history._shares) <= TREND_DAYS + 3


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_of_every_day_the_first_version_is_kept_and_the_newest(hours: list[int]) -> None:
    """A day of event time."""
    versions, at_us = [], 0
    for number, pause in enumerate(hours, 1):
        at_us += pause * HOUR_US
        versions.append(head(number, ["s1", "s2"], "folded", at_us=at_us))
    firsts = {point.at_us // DAY_US: point for point in reversed([shares_of(v) for v in versions])}
    expected = sorted({p.version for p in firsts.values()} | {versions[-1].version})
    assert [point.version for point in daily_shares(versions)] == expected


def test_sizes_are_those_of_the_newest_scan() -> None:
    """A rename keeps them; a new fit knows none before its first scan, and scans of before tell none."""
    history = SegmentHistory()
    history.adopt(head(1, ["s1", "s2"], "calibrated"))
    assert history.members == {}
    seen = Observation(7, 7, 100, False, members=[50, 30, 15, 5])
    history.adopt(head(2, ["s1", "s2"], "folded", observed=seen))
    sizes = {"s1": 50, "s2": 30, "dormant": 15, "unclassified": 5}
    assert history.members == sizes
    history.adopt(head(3, ["s1", "s2"], "renamed"))
    history.adopt(head(4, ["s1", "s2"], "folded", observed=Observation(8, 8, 100, False)))
    assert history.members == sizes
    history.adopt(head(5, ["s1", "s2"]))
    assert history.members == {}
