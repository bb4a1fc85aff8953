"""Files of the published contracts, kept in `schemas/json/`: JSON Schema (draft 2020-12), Avro for inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from schemas import avro, changes, events, examples
from schemas.batch import Topic
from schemas.outbox import schema_id

#: Where the files are kept.
DIRECTORY: Final = Path(__file__).parent / "json"


def _events(topic: Topic) -> list[dict[str, Any]]:
    return [examples.EVENTS[kind] for kind, home in events.TOPIC_OF_TYPE.items() if home == topic]


_CONTRACTS: Final[Mapping[str, tuple[str, Any, list[dict[str, Any]]]]] = {
    "telecom.usage.v1": ("Usage event", events.UsageEvent, _events(Topic.USAGE)),
    "telecom.billing.v1": ("Billing event", events.BillingEvent, _events(Topic.BILLING)),
    "telecom.customer.v1": ("Customer event", events.CustomerEvent, _events(Topic.CUSTOMER)),
    "segments.changes.v1": ("Segment change", changes.SegmentChange, [examples.CHANGE]),
    "segments.current.v1": ("Current segment", changes.CurrentSegment, [examples.CURRENT]),
    "segments.catalog.v1": ("Segment catalog entry", changes.CatalogEntry, [examples.CATALOG_ENTRY]),
}


def documents() -> dict[str, str]:
    """File name to JSON Schema, one file per topic."""
    files = {}
    for topic, (title, contract, records) in _CONTRACTS.items():
        schema = TypeAdapter(contract).json_schema(mode="validation")
        header = {
            "$schema": GenerateJsonSchema.schema_dialect,
            "$id": schema_id(topic),
        }
        document = {**header, **schema, "title": title, "examples": records}
        text = json.dumps(document, indent=2, ensure_ascii=False)
        files[f"{topic}.schema.json"] = text + "\n"
    return files


def write(directory: Path = DIRECTORY) -> list[Path]:
    """Write the files into `directory` and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in (documents() | avro.documents()).items():
        path = directory / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def outdated(directory: Path = DIRECTORY) -> list[str]:
    """Names of files in `directory` that are missing or differ from the models, or are no longer made."""
    expected = documents() | avro.documents()
    present = {
        path.name: path.read_text("utf-8")
        for pattern in ("*.schema.json", "*.avsc")
        for path in directory.glob(pattern)
    }
    names = sorted(expected.keys() | present.keys())
    return [name for name in names if expected.get(name) != present.get(name)]
