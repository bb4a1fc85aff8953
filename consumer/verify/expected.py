"""The records a change must have led to, and comparing them with those that are there.

Confidence and contributions are published with four digits: what is found may differ from the exact value by
the rounding, and by what the last bits of logarithm and arcsine add to it. Everything else is compared
exactly.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import msgspec

from consumer.verify.customer import Published
from consumer.verify.features import Features
from consumer.verify.log import Record
from consumer.verify.model import DORMANT, NEAR, UNCLASSIFIED, Version
from online_model.strategy import StrategyFile, arm
from schemas.outbox import CHANGED_TYPE, CURRENT_TYPE
from schemas.times import format_time

N_DRIVERS: Final = 3
_ROUNDING: Final = 0.5e-4 + NEAR


@dataclass(frozen=True, slots=True)
class Rounded:
    """A number published with four decimals; `exact` is what it was before."""

    exact: float


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several values is right: the log does not tell which."""

    values: tuple[Any, ...]


@dataclass(slots=True)
class Expected:
    """A change as it must be published; `body` None for an erasure, which has no change record.

    `trigger`: (topic name, offset) of the input record, None for a scan. `unknown`: fields that cannot be
    re-derived because the decision was a near-tie. `was`: membership before.
    """

    customer: bytes
    body: dict[str, Any] | None
    seq: int
    watermark_us: int
    trigger: tuple[str, int] | None
    was: Published
    unknown: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_exit(self) -> bool:
        """Whether the customer is in no segment afterwards."""
        return self.body is None or self.body["segment"] is None


def differences(expected: Any, found: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Places where `found` is not what was expected, with both values."""
    if isinstance(expected, Rounded):
        right = isinstance(found, int | float) and abs(expected.exact - found) <= _ROUNDING
        right = right and found == round(found, 4)
        if not right:
            yield path, round(expected.exact, 4), found
    elif isinstance(expected, AnyOf):
        if not any(same(value, found) for value in expected.values):
            yield path, " or ".join(map(repr, expected.values)), found
    elif isinstance(expected, dict) and isinstance(found, dict):
        for name in [*expected, *(name for name in found if name not in expected)]:
            where = f"{path}.{name}" if path else name
            if name not in expected or name not in found:
                yield where, expected.get(name, "absent"), found.get(name, "absent")
            else:
                yield from differences(expected[name], found[name], where)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for i, (e, f) in enumerate(zip(expected, found, strict=True)):
            yield from differences(e, f, f"{path}[{i}]")
    elif (type(expected) is not type(found) and not _are_numbers(expected, found)) or expected != found:
        yield path, expected, found


def same(expected: Any, found: Any) -> bool:
    """Whether there is no difference."""
    return next(differences(expected, found), None) is None


def _are_numbers(a: Any, b: Any) -> bool:
    return all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))


class Book:
    """Words and offers of the model versions up to one that decides, and the settings of records."""

    def __init__(
        self, features: Features, strategies: StrategyFile, inputs: Sequence[str], application: str
    ) -> None:
        self._features = features
        self._strategies = {strategy.id: strategy for strategy in strategies.strategies}
        self._inputs = inputs
        self._source = f"/{application}".encode()
        self._names = {DORMANT: "Dormant", UNCLASSIFIED: "Unclassified"}
        self._version: Version | None = None

    def use(self, version: Version, older: Sequence[Version]) -> None:
        """Names, profiles and strategies of `version`; names of segments that only `older` ones have stay."""
        for each in [*older, version]:
            self._names |= each.names
        self._version = version

    def segment(self, segment: str | None) -> dict[str, Any] | None:
        """Id and name."""
        return None if segment is None else {"id": segment, "name": self._names.get(segment, segment)}

    def strategy(self, segment: str | None, customer: bytes) -> dict[str, Any] | None:
        """The offer bound to a segment, and the customer's arm."""
        if self._version is None or segment is None:
            return None
        bound = self._strategies.get(self._version.strategies.get(segment, ""))
        if bound is None:
            return None
        return {
            "id": bound.id,
            "version": bound.version,
            "arm": arm(customer, bound.id, bound.control_share),
        }

    def drivers(
        self,
        segments: tuple[str | None, str],
        x: Sequence[float],
        raw: Sequence[float],
        before: tuple[float, ...] | None,
        may_be_forgotten: bool,
    ) -> tuple[list[dict[str, Any]], bool]:
        """The strongest features of a move between `segments`, and whether their order is certain."""
        version = self._version
        pulls = None if version is None else version.pulls(x, *segments)
        if version is None or pulls is None:
            return [], True
        lead: dict[str, int] = {}
        total: dict[str, float] = {}
        certain = True
        for j, column in enumerate(self._features.columns):
            if not math.isfinite(pulls[j]):
                continue
            name = column.feature.name
            if name not in lead or pulls[j] > pulls[lead[name]]:
                lead[name] = j
            total[name] = total.get(name, 0.0) + pulls[j]
        positive = 0.0
        for value in total.values():
            positive += max(value, 0.0)
        order = sorted((name for name in total if total[name] > 0.0), key=lambda name: -total[name])
        for a, b in pairwise(order):
            if order.index(a) < N_DRIVERS and total[a] - total[b] <= NEAR:
                certain = False
        if len(order) <= N_DRIVERS and any(0.0 < abs(value) <= NEAR for value in total.values()):
            certain = False
        typical = version.typical.get(segments[1])
        return [
            self._driver(
                lead[name],
                raw,
                before,
                may_be_forgotten,
                None if typical is None else typical[lead[name]],
                total[name] / positive,
            )
            for name in order[:N_DRIVERS]
        ], certain

    def _driver(
        self,
        j: int,
        raw: Sequence[float],
        before: tuple[float, ...] | None,
        may_be_forgotten: bool,
        typical: float | None,
        share: float,
    ) -> dict[str, Any]:
        column = self._features.columns[j]
        now = digits(raw[j])
        usual = None if typical is None else digits(typical)
        was = None if before is None else digits(before[j])
        possible = [was, None] if may_be_forgotten and was is not None else [was]
        made: dict[str, Any] = {
            "feature": column.name,
            "label": column.label,
            "unit": column.feature.unit,
            "after": now,
            "segment_typical": usual,
            "contribution": Rounded(share),
        }
        variants = []
        for value in possible:
            reference = usual if value is None else value
            falls = now is not None and reference is not None and now < reference
            variants.append((value, "down" if falls else "up"))
        made["before"] = variants[0][0] if len(variants) == 1 else AnyOf(tuple(v for v, _ in variants))
        directions = tuple(dict.fromkeys(d for _, d in variants))
        made["direction"] = directions[0] if len(directions) == 1 else AnyOf(directions)
        return made

    def headers(
        self, expected: Expected, run_id: str, partition: int, *, current: bool
    ) -> list[tuple[str, bytes]]:
        """Headers of the record on the changes or the current topic."""
        schema = "segments.current" if current else "segments.changes"
        made = [
            ("ce_specversion", b"1.0"),
            ("ce_type", (CURRENT_TYPE if current else CHANGED_TYPE).encode()),
            ("ce_source", self._source),
            ("ce_dataschema", f"urn:telecom-segmenter:{schema}.v1".encode()),
            ("content-type", b"application/json"),
            ("segmenter_run_id", run_id.encode()),
            ("ce_id", b"%b/%d/%d" % (expected.customer, expected.seq, expected.watermark_us)),
            ("ce_subject", expected.customer),
            ("ce_time", format_time(expected.watermark_us).encode()),
        ]
        if expected.trigger is not None:
            topic, offset = expected.trigger
            made += [
                ("segmenter_trigger_topic", topic.encode()),
                ("segmenter_trigger_partition", b"%d" % partition),
                ("segmenter_trigger_offset", b"%d" % offset),
            ]
        return made


def parse_body(record: Record) -> dict[str, Any]:
    """The JSON object of a record; an empty one if it is none."""
    try:
        body = msgspec.json.decode(record.value or b"")
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def digits(value: float) -> float | None:
    """Four significant digits; None for missing."""
    return None if math.isnan(value) else float(f"{value:.4g}")


def two_bytes(value: float) -> float:
    """`value` as the service remembers it: eight significant bits, half to even."""
    if math.isnan(value):
        return value
    bits = struct.unpack("I", struct.pack("f", value))[0]
    kept = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 & 0xFFFF
    return float(struct.unpack("f", struct.pack("I", kept << 16))[0])
