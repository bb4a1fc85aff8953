"""Framed records: the verdicts and values of plain ones, whatever Confluent's serializers wrote."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import given
from hypothesis import strategies as st

from consumer import doctor
from consumer.config import Config, KafkaConfig
from consumer.config_sources import load_config
from consumer.core import Core, Positions
from consumer.errors import ConfigError, RegistryUnreachable
from consumer.kafka_clients import consumer_settings
from consumer.registry import FramedDecoder, unframe_of
from consumer.registry.avro import to_json
from consumer.registry.frames import as_json, unframe
from consumer.registry.schemas import WriterSchemas
from consumer.verify.log import Record
from consumer.verify.partition import Clockwork
from schemas import Decoder, RawRecords, Vocabulary, avro, events, examples, export
from schemas.batch import EventBatch, Topic
from schemas.reference import Refusal
from schemas.rejects import Reason, Rejects
from tests.registry.registries import StandIn, apicurio

PROTOBUF = 'syntax = "proto3"; message Usage { string event_id = 1; }'
VOCABULARY = Vocabulary({"technology": ("5g",), "line_type": ("postpaid",), "services": ("fiber", "tv")})


@pytest.fixture(scope="module")
def real(apicurio_folder: Path) -> Iterator[str]:
    """A real registry: Apicurio, through Confluent's API."""
    with apicurio(apicurio_folder) as url:
        yield url


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    """The stand-in."""
    with StandIn() as registry:
        yield registry.url


@pytest.fixture(scope="module", params=["real", "stand_in"])
def url(request: pytest.FixtureRequest) -> str:
    """A registry, real and not."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def client(url: str) -> Iterator[SchemaRegistryClient]:
    """Confluent's client of the registry, for the senders."""
    with SchemaRegistryClient({"url": url}) as made:
        yield made


def decoder(url: str) -> FramedDecoder:
    """As the service has it with this registry."""
    found = unframe_of(load_config(None, {}, {"kafka.client": {"schema.registry.url": url}}))
    assert found is not None
    return FramedDecoder(Decoder(VOCABULARY, "EUR"), found)


def json_behind_any_id(value: bytes | None) -> bytes | Refusal | None:
    """An `Unframe` of a registry all of whose schemas are JSON Schemas."""
    return unframe(lambda _: as_json, value)


def framed_as(number: int) -> bytes:
    """A record of the schema `number`."""
    return b"\0" + number.to_bytes(4, "big") + b"x"


def records(values: list[bytes | None], topics: list[int]) -> RawRecords:
    """`values` of the customer of the examples."""
    made = RawRecords.of_topic(0, values, [b"c-102934"] * len(values), first_offset=100)
    made.topic[:] = topics
    return made


def columns(batch: EventBatch) -> dict[str, Any]:
    """Everything in a batch, NaN equal to itself."""
    names = ("kind", "topic", "partition", "offset", "event_time_us", "flags", "category", "value", "aux")
    found: dict[str, Any] = {name: getattr(batch, name).tobytes() for name in names}
    found["ids"] = (batch.event_ids.to_bytes(), batch.customer_ids.to_bytes())
    found["profiles"] = [getattr(batch.profiles, name).tobytes() for name in batch.profiles.__slots__]
    return found


def everything() -> tuple[list[dict[str, Any]], list[int]]:
    """An event of each type, and their topics."""
    return list(examples.EVENTS.values()), [int(events.TOPIC_OF_TYPE[kind]) for kind in examples.EVENTS]


def plain() -> tuple[EventBatch, Rejects]:
    """What they decode to without frames."""
    made, topics = everything()
    return Decoder(VOCABULARY, "EUR").decode(records([json.dumps(event).encode() for event in made], topics))


def in_avro(event: dict[str, Any]) -> dict[str, Any]:
    """An event as the Avro schemas have it: what it clears in a list."""
    fields = {name: value for name, value in event.items() if value is not None}
    cleared = [name for name, value in event.items() if value is None]
    return fields | ({"cleared": cleared} if events.TOPIC_OF_TYPE[event["type"]] is Topic.CUSTOMER else {})


def serialized(event: dict[str, Any], make: Callable[[str], Any]) -> bytes:
    """What a serializer of Confluent's client writes for the value of `event`'s topic."""
    topic = f"telecom.{events.TOPIC_OF_TYPE[event['type']].name.lower()}.v1"
    value: bytes = make(topic)(event, SerializationContext(topic, MessageField.VALUE))
    assert value[0] == 0
    return value


def test_avro_by_confluents_serializer(url: str, client: SchemaRegistryClient) -> None:
    """Every type, registered and written with our Avro schemas, gives the columns of the plain records."""
    written, topics = everything()

    def make(topic: str) -> Any:
        return AvroSerializer(client, avro.documents()[f"{topic}.avsc"])

    values: list[bytes | None] = [serialized(in_avro(event), make) for event in written]
    batch, rejects = decoder(url).decode(records(values, topics))
    assert rejects.n == 0, rejects.details
    assert columns(batch) == columns(plain()[0])


def json_serializer(client: SchemaRegistryClient) -> Callable[[str], Any]:
    """Serializers by our JSON Schemas, which the client checks records by."""
    return lambda topic: JSONSerializer(export.documents()[f"{topic}.schema.json"], client)


def test_json_by_confluents_serializer(url: str, client: SchemaRegistryClient) -> None:
    """The same for our JSON Schemas, whether the registry names their type or not."""
    written, topics = everything()
    values: list[bytes | None] = [serialized(event, json_serializer(client)) for event in written]
    batch, rejects = decoder(url).decode(records(values, topics))
    assert rejects.n == 0, rejects.details
    assert columns(batch) == columns(plain()[0])


def test_what_has_no_frame_is_plain(url: str) -> None:
    """As our own commands send it: the simulator, the adapter, an erasure. Each has its own verdict."""
    written, topics = everything()
    values: list[bytes | None] = [json.dumps(event).encode() for event in written]
    batch, rejects = decoder(url).decode(records([*values, b"{", b""], [*topics, 0, 0]))
    assert rejects.reasons == [Reason.MALFORMED_JSON] * 2
    assert columns(batch) == columns(plain()[0])


def test_json_and_avro_share_a_topic(stand_in: str) -> None:
    """The id of each record says which it is; a type that is neither is refused by its name."""
    written, topics = everything()
    schemas = avro.documents()
    with SchemaRegistryClient({"url": stand_in}) as client:
        number = client.register_schema("other", Schema(PROTOBUF, "PROTOBUF"))
        values: list[bytes | None] = [
            serialized(in_avro(event), lambda topic: AvroSerializer(client, schemas[f"{topic}.avsc"]))
            if row % 2
            else serialized(event, json_serializer(client))
            for row, event in enumerate(written)
        ]
    values.append(framed_as(number))
    batch, rejects = decoder(stand_in).decode(records(values, [*topics, 0]))
    assert rejects.details == [f"schema {number} is PROTOBUF, not Avro or JSON"]
    assert columns(batch) == columns(plain()[0])


def test_logical_types_are_times(url: str, client: SchemaRegistryClient) -> None:
    """Senders may use Avro's timestamps, dates and decimals, and fields that we do not know."""
    schema = {
        "type": "record", "name": "Bill", "fields": [
            {"name": "event_id", "type": "string"}, {"name": "customer_id", "type": "string"},
            {"name": "type", "type": {"type": "enum", "name": "Kind", "symbols": ["invoice"]}},
            {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "amount", "type":
                {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}},
            {"name": "currency", "type": "string"}, {"name": "note", "type": "bytes"},
            {"name": "period_start", "type": {"type": "int", "logicalType": "date"}},
            {"name": "period_end", "type": {"type": "int", "logicalType": "date"}},
        ],
    }  # fmt: skip
    bill = {
        "event_id": "b", "customer_id": "c-102934", "type": "invoice", "amount": Decimal("29.90"),
        "note": b"x",
        "event_time": datetime(2026, 3, 2, 8, 30, 0, 250, UTC), "currency": "EUR",
        "period_start": date(2026, 2, 1), "period_end": date(2026, 3, 1),
    }  # fmt: skip
    serializer = AvroSerializer(client, json.dumps(schema))
    value = serializer(bill, SerializationContext("bills", MessageField.VALUE))
    batch, rejects = decoder(url).decode(records([value], [1]))
    assert rejects.n == 0, rejects.details
    assert batch.event_time_us.tolist() == [1_772_440_200_000_250]
    assert (batch.value.tolist(), batch.aux.tolist()) == ([29.9], [28.0])


def test_refused_records_keep_their_bytes_and_places(url: str, client: SchemaRegistryClient) -> None:
    """A frame cut off, an unknown id, another kind of schema, a broken record, what the contract refuses."""
    usage = examples.EVENTS["data"]
    usage_schema = avro.documents()["telecom.usage.v1.avsc"]

    def in_usage(event: dict[str, Any]) -> bytes:
        return serialized(event, lambda _: AvroSerializer(client, usage_schema))

    good = in_usage(usage)
    other = framed_as(client.register_schema("other", Schema(PROTOBUF, "PROTOBUF")))
    negative, not_a_number = (
        in_usage(usage | {"megabytes": -1.0}),
        in_usage(usage | {"megabytes": float("nan")}),
    )
    values = [good[:4], good, b"\0\0\1\x86\x9f" + good[5:], other, good[:-1], good + b"!"]
    values += [negative, not_a_number, b"", b"\0"]
    batch, rejects = decoder(url).decode(records([*values, None], [0] * 11))
    assert batch.offset.tolist() == [101]
    found = dict(zip(rejects.offset.tolist(), zip(rejects.reasons, rejects.values, strict=True), strict=True))
    assert found == {
        100: (Reason.FRAMING, values[0]), 102: (Reason.FRAMING, values[2]), 103: (Reason.FRAMING, values[3]),
        104: (Reason.FRAMING, values[4]), 105: (Reason.FRAMING, values[5]),
        106: (Reason.OUT_OF_RANGE, values[6]), 107: (Reason.NON_FINITE, values[7]),
        108: (Reason.MALFORMED_JSON, b""), 109: (Reason.FRAMING, b"\0"), 110: (Reason.MALFORMED_JSON, None),
    }  # fmt: skip
    details = dict(zip(rejects.offset.tolist(), rejects.details, strict=True))
    assert "cut off" in details[100]
    assert "no schema 99999" in details[102]
    # Where a registry does not say of what type the schema is, it is tried as Avro.
    assert "not Avro or JSON" in details[103] or "cannot be used as Avro" in details[103]


def test_a_schema_is_asked_for_once() -> None:
    """Ids are for ever."""
    with StandIn() as registry:
        usage = avro.documents()["telecom.usage.v1.avsc"]
        with SchemaRegistryClient({"url": registry.url}) as client:
            value = serialized(examples.EVENTS["data"], lambda _: AvroSerializer(client, usage))
            in_json = serialized(examples.EVENTS["data"], json_serializer(client))
            other = framed_as(client.register_schema("other", Schema(PROTOBUF, "PROTOBUF")))
        framed = decoder(registry.url)
        for _ in range(3):
            batch, rejects = framed.decode(records([value, in_json, other] * 5, [0] * 15))
            assert (batch.n, rejects.n) == (10, 5)
        assert len([path for path in registry.asked if "/schemas/ids/" in path]) == 3


def test_an_unknown_schema_is_asked_for_again() -> None:
    """It may be registered after the first record that has its id."""
    with StandIn() as registry:
        schemas = WriterSchemas(KafkaConfig(client=in_client(registry.url)))
        assert isinstance(schemas.reader(1), Refusal)
        with SchemaRegistryClient({"url": registry.url}) as client:
            client.register_schema("usage", Schema("{}", "JSON"))
        assert schemas.reader(1) is as_json


def in_client(url: str) -> dict[str, str | int | float | bool]:
    """Settings in `kafka.client` of a registry that is asked once."""
    return {"schema.registry.url": url, "schema.registry.max.retries": 0}


def test_a_registry_in_trouble_stops_the_service() -> None:
    """Errors of the registry and a registry that is not there are no faults of a record."""
    with StandIn() as registry:
        registry.status = 500
        settings = KafkaConfig(client=in_client(registry.url))
        with pytest.raises(RegistryUnreachable, match="does not answer"):
            WriterSchemas(settings).reader(1)
    with pytest.raises(RegistryUnreachable, match=r"schema\.registry\.url"):  # it is gone now
        WriterSchemas(settings).reader(1)


@pytest.mark.parametrize("name", ["schema.registry.ssl.ca.location", "schema.registry.uri"])
def test_settings_of_a_registry_without_its_address_are_an_error(name: str) -> None:
    """Else framed records would be read as plain ones, for a slip of the pen."""
    with pytest.raises(ConfigError, match=rf"client has {name} but not schema\.registry\.url"):
        load_config(None, {}, {"kafka.client": {name: "x"}})


def test_settings_that_the_registry_client_refuses_are_told_at_the_start() -> None:
    """A name that it does not know, an address that is none."""
    for name, value in [
        ("schema.registry.sasl", "x"),
        ("schema.registry.url", "registry"),
        ("schema.registry.url", ""),
    ]:
        client = {"schema.registry.url": "http://127.0.0.1:1", name: value}
        with pytest.raises(ConfigError, match="Schema Registry cannot be used"):
            WriterSchemas(KafkaConfig(client=client))


def test_the_doctor_asks_the_registry(url: str) -> None:
    """Where it is set: that it answers, or what to do. (The other checks wait for a broker.)"""

    def told(address: str) -> list[doctor.Check]:
        return doctor._registry(Config(kafka=KafkaConfig(client=in_client(address))))

    assert [check.verdict for check in told(url)] == [doctor.Verdict.OK]
    [gone] = told("http://127.0.0.1:1")
    assert gone.verdict is doctor.Verdict.FAILED
    assert "schema.registry.url" in gone.fix
    assert doctor._registry(Config()) == []


def test_the_registrys_settings_are_not_the_brokers() -> None:
    """Librdkafka refuses names that it does not know."""
    config = load_config(
        None, {}, {"kafka.client": {**in_client("http://127.0.0.1:1"), "security.protocol": "ssl"}}
    )
    settings = consumer_settings(config)
    assert not [name for name in settings if name.startswith("schema.registry")]
    assert settings["security.protocol"] == "ssl"


def test_without_a_registry_nothing_is_between() -> None:
    """The default has the plain decoder itself: not one call more per record."""
    config = load_config(None, {}, {})
    assert unframe_of(config) is None
    assert type(Core(config, 1, unframe=unframe_of(config)).decoder) is Decoder
    framed = load_config(None, {}, {"kafka.client": in_client("http://127.0.0.1:1")})
    assert type(Core(framed, 1, unframe=unframe_of(framed)).decoder) is FramedDecoder


def test_verify_reads_what_the_service_read() -> None:
    """An oracle's event of a framed record is that of the plain one; a refused one is refused."""
    value = json.dumps(examples.EVENTS["data"]).encode()
    clock = Clockwork(1, "EUR", 0, 0)
    framed = Clockwork(1, "EUR", 0, 0, json_behind_any_id)
    plain = Record(5, b"c-102934", value, ())
    event = clock.decode(plain, 0)
    assert not isinstance(event, Refusal)
    assert framed.decode(plain._replace(value=b"\0\0\0\0\x07" + value), 0) == event
    assert framed.decode(plain, 0) == event
    refusal = framed.decode(plain._replace(value=b"\0\0"), 0)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.FRAMING


def test_the_core_applies_framed_records() -> None:
    """A step over records with frames, with half a one and refused ones: what one over plain ones accepts."""
    value = json.dumps(examples.EVENTS["data"]).encode()
    values: list[bytes | None] = [b"\0\0\0\0\1" + value, b"\0\0", b"\0\0\0\0\1{", b"\0\0\0\0\1" + value]
    core = Core(load_config(None, {}, {}), 1, follow_clock=False, unframe=json_behind_any_id)
    core.engine.add_partition(0)
    raw = records(values, [0] * 4)
    positions = Positions({(0, 0): 104}, {(0, topic): True for topic in range(3)})
    [part] = core.process(raw, positions, 1_772_370_000_000_000).partitions
    assert part.rejects.offset.tolist() == [101, 102]
    assert part.rejects.reasons == [Reason.FRAMING, Reason.MALFORMED_JSON]
    assert part.rejects.values == values[1:3]
    assert core.engine.partitions[0].index.n == 1


@given(st.binary(max_size=80))
def test_arbitrary_bytes_never_raise(payload: bytes) -> None:
    """Not as JSON, and not as Avro of any of our schemas."""
    framed = FramedDecoder(Decoder(VOCABULARY, "EUR"), json_behind_any_id)
    for topic, text in enumerate(avro.documents().values()):
        schema = fastavro.parse_schema(json.loads(text))
        assert isinstance(to_json(schema, payload), bytes | Refusal)
        batch, rejects = framed.decode(records([payload, b"\0\0\0\0\1" + payload], [topic] * 2))
        assert batch.n + rejects.n == 2


@pytest.mark.parametrize("name", sorted(avro.documents()))
def test_avro_schemas_are_avro_and_know_every_field(name: str) -> None:
    """Valid for fastavro, all fields of all types of the topic, defaults included; current on disk."""
    text = avro.documents()[name]
    schema: Any = fastavro.parse_schema(json.loads(text))
    assert (export.DIRECTORY / name).read_text("utf-8") == text
    fields = {field["name"] for field in schema["fields"]}
    topic = Topic[name.split(".")[1].upper()]
    models = [model for kind, model in events.MODELS.items() if events.TOPIC_OF_TYPE[kind] is topic]
    assert fields - {"cleared"} == {field for model in models for field in model.model_fields}
    stream = io.BytesIO()
    common = dict.fromkeys(("event_id", "customer_id", "event_time", "type"), "x")
    fastavro.schemaless_writer(stream, schema, common)
    assert to_json(schema, stream.getvalue()) == json.dumps(common, separators=(",", ":")).encode()
    assert np.all([field.get("default", None) in (None, []) for field in schema["fields"]])
