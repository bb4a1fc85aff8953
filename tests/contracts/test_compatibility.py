"""Contract v1 as released: senders and readers of then are served by the models of today."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from pydantic import TypeAdapter

from schemas import changes, events, export
from schemas.outbox import decode_change, decode_current
from tests.contracts.compatibility import Schema, for_readers, for_senders

RELEASED = Path(__file__).parents[1] / "golden" / "contract-v1"
GOLDEN = Path(__file__).parents[1] / "schemas" / "golden"
TOPICS = [name.removesuffix(".schema.json") for name in export.documents()]
INPUTS = [topic for topic in TOPICS if topic.startswith("telecom.")]
OUTPUTS = [topic for topic in TOPICS if topic.startswith("segments.")]


def released(topic: str) -> Schema:
    """The schema as it was released."""
    found: Schema = json.loads((RELEASED / f"{topic}.schema.json").read_text("utf-8"))
    return found


def today(topic: str) -> Schema:
    """The schema that the models make now."""
    found: Schema = json.loads(export.documents()[f"{topic}.schema.json"])
    return found


@pytest.mark.parametrize("topic", INPUTS)
def test_what_senders_were_allowed_is_allowed(topic: str) -> None:
    """No type, value or range is gone, nothing optional is required, no field is ignored."""
    assert for_senders(released(topic), today(topic)) == []


@pytest.mark.parametrize("topic", OUTPUTS)
def test_what_readers_were_promised_is_there(topic: str) -> None:
    """No field is gone or optional, no value outside what was said."""
    assert for_readers(released(topic), today(topic)) == []


def test_every_released_schema_is_compared() -> None:
    """A topic that vanishes is noticed."""
    assert {path.name.removesuffix(".schema.json") for path in RELEASED.iterdir()} == set(TOPICS)


def test_golden_input_records_fit_both() -> None:
    """Each record of the golden file is valid for both schemas and for the model."""
    kinds = set()
    for line in (GOLDEN / "events.v1.ndjson").read_text("utf-8").splitlines():
        record = json.loads(line)
        topic = INPUTS[
            [t.split(".")[1] for t in INPUTS].index(events.TOPIC_OF_TYPE[record["type"]].name.lower())
        ]
        for schema in (released(topic), today(topic)):
            jsonschema.validate(record, schema)
        assert events.EVENT.validate_python(record).type == record["type"]
        kinds.add(record["type"])
    assert kinds == set(events.MODELS)


def test_golden_output_record_fits_both() -> None:
    """The golden membership is one of both topics, for their schemas, their models and our own readers."""
    value = (GOLDEN / "change.v1.json").read_bytes().rstrip()
    for topic, model in (
        ("segments.changes.v1", changes.SegmentChange),
        ("segments.current.v1", changes.CurrentSegment),
    ):
        for schema in (released(topic), today(topic)):
            jsonschema.validate(json.loads(value), schema)
        assert model.model_validate_json(value).seq == 2
    assert decode_change(value).customer_id == decode_current(value).customer_id == "c1"


def _with(topic: str, change: Callable[[Schema], Any]) -> Schema:
    schema = copy.deepcopy(today(topic))
    change(schema)
    return schema


def _usage(schema: Schema, event: str) -> Schema:
    found: Schema = schema["$defs"][event]
    return found


#: An incompatible change of an input schema, and what must be said of it.
PLANTED_INPUT: list[tuple[str, Callable[[Schema], Any], str]] = [
    (
        "telecom.usage.v1",
        lambda s: _usage(s, "DataUsage")["required"].append("roaming"),
        "roaming: is required",
    ),
    (
        "telecom.usage.v1",
        lambda s: _usage(s, "DataUsage")["properties"].pop("technology"),
        "technology: is ignored",
    ),
    (
        "telecom.usage.v1",
        lambda s: _usage(s, "VoiceUsage")["properties"]["direction"]["enum"].remove("incoming"),
        "values ['incoming'] are not accepted",
    ),
    (
        "telecom.usage.v1",
        lambda s: _usage(s, "DataUsage")["properties"]["megabytes"].update(maximum=5),
        "maximum 5 is stricter",
    ),
    ("telecom.usage.v1", lambda s: s["oneOf"].pop(2), "event sms is not accepted"),
    (
        "telecom.usage.v1",
        lambda s: _usage(s, "SmsUsage")["properties"]["event_id"].update(pattern="^[a-z]+$"),
        "pattern ^[a-z]+$ instead of",
    ),
    (
        "telecom.customer.v1",
        lambda s: s["$defs"]["Profile"]["properties"]["age"]["anyOf"].pop(),
        "age: null is not accepted",
    ),
]


@pytest.mark.parametrize(("topic", "change", "says"), PLANTED_INPUT)
def test_a_planted_break_for_senders_is_found(topic: str, change: Callable[[Schema], Any], says: str) -> None:
    """Exactly the planted change is reported."""
    found = for_senders(released(topic), _with(topic, change))
    assert len(found) == 1
    assert says in found[0]


PLANTED_OUTPUT: list[tuple[str, Callable[[Schema], Any], str]] = [
    ("segments.changes.v1", lambda s: s["properties"].pop("cause"), "cause: is gone"),
    ("segments.changes.v1", lambda s: s["required"].remove("seq"), "seq: is no longer always there"),
    (
        "segments.changes.v1",
        lambda s: s["$defs"]["Driver"]["properties"].pop("unit"),
        "drivers[].unit: is gone",
    ),
    (
        "segments.changes.v1",
        lambda s: s["properties"]["cause"]["enum"].append("magic"),
        "values ['magic'] are not accepted",
    ),
    (
        "segments.catalog.v1",
        lambda s: s["properties"].update(name={"anyOf": [s["properties"]["name"], {"type": "null"}]}),
        "name: null is not accepted",
    ),
]


@pytest.mark.parametrize(("topic", "change", "says"), PLANTED_OUTPUT)
def test_a_planted_break_for_readers_is_found(topic: str, change: Callable[[Schema], Any], says: str) -> None:
    """Exactly the planted change is reported."""
    found = for_readers(released(topic), _with(topic, change))
    assert len(found) == 1
    assert says in found[0]


def test_a_break_in_a_model_is_found() -> None:
    """The comparison sees the models, not only edited schemas: a field more that senders must give."""

    class WithCell(events.DataUsage):
        type: Literal["data"]
        cell: str

    schema = TypeAdapter(WithCell | events.VoiceUsage | events.SmsUsage | events.Correction).json_schema()
    assert for_senders(released("telecom.usage.v1"), schema) == ["cell: is required now"]


def test_added_fields_are_compatible() -> None:
    """An optional field more for senders, a field more for readers: that is what a minor version may do."""
    usage = _with(
        "telecom.usage.v1", lambda s: _usage(s, "DataUsage")["properties"].update(cell={"type": "string"})
    )
    assert for_senders(released("telecom.usage.v1"), usage) == []
    change = _with("segments.changes.v1", lambda s: s["properties"].update(note={"type": "string"}))
    assert for_readers(released("segments.changes.v1"), change) == []
