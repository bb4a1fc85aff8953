"""The AsyncAPI document: valid for public tools, current, and true of what the service writes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from consumer import asyncapi
from consumer.output import dead_letters
from consumer.topics import TopicNames, shapes
from schemas import Decoder, RawRecords, Vocabulary, events, export
from schemas.batch import Topic

Document = dict[str, Any]
PUBLIC = ("usage", "billing", "customer", "changes", "current", "catalog", "dlq")


@pytest.fixture(scope="module")
def document() -> Document:
    """The file as a tool reads it."""
    found: Document = yaml.safe_load((export.DIRECTORY / asyncapi.FILE).read_text("utf-8"))
    return found


def payload_errors(document: Document, schema: str, value: Any) -> list[str]:
    """What is wrong with `value` by a schema of the document."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    return [error.message for error in jsonschema.Draft7Validator(whole).iter_errors(value)]


def test_the_file_is_current() -> None:
    """`segmenter schemas export schemas/json` has been run."""
    assert (export.DIRECTORY / asyncapi.FILE).read_text("utf-8") == asyncapi.text()


def test_the_document_is_asyncapi(document: Document, asyncapi_schema: Document) -> None:
    """Valid by the JSON Schema that the AsyncAPI initiative publishes."""
    jsonschema.Draft7Validator.check_schema(asyncapi_schema)
    jsonschema.Draft7Validator(asyncapi_schema).validate(document)


@pytest.mark.parametrize(
    "plant",
    [
        lambda d: d.pop("info"),
        lambda d: d.update(asyncapi="2.6.0"),
        lambda d: d["channels"]["usage"].update(message={}),
        lambda d: d["operations"]["usage"].update(action="subscribe"),
        lambda d: d["channels"]["usage"]["bindings"]["kafka"].update(partitions=0),
        lambda d: d["components"]["schemas"]["DataUsage"].update(type="objekt"),
    ],
)
def test_the_public_schema_finds_faults(
    document: Document, asyncapi_schema: Document, plant: Callable[[Document], Any]
) -> None:
    """It would be worthless if it took anything."""
    broken = copy.deepcopy(document)
    plant(broken)
    assert not jsonschema.Draft7Validator(asyncapi_schema).is_valid(broken)


def test_references_lead_somewhere(document: Document) -> None:
    """Every `$ref` of the document is in the document."""

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [ref for part in value.values() for ref in references(part)]
        return [ref for part in value for ref in references(part)] if isinstance(value, list) else []

    found = references(document)
    assert len(found) > 50
    for reference in found:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_public_topic_is_described(document: Document) -> None:
    """Address, cleanup policy and partitions are those that `topics create` makes."""
    names = TopicNames.with_prefix()
    by_name = {shape.name: shape for shape in shapes(names)}
    assert tuple(document["channels"]) == PUBLIC
    for name in PUBLIC:
        channel = document["channels"][name]
        shape, binding = by_name[channel["address"]], channel["bindings"]["kafka"]
        assert channel["address"] == binding["topic"] == getattr(names, name)
        assert binding["topicConfiguration"]["cleanup.policy"] == [shape.cleanup_policy]
        assert binding.get("partitions") == shape.partitions
        assert document["operations"][name]["action"] == (
            "receive" if name.upper() in Topic.__members__ else "send"
        )
    assert asyncapi.document(TopicNames.with_prefix("eu."))["channels"]["usage"]["address"].startswith("eu.")


def test_every_event_type_is_a_message_of_its_topic(document: Document) -> None:
    """Eleven types, each where the decoder wants it."""
    for code in Topic:
        expected = {kind for kind, home in events.TOPIC_OF_TYPE.items() if home == code}
        assert set(document["channels"][code.name.lower()]["messages"]) == expected


def test_examples_are_valid_and_are_read(document: Document) -> None:
    """Each example fits its schema; input examples come out of the decoder as events."""
    count = 0
    for name, message in document["components"]["messages"].items():
        for example in message.get("examples", []):
            schema = message["payload"]["$ref"].rpartition("/")[2]
            assert payload_errors(document, schema, example["payload"]) == [], name
            count += 1
            if (topic := name.partition(".")[0]).upper() in Topic.__members__:
                value, key = (
                    json.dumps(example["payload"]).encode(),
                    example["payload"]["customer_id"].encode(),
                )
                records = RawRecords.of_topic(int(Topic[topic.upper()]), [value], [key])
                batch, rejects = Decoder(Vocabulary({}), "EUR").decode(records)
                assert (batch.n, rejects.n) == (1, 0), rejects.details
    assert count == len(events.MODELS) + 3


def test_schemas_refuse_what_the_decoder_refuses(document: Document) -> None:
    """A negative amount of data, an unknown direction, a missing field."""
    usage = {"event_id": "e", "customer_id": "c", "event_time": "2026-03-01T12:00:00Z"}
    assert payload_errors(document, "DataUsage", {**usage, "type": "data", "megabytes": 1}) == []
    assert payload_errors(document, "DataUsage", {**usage, "type": "data", "megabytes": -1})
    assert payload_errors(document, "DataUsage", {**usage, "type": "data"})
    assert payload_errors(
        document, "VoiceUsage", {**usage, "type": "voice", "duration_seconds": 1, "direction": "up"}
    )


@pytest.mark.parametrize("name", sorted(export.documents()))
def test_examples_of_the_json_schemas_are_valid(name: str) -> None:
    """By the schema that they stand in, formats included."""
    schema = json.loads(export.documents()[name])
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    assert schema["examples"]
    for example in schema["examples"]:
        checker.validate(example)


def test_dead_letters_have_the_headers_that_are_described(document: Document) -> None:
    """Real dead letters of records that the decoder refused."""
    records = RawRecords.of_topic(
        1, [b"{", None, b'{"type":"new"}'], [b"c", None, b"c"], partition=3, first_offset=7
    )
    _, rejects = Decoder(Vocabulary({}), "EUR").decode(records)
    batch = dead_letters(rejects, TopicNames.with_prefix())
    assert batch.headers is not None
    assert len(batch.headers) == 3
    for headers in batch.headers:
        texts = {name: value.decode() for name, value in headers}
        assert payload_errors(document, "DeadLetterHeaders", texts) == []
        assert list(texts) == document["components"]["schemas"]["DeadLetterHeaders"]["required"]
    assert np.array_equal(rejects.offset, [7, 8, 9])


def test_export_writes_all_of_it(tmp_path: Path) -> None:
    """The command's files are those of the repository."""
    written = [*export.write(tmp_path), asyncapi.write(tmp_path)]
    assert sorted(path.name for path in written) == sorted(path.name for path in export.DIRECTORY.iterdir())
    for path in written:
        assert path.read_bytes() == (export.DIRECTORY / path.name).read_bytes()
