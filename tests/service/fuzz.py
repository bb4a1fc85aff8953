"""Records that are wrong in every way we could think of, mixed with good ones, from a seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from schemas.batch import Topic
from schemas.times import format_time

DAY_US: Final = 86_400_000_000

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """A record to send. `kind`: what is wrong with it, "good" if nothing.

    `shift`: partitions away from where the key belongs.
    """

    topic: int
    key: bytes | None
    value: bytes | None
    kind: str
    shift: int = 0


#: Makes a record from a good event's body; it may change the body.
Mutation = Callable[[Random, Body], Fuzzed]


def good_body(rng: Random, customer: str, number: int, time_us: int) -> Body:
    """A valid event of a random type."""
    body: Body = {
        "event_id": f"e{number}",
        "customer_id": customer,
        "event_time": format_time(time_us),
        "type": rng.choice(("data", "data", "voice", "sms", "invoice", "payment", "topup", "care_contact")),
    }
    match body["type"]:
        case "data":
            body |= {"megabytes": round(rng.uniform(0, 900), 3), "roaming": rng.random() < 0.1}
        case "voice":
            body |= {
                "duration_seconds": rng.randint(0, 3600),
                "direction": rng.choice(("outgoing", "incoming")),
            }
        case "sms":
            body |= {"count": rng.randint(1, 20)}
        case "care_contact":
            body |= {"channel": "phone"}
        case _:
            body |= {"amount": round(rng.uniform(1, 90), 2), "currency": "EUR"}
    return body


def record(body: Body, kind: str) -> Fuzzed:
    """The body as JSON, under the customer's key."""
    return _spelt(body, json.dumps(body), kind)


_TOPICS: Final = {
    "data": Topic.USAGE,
    "voice": Topic.USAGE,
    "sms": Topic.USAGE,
    "invoice": Topic.BILLING,
    "payment": Topic.BILLING,
    "topup": Topic.BILLING,
    "care_contact": Topic.CUSTOMER,
}
_MEASURES: Final = {"data": "megabytes", "voice": "duration_seconds", "sms": "count"}


def _spelt(body: Body, text: str | bytes, kind: str) -> Fuzzed:
    value = text.encode() if isinstance(text, str) else text
    return Fuzzed(int(_TOPICS[body["type"]]), body["customer_id"].encode(), value, kind)


def _measure(body: Body) -> str:
    return _MEASURES.get(body["type"], "amount")


def _with_measure(body: Body, literal: str, kind: str) -> Fuzzed:
    """The measure spelt as `literal`; care contacts get one that nobody reads, after a wrong channel."""
    name = "channel" if body["type"] == "care_contact" else _measure(body)
    return _spelt(body, json.dumps(body | {name: "@@"}).replace('"@@"', literal), kind)


#: Around the limits of 64 bits, and with more digits than Python cares to read.
_LARGE: Final = (
    *(str(sign * 2**bits + one) for sign in (1, -1) for bits in (63, 64) for one in (-1, 0, 1)),
    *("1" + "0" * zeros for zeros in (30, 400, 5000)),
    "-" + "7" * 5000,
)

# -- certainly refused ---------------------------------------------------------------------------


def _truncated(rng: Random, body: Body) -> Fuzzed:
    text = json.dumps(body)
    return _spelt(body, text[: rng.randrange(1, len(text))], "truncated")


def _noise(rng: Random, body: Body) -> Fuzzed:
    return _spelt(body, rng.randbytes(rng.randint(1, 200)), "noise")


def _bad_utf8(rng: Random, body: Body) -> Fuzzed:
    bad = rng.choice((b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\xaf", b"\x80"))
    return _spelt(body, json.dumps(body | {"event_id": "@@"}).encode().replace(b"@@", b"e" + bad), "bad_utf8")


def _not_finite(rng: Random, body: Body) -> Fuzzed:
    literal = rng.choice(("NaN", "Infinity", "-Infinity", "nan", "1e999", "-1e999"))
    return _with_measure(body, literal, "not_finite")


def _beyond_64_bits(rng: Random, body: Body) -> Fuzzed:
    sizes = (
        2**63,
        2**63 - 1,
        -(2**63),
        -(2**63) - 1,
        2**64,
        2**64 - 1,
        10**30,
        10**400,
        -(10**5000 % 7**5000),
    )
    return _with_measure(body, _digits(rng.choice(sizes)), "beyond_64_bits")


def _digits(number: int) -> str:
    """Decimal digits, also where Python refuses to write that many."""
    sign, number = ("-", -number) if number < 0 else ("", number)
    parts = []
    while number >= 10**1000:
        number, part = divmod(number, 10**1000)
        parts.append(f"{part:01000d}")
    return sign + str(number) + "".join(reversed(parts))


def _no_key(_: Random, body: Body) -> Fuzzed:
    return replace(record(body, "no_key"), key=None)


def _other_key(rng: Random, body: Body) -> Fuzzed:
    key = rng.choice((b"somebody", b"", b"\xff\xfe", b"g", body["customer_id"].encode() + b"\0", b"k" * 5000))
    return replace(record(body, "other_key"), key=key)


def _tombstone(_: Random, body: Body) -> Fuzzed:
    return replace(record(body, "tombstone"), value=None)


def _empty(rng: Random, body: Body) -> Fuzzed:
    return replace(record(body, "empty"), value=rng.choice((b"", b" ", b"\n\t ", b"\0")))


def _year_2100(rng: Random, body: Body) -> Fuzzed:
    return record(body | {"event_time": f"2{rng.randint(100, 199)}-01-01T00:00:00Z"}, "year_2100")


def _bad_time(rng: Random, body: Body) -> Fuzzed:
    times = ("yesterday", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00", "9999-12-31T23:59:59Z", "", 5, None)
    return record(body | {"event_time": rng.choice(times)}, "bad_time")


def _unknown_type(rng: Random, body: Body) -> Fuzzed:
    made = record(body, "unknown_type")
    kind = rng.choice(("video", "DATA", "data ", "", "\u0000", 7, None, ["data"], {"data": 1}, True))
    return replace(made, value=json.dumps(body | {"type": kind}).encode())


def _wrong_topic(rng: Random, body: Body) -> Fuzzed:
    made = record(body, "wrong_topic")
    return replace(made, topic=(made.topic + rng.randint(1, 2)) % 3)


def _deep(rng: Random, body: Body) -> Fuzzed:
    depth = rng.choice((201, 1_000, 5_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    inner = opening * depth + "1" + (closing * depth if rng.random() < 0.7 else "")
    return _spelt(body, json.dumps(body)[:-1] + f', "extra": {inner}}}', "deep")


def _text_for_number(_: Random, body: Body) -> Fuzzed:
    return record(body | {_measure(body): "12.5", "channel": 12.5}, "text_for_number")


def _lone_surrogate(rng: Random, body: Body) -> Fuzzed:
    bad = rng.choice(("\\ud800", "\\udfff", "\\ud83d x", "\\ude00\\ud83d"))
    return _spelt(body, json.dumps(body | {"event_id": "@@"}).replace("@@", bad), "lone_surrogate")


def _byte_order_mark(rng: Random, body: Body) -> Fuzzed:
    coded = rng.choice(("utf-8-sig", "utf-16", "utf-32"))
    return _spelt(body, json.dumps(body).encode(coded), "byte_order_mark")


def _misrouted(rng: Random, body: Body) -> Fuzzed:
    return replace(record(body, "misrouted"), shift=rng.randint(1, 2))


def _no_object(rng: Random, body: Body) -> Fuzzed:
    wrapped: Any = rng.choice(([body], json.dumps(body), 5, None, True, [], {}, {"data": body}))
    return _spelt(body, json.dumps(wrapped), "no_object")


def _bad_id(rng: Random, body: Body) -> Fuzzed:
    name = rng.choice(("event_id", "customer_id"))
    made = record(body, "bad_id")
    wrong: Any = rng.choice(("", "x" * 65, "a\nb", "\0", 5, None, ["a"]))
    return replace(made, value=json.dumps(body | {name: wrong}).encode())


def _missing_field(rng: Random, body: Body) -> Fuzzed:
    made, name = record(body, "missing_field"), rng.choice(("event_id", "customer_id", "event_time", "type"))
    return replace(made, value=json.dumps({k: v for k, v in body.items() if k != name}).encode())


def _two_documents(_: Random, body: Body) -> Fuzzed:
    return _spelt(body, json.dumps(body) * 2, "two_documents")


REFUSED: Final[tuple[Mutation, ...]] = (
    _truncated,
    _noise,
    _bad_utf8,
    _not_finite,
    _beyond_64_bits,
    _no_key,
    _other_key,
    _tombstone,
    _empty,
    _year_2100,
    _bad_time,
    _unknown_type,
    _wrong_topic,
    _deep,
    _text_for_number,
    _lone_surrogate,
    _byte_order_mark,
    _misrouted,
    _no_object,
    _bad_id,
    _missing_field,
    _two_documents,
)


# -- refused or not: the contract decides ----------------------------------------------------------


def _flipped_bytes(rng: Random, body: Body) -> Fuzzed:
    value = bytearray(json.dumps(body).encode())
    for _ in range(rng.randint(1, 4)):
        value[rng.randrange(len(value))] = rng.randrange(256)
    return _spelt(body, bytes(value), "flipped_bytes")


def _cut_out(rng: Random, body: Body) -> Fuzzed:
    text = json.dumps(body)
    low, high = sorted(rng.randrange(len(text)) for _ in range(2))
    return _spelt(body, text[:low] + text[high:], "cut_out")


def _repeated_part(rng: Random, body: Body) -> Fuzzed:
    text = json.dumps(body)
    low, high = sorted(rng.randrange(len(text)) for _ in range(2))
    return _spelt(body, text[:high] + text[low:], "repeated_part")


def _repeated_name(rng: Random, body: Body) -> Fuzzed:
    name = rng.choice(("event_id", "event_time", "type", _measure(body)))
    other = {"event_id": "e-other", "event_time": "never", "type": "data"}.get(name, -1)
    text = json.dumps(body)
    pair = json.dumps({name: other})[1:-1]
    both = (f"{text[:-1]}, {pair}}}", f"{{{pair}, {text[1:]}")
    return _spelt(body, rng.choice(both), "repeated_name")


def _year_1980(_: Random, body: Body) -> Fuzzed:
    return record(body | {"event_time": "1980-01-06T00:00:00Z"}, "year_1980")


def _extra(rng: Random, body: Body) -> Fuzzed:
    extra: Any = rng.choice(([[[[[]]]]], {"a": {"b": [1, None]}}, "\u0130", "\U0001f600", 1e300, -0.0))
    return record(body | {"extra": extra}, "extra")


def _edge(rng: Random, body: Body) -> Fuzzed:
    numbers = ("0", "-0", "-0.0", "1e9", "1e-320", "5e-324", "1000000000.0000001", "0.1e1", "1.0", "10000000")
    return _with_measure(body, rng.choice(numbers), "edge")


def _escaped(rng: Random, body: Body) -> Fuzzed:
    """The same event in another spelling."""
    items = list(body.items())
    rng.shuffle(items)
    text = json.dumps(
        dict(items), indent=rng.choice((None, 1)), separators=rng.choice(((",", ":"), (" , ", " : ")))
    )
    return _spelt(body, text.replace("e", "\\u0065") if '"true' not in text and "\ntrue" else text, "escaped")


OPEN: Final[tuple[Mutation, ...]] = (
    _flipped_bytes,
    _cut_out,
    _repeated_part,
    _repeated_name,
    _year_1980,
    _extra,
    _edge,
    _escaped,
)


def _huge(body: Body, megabytes: float, whole: bool) -> Fuzzed:
    text = json.dumps(body | {"extra": "x" * int(megabytes * 1e6)})
    return _spelt(body, text if whole else text[:-2], "huge")


def stream(seed: int, mutated: int, good: int, begin_us: int, end_us: int) -> Iterator[Fuzzed]:
    """`mutated` records with one fault or more among `good` ones, in event-time order of the originals.

    What is certainly refused goes under the ids of good customers (`g...`), the rest under ids of its own
    (`u...`), so that the good customers' state must be that of a run with the good records only.
    """
    rng = Random(seed)
    total = mutated + good
    is_good = [True] * good + [False] * mutated
    rng.shuffle(is_good)
    huge = {rng.randrange(total): size for size in (0.9, 1.5, 2.5, 4.0, 6.0)}
    for number, fine in enumerate(is_good):
        time_us = begin_us + (end_us - begin_us) * number // total
        if number in huge:
            body = good_body(rng, f"u{rng.randrange(300)}", number, time_us)
            yield _huge(body, huge[number], whole=bool(number % 2))
        if fine:
            yield record(good_body(rng, f"g{rng.randrange(300)}", number, time_us), "good")
            continue
        certain = rng.random() < 0.75
        body = good_body(rng, f"{'g' if certain else 'u'}{rng.randrange(300)}", number, time_us)
        yield rng.choice(REFUSED if certain else OPEN)(rng, body)
