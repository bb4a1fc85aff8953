"""What decoding guarantees beyond the contract of a single record."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Decoder, RawRecords, Reason, Rejects, Vocabulary
from schemas.batch import EventBatch, Topic

DECODER = Decoder(Vocabulary({"technology": ("5g",)}), "EUR")


def usage(number: int, **fields: Any) -> bytes:
    """A data event of customer c<number>."""
    event = {
        "event_id": f"e{number}",
        "customer_id": f"c{number}",
        "event_time": "2026-03-01T12:00:00Z",
        "type": "data",
        "megabytes": number,
    }
    return json.dumps({**event, **fields}).encode()


def reason(value: bytes | None, key: bytes | None = b"c1", topic: Topic = Topic.USAGE) -> Reason:
    """Why the record is refused."""
    batch, rejects = DECODER.decode(RawRecords.of_topic(topic, [value], [key]))
    assert batch.n == 0
    return rejects.reasons[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Reason.MALFORMED_JSON),
        (b"", Reason.MALFORMED_JSON),
        (b"{", Reason.MALFORMED_JSON),
        (usage(1)[:-1] + b',"x":"\xff"}', Reason.MALFORMED_JSON),
        (usage(1)[:-1] + b',"x":NaN}', Reason.MALFORMED_JSON),
        (b"[" * 100_000, Reason.MALFORMED_JSON),
        (b"[]", Reason.SCHEMA),
        (usage(1, type=5), Reason.SCHEMA),
        (usage(1, type="fax"), Reason.UNKNOWN_TYPE),
        (usage(1, type="topup"), Reason.WRONG_TOPIC),
        (usage(1, megabytes="5"), Reason.SCHEMA),
        (usage(1, megabytes=True), Reason.SCHEMA),
        (usage(1, megabytes=-1), Reason.OUT_OF_RANGE),
        (usage(1, megabytes=777).replace(b"777", b"1e999"), Reason.NON_FINITE),
        (usage(1, event_id="a\0b"), Reason.SCHEMA),
        (usage(1, event_time="2026-02-30T12:00:00Z"), Reason.BAD_TIME),
        (usage(2), Reason.KEY_MISMATCH),
    ],
)
def test_reasons(value: bytes | None, expected: Reason) -> None:
    """One example per reason."""
    assert reason(value) == expected


def test_missing_key() -> None:
    """A record without a key cannot be routed to its customer."""
    assert reason(usage(1), key=None) == Reason.MISSING_KEY


def test_other_currency() -> None:
    """One base currency is configured."""
    topup = usage(1, type="topup", amount=5, currency="USD")
    assert reason(topup, topic=Topic.BILLING) == Reason.CURRENCY


def test_refused_records_do_not_disturb_their_neighbours() -> None:
    """Wherever bad records stand, the others come out as without them, in order."""
    bad: list[bytes | None] = [None, b"{", usage(0, megabytes=-1), usage(0, event_time="x"), b"\xff"]
    good = [usage(number) for number in range(8)]
    keys = [f"c{number}".encode() for number in range(8)]
    alone, _ = DECODER.decode(RawRecords.of_topic(Topic.USAGE, good, keys))
    values: list[bytes | None] = list(good)
    mixed_keys: list[bytes | None] = list(keys)
    for at, value in zip((0, 0, 3, 6, 12), bad, strict=True):
        values.insert(at, value)
        mixed_keys.insert(at, b"c0")
    batch, rejects = DECODER.decode(RawRecords.of_topic(Topic.USAGE, values, mixed_keys))
    assert rejects.n == len(bad)
    assert batch.customer_ids.to_bytes() == keys == alone.customer_ids.to_bytes()
    assert batch.event_ids.to_bytes() == alone.event_ids.to_bytes()
    assert batch.value.tolist() == alone.value.tolist()
    assert [values[offset] for offset in batch.offset.tolist()] == good


def test_decoding_in_pieces_changes_nothing() -> None:
    """A long batch with refused records anywhere equals its parts one after the other."""
    values: list[bytes | None] = [usage(number, roaming=number % 3 == 0) for number in range(1300)]
    keys: list[bytes | None] = [f"c{number}".encode() for number in range(1300)]
    for row in (0, 511, 512, 700, 1023, 1299):
        values[row] = b"{"
    values[513] = usage(513, event_time="x")
    keys[1024] = None
    batch, rejects = DECODER.decode(RawRecords.of_topic(Topic.USAGE, values, keys))
    assert rejects.offset.tolist() == [0, 511, 512, 513, 700, 1023, 1024, 1299]
    parts = [
        DECODER.decode(RawRecords.of_topic(Topic.USAGE, values[at : at + 7], keys[at : at + 7]))[0]
        for at in range(0, 1300, 7)
    ]
    for name in ("kind", "event_time_us", "flags", "category", "value", "aux"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(getattr(batch, name), joined)
    for name in ("event_ids", "customer_ids"):
        pieces = [text for part in parts for text in getattr(part, name).to_bytes()]
        assert getattr(batch, name).to_bytes() == pieces


def test_nul_is_refused_only_where_it_matters() -> None:
    """NUL is no character of an identifier or a time; in an unknown field nobody reads it."""
    values: list[bytes | None] = [
        usage(1, extra="a\0b"),
        usage(1, customer_id="c\0"),
        usage(1, event_time="2026-03-01T12:00:00Z\0"),
        usage(1),
    ]
    keys: list[bytes | None] = [b"c1", b"c\0", b"c1", b"c1"]
    batch, rejects = DECODER.decode(RawRecords.of_topic(Topic.USAGE, values, keys))
    assert batch.offset.tolist() == [0, 3]
    assert rejects.reasons == [Reason.SCHEMA, Reason.BAD_TIME]


def test_ids_of_64_characters_may_be_longer_in_bytes() -> None:
    """The limit counts characters, not bytes."""
    long = "\U0001f600" * 64
    value = usage(1, customer_id=long, event_id=long)
    batch, _ = DECODER.decode(RawRecords.of_topic(Topic.USAGE, [value], [long.encode()]))
    assert batch.customer_ids.to_bytes() == [long.encode()]
    assert reason(usage(1, customer_id=long + "x"), key=(long + "x").encode()) == Reason.SCHEMA


def test_an_empty_batch_has_columns() -> None:
    """No records: empty arrays of the right types."""
    batch, rejects = DECODER.decode(RawRecords.of_topic(Topic.USAGE, [], []))
    assert (batch.n, rejects.n) == (0, 0)
    assert batch.event_time_us.dtype == np.int64
    assert batch.profiles.codes.shape == (0, 6)


def test_details_name_the_field() -> None:
    """A reject tells a person what to fix."""
    records = RawRecords.of_topic(Topic.USAGE, [usage(1, megabytes="5")], [b"c1"])
    _, rejects = DECODER.decode(records)
    assert rejects.details[0].startswith("megabytes: ")


def test_rejects_concatenate_and_count() -> None:
    """Counting after joining is adding the counts."""
    records = RawRecords.of_topic(Topic.BILLING, [b"{", b"["], [None, b"k"], first_offset=7)
    _, first = DECODER.decode(records)
    late = Rejects.of(records, [Reason.LATE] * 2, ["late"] * 2)
    joined = Rejects.concat([first, late, Rejects.empty()])
    assert joined.count_by_reason() == {Reason.MALFORMED_JSON: 2, Reason.LATE: 2}
    assert joined.offset.tolist() == [7, 8, 7, 8]
    assert joined.keys == [None, b"k", None, b"k"]


def test_too_many_levels_are_refused() -> None:
    """Codes are one byte and services 32 bits, of which one is for all others."""
    for field, n in (("plan", 255), ("services", 32)):
        with pytest.raises(ValueError, match=field):
            Decoder(Vocabulary({field: tuple(map(str, range(n)))}), "EUR")


def test_services_are_bits() -> None:
    """A service sets the bit of its level however it is written; all unknown ones share the next bit."""
    decoder = Decoder(Vocabulary({"services": ("tv", "mobile-data")}), "EUR")
    profile = {"event_id": "e", "customer_id": "c", "event_time": "2026-03-01T12:00:00Z", "type": "profile"}
    expected = {("TV",): 1, ("Mobile_Data", "tv"): 3, ("fax", "pager"): 4, (): 0}
    for services, bits in expected.items():
        value = json.dumps({**profile, "services": services}).encode()
        batch, _ = decoder.decode(RawRecords.of_topic(Topic.CUSTOMER, [value], [b"c"]))
        assert batch.profiles.services.tolist() == [bits]


def mixed(number: int) -> tuple[int, bytes, bytes]:
    """Topic, key and value of a record, every fifth of which is refused."""
    customer = f"c{number}"
    event = {"event_id": f"e{number}", "customer_id": customer, "event_time": "2026-03-01T12:00:00Z"}
    kinds: list[tuple[int, dict[str, Any]]] = [
        (Topic.USAGE, {"type": "voice", "duration_seconds": number, "roaming": number % 2 == 0}),
        (Topic.CUSTOMER, {"type": "profile", "age": number, "services": ["tv"]}),
        (Topic.BILLING, {"type": "payment", "amount": number, "currency": "EUR", "days_late": 3}),
        (Topic.CUSTOMER, {"type": "profile", "activated_on": "2020-01-01", "consent_profiling": True}),
        (Topic.USAGE, {"type": "fax"}),
    ]
    topic, fields = kinds[number % len(kinds)]
    return topic, customer.encode(), json.dumps({**event, **fields}).encode()


@given(st.lists(st.integers(0, 40), max_size=6))
def test_pieces_put_together_are_the_whole(cuts: list[int]) -> None:
    """Decoding in pieces and joining them changes nothing, wherever the cuts are; pieces may be empty."""
    topics, keys, values = zip(*(mixed(number) for number in range(40)), strict=True)
    topic, place = np.array(topics, np.uint8), np.arange(40)
    raw = RawRecords(list(values), list(keys), topic, place.astype(np.int32), place + 7)
    edges = [0, *sorted(cuts), 40]
    pieces = [raw.take(list(range(a, b))) for a, b in pairwise(edges)]
    decoded = [DECODER.decode(piece) for piece in pieces]
    whole, refused = DECODER.decode(raw)
    same_columns(EventBatch.concat([batch for batch, _ in decoded]), whole)
    assert Rejects.concat([rejects for _, rejects in decoded]).offset.tolist() == refused.offset.tolist()
    joined = RawRecords.concat(pieces)
    assert (joined.values, joined.keys) == (raw.values, raw.keys)
    assert joined.offset.tolist() == raw.offset.tolist()


def same_columns(a: Any, b: Any) -> None:
    """Equal in every array, nested ones included."""
    for field in dataclasses.fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if dataclasses.is_dataclass(left):
            same_columns(left, right)
        else:
            np.testing.assert_array_equal(left, right, err_msg=field.name)
            assert left.dtype == right.dtype
