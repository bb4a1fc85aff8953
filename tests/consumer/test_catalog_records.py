"""Laws of the catalog topic: what an entry says, when it is written, and what it keeps to itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from consumer.catalog_records import Catalog, CatalogTopic
from online_model.exploration import MIN_GROUP
from online_model.model import Covers, Lineage, Model
from online_model.observation import Observation
from online_model.plan import DAY_US
from online_model.renaming import renamed
from online_model.segment_history import SegmentHistory
from online_model.strategy import default_strategies
from schemas.changes import CatalogEntry
from tests.online_model.populations import USAGE
from tests.online_model.populations import model as fitted

HOUR_US = DAY_US // 24
MODEL = fitted(600)
IDS = [segment.id for segment in MODEL.segments]
FIXED = ["dormant", "unclassified"]


def scan(before: Model, at_us: int, members: Sequence[int] = (), weights: Sequence[float] = ()) -> Model:
    """What a scan has made of a version."""
    observed = Observation(0, at_us, sum(members), False, members=list(members))
    return replace(
        before,
        version=before.version + 1,
        parent=before.version,
        kind="folded",
        lineage=(),
        covers=Covers(at_us // HOUR_US, at_us),
        weights=before.weights * 0 + list(weights) if weights else before.weights,
        observed=observed,
    )


def entries(*versions: Model) -> dict[str, CatalogEntry]:
    """The catalog after these versions, by segment id."""
    history = SegmentHistory()
    for version in versions:
        history.adopt(version)
    made = Catalog(USAGE, default_strategies(), history).entries(versions[-1])
    found = {key.decode(): CatalogEntry.model_validate_json(value, strict=True) for key, value in made}
    assert [entry.segment_id for entry in found.values()] == list(found)
    assert len(found) == len(made)
    return found


def test_an_entry_says_what_the_version_knows() -> None:
    """Name, profile, place beside the others and typical customer are those of the fit."""
    found = entries(MODEL)
    assert list(found) == IDS + FIXED
    for segment in MODEL.segments:
        entry, standing = found[segment.id], segment.standing
        assert segment.profile is not None
        assert standing is not None
        assert (entry.name, entry.status, entry.since_version) == (segment.name, "active", 1)
        assert (entry.customers, entry.share) == (segment.profile.size, segment.profile.share)
        assert [line.typical for line in entry.profile] == segment.profile.mean
        assert (entry.nearest, entry.separation) == (standing.nearest, round(standing.separation or 0, 4))
        assert {value.feature: value.value for value in entry.typical_customer} == standing.typical
        assert entry.typical_customer
        assert entry.strategy is not None
    assert [found[name].name for name in FIXED] == ["Dormant", "Unclassified"]
    assert found["dormant"].since_version == 0


MEMBERS = st.lists(st.integers(0, 30), min_size=7, max_size=7)


@given(MEMBERS)
def test_sizes_are_of_everybody_and_tell_of_no_small_group(members: list[int]) -> None:
    """Of the newest scan; no count, no share and nothing that is left of the whole is one to nine people."""
    found = entries(MODEL, scan(MODEL, MODEL.created_us + HOUR_US, members))
    told = {i: entry.customers for i, entry in found.items()}
    for name, n in zip(IDS + FIXED, members, strict=True):
        assert told[name] == (n if n >= MIN_GROUP else 0)
    shares = sum(entry.share for entry in found.values())
    if any(told.values()):
        whole = round(sum(told.values()) / shares)
        hidden = whole - sum(told.values())
        assert hidden == 0 or hidden >= MIN_GROUP
        assert all(abs(entry.share * whole - entry.customers) < 1e-6 for entry in found.values())
    else:
        assert shares == 0


def test_of_a_small_segment_the_profile_is_not_told() -> None:
    """Nine customers have no mean, and no typical one."""
    first = MODEL.segments[0]
    assert first.profile is not None
    small = structs.replace(first, profile=structs.replace(first.profile, size=9), standing=None)
    found = entries(replace(MODEL, segments=(small, *MODEL.segments[1:])))["s1"]
    assert (found.customers, found.share, found.profile, found.typical_customer) == (0, 0.0, [], [])
    assert (found.separation, found.nearest, found.name) == (None, None, first.name)


def test_a_trend_is_of_the_versions() -> None:
    """The share now against a month ago; none in the first day."""
    assert entries(MODEL)["s1"].trend is None
    month = scan(MODEL, MODEL.created_us + 20 * DAY_US, weights=[90.0, 10, 10, 10, 10])
    change = entries(MODEL, month)["s1"].trend
    assert change is not None
    then = MODEL.weights[0] / MODEL.weights.sum()
    assert (change.direction, change.days) == ("growing", 20.0)
    assert abs(change.change - (90 / 130 - then)) < 1e-6


def without(model: Model, gone: str, *lineage: Lineage) -> Model:
    """The next version, where the segment `gone` is called s9, with these events."""
    segments = [structs.replace(s, id="s9") if s.id == gone else s for s in model.segments]
    bound = {("s9" if i == gone else i): strategy for i, strategy in model.strategies.items()}
    return replace(
        model,
        version=model.version + 1,
        parent=model.version,
        kind="recalibrated",
        segments=tuple(segments),
        strategies=bound,
        next_segment=10,
        lineage=lineage,
    )


def test_a_retired_segment_is_told_with_its_successors() -> None:
    """It stays in the topic without size, profile and strategy, until it is brought back."""
    gone = without(MODEL, "s2", Lineage("s9", "split", 2, ["s2"]), Lineage("s2", "retired", 2, [], ["s9"]))
    later = scan(gone, gone.created_us + DAY_US, [20] * 7)
    for versions in ((MODEL, gone), (MODEL, gone, later)):
        found = entries(*versions)
        assert found["s9"].derived_from == ["s2"]
        assert (found["s9"].since_version, found["s9"].status) == (2, "active")
        retired = found["s2"]
        assert (retired.status, retired.successors, retired.retired_version) == ("retired", ["s9"], 2)
        assert (retired.since_version, retired.name) == (1, MODEL.segments[1].name)
        assert (retired.customers, retired.profile, retired.strategy, retired.trend) == (0, [], None, None)
    again = replace(MODEL, version=3, parent=2, kind="restored", next_segment=10)
    back = entries(MODEL, gone, again)
    assert (back["s2"].status, back["s2"].since_version, back["s2"].successors) == ("active", 1, [])
    assert (back["s9"].status, back["s9"].retired_version) == ("retired", 3)


@given(st.lists(st.sampled_from(["scan", "fit", "rename", "owner"]), max_size=60), st.integers(1, 13))
def test_it_is_written_when_something_is_new_and_once_a_day(happens: list[str], hours: int) -> None:
    """With scans once a day, and when they have the first sizes; with every other version and every owner."""
    history, newest, at_us = SegmentHistory(), MODEL, MODEL.created_us
    topic = CatalogTopic(Catalog(USAGE, default_strategies(), history), "/segmenter", "run-1")
    history.adopt(newest)
    assert topic.records([newest])
    written_us, is_new_owner = at_us, False
    has_sizes = written_sizes = False
    for number, what in enumerate(happens):
        if what == "owner":
            topic.begin()
            is_new_owner = True
            continue
        at_us += hours * HOUR_US
        if what == "scan":
            newest = scan(newest, at_us, [20] * 7)
        elif what == "rename":
            newest = replace(renamed(newest, "s1", f"name {number}"), covers=Covers(1, at_us))
        else:
            newest = replace(newest, version=newest.version + 1, kind="recalibrated", observed=None)
            newest = replace(newest, covers=Covers(1, at_us))
        has_sizes = what == "scan" or (has_sizes and what == "rename")
        history.adopt(newest)
        records = topic.records([newest])
        is_another_day = at_us // DAY_US > written_us // DAY_US
        is_due = is_new_owner or what != "scan" or is_another_day or has_sizes != written_sizes
        assert bool(records) == is_due
        if records:
            written_us, written_sizes, is_new_owner = at_us, has_sizes, False
            assert {key for key, _, _ in records} == {name.encode() for name in IDS + FIXED}
    assert topic.records([]) == []
