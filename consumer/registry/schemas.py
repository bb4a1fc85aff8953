"""Schemas that records were written with, by id, from a Schema Registry.

The client is Confluent's own. Ids are for ever, so a schema is asked for once, of whatever type it is.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Final

import fastavro
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError
from httpx2 import HTTPError

from consumer.config import KafkaConfig
from consumer.errors import ConfigError, RegistryUnreachable
from consumer.masking import without_userinfo
from consumer.registry.avro import to_json
from consumer.registry.frames import Reader, as_json
from schemas.reference import Refusal
from schemas.rejects import Reason

_NOT_FOUND: Final = 404


class WriterSchemas:
    """Schemas by id. Raises `ConfigError` for settings that the client refuses."""

    def __init__(self, config: KafkaConfig) -> None:
        self._url = without_userinfo(str(config.registry["url"]))
        self._settings = config.registry
        try:
            self._connect().close()
        except (ValueError, TypeError, OSError) as error:
            raise ConfigError(
                f"the settings of the Schema Registry cannot be used: {without_userinfo(str(error))}",
                "correct the names in kafka.client that begin with schema.registry",
            ) from None
        self._known: dict[int, Reader | Refusal] = {}

    def reader(self, number: int) -> Reader | Refusal:
        """How to read what has the schema id `number`; a refusal if there is none that can be used.

        Raises `RegistryUnreachable` if the registry does not say: that is no fault of the record.
        """
        if number not in self._known:
            schema = self._ask(number)
            if schema is None:  # it may come later
                return Refusal(Reason.FRAMING, f"the registry has no schema {number}")
            self._known[number] = _reader_of(number, schema)
        return self._known[number]

    def subjects(self) -> int:
        """How many subjects the registry has. Raises `RegistryUnreachable`."""
        try:
            with self._connect() as client:
                return len(client.get_subjects())
        except (SchemaRegistryError, HTTPError, OSError) as error:
            raise self._unreachable(str(error) or type(error).__name__) from error

    def _ask(self, number: int) -> Schema | None:
        try:
            # A connection per schema: there are few, and none is left open for days.
            with self._connect() as client:
                schema: Schema = client.get_schema(number)
                return schema
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                return None
            raise self._unreachable(str(error)) from error
        except (HTTPError, OSError) as error:
            raise self._unreachable(str(error) or type(error).__name__) from error

    def _connect(self) -> SchemaRegistryClient:
        return SchemaRegistryClient(dict(self._settings))

    def _unreachable(self, problem: str) -> RegistryUnreachable:
        return RegistryUnreachable(
            f"the Schema Registry at {self._url} does not answer: {without_userinfo(problem)}",
            "check schema.registry.url and the like in kafka.client; a restart reads the records again",
        )


def _reader_of(number: int, schema: Schema) -> Reader | Refusal:
    """By the type of `schema`, which is Avro where the registry names none, unless it is a JSON Schema."""
    text = schema.schema_str or ""
    if schema.schema_type not in ("AVRO", "JSON", None):
        return Refusal(Reason.FRAMING, f"schema {number} is {schema.schema_type}, not Avro or JSON")
    if schema.schema_type == "JSON" or _is_json_schema(text):
        return as_json
    try:
        # Schemas of a registry may refer to others; records of the contract are flat.
        return partial(to_json, fastavro.parse_schema(json.loads(text)))
    except (ValueError, TypeError, LookupError, fastavro.schema.SchemaParseException) as error:
        return Refusal(Reason.FRAMING, f"schema {number} cannot be used as Avro: {error}"[:200])


def _is_json_schema(text: str) -> bool:
    """Whether `text` names itself so. Not every registry says of what type an id is."""
    try:
        document = json.loads(text)
    except ValueError:
        return False
    return isinstance(document, dict) and "$schema" in document
