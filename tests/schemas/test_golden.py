"""Bytes of contract v1 as senders write them, and what they decode to, for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas import Decoder, RawRecords, Vocabulary
from schemas.batch import EventBatch
from schemas.events import TOPIC_OF_TYPE

GOLDEN = Path(__file__).parent / "golden"
VOCABULARY = Vocabulary(
    {
        "technology": ("4g", "5g"),
        "channel": ("chat", "phone"),
        "gender": ("female",),
        "line_type": ("prepaid", "postpaid"),
        "services": ("fiber", "tv"),
    }
)


def _columns(batch: EventBatch) -> dict[str, Any]:
    """The batch as JSON values; NaN as null."""
    names = ("kind", "topic", "offset", "event_time_us", "flags", "category", "value", "aux")
    columns = {name: getattr(batch, name).tolist() for name in names}
    columns["event_ids"] = [text.decode() for text in batch.event_ids.to_bytes()]
    columns["customer_ids"] = [text.decode() for text in batch.customer_ids.to_bytes()]
    profiles = batch.profiles
    for name in profiles.__slots__:
        columns[f"profile_{name}"] = getattr(profiles, name).tolist()
    nulls: dict[str, Any] = json.loads(json.dumps(columns), parse_constant=lambda _: None)
    return nulls


def test_events_of_v1_decode_as_released() -> None:
    """One record of each type."""
    lines: list[bytes] = (GOLDEN / "events.v1.ndjson").read_bytes().splitlines()
    topics = [TOPIC_OF_TYPE[json.loads(line)["type"]] for line in lines]
    records = RawRecords.of_topic(0, lines, [b"c1"] * len(lines))
    records.topic[:] = topics
    batch, rejects = Decoder(VOCABULARY, "EUR").decode(records)
    assert rejects.n == 0
    assert _columns(batch) == json.loads((GOLDEN / "events.v1.decoded.json").read_text())
