"""The AsyncAPI 3 document of the public topics, made from the models and from the shapes of the topics.

Describes this application: it receives the input topics and sends the others. Schemas are those of the
models, in the document itself, so that a tool needs no second file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from consumer import __version__
from consumer.output import DEAD_LETTER_HEADERS, REASON
from consumer.topics import TopicNames, shapes
from schemas import changes, events, examples, limits
from schemas.batch import Topic
from schemas.outbox import CATALOG_TYPE, CHANGED_TYPE, CURRENT_TYPE, schema_id
from schemas.rejects import Reason

#: Name of the file.
FILE: Final = "asyncapi.yaml"

Part = dict[str, Any]

_VERSION: Final = "3.0.0"
_BINDING: Final = "0.5.0"
_SCHEMAS: Final = "#/components/schemas/"
_NUMBERS: Final = frozenset({"retention.ms", "max.message.bytes", "min.compaction.lag.ms"})

_KEYS: Final[dict[str, Part]] = {
    "CustomerKey": {"type": "string", "pattern": limits.ID_PATTERN, "maxLength": limits.ID_LENGTH},
    "SegmentKey": {"type": "string", "minLength": 1, "maxLength": 128},
}

_INFO: Final = """\
Usage, billing and customer events in; a record out when a customer's segment changes, exactly once.
Read the outputs with isolation.level=read_committed. Records are CloudEvents 1.0 in Kafka's binary mode:
the value is the data, attributes are headers. Readers ignore fields that they do not know; a minor version
only adds fields, and what would break a reader gets a topic of a new version."""

_INPUT: Final = """\
Key: customer_id. The three input topics have the same number of partitions, and senders use the murmur2
partitioner of Kafka's Java client. What does not fit goes to the dead letters with a reason."""

_CHANNELS: Final = {
    "usage": f"Data sessions, calls, messages and signed corrections of them. {_INPUT}",
    "billing": f"Invoices (credit notes are negative), payments and top-ups. {_INPUT}",
    "customer": f"Profiles, care contacts, the end of a contract, erasure. {_INPUT}",
    "changes": "One record per change of a customer's segment, in the input's partition; key: customer_id.",
    "current": (
        "The latest membership per customer, compacted; key: customer_id. A null value: the customer left "
        "or was erased. Read it to its end first, then follow the changes and drop those whose seq is not "
        "greater."
    ),
    "catalog": "What each segment is, compacted; key: segment_id.",
    "dlq": "Refused input records: key and value as they came, the reason and the place in headers.",
}


def document(names: TopicNames | None = None) -> Part:
    """The document as JSON values, with topics called `names` (default: without a prefix)."""
    names = names or TopicNames.with_prefix()
    messages = _messages()
    channels = {
        name: _channel(names, name, [m for m in messages if m.startswith(f"{name}.")]) for name in _CHANNELS
    }
    return {
        "asyncapi": _VERSION,
        "id": "urn:telecom-segmenter",
        "info": {
            "title": "telecom-segmenter",
            "version": __version__,
            "description": _INFO,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "localhost:9092",
                "protocol": "kafka",
                "description": "Setting kafka.bootstrap.",
            }
        },
        "channels": channels,
        "operations": {name: _operation(name) for name in channels},
        "components": {"messages": messages, "schemas": _schemas()},
    }


def text(names: TopicNames | None = None) -> str:
    """The document as YAML."""
    unshared = json.loads(json.dumps(document(names)))  # YAML writes an object that occurs twice as an alias
    return yaml.safe_dump(unshared, sort_keys=False, allow_unicode=True, width=110)


def write(directory: Path) -> Path:
    """Writes the file into `directory` and returns its path. Raises OSError."""
    path = directory / FILE
    path.write_text(text(), encoding="utf-8")
    return path


def _channel(names: TopicNames, name: str, messages: Iterable[str]) -> Part:
    address = getattr(names, name)
    shape = next(shape for shape in shapes(names) if shape.name == address)
    settings: Part = {
        key: int(value) if key in _NUMBERS else value for key, value in sorted(shape.config.items())
    }
    settings["cleanup.policy"] = [shape.cleanup_policy]
    binding: Part = {"topic": address, "topicConfiguration": settings, "bindingVersion": _BINDING}
    if shape.partitions is not None:
        binding["partitions"] = shape.partitions
    return {
        "address": address,
        "description": _CHANNELS[name],
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {_local(m): {"$ref": f"#/components/messages/{m}"} for m in messages},
        "bindings": {"kafka": binding},
    }


def _operation(name: str) -> Part:
    receives = name.upper() in Topic.__members__
    return {
        "action": "receive" if receives else "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": f"The segmenter {'reads' if receives else 'writes'} {name}.",
    }


def _local(message: str) -> str:
    return message.partition(".")[2]


def _messages() -> dict[str, Part]:
    """Every message by channel and name, ``usage.data``."""
    made: dict[str, Part] = {}
    for kind, model in events.MODELS.items():
        made[f"{events.TOPIC_OF_TYPE[kind].name.lower()}.{kind}"] = _message(
            model, examples.EVENTS[kind], "CustomerKey"
        )
    made["changes.changed"] = _message(
        changes.SegmentChange, examples.CHANGE, "CustomerKey", "ChangedHeaders"
    )
    made["current.member"] = _message(
        changes.CurrentSegment, examples.CURRENT, "CustomerKey", "CurrentHeaders"
    )
    made["current.removed"] = {
        "name": "removed",
        "title": "No membership any more",
        "summary": "A tombstone without headers: the customer left or was erased.",
        "payload": {"type": "null"},
        "bindings": _key("CustomerKey"),
    }
    made["catalog.entry"] = _message(
        changes.CatalogEntry, examples.CATALOG_ENTRY, "SegmentKey", "CatalogHeaders"
    )
    made["dlq.refused"] = {
        "name": "refused",
        "title": "Refused input record",
        "summary": "Key and value byte for byte as they were read; null where they were.",
        "contentType": "application/octet-stream",
        "headers": {"$ref": f"{_SCHEMAS}DeadLetterHeaders"},
        "payload": {"description": "Any bytes."},
    }
    return made


def _message(model: type[BaseModel], example: Part, key: str, headers: str | None = None) -> Part:
    summary = " ".join((model.__doc__ or "").split("\n\n", 1)[0].split())
    made: Part = {
        "name": model.__name__,
        "title": model.__name__,
        "summary": summary,
        "contentType": "application/json",
    }
    if headers is not None:
        made["headers"] = {"$ref": _SCHEMAS + headers}
    return made | {
        "payload": {"$ref": _SCHEMAS + model.__name__},
        "bindings": _key(key),
        "examples": [{"payload": example}],
    }


def _key(schema: str) -> Part:
    # In place: the binding's own JSON Schema takes a reference for two things at once, and refuses it.
    return {"kafka": {"key": _KEYS[schema], "bindingVersion": _BINDING}}


def _schemas() -> dict[str, Part]:
    models: list[type[BaseModel]] = [*events.MODELS.values(), changes.SegmentChange]
    models += [changes.CurrentSegment, changes.CatalogEntry]
    _, generated = models_json_schema(
        [(model, "validation") for model in models], ref_template=f"{_SCHEMAS}{{model}}"
    )
    made: dict[str, Part] = generated["$defs"]
    made["ChangedHeaders"] = cloud_event_headers(CHANGED_TYPE, "segments.changes.v1")
    made["CurrentHeaders"] = cloud_event_headers(CURRENT_TYPE, "segments.current.v1")
    made["CatalogHeaders"] = cloud_event_headers(CATALOG_TYPE, "segments.catalog.v1")
    made["DeadLetterHeaders"] = _dead_letter_headers()
    return made


def cloud_event_headers(ce_type: str, topic: str) -> Part:
    """JSON Schema of the headers, as texts, of a record of type `ce_type` on `topic`."""
    some = {"type": "string", "minLength": 1}
    number = {"type": "string", "pattern": "^[0-9]+$"}
    required: Part = {
        "ce_specversion": {"const": "1.0"},
        "ce_type": {"const": ce_type},
        "ce_source": some | {"description": "The application (app.name)."},
        "ce_dataschema": {"const": schema_id(topic)},
        "content-type": {"const": "application/json"},
        "segmenter_run_id": some | {"description": "The process that wrote it."},
        "ce_id": some | {"description": "The same however often the record is derived."},
        "ce_subject": some | {"description": "The key."},
        "ce_time": {"type": "string", "format": "date-time"},
    }
    trigger = {
        "segmenter_trigger_topic": some,
        "segmenter_trigger_partition": number,
        "segmenter_trigger_offset": number,
    }
    return {
        "type": "object",
        "description": "CloudEvents 1.0 attributes and provenance; trigger: the input record that the change "
        "followed from, absent for those of the sweep over all customers.",
        "properties": required | trigger,
        "required": list(required),
    }


def _dead_letter_headers() -> Part:
    return {
        "type": "object",
        "description": "Names as in Kafka Streams, and the reason.",
        "properties": {
            name: {"enum": [reason.value for reason in Reason]} if name == REASON else {"type": "string"}
            for name in DEAD_LETTER_HEADERS
        },
        "required": list(DEAD_LETTER_HEADERS),
    }
