"""Records of the service, read with the public CloudEvents library."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import numpy as np
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from cloudevents.core.exceptions import CloudEventValidationError

from consumer import asyncapi
from consumer.catalog_records import Catalog, CatalogTopic
from consumer.change_records import ChangeRecords, Records
from consumer.models.files import load_strategies
from online_model.change_batch import Cause, Change, ChangeBatch
from online_model.model import Model
from online_model.segment_history import SegmentHistory
from schemas import changes
from schemas.outbox import Headers
from tests.consumer.test_change_records import INPUTS, moved, named
from tests.online_model.tiny import TINY

WATERMARK_US = 1_772_366_400_250_000
TIME = "2026-03-01T12:00:00.250000+00:00"


def records_of(batch: ChangeBatch) -> Records:
    """What the service writes for `batch`."""
    made = ChangeRecords(TINY.columns, load_strategies(None), INPUTS, "run-1", "/segmenter")
    made.learn(named(1, ("s1", "Light"), ("s2", "Heavy")))
    return made.of(batch, 3, WATERMARK_US, 1, live=True)


def catalog_records(model: Model) -> list[tuple[bytes, bytes, Headers]]:
    """The catalog as it is published beside `model`."""
    history = SegmentHistory()
    history.adopt(model)
    catalog = Catalog(TINY.columns, load_strategies(None), history)
    return CatalogTopic(catalog, "/segmenter", "run-1").records([model])


def one(change: Change, cause: Cause, *, triggered: bool = False, customer: bytes = b"c-1") -> ChangeBatch:
    """A batch of one change between s1 and s2 of a customer."""
    batch = replace(
        moved(1, 2),
        customer_ids=[customer],
        change=np.full(1, change, np.uint8),
        cause=np.full(1, cause, np.uint8),
    )
    if triggered:
        batch = replace(batch, trigger_topic=np.zeros(1, np.int16), trigger_offset=np.full(1, 991, np.int64))
    return batch


def event_of(key: bytes | None, value: bytes | None, headers: Headers) -> Any:
    """The record as the library reads it. Raises `CloudEventValidationError` if it is none."""
    assert key is not None
    assert value is not None
    assert len(dict(headers)) == len(headers), "a header occurs twice"
    return from_kafka_event(KafkaMessage(headers=dict(headers), key=key, value=value))


BATCHES = {
    "behaviour": one(Change.MOVED, Cause.BEHAVIOUR, triggered=True),
    "time": one(Change.MOVED, Cause.TIME),
    "closed": one(Change.EXITED, Cause.CLOSED, triggered=True),
    "not ascii": one(Change.MOVED, Cause.BEHAVIOUR, triggered=True, customer="c-\u00e9\u4f60".encode()),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_change_is_a_cloud_event(name: str) -> None:
    """Attributes, key as partition key and data, as the library gives them to a subscriber."""
    batch = BATCHES[name]
    made = records_of(batch)
    customer = batch.customer_ids[0].decode()
    event = event_of(made.change_keys[0], made.change_values[0], made.change_headers[0])
    assert event.get_specversion() == "1.0"
    assert event.get_type() == "org.telecom.segment.changed.v1"
    assert event.get_source() == "/segmenter"
    assert event.get_subject() == event.get_extension("partitionkey") == customer
    assert event.get_time().isoformat() == TIME
    assert event.get_datacontenttype() == "application/json"
    assert event.get_id() == f"{customer}/2/{WATERMARK_US}"
    assert changes.SegmentChange.model_validate(event.get_data(), strict=True).customer_id == customer


def test_a_membership_is_a_cloud_event_and_its_end_a_tombstone() -> None:
    """The current record has a type and schema of its own; its end is a null without headers."""
    made = records_of(BATCHES["behaviour"])
    event = event_of(made.current_keys[0], made.current_values[0], made.current_headers[0])
    assert event.get_type() == "org.telecom.segment.current.v1"
    assert changes.CurrentSegment.model_validate(event.get_data(), strict=True).since
    for change, cause in ((Change.EXITED, Cause.CLOSED), (Change.ERASED, Cause.CLOSED)):
        gone = records_of(one(change, cause))
        assert (gone.current_values, gone.current_headers) == ([None], [[]])


def test_catalog_entries_are_cloud_events() -> None:
    """One per segment, the fixed ones included, with the version's time."""
    model = replace(named(4, ("s1", "Light"), ("s2", "Heavy")), created_us=WATERMARK_US)
    ids = set()
    for key, value, header in catalog_records(model):
        event = event_of(key, value, header)
        assert event.get_type() == "org.telecom.segment.catalog.v1"
        assert event.get_time().isoformat() == TIME
        assert event.get_subject() == changes.CatalogEntry.model_validate(event.get_data()).segment_id
        ids.add(event.get_id())
    assert ids == {f"{name}/4/{WATERMARK_US}" for name in ("s1", "s2", "dormant", "unclassified")}


def _headers_by_schema() -> list[tuple[str, Headers]]:
    model = replace(named(1, ("s1", "Light"), ("s2", "Heavy")), created_us=WATERMARK_US)
    found = [("CatalogHeaders", catalog_records(model)[0][2])]
    for batch in BATCHES.values():
        made = records_of(batch)
        found.append(("ChangedHeaders", made.change_headers[0]))
        if made.current_headers[0]:
            found.append(("CurrentHeaders", made.current_headers[0]))
    return found


def test_headers_are_those_of_the_asyncapi_document() -> None:
    """The same names, and values that fit."""
    schemas = asyncapi.document()["components"]["schemas"]
    for name, headers in _headers_by_schema():
        texts = {header: value.decode() for header, value in headers}
        jsonschema.Draft7Validator({**schemas[name], "additionalProperties": False}).validate(texts)


def test_the_schema_of_the_data_is_named_by_an_absolute_uri() -> None:
    """CloudEvents asks for one, which the library does not check; it is the `$id` of a published schema."""
    from schemas import export

    published = {json.loads(text)["$id"] for text in export.documents().values()}
    for _, headers in _headers_by_schema():
        uri = dict(headers)["ce_dataschema"].decode()
        assert urlsplit(uri).scheme
        assert uri in published


@pytest.mark.parametrize("missing", ["ce_source", "ce_type"])
def test_the_library_refuses_what_is_no_cloud_event(missing: str) -> None:
    """It would be worthless otherwise. (A missing id it makes up itself: ours are compared above.)"""
    made = records_of(BATCHES["behaviour"])
    headers = [header for header in made.change_headers[0] if header[0] != missing]
    with pytest.raises(CloudEventValidationError):
        event_of(made.change_keys[0], made.change_values[0], headers)
