"""The scanner changes how fast a batch is decoded, and nothing else."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import Decoder, RawRecords, Vocabulary
from schemas.batch import Topic
from schemas.scanner import Scanner
from tests.bench._events import HOUR_US, START_US, Population
from tests.schemas.spellings import Spelling, mutated, records_of, spellings

#: Levels of every length that matters, and some that no scanned text may be equal to.
VOCABULARY = Vocabulary(
    {"technology": ("4g", "5g", "lte", "LTE", "5-g", "abcdefghijklmnop", "x" * 17, "k", "ß", "lte\0", "5g")}
)
DECODER = Decoder(VOCABULARY, "EUR")
SCANNER = Scanner(VOCABULARY)
PLAIN = {
    "data": {"megabytes": 12.345, "roaming": True, "technology": "5G"},
    "voice": {"duration_seconds": 61, "direction": "incoming", "international": True, "roaming": False},
    "sms": {"count": 3, "direction": "outgoing"},
}


def plain(kind: str = "data", **fields: Any) -> dict[str, Any]:
    """A plain event of customer c1."""
    common = {"event_id": "e1", "customer_id": "c1", "event_time": "2026-03-01T12:00:00.123Z", "type": kind}
    return {**common, **PLAIN[kind], **fields}


def spelled_out(event: dict[str, Any] | str | bytes) -> bytes:
    """Bytes of an event."""
    if isinstance(event, bytes):
        return event
    return (event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)).encode()


def is_taken(
    event: dict[str, Any] | str | bytes, key: bytes | None = b"c1", topic: Topic = Topic.USAGE
) -> bool:
    """Whether the scanner takes the record; in any case both ways must decode it alike."""
    records = RawRecords.of_topic(topic, [spelled_out(event)], [key])
    assert_same(records)
    return bool(SCANNER.scan(records).rows.taken[0])


def assert_same(records: RawRecords) -> None:
    """Decoding with and without the scanner gives the same bits."""
    batch, rejects = DECODER.decode(records)
    expected, expected_rejects = DECODER.decode_structs(records)
    assert_equal(batch, expected)
    assert_equal(rejects, expected_rejects)


def assert_equal(one: Any, other: Any) -> None:
    """The same types, and in every array the same type of number and the same bits."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_equal(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


@given(st.lists(spellings(), max_size=8))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_spelling_decodes_as_without_the_scanner(rows: list[Spelling]) -> None:
    """Same events, same bits, same rejects, in order: whatever the records are and wherever they stand."""
    assert_same(records_of(rows))


@given(st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_wrong_byte_in_a_plain_record_changes_nothing_else(data: st.DataObject) -> None:
    """The plain form with a few bytes changed is decoded as without the scanner, between its neighbours."""
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    kinds = data.draw(st.lists(st.sampled_from(sorted(PLAIN)), min_size=1, max_size=4))
    rows: list[Spelling] = []
    for kind in kinds:
        text = json.dumps(plain(kind), separators=separators).encode()
        rows += [(data.draw(mutated(text)), b"c1", 0), (text, b"c1", 0)]
    assert_same(records_of(rows))


def test_machine_written_traffic_is_scanned() -> None:
    """Every usage event of the benchmarks' traffic takes the fast path, and what that decodes is right."""
    traffic = next(Population(500).traffic(3000, START_US, HOUR_US))
    n = traffic.n
    keys: list[bytes | None] = list(traffic.keys)
    records = RawRecords(
        list(traffic.values), keys, traffic.topic, np.zeros(n, np.int32), np.arange(n, dtype=np.int64)
    )
    taken = SCANNER.scan(records).rows.taken
    assert np.array_equal(taken, traffic.topic == Topic.USAGE)
    assert 0.8 < taken.mean() < 1.0
    assert_same(records)


@pytest.mark.parametrize("kind", sorted(PLAIN))
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), ("\n,\t", " : ")])
def test_fields_may_come_in_any_order(kind: str, separators: tuple[str, str]) -> None:
    """White space and the order of the fields are free, and the type may come last."""
    event = plain(kind)
    for names in (list(event), list(event)[::-1], sorted(event)):
        text = json.dumps({name: event[name] for name in names}, separators=separators)
        assert is_taken(" " + text + "\n")


def test_optional_fields_may_be_missing() -> None:
    """Without them the defaults of the contract hold."""
    for kind, optional in (
        ("data", ["roaming", "technology"]),
        ("voice", ["direction", "international", "roaming"]),
        ("sms", ["count", "direction"]),
    ):
        event = plain(kind)
        assert is_taken({name: event[name] for name in event if name not in optional})
    assert is_taken(plain(technology=None))


@pytest.mark.parametrize("name", ["event_id", "customer_id", "event_time", "type", "megabytes"])
def test_required_fields_may_not_be_missing(name: str) -> None:
    """A record without one of them is left over."""
    event = plain()
    del event[name]
    assert not is_taken(event)


@pytest.mark.parametrize(
    "number",
    """0 0.0 7 1000000000 1000000000.0 999999999.999999 0.1 0.30000000000001 12345678.1234567 0.00000000000001
    123456.789""".split(),  # noqa: SIM905 - a list of quoted words is harder to read
)
def test_plain_numbers_are_scanned(number: str) -> None:
    """Up to 15 digits and a point, with the bits that any correct parser gives."""
    text = json.dumps(plain()).replace("12.345", number)
    assert is_taken(text)
    batch, _ = DECODER.decode(RawRecords.of_topic(Topic.USAGE, [text.encode()], [b"c1"]))
    assert batch.value[0].hex() == float(number).hex()


@pytest.mark.parametrize(
    "number",
    """-1 -0 -0.0 00 01 01.5 1. .5 +1 1e3 1E3 1.5e-3 1e400 0.123456789012345 1000000000.000001 1000000001
    1000000000000000 99999999999999999999999 NaN Infinity null true "1" 1x 1.5.5 1,5""".split(),  # noqa: SIM905 - a list of quoted words is harder to read
)
def test_other_numbers_are_left_over(number: str) -> None:
    """Signs, exponents, many digits, what is out of range or no number: not certain, so not taken."""
    assert not is_taken(json.dumps(plain()).replace("12.345", number))


@pytest.mark.parametrize(
    ("kind", "name", "most"), [("voice", "duration_seconds", 10**7), ("sms", "count", 10**6)]
)
def test_limits_of_calls_and_messages(kind: str, name: str, most: int) -> None:
    """The measure may be its limit and no more; a count is a whole number from 1."""
    assert is_taken(plain(kind, **{name: most}))
    assert not is_taken(plain(kind, **{name: most + 1}))
    assert is_taken(plain(kind, **{name: 1.5})) == (kind == "voice")
    assert is_taken(plain(kind, **{name: 0})) == (kind == "voice")
    assert not is_taken(plain("sms", count=2.0))


@pytest.mark.parametrize(
    "time",
    """2026-03-01T12:00:00Z 2026-03-01T12:00:00+00:00 2026-03-01T12:00:00.1Z 2026-03-01T12:00:00.123456789Z
    2026-03-01T12:00:00.000001+00:00 1970-01-01T00:00:00Z 2199-12-31T23:59:59.999999Z 2024-02-29T00:00:00Z
    2000-02-29T00:00:00Z""".split(),  # noqa: SIM905 - a list of quoted words is harder to read
)
def test_canonical_times_are_scanned(time: str) -> None:
    """UTC with seconds and up to nine decimals."""
    assert is_taken(plain(event_time=time))


@pytest.mark.parametrize(
    "time",
    """2026-03-01T12:00:00 2026-03-01T12:00Z 2026-03-01T12:00:00-00:00 2026-03-01T12:00:00+01:00
    2026-03-01T12:00:00+00:0 2026-03-01T12:00:00.Z 2026-03-01T12:00:00.1234567890Z 2026-03-01t12:00:00Z
    2026-03-01T12:00:00z 2026-02-29T12:00:00Z 2100-02-29T12:00:00Z 2026-04-31T12:00:00Z 2026-00-01T12:00:00Z
    2026-13-01T12:00:00Z 2026-03-00T12:00:00Z 2026-03-01T24:00:00Z 2026-03-01T12:60:00Z 2026-03-01T12:00:60Z
    1969-12-31T23:59:59Z 2200-01-01T00:00:00Z 2026-03-01T12:00:00Zx 2026-03-01T12:0/:00Z 2026/03-01T12:00:00Z
    2026-03/01T12:00:00Z 2026-03-01T12.00:00Z 2026-03-01T12:00.00Z 2026-03-01T12:00:00+00.00""".split(),  # noqa: SIM905 - a list of quoted words is harder to read
)
def test_other_times_are_left_over(time: str) -> None:
    """Anything else is for the structs to refuse."""
    assert not is_taken(plain(event_time=time))


@pytest.mark.parametrize("name", ["event_id", "customer_id"])
def test_identifiers(name: str) -> None:
    """1 to 64 characters of printable ASCII without quotes and backslashes are scanned."""
    for text in ("x", "x" * 7, "x" * 8, "x" * 9, "x" * 63, "x" * 64, " ~!#[]{}:,'", "a b"):
        assert is_taken(plain(**{name: text}), key=text.encode() if name == "customer_id" else b"c1"), text
    for text in (
        "",
        "x" * 65,
        "x" * 72,
        "x" * 200,
        "é",
        "\x7f",
        "xxxxxxx\x7f",
        "xxxxxxxxx\x1f",
        'a"b',
        "a\\b",
    ):
        assert not is_taken(plain(**{name: text}), key=text.encode() if name == "customer_id" else b"c1"), (
            text
        )
    for raw in (b"a\nb", b"a\x00b", b"a\x1fb", b"a\xffb", b"a\\u0062", b'a"b'):
        value = spelled_out(plain(**{name: "WHICH"})).replace(b"WHICH", raw)
        assert not is_taken(value, key=raw if name == "customer_id" else b"c1")


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17, 64])
def test_the_key_must_be_the_customer(length: int) -> None:
    """A key that differs anywhere, is longer, shorter or missing leaves the record over."""
    key = b"k" * length
    event = plain(customer_id=key.decode())
    assert is_taken(event, key)
    for at in range(length):
        assert not is_taken(event, key[:at] + b"j" + key[at + 1 :])
    for other in (None, b"", key + b"k", key[:-1], key + b"\0"):
        assert not is_taken(event, other)


def test_technologies() -> None:
    """Letters and digits are coded whatever their case; what needs normalising is left over."""
    for text in ("4g", "4G", "LTE", "lte", "AbcdefghIjklmnoP", "x" * 16, "unknown", "K", "5", "abcdefgh"):
        assert is_taken(plain(technology=text)), text
    for text in (
        "",
        " 5g",
        "5 g",
        "5_g",
        "5-g",
        "x" * 17,
        "x" * 65,
        "\u212a",
        "ß",
        "5g\\u0000",
        "5g\0",
        "@",
        "[",
        "`",
    ):
        assert not is_taken(plain(technology=text)), text


def test_other_records_are_left_over() -> None:
    """Other types and topics, unknown, foreign and repeated fields, and all that is not one object."""
    text = json.dumps(plain())
    assert not is_taken(text, topic=Topic.BILLING)
    for kind in ("topup", "forget", "correction", "dat", "data ", "DATA", ""):
        assert not is_taken(plain(type=kind))
    foreign: dict[str, Any] = {
        "count": 1,
        "duration_seconds": 1,
        "direction": "incoming",
        "international": True,
    }
    for name, value in {**foreign, "extra": 1, "": 1, "event_idx": "e"}.items():
        assert not is_taken(plain(**{name: value})), name
    assert not is_taken(plain("sms", technology="5g"))
    for name, value in plain().items():
        assert not is_taken(f'{text[:-1]}, "{name}": {json.dumps(value)}}}'), name
    for name in plain():
        assert not is_taken(text.replace(f'"{name}"', f'"{name[:-1]}\\u{ord(name[-1]):04x}"')), name
    for broken in (
        text + "x",
        text + "}",
        "[" + text + "]",
        text[:-1] + ",}",
        "{" + text[1:].replace(",", ",,", 1),
    ):
        assert not is_taken(broken)
    assert not is_taken(plain(roaming=None))
    assert not is_taken(plain("voice", direction="Incoming"))


def test_nul_is_not_the_end_of_a_text() -> None:
    """Names and values that end in NUL are not those without it."""
    for kind in PLAIN:
        text = json.dumps(plain(kind))
        quoted = [*plain(kind), *(value for value in plain(kind).values() if isinstance(value, str))]
        for word in quoted:
            for end in ("\0", "\0" * max(1, 16 - len(word)), "\x01"):
                assert not is_taken(text.replace(f'"{word}"', f'"{word}{end}"')), (word, end)


def test_a_record_ends_where_it_ends() -> None:
    """Cut off anywhere, a record is not completed by the bytes of the next one."""
    for kind in PLAIN:
        text = json.dumps(plain(kind)).encode()
        for at in range(1, len(text)):
            records = records_of([(text[:at], b"c1", 0), (text[at:], b"c1", 0), (text, b"c1", 0)])
            assert SCANNER.scan(records).rows.taken.tolist() == [False, False, True]
            assert_same(records)
        short = RawRecords.of_topic(Topic.USAGE, [text], [b"c"])
        assert not SCANNER.scan(short).rows.taken.any()


def test_leftovers_keep_their_place() -> None:
    """Profiles, refused records and odd spellings between plain ones: order and numbering as without it."""
    profile = {**plain(), "type": "profile", "age": 30}
    rows: list[Spelling] = [
        (None, b"c1", 0),
        (spelled_out(profile), b"c1", 2),
        (spelled_out(plain(event_id="first")), b"c1", 0),
        (spelled_out(plain(event_id="refused", megabytes=-1)), b"c1", 0),
        (spelled_out(plain(event_id="odd\u00e9")), b"c1", 0),
        (spelled_out({**profile, "event_id": "late"}), b"c1", 2),
        (spelled_out(plain("sms", event_id="last")), None, 0),
        (spelled_out(plain("sms", event_id="end")), b"c1", 0),
    ]
    for turn in range(len(rows)):
        assert_same(records_of(rows[turn:] + rows[:turn]))
    batch, rejects = DECODER.decode(records_of(rows))
    assert batch.event_ids.to_bytes() == [b"e1", b"first", "odd\u00e9".encode(), b"late", b"end"]
    assert batch.profiles.event.tolist() == [0, 3]
    assert rejects.offset.tolist() == [100, 103, 106]


def test_a_vocabulary_without_technologies() -> None:
    """Every technology is then "other"."""
    decoder = Decoder(Vocabulary({}), "EUR")
    batch, _ = decoder.decode(RawRecords.of_topic(Topic.USAGE, [spelled_out(plain())], [b"c1"]))
    assert batch.category.tolist() == [1]
