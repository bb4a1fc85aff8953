"""Usage records in many spellings, right and wrong: JSON text as strategies, each with the record's key."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
from hypothesis import strategies as st

from schemas import RawRecords

Spelling = tuple[bytes | None, bytes | None, int]


def _mostly(usual: st.SearchStrategy[str], odd: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Rarely `odd`: were every field odd as often as not, hardly a record would be accepted."""
    return st.sampled_from([usual] * 15 + [odd]).flatmap(lambda strategy: strategy)


_plain_ids = st.text(st.sampled_from("abcXYZ019 ~!/{}:,[]-_.'"), min_size=1, max_size=20)
_odd_ids = st.one_of(
    st.sampled_from(
        ["x" * 63, "x" * 64, "x" * 65, "é", "é" * 64, "\x7f", "\n", "\0", "a\0b", 'a"b', "a\\b", ""]
    ),
    st.text(max_size=70),
)
_ids = _mostly(_plain_ids, _odd_ids)


@st.composite
def _quoted(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    text = draw(texts)
    match draw(st.integers(0, 40)):
        case 0:
            return json.dumps(text, ensure_ascii=False)
        case 1:
            return '"' + "".join(f"\\u{ord(c) & 0xFFFF:04x}" for c in text) + '"'
        case 2:
            return f'"{text}"'  # not escaped where it should be
        case _:
            return json.dumps(text)


_digits = st.integers(0, 10**17).map(str)
_usual_numbers = st.one_of(
    st.integers(0, 1000).map(str),
    st.integers(0, 10**6).map(str),
    st.floats(0, 1e7).map(repr),
    st.floats(0, 1e7).map(lambda x: f"{x:.3f}"),
    st.floats(0, 1e4).map(lambda x: f"{x:.10f}"),
)
_odd_numbers = st.one_of(
    st.floats(0, 1e9).map(repr),
    st.floats(0, 1e9).map(lambda x: f"{x:.17g}"),
    st.tuples(_digits, _digits).map(".".join),
    st.tuples(st.integers(0, 10**6).map(str), st.text("0123456789", max_size=18)).map(".".join),
    st.sampled_from(
        """0 -0 0.0 -0.0 00 01 0.1 .5 1. -1 -1.5 +1 1e3 1E3 1e-3 1.5e2 1e400 -1e400 1.0 2.0 1000000 1000001
        1000000.0 1000000000 1000000000.0 1000000000.000001 1000000001 10000000 10000000.0 10000000.00000001
        10000001 999999999999999 9999999999999999 123456789012345678901234567890 0.000000000000001
        0.0000000000000001 0.30000000000000004 5e-324 NaN Infinity null true "5" [] {} 1_0 0x1 1f""".split()  # noqa: SIM905 - a list of quoted words is harder to read
    ),
    st.just("9" * 5000),
)
_numbers = _mostly(_usual_numbers, _odd_numbers)
_counts = _mostly(st.integers(1, 10**6).map(str), _usual_numbers | _odd_numbers)
_bools = _mostly(
    st.sampled_from(["true", "false"]),
    st.sampled_from(["null", "True", "tru", "truee", "falsee", "0", '"true"']),
)
_directions = _mostly(
    st.sampled_from(['"outgoing"', '"incoming"']),
    st.sampled_from(['"Outgoing"', '"incomin"', '"incoming "', '""', "null", "1"]),
)
_usual_technologies = st.one_of(
    st.sampled_from(["4G", "5g", "3g", "lte", "LTE", "wifi6", "ABCDEFGHijklmnop"]).map(json.dumps),
    st.text("abcXYZ01", min_size=1, max_size=16).map(json.dumps),
    st.just("null"),
)
_odd_technologies = st.one_of(
    st.sampled_from([" 5g", "5 g", "5_G", "5-g", "5\u011f", "\u212a", "\u017f", "LTE\0", ""]).map(json.dumps),
    st.sampled_from([16, 17, 64, 65]).map(lambda n: json.dumps("x" * n)),
    st.sampled_from(['"\\u0035g"', '"5\u011f"', '"\u212a"', "5", "nul", "nulll"]),
)
_technologies = st.one_of(
    st.sampled_from(["4G", "5g", "3g", "lte", "LTE", "wifi6", "ABCDEFGHijklmnop"]).map(json.dumps),
    st.sampled_from(
        [
            "null",
            '""',
            '" 5g"',
            '"5 g"',
            '"5_G"',
            '"5-g"',
            '"\\u0035g"',
            "5",
            "nul",
            '"5ğ"',
            '"\u212a"',
            '"LTE\\u0000"',
        ]
    ),
    st.text("abcXYZ01", max_size=18).map(json.dumps),
    st.sampled_from(["x" * 16, "x" * 17, "x" * 64, "x" * 65, "\u017f"]).map(json.dumps),
)
_technologies = _mostly(_usual_technologies, _odd_technologies)
_odd_times = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
    st.datetimes().map(lambda moment: moment.isoformat() + "+00:00"),
    st.tuples(
        st.sampled_from(["1970", "1999", "2000", "2024", "2026", "2199", "1969", "2200", "0000", "2100"]),
        st.sampled_from(["01", "02", "04", "12", "00", "13", "1"]),
        st.sampled_from(["01", "28", "29", "30", "31", "00", "32"]),
        st.sampled_from(["00:00:00", "23:59:59", "24:00:00", "12:60:00", "23:59:60", "12:00", "1/:00:00"]),
        st.sampled_from(["", ".1", ".12", ".1234567", ".123456789", ".1234567890", ".", ".x", ",5"]),
        st.sampled_from(["Z", "Z", "Z", "+00:00", "-00:00", "+01:00", "+00:01", "+0000", "z", "", "Z "]),
    ).map(lambda p: f"{p[0]}-{p[1]}-{p[2]}T{p[3]}{p[4]}{p[5]}"),
    st.sampled_from(["2026-03-01 12:00:00Z", "2026-03-01t12:00:00Z", "\u0662026-03-01T12:00:00Z", ""]),
).map(json.dumps)
_usual_times = st.tuples(
    st.dates(date(1970, 1, 1), date(2199, 12, 31)).map(date.isoformat),
    st.times().map(lambda time: time.isoformat(timespec="seconds")),
    st.sampled_from(["", ".1", ".12", ".123", ".000001", ".123456789"]),
    st.sampled_from(["Z", "Z", "+00:00"]),
).map(lambda p: f'"{p[0]}T{p[1]}{p[2]}{p[3]}"')
_times = _mostly(_usual_times, _odd_times)

_VALUES = {
    "megabytes": _numbers,
    "duration_seconds": _numbers,
    "count": _counts,
    "roaming": _bools,
    "international": _bools,
    "direction": _directions,
    "technology": _technologies,
}
_OWN = {
    "data": ("megabytes", ["roaming", "technology"]),
    "voice": ("duration_seconds", ["direction", "international", "roaming"]),
    "sms": ("count", ["direction", "international", "roaming"]),
}
_other_fields = st.sampled_from(
    [
        *[(name, text) for name in _VALUES for text in ("1", "true", '"5g"')],
        *[("extra", text) for text in ("1", '"a\\u0000"', "[1, {}]", "nope", "NaN", '"\ud800"')],
        *[
            ("event_idx", '"e"'),
            ("event", '"e"'),
            ("Type", '"data"'),
            ("", "1"),
            ("event\\u005fid", '"e"'),
            ("count\0", "1"),
        ],
        *[("type", '"data"'), ("type", '"sms"'), ("event_id", '"e2"'), ("customer_id", '"c"')],
    ]
)
_blanks = st.sampled_from([" "] * 12 + ["\n", "\t", "\r", "  ", "\f", "\xa0", "\0", "/**/"])


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[list[tuple[str, str]], str]:
    """Names and values of a record in some order, and the text of the customer's id."""
    kind = draw(st.sampled_from(sorted(_OWN)))
    customer = draw(_quoted(_ids))
    measure, more = _OWN[kind]
    pairs = [
        ("event_id", draw(_quoted(_ids))),
        ("customer_id", customer),
        ("event_time", draw(_times)),
        (
            "type",
            draw(st.sampled_from([f'"{kind}"'] * 60 + ['"fax"', '"topup"', '"Data"', "1", '"dat\\u0061"'])),
        ),
        (measure, draw(_VALUES[measure])),
    ]
    pairs += [(name, draw(_VALUES[name])) for name in more if draw(st.booleans())]
    if draw(st.integers(0, 20)) == 0:
        del pairs[draw(st.integers(0, len(pairs) - 1))]
    if draw(st.integers(0, 12)) == 0:
        pairs.append(draw(_other_fields))
    if draw(st.integers(0, 20)) == 0:
        pairs.append(draw(st.sampled_from(pairs)))
    return draw(st.permutations(pairs)), customer


@st.composite
def spelled(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A record and the key that its customer would have."""
    pairs, customer = draw(_pairs())
    # one style throughout, as writers have, and now and then an odd one in between
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]))
    if draw(st.integers(0, 20)) == 0:
        comma, colon = draw(
            st.tuples(st.sampled_from([",", ",,", ";", ", "]), st.sampled_from([":", "=", "::"]))
        )
    odd = [draw(_blanks) if draw(st.integers(0, 7)) == 0 else "" for _ in range(4)]
    body = comma.join(f'"{name}"{colon}{value}' for name, value in pairs)
    text = f"{odd[0]}{{{odd[1]}{body}{odd[2]}}}{odd[3]}"
    try:
        key = str(json.loads(customer))
    except ValueError:
        key = customer[1:-1]
    return text.encode(errors="surrogatepass"), key.encode(errors="surrogatepass")


@st.composite
def mutated(draw: st.DrawFn, record: bytes) -> bytes:
    """`record` with a few bytes replaced, added or removed, or its end cut off."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(record)))
        byte = bytes(
            [
                draw(
                    st.one_of(
                        st.sampled_from(b'"\\,:{}[] 0159.-eE+TZtfn\x00\x1f\x7f\xff'), st.integers(0, 255)
                    )
                )
            ]
        )
        match draw(st.integers(0, 3)):
            case 0:
                record = record[:at] + byte + record[at + 1 :]
            case 1:
                record = record[:at] + byte + record[at:]
            case 2:
                record = record[:at] + record[at + 1 :]
            case _:
                record = record[:at]
    return record


@st.composite
def spellings(draw: st.DrawFn) -> Spelling:
    """A value, a key and a topic; in most cases they belong together."""
    value, key = draw(spelled())
    case = draw(st.integers(0, 20))
    if case <= 2:
        value = draw(mutated(value))
    if case == 4:
        return draw(st.sampled_from([None, b"", b"{}", b"[]", b"null", b'"type"'])), key, 0
    if case == 5:
        return (
            value,
            draw(st.sampled_from([None, b"", b"c", key + b"x", key[:-1], key.swapcase(), b"\xff"])),
            0,
        )
    if case == 6:
        return value, key, draw(st.integers(0, 2))
    return value, key, 0


def records_of(rows: list[Spelling]) -> RawRecords:
    """Records from two partitions, in order."""
    n = len(rows)
    return RawRecords(
        [value for value, _, _ in rows],
        [key for _, key, _ in rows],
        np.array([topic for _, _, topic in rows], np.uint8),
        np.arange(n, dtype=np.int32) % 2,
        np.arange(100, 100 + n, dtype=np.int64),
    )
