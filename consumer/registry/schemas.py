"""Schemas that records were written with, by id, from a Schema Registry.

The client is Confluent's own. Ids are for ever, so a schema is asked for once.
"""

from __future__ import annotations

import json
from typing import Any, Final

import fastavro
from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError
from httpx2 import HTTPError

from consumer.config import KafkaConfig
from consumer.errors import ConfigError, RegistryUnreachable
from schemas.reference import Refusal
from schemas.rejects import Reason

_NOT_FOUND: Final = 404


class WriterSchemas:
    """Avro schemas by id. Raises `ConfigError` for settings that the client refuses."""

    def __init__(self, config: KafkaConfig) -> None:
        self._url = config.registry["url"]
        self._settings = config.registry
        try:
            self._connect().close()
        except (ValueError, TypeError, OSError) as error:
            raise ConfigError(
                f"the settings of the Schema Registry cannot be used: {error}",
                "correct the names in kafka.client that begin with schema.registry",
            ) from None
        self._known: dict[int, Any] = {}

    def avro(self, number: int) -> Any | Refusal:
        """The parsed schema with the id `number`; a refusal if the registry has none that can be used.

        Raises `RegistryUnreachable` if it does not say: that is no fault of the record.
        """
        if number not in self._known:
            found = self._ask(number)
            if isinstance(found, Refusal):
                return found
            self._known[number] = found
        return self._known[number]

    def subjects(self) -> int:
        """How many subjects the registry has. Raises `RegistryUnreachable`."""
        try:
            with self._connect() as client:
                return len(client.get_subjects())
        except (SchemaRegistryError, HTTPError, OSError) as error:
            raise self._unreachable(str(error) or type(error).__name__) from error

    def _ask(self, number: int) -> Any | Refusal:
        try:
            # A connection per schema: there are few, and none is left open for days.
            with self._connect() as client:
                schema = client.get_schema(number)
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                return Refusal(Reason.FRAMING, f"the registry has no schema {number}")
            raise self._unreachable(str(error)) from error
        except (HTTPError, OSError) as error:
            raise self._unreachable(str(error) or type(error).__name__) from error
        if schema.schema_type != "AVRO":
            return Refusal(Reason.FRAMING, f"schema {number} is {schema.schema_type}, not Avro")
        try:
            # Schemas of a registry may refer to others; records of the contract are flat.
            return fastavro.parse_schema(json.loads(schema.schema_str or ""))
        except (ValueError, TypeError, LookupError, fastavro.schema.SchemaParseException) as error:
            return Refusal(Reason.FRAMING, f"schema {number} cannot be used: {error}"[:200])

    def _connect(self) -> SchemaRegistryClient:
        return SchemaRegistryClient(dict(self._settings))

    def _unreachable(self, problem: str) -> RegistryUnreachable:
        return RegistryUnreachable(
            f"the Schema Registry at {self._url} does not answer: {problem}",
            "check schema.registry.url and the like in kafka.client; a restart reads the records again",
        )
