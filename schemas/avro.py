"""Avro schemas of the input topics, made from the models: for senders that use a Schema Registry.

One flat record per topic with all fields of its types, so that fields can be added and any Avro tool reads
it. Avro has no absent fields: null means absent, and the attributes of a profile that are to be cleared are
listed in `cleared`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from schemas.batch import Topic
from schemas.events import MODELS, TOPIC_OF_TYPE

#: The field that lists what a profile clears.
CLEARED: Final = "cleared"

#: Fields of every event, which are never null.
_COMMON: Final = ("event_id", "customer_id", "event_time", "type")
_AVRO_OF_JSON: Final = {"number": "double", "integer": "long", "boolean": "boolean", "string": "string"}


def documents() -> dict[str, str]:
    """File name to Avro schema, one file per input topic."""
    return {
        f"telecom.{topic.name.lower()}.v1.avsc": json.dumps(_record(topic), indent=2) + "\n"
        for topic in Topic
    }


def _record(topic: Topic) -> dict[str, Any]:
    fields: dict[str, dict[str, Any]] = {
        name: {"name": name, "type": "string", "doc": _DOC[name]} for name in _COMMON
    }
    for kind, model in MODELS.items():
        if TOPIC_OF_TYPE[kind] != topic:
            continue
        for name, schema in model.model_json_schema()["properties"].items():
            if name in _COMMON:
                continue
            if name not in fields:
                fields[name] = {"name": name, "type": ["null", _type(schema)], "default": None, "doc": "of "}
            separator = "" if fields[name]["doc"] == "of " else ", "
            fields[name]["doc"] += separator + kind
    if topic is Topic.CUSTOMER:
        fields[CLEARED] = {
            "name": CLEARED,
            "type": {"type": "array", "items": "string"},
            "default": [],
            "doc": "Attributes that a profile clears; one that is null is unchanged.",
        }
    return {
        "type": "record",
        "name": f"{topic.name.title()}Event",
        "namespace": "org.telecom.segmenter.v1",
        "doc": "Null stands for absent. What each type needs is in the JSON Schema of the topic.",
        "fields": list(fields.values()),
    }


_DOC: Final = {
    "event_id": "Unique per event.",
    "customer_id": "Equal to the record key.",
    "event_time": "RFC 3339, UTC.",
    "type": "Type of the event.",
}


def _type(schema: dict[str, Any]) -> Any:
    """Avro type of a field; null and limits are left out."""
    [option] = [o for o in schema.get("anyOf", [schema]) if o.get("type") != "null"]
    if option["type"] == "array":
        return {"type": "array", "items": _type(option["items"])}
    return _AVRO_OF_JSON[option["type"]]
