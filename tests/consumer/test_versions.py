"""Laws of reading the models topic: everything in order, whole where it is looked at."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from consumer.change_records import MODELS_KEPT
from consumer.models.versions import Versions
from online_model.coordinator import Coordinator, CoordinatorSettings
from online_model.model import Model
from online_model.model_head import Version
from online_model.model_json import from_json, to_json
from online_model.observation import Observation
from tests.online_model.streams import DAY, HOUR
from tests.online_model.tiny import model


def record(number: int, kind: str) -> Model:
    """A version; a scan says something."""
    means: list[float | None] = [1.0 + number / 100, 0.0, None, 1.0]
    observed = Observation(number, number * HOUR, 3000, True, [], means, [1, 2, 3, number])
    fields = {"observed": observed} if kind == "folded" else {}
    return replace(model(), version=number, parent=number - 1 or None, kind=kind, **fields)  # type: ignore[arg-type]


KINDS = st.lists(st.sampled_from(["folded"] * 9 + ["recalibrated", "renamed"]), min_size=90, max_size=150)


def read(versions: list[Model], wanted: set[int]) -> list[Version]:
    """As a process reads them."""
    stream, found = Versions(wanted), list[Version]()
    for version in versions:
        found += map(stream.old, stream.add(to_json(version)))
    return [*found, *map(from_json, stream.rest())]


@given(KINDS, st.sets(st.integers(1, 150)))
def test_versions_come_in_order_and_whole_where_they_matter(kinds: list[str], wanted: set[int]) -> None:
    """All of the newest, whatever is no fold, and what is wanted; of the others the head."""
    written = [record(number, kind) for number, kind in enumerate(["calibrated", *kinds], 1)]
    found = read(written, wanted)
    assert [version.version for version in found] == [version.version for version in written]
    for version, original in zip(found, written, strict=True):
        matters = original.kind != "folded" or original.version in wanted
        is_new = original.version > len(written) - MODELS_KEPT
        assert isinstance(version, Model) == (matters or is_new)
        if isinstance(version, Model):
            assert to_json(version) == to_json(original)
        else:
            assert (version.kind, version.observed) == ("folded", original.observed)


@given(KINDS)
def test_a_coordinator_knows_the_same_from_heads(kinds: list[str]) -> None:
    """What became of segments, their sizes, trends and drift: as if it had read everything whole."""
    written = [record(number, kind) for number, kind in enumerate(["calibrated", *kinds], 1)]
    settings = CoordinatorSettings(1, DAY, HOUR)
    whole, glancing = Coordinator(settings), Coordinator(settings)
    for version in written:
        whole.adopt(version)
    for seen in read(written, set()):
        if isinstance(seen, Model):
            glancing.adopt(seen)
        else:
            glancing.pass_over(seen)
    assert glancing.segments.descents == whole.segments.descents
    assert glancing.segments.members == whole.segments.members
    assert [glancing.segments.trend(i) for i in ("s1", "s2")] == [
        whole.segments.trend(i) for i in ("s1", "s2")
    ]
    assert list(glancing.history) == list(whole.history)
    assert glancing.alarms == whole.alarms
    assert glancing.model is not None
    assert whole.model is not None
    assert to_json(glancing.model) == to_json(whole.model)
