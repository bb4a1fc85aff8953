"""The hot path accepts what the published models accept, with the same values and reasons."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from schemas import Decoder, RawRecords, Reason, Vocabulary, reference
from schemas.batch import CODED_ATTRIBUTES, NO_DAY, Attribute, EventBatch, Flag, Kind, Topic
from schemas.events import MEASURES, TOPIC_OF_TYPE
from schemas.times import parse_day, parse_time

VOCABULARY = Vocabulary(
    {
        "technology": ("4g", "5g"),
        "channel": ("phone", "chat"),
        "gender": ("female", "male"),
        "plan": ("gold-plus",),
        "services": ("tv", "fiber"),
    }
)

ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=64)
odd_text = st.one_of(
    st.text(max_size=3), st.sampled_from(["", "x" * 65, "é" * 64, "é" * 65, "a\0b", "\x7f", "\n"])
)
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-5, 5),
    st.sampled_from(
        [1e9, 1e9 + 1, -1e9 - 1, 1e7, 1e7 + 1, 10**6, 10**6 + 1, -0.0, 1.0, 10**30, 10**400, 3650, 3651]
    ),
)
times = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
    st.sampled_from(
        [
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00.1234Z",
            "2026-03-01T12:00:00+00:00",
            "2026-03-01T12:00:00.123456789+00:00",
            "2026-02-29T12:00:00Z",
            "2024-02-29T23:59:59.999999Z",
            "2026-03-01T12:00:60Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T12:00:00-00:00",
            "2026-03-01T12:00:00.Z",
            "2026-03-01t12:00:00z",
            "2200-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-03-01T12:00:00.1234567890Z",
            "2026-03-01T12:00:0\u0660Z",
            "2026-03-01T12:00:00Z\0",
            "",
        ]
    ),
)
days = st.sampled_from(
    ["2026-01-01", "2026-02-01", "1899-12-31", "1900-01-01", "2026-02-30", "20260101", "2026-1-1", ""]
)
scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), numbers, odd_text, st.just([]), st.just({}), st.just([[["deep"]]])
)
flag = st.booleans()
direction = st.sampled_from(["outgoing", "incoming"])
text = st.sampled_from(["4G", "5G", "Gold plus", "phone", "female", "other", "Fünf"])
amount = st.floats(-1e9, 1e9)
currency = st.sampled_from(["EUR", "EUR", "EUR", "USD", "eur"])


def _optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _event(type_name: str, required: dict[str, Any], optional: dict[str, Any]) -> Any:
    common = {"event_id": ids, "customer_id": ids, "event_time": times}
    return st.fixed_dictionaries({"type": st.just(type_name), **common, **required}, optional=optional)


usage = {"roaming": flag, "international": flag, "direction": direction, "technology": text}
events: st.SearchStrategy[dict[str, Any]] = st.one_of(
    _event("data", {"megabytes": st.floats(0, 1e9)}, usage),
    _event("voice", {"duration_seconds": st.floats(0, 1e7)}, usage),
    _event("sms", {}, {**usage, "count": st.integers(1, 10**6)}),
    _event(
        "correction",
        {"corrects_event_id": ids, "type_corrected": st.sampled_from(list(MEASURES))},
        {
            **usage,
            "megabytes": _optional(st.floats(-1e9, 1e9)),
            "duration_seconds": _optional(st.floats(-1e7, 1e7)),
            "count": _optional(st.integers(-(10**6), 10**6)),
        },
    ),
    _event(
        "invoice",
        {"amount": amount, "currency": currency},
        {"period_start": _optional(days), "period_end": _optional(days)},
    ),
    _event("payment", {"amount": amount, "currency": currency}, {"days_late": st.floats(0, 3650)}),
    _event("topup", {"amount": amount, "currency": currency}, {}),
    _event(
        "profile",
        {},
        {
            "activated_on": _optional(days),
            "age": _optional(st.integers(0, 130)),
            "income": _optional(st.floats(0, 1e9)),
            **{name: _optional(text) for name in ("gender", "region", "plan", "contract")},
            "line_type": _optional(st.sampled_from(["prepaid", "postpaid"])),
            "payment_method": _optional(text),
            "services": _optional(st.lists(st.sampled_from(["TV", "fiber", "other"]), max_size=33)),
            "consent_profiling": _optional(flag),
        },
    ),
    _event("care_contact", {"channel": text}, {"reason": _optional(odd_text)}),
    _event("closed", {}, {"reason": _optional(odd_text)}),
    _event("forget", {}, {}),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An event with some of its fields dropped, renamed or replaced by anything."""
    event = dict(draw(events))
    for name in draw(st.lists(st.sampled_from(sorted(event)), max_size=2, unique=True)):
        match draw(st.sampled_from(["drop", "rename", "replace", "replace"])):
            case "drop":
                del event[name]
            case "rename":
                event["x" + name] = event.pop(name)
            case _:
                event[name] = draw(scalars)
    event.update(draw(st.dictionaries(st.sampled_from(["extra", "Type", "count"]), scalars)))
    order = draw(st.permutations(list(event)))
    text = json.dumps({name: event[name] for name in order}, ensure_ascii=draw(flag))
    text = text.replace("1000000000.0", draw(st.sampled_from(["1e9", "1e999", "-1e999", "NaN"])))
    return text.encode(errors="surrogatepass")


raw_records = st.one_of(
    mutated(),
    mutated(),
    mutated(),
    st.binary(max_size=20),
    st.sampled_from([b"", b"null", b"[]", b"5", b'"x"', b"{}", b"{" * 5000, b'{"type":["data"]}']),
    mutated().flatmap(lambda raw: st.integers(0, len(raw)).map(lambda at: raw[:at])),
    mutated().flatmap(lambda raw: st.integers(0, len(raw)).map(lambda at: raw[:at] + b"\xff" + raw[at:])),
    mutated().map(lambda raw: raw.replace(b'"', b'"\\ud800', 1)),
    mutated().map(lambda raw: raw[:-1] + b',"deep":' + b"[" * 300 + b"]" * 300 + b"}"),
    mutated().map(lambda raw: raw[:-1] + b',"long":1' + b"0" * 5000 + b',"big":1e999}'),
    mutated().map(lambda raw: raw[:-1] + b',"low":"\\udc00"}'),
)


@st.composite
def batches(draw: st.DrawFn) -> RawRecords:
    """Records with keys and topics that are mostly right."""
    values: list[bytes | None] = []
    keys: list[bytes | None] = []
    topics: list[int] = []
    for raw in draw(st.lists(raw_records, max_size=12)):
        document = reference.parse(raw)
        fields = document if isinstance(document, dict) else {}
        right = str(fields.get("customer_id")).encode(errors="replace")
        kind = fields.get("type")
        home = TOPIC_OF_TYPE.get(kind, Topic.USAGE) if isinstance(kind, str) else Topic.USAGE
        values.append(raw if draw(st.integers(0, 20)) else None)
        keys.append(draw(st.sampled_from([right] * 8 + [None, b"other", b"\xff"])))
        topics.append(draw(st.sampled_from([int(home)] * 8 + [0, 1, 2])))
    n = len(values)
    return RawRecords(
        values, keys, np.array(topics, np.uint8), np.zeros(n, np.int32), np.arange(n, dtype=np.int64)
    )


@given(batches())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_decode_agrees_with_the_models(records: RawRecords) -> None:
    """Same records accepted, same values, same reasons; order kept; nothing lost."""
    batch, rejects = Decoder(VOCABULARY, "EUR").decode(records)
    expected = [
        reference.check(value, key, topic, "EUR")
        for value, key, topic in zip(records.values, records.keys, records.topic.tolist(), strict=True)
    ]
    accepted = [at for at, result in enumerate(expected) if isinstance(result, BaseModel)]
    assert batch.offset.tolist() == accepted
    refused = [(at, r.reason) for at, r in enumerate(expected) if isinstance(r, reference.Refusal)]
    assert list(zip(rejects.offset.tolist(), rejects.reasons, strict=True)) == refused
    assert rejects.values == [records.values[at] for at, _ in refused]
    profile = 0
    for row, at in enumerate(accepted):
        fields = expected[at]
        assert isinstance(fields, BaseModel)
        _assert_row(batch, row, fields)
        if batch.kind[row] == Kind.PROFILE:
            assert batch.profiles.event[profile] == row
            _assert_profile(batch, profile, fields)
            profile += 1


def _assert_row(batch: EventBatch, row: int, event: BaseModel) -> None:
    """Row `row` holds the values of `event`."""
    e = {name: getattr(event, name) for name in type(event).model_fields}
    kind = Kind[(e.get("type_corrected") or e["type"]).upper()]
    assert batch.kind[row] == kind
    assert batch.event_ids.to_bytes()[row] == e["event_id"].encode()
    assert batch.customer_ids.to_bytes()[row] == e["customer_id"].encode()
    assert batch.event_time_us[row] == parse_time(e["event_time"])
    measure = {
        Kind.DATA: "megabytes",
        Kind.VOICE: "duration_seconds",
        Kind.SMS: "count",
        Kind.INVOICE: "amount",
        Kind.PAYMENT: "amount",
        Kind.TOPUP: "amount",
    }.get(kind)
    assert batch.value[row] == (e[measure] if measure else kind == Kind.CARE_CONTACT)
    aux = 0.0
    if kind == Kind.INVOICE:
        first, last = (parse_day(e[name]) if e[name] else None for name in ("period_start", "period_end"))
        aux = math.nan if first is None or last is None else last - first
    elif kind == Kind.PAYMENT:
        aux = e["days_late"]
    assert np.array_equal(batch.aux[row], aux, equal_nan=True)
    has_direction = kind in (Kind.VOICE, Kind.SMS)
    flags = Flag(0)
    flags |= Flag.ROAMING if e.get("roaming") else Flag(0)
    flags |= Flag.INTERNATIONAL if has_direction and e["international"] else Flag(0)
    flags |= Flag.INCOMING if has_direction and e["direction"] == "incoming" else Flag(0)
    flags |= Flag.CORRECTION if e["type"] == "correction" else Flag(0)
    assert batch.flags[row] == flags
    field = {Kind.DATA: "technology", Kind.CARE_CONTACT: "channel"}.get(kind)
    assert batch.category[row] == (VOCABULARY.code(field, e[field]) if field else 0)


def _assert_profile(batch: EventBatch, row: int, event: BaseModel) -> None:
    """Profile row `row` holds the attributes of `event`, absent and null told apart."""
    p = batch.profiles
    carried = {a for a in Attribute if a.name.lower() in event.model_fields_set}
    assert p.present[row] == sum(1 << a for a in carried)
    e = {a: getattr(event, a.name.lower()) for a in Attribute}
    activated = e[Attribute.ACTIVATED_ON]
    assert p.activated_on[row] == (NO_DAY if activated is None else parse_day(activated))
    for column, attribute in ((p.age, Attribute.AGE), (p.income, Attribute.INCOME)):
        expected = math.nan if e[attribute] is None else e[attribute]
        assert np.array_equal(column[row], expected, equal_nan=True)
    codes = [VOCABULARY.code(a.name.lower(), e[a]) for a in CODED_ATTRIBUTES]
    assert p.codes[row].tolist() == codes
    services = {name.casefold() for name in e[Attribute.SERVICES] or ()}
    others = bool(services - {"tv", "fiber"})
    assert p.services[row] == ("tv" in services) + 2 * ("fiber" in services) + 4 * others
    assert p.consent[row] == {None: 0, True: 1, False: 2}[e[Attribute.CONSENT_PROFILING]]


@given(st.lists(st.binary(max_size=60) | st.none(), max_size=20), st.integers(0, 2))
@example([b'{"type":"data","type":"sms"}'], 0)
@settings(deadline=None)
def test_arbitrary_bytes_never_raise(values: list[bytes | None], topic: int) -> None:
    """Every record is either an event or a reject."""
    records = RawRecords.of_topic(topic, values, [b"c"] * len(values))
    batch, rejects = Decoder(VOCABULARY, "EUR").decode(records)
    assert batch.n + rejects.n == len(values)


def test_a_repeated_field_must_fit_each_time() -> None:
    """The last occurrence counts; an invalid earlier one makes the record malformed."""
    start = b'{"type":"data","customer_id":"c","event_time":"2026-03-01T00:00:00Z","event_id":"e",'
    values = [start + b'"megabytes":1,"megabytes":2}', start + b'"megabytes":"1","megabytes":2}']
    batch, rejects = Decoder(VOCABULARY, "EUR").decode(RawRecords.of_topic(Topic.USAGE, values, [b"c", b"c"]))
    assert batch.value.tolist() == [2.0]
    assert rejects.reasons == [Reason.MALFORMED_JSON]
