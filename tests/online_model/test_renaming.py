"""Laws of names that people give: they are unique, change nothing else, and outlive recalibrations."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.coordinator import Coordinator, CoordinatorSettings
from online_model.model import Model, Segment, Transition, origin_of
from online_model.model_json import from_json, to_json
from online_model.recalibration import rebased, restored
from online_model.renaming import LONGEST, keep_names, names_of, renamed, usable_name
from tests.online_model.populations import model
from tests.online_model.streams import DAY, HOUR
from tests.online_model.test_coordinator import report
from tests.online_model.tiny import model as tiny

MODEL = model(300)
#: What is new in a renamed version.
CHANGED = {"version", "parent", "kind", "segments", "reference", "lineage", "command"}


@given(st.text(max_size=LONGEST + 3), st.sampled_from([segment.id for segment in MODEL.segments]))
def test_a_name_is_taken_as_it_is_or_refused(name: str, segment_id: str) -> None:
    """Taken: one line of printable characters, of nobody else; nothing else changes."""
    others = [s.name.casefold() for s in MODEL.segments if s.id != segment_id] + ["dormant", "unclassified"]
    try:
        made = renamed(MODEL, segment_id, name, "c1")
    except ValueError:
        stripped = name.strip()
        fits = 0 < len(stripped) <= LONGEST and stripped.isprintable()
        assert not fits or stripped.casefold() in others or stripped == names_of(MODEL)[segment_id]
        return
    assert names_of(made) == names_of(MODEL) | {segment_id: name.strip()}
    assert name.strip().casefold() not in others
    before, after = (msgspec.json.decode(to_json(m)) for m in (MODEL, made))
    assert {field for field in after if after[field] != before[field]} == CHANGED
    assert (made.version, made.parent, made.kind, made.command) == (2, 1, "renamed", "c1")
    assert not made.is_new_fit
    origin = origin_of(made)
    assert origin is not None
    assert (origin.calibrated_us, origin.centroids.tolist()) == (MODEL.created_us, MODEL.centroids.tolist())
    assert to_json(from_json(to_json(made))) == to_json(made)


@pytest.mark.parametrize(
    ("segment_id", "name", "says"),
    [
        ("s9", "Students", "no segment 's9'"),
        ("dormant", "Sleepers", "no segment 'dormant'"),
        ("s1", "   ", "printable"),
        ("s1", "x" * (LONGEST + 1), f"1 to {LONGEST}"),
        ("s1", "two\nlines", "one line"),
        ("s1", "  dormant ", "dormant is called 'Dormant' already"),
        ("s1", "S2", "s2 is called 's2' already"),
        ("s1", "s1", "s1 is called that already"),
    ],
)
def test_what_is_refused_is_said(segment_id: str, name: str, says: str) -> None:
    """By the service as by the command."""
    with pytest.raises(ValueError, match=says):
        usable_name(tiny(), segment_id, name)


def test_only_the_letters_may_change() -> None:
    """A name may be written in another way."""
    assert usable_name(tiny(), "s1", "S1") == "S1"


def proposal(ids: tuple[str, str] = ("s1", "s2")) -> Model:
    """A recalibration of `tiny()`, which was begun before anybody was renamed."""
    moved = Transition("a test", ["s1", "s2"], list(ids), [[1, 0], [0, 1]], 0.0, 1.0, 1.0)
    return tiny(2, ids=ids, transition=moved)


def test_a_name_outlives_a_recalibration_that_was_begun_before() -> None:
    """And a new segment does not take it."""
    newest = renamed(tiny(), "s2", "Students")
    assert names_of(rebased(proposal(), newest)) == {"s1": "s1", "s2": "Students"}
    other = replace(proposal(("s1", "s3")), segments=(Segment("s1", "s1"), Segment("s3", "Students")))
    assert names_of(rebased(other, newest)) == {"s1": "s1", "s3": "Students 2"}


def test_a_name_outlives_taking_a_version_back() -> None:
    """A former segment has the last name it had, unless somebody has that now."""
    former, newest = tiny(), renamed(tiny(2, ids=("s1", "s3")), "s1", "Students")
    assert names_of(restored(former, newest)) == {"s1": "Students", "s2": "s2"}
    last = {"s1": "s1", "s2": "Travellers", "s3": "s3"}
    assert names_of(restored(former, newest, last_names=last)) == {"s1": "Students", "s2": "Travellers"}
    taken = renamed(newest, "s3", "Travellers")
    assert names_of(restored(former, taken, last_names=last)) == {"s1": "Students", "s2": "Travellers 2"}


@given(st.dictionaries(st.sampled_from(["s1", "s2", "s3"]), st.sampled_from("ABC"), max_size=3))
def test_kept_names_are_unique_where_the_old_ones_were(names: dict[str, str]) -> None:
    """Whoever has one keeps it."""
    unique = {i: f"{name}{i}" for i, name in names.items()}
    made = keep_names([Segment("s1", "A"), Segment("s2", "Bs3"), Segment("s4", "Cs1")], unique)
    found = [segment.name for segment in made]
    assert len(set(found)) == 3
    assert all(segment.name == unique.get(segment.id, segment.name) for segment in made)


def test_folding_goes_on_under_the_new_name() -> None:
    """What scans have learnt, and said about drift, is as if nobody had been renamed."""
    settings = CoordinatorSettings(1, DAY, HOUR)
    plain, edited = Coordinator(settings, tiny()), Coordinator(settings, tiny())
    for scan in (5, 6):
        for coordinator, version in ((plain, scan - 4), (edited, scan - 4 + (scan == 6))):
            assert coordinator.offer(report(0, scan, version)) is not None
        if scan == 5:
            assert edited.model is not None
            edited.adopt(renamed(edited.model, "s1", "Students"))
    assert plain.model is not None
    assert edited.model is not None
    assert names_of(edited.model)["s1"] == "Students"
    assert edited.model.centroids.tolist() == plain.model.centroids.tolist()
    assert edited.model.weights.tolist() == plain.model.weights.tolist()
    assert list(edited.history) == list(plain.history)
    assert edited.model_age_us == plain.model_age_us
