"""Laws of the model record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from online_model.fold import empty, fold
from online_model.model import (
    DORMANT_CODE,
    NO_SEGMENT,
    RETIRED_CODE,
    SCALER_FIELDS,
    UNCLASSIFIED_CODE,
    Lineage,
    ModelError,
    Origin,
    Segment,
    origin_of,
)
from online_model.model_head import read_head
from online_model.model_json import from_json, to_json
from tests.online_model.populations import Float64Array, model

MODEL = model()
#: Written before versions knew their origin.
OLD = Path(__file__).parents[1] / "golden" / "models.before-origin.ndjson"
#: Written before versions knew the standing of their segments and the sizes that a scan has seen.
BEFORE_STANDING = OLD.with_name("models.before-standing.ndjson")
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(arrays(np.float64, MODEL.centroids.shape, elements=FINITE))
def test_json_returns_every_bit(centroids: Float64Array) -> None:
    """Any finite centroids, NaN priors and infinite bounds come back bit for bit."""
    scaler = replace(MODEL.scaler, clip_low=np.full(3, -np.inf), clip_high=np.full(3, np.inf))
    lineage = (Lineage("s9", "split", 1, ["s1"]),)
    given_model = replace(MODEL, centroids=centroids, scaler=scaler, lineage=lineage, next_segment=10)
    data = to_json(given_model)
    back = from_json(data)
    assert to_json(back) == data
    assert back.centroids.tobytes() == centroids.tobytes()
    for name in SCALER_FIELDS:
        a, b = getattr(scaler, name), getattr(back.scaler, name)
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    np.testing.assert_array_equal(back.share_priors, MODEL.share_priors)
    assert (back.segments, back.quality, back.lineage) == (MODEL.segments, MODEL.quality, lineage)


def test_codes_and_ids() -> None:
    """Codes of ids and back: centroids by order, special segments fixed, unknown ids retired."""
    assert [MODEL.code_of(segment.id) for segment in MODEL.segments] == list(range(MODEL.k))
    assert MODEL.code_of(None) == NO_SEGMENT
    assert MODEL.code_of("dormant") == DORMANT_CODE
    assert MODEL.code_of("unclassified") == UNCLASSIFIED_CODE
    assert MODEL.code_of("s99") == RETIRED_CODE
    assert MODEL.id_of(0) == "s1"
    assert MODEL.id_of(DORMANT_CODE) == "dormant"
    assert MODEL.id_of(NO_SEGMENT) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 0}, "version 0"),
        ({"parent": 1}, "parent 1"),
        ({"spec_hash": ""}, "spec_hash"),
        ({"centroids": np.zeros(3)}, "centroids"),
        ({"centroids": np.full((5, 3), np.nan)}, "centroids has values"),
        ({"weights": np.ones(4)}, "weights has shape"),
        ({"weights": -np.ones(5)}, "negative"),
        ({"columns": ("a", "a", "b")}, "twice"),
        ({"columns": ("a", "b")}, "expected"),
        ({"segments": MODEL.segments[:4]}, "4 segments for 5"),
        ({"segments": (*MODEL.segments[:4], Segment("s1", "again"))}, "unique"),
        ({"segments": (*MODEL.segments[:4], Segment("dormant", "x"))}, "reserved"),
        ({"next_segment": 5}, "reuse"),
        ({"strategies": {"s1": "default"}}, "without a strategy"),
        ({"reference": replace(MODEL.reference, p99_d2=np.nan)}, "p99_d2"),
        ({"scaler": replace(MODEL.scaler, importance=np.zeros(3))}, "importance"),
        ({"scaler": replace(MODEL.scaler, clip_low=np.full(3, 1e9))}, "clip_low"),
    ],
)
def test_inconsistent_models_cannot_exist(changes: dict[str, Any], message: str) -> None:
    """Each inconsistency is refused with a message that names the field."""
    with pytest.raises(ModelError, match=message):
        replace(MODEL, **changes)


@pytest.mark.parametrize("field", ["version", "centroids", "scaler", "quality", "reference", "segments"])
def test_incomplete_json_is_a_clear_error(field: str) -> None:
    """A record without a field is refused by name, one with nonsense in it too."""
    document = msgspec.json.decode(to_json(MODEL))
    lacking = {key: value for key, value in document.items() if key != field}
    with pytest.raises(ModelError, match=field):
        from_json(msgspec.json.encode(lacking))
    with pytest.raises(ModelError):
        from_json(msgspec.json.encode({**document, field: "nonsense"}))


@given(st.binary(max_size=50))
def test_arbitrary_bytes_never_crash(data: bytes) -> None:
    """Bytes that are no model raise ModelError and nothing else."""
    with pytest.raises(ModelError):
        from_json(data)


def test_ragged_and_null_lists_are_clear_errors() -> None:
    """Lists of unequal length and nulls among centroids do not become arrays of objects."""
    document = msgspec.json.decode(to_json(MODEL))
    for centroids in ([[1.0, 2.0, 3.0], [1.0]], [[None, 1.0, 2.0]], []):
        with pytest.raises(ModelError):
            from_json(msgspec.json.encode({**document, "centroids": centroids}))
    short = {**document, "scaler": {**document["scaler"], "center": [1.0]}}
    with pytest.raises(ModelError, match=r"scaler\.center"):
        from_json(msgspec.json.encode(short))
    lacking = {name: document["scaler"][name] for name in SCALER_FIELDS if name != "scale"}
    with pytest.raises(ModelError, match="scale"):
        from_json(msgspec.json.encode({**document, "scaler": lacking}))


def test_records_of_before_the_origin_are_read() -> None:
    """A calibrated version is its own origin; of an old folded one it is not known, and stays so."""
    calibrated, folded = map(from_json, OLD.read_bytes().splitlines())
    origin = origin_of(calibrated)
    assert origin is not None
    assert (origin.calibrated_us, origin.centroids.tolist()) == (0, [[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]])
    assert (calibrated.reference.silhouette, calibrated.observed) == (None, None)
    assert origin_of(folded) is None
    assert from_json(to_json(folded)).reference.origin is None


def test_records_of_before_the_standing_are_read() -> None:
    """Nothing is known of it, and the history goes on with them."""
    calibrated, folded, described = map(from_json, BEFORE_STANDING.read_bytes().splitlines())
    assert {segment.standing for model in (calibrated, folded, described) for segment in model.segments} == {
        None
    }
    assert described.segments[0].profile is not None
    assert folded.observed is not None
    assert (folded.observed.rows, folded.observed.members) == (3000, [])
    assert to_json(from_json(to_json(folded))) == to_json(folded)


@pytest.mark.parametrize("path", [OLD, BEFORE_STANDING])
def test_a_head_is_the_top_of_a_model(path: Path) -> None:
    """The same fields with the same values, of old records and of those of today."""
    for record in (*path.read_bytes().splitlines(), to_json(MODEL), to_json(replace(MODEL, kind="renamed"))):
        model, head = from_json(record), read_head(record)
        for name in ("version", "parent", "created_us", "kind", "spec_hash", "k", "is_new_fit", "covers"):
            assert getattr(head, name) == getattr(model, name), name
        assert (head.strategies, head.transition, head.observed) == (
            model.strategies,
            model.transition,
            model.observed,
        )
        assert head.weights == model.weights.tolist()
        assert head.lineage == list(model.lineage)
        assert [(s.id, s.name) for s in head.segments] == [(s.id, s.name) for s in model.segments]
        assert head.quality.silhouette == model.quality.silhouette
    with pytest.raises(ModelError, match="not a model record"):
        read_head(b"{}")


def test_the_origin_outlives_folds_and_json() -> None:
    """Whatever is folded into a calibration, its centroids and its time stay; a new one is its own."""
    folded = MODEL
    for _ in range(2):
        folded = from_json(to_json(fold(folded, empty(MODEL.k, 3), 5, 10)))
        origin = origin_of(folded)
        assert origin is not None
        assert origin.calibrated_us == MODEL.created_us < folded.created_us
        assert origin.centroids.tobytes() == MODEL.centroids.tobytes()
    with pytest.raises(ModelError, match="origin"):
        replace(MODEL, reference=replace(MODEL.reference, origin=Origin(1, np.zeros((1, 3)))))
