"""From a validated feature specification to the arrays of `online_model.plan`.

Features that need the same accumulator share it: the compiler collects the accumulators that the
features ask for, gives them places in the stores, and writes one operation per column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from online_model.columns import Columns, Missing, Phrases, Transform
from online_model.plan import (
    BUCKET_SCALE,
    DAY_US,
    INCOMING,
    INTERNATIONAL,
    LASTING_DAYS,
    LIFETIME_SCALE,
    N_KINDS,
    NEGATIVE,
    NIGHT,
    ROAMING,
    WEEKEND,
    Channels,
    FeaturePlan,
    Limits,
    Measure,
    Op,
    Ops,
    Store,
    Taps,
)
from online_model.spec import Feature, FeatureSpec, Filter, SpecError
from schemas.batch import MAX_SERVICES, Kind, Vocabulary, normalise_category

KINDS = {
    "data": Kind.DATA,
    "voice": Kind.VOICE,
    "sms": Kind.SMS,
    "invoice": Kind.INVOICE,
    "payment": Kind.PAYMENT,
    "topup": Kind.TOPUP,
    "care_contact": Kind.CARE_CONTACT,
}

CODED_FIELDS = ("gender", "region", "plan", "contract", "line_type", "payment_method")
TECHNOLOGIES = ("2g", "3g", "4g", "5g", "wifi")
CARE_CHANNELS = ("phone", "chat", "email", "shop", "app")
#: Bytes of windows per customer that a specification may ask for; the default one takes about 1 KiB.
MAX_WINDOW_BYTES = 64 * 1024
#: Services that are told apart when they are counted, after those that the specification names.
SERVICES = (
    *("voice", "mobile-data", "voice-flat", "sms-flat", "roaming-pass", "international-pass"),
    *("fixed-line", "fixed-internet", "broadband", "fiber", "wifi", "tv", "streaming", "video", "music"),
    *("gaming", "cloud", "backup", "security", "insurance", "device-protection", "tech-support"),
    *("family-sharing", "multiple-lines", "iot", "streaming-tv", "streaming-movies", "online-security"),
    *("online-backup", "phone", "internet"),
)


class _Key(NamedTuple):
    """Identity of an accumulator."""

    events: tuple[str, ...]
    where: Filter
    measure: str  # field name, "" for a count
    store: int
    window: int
    is_max: bool
    sign: int  # 0 any, 1 only non-negative invoices, -1 credit notes beside the others


@dataclass(slots=True)
class _Compiler:
    spec: FeatureSpec
    rings: list[_Key] = field(default_factory=list)
    lifetimes: list[_Key] = field(default_factory=list)
    lasts: list[_Key] = field(default_factory=list)

    def ring(
        self, feature: Feature, events: tuple[str, ...], where: Filter, measure: str, sign: int = 0
    ) -> _Key:
        wide = measure not in {"", "days_late"}
        week = feature.bucket == "week"
        store = (Store.WEEK32 if wide else Store.WEEK16) if week else (Store.DAY32 if wide else Store.DAY16)
        key = _Key(events, where, measure, int(store), _buckets(feature), feature.aggregate == "max", sign)
        if key not in self.rings:
            self.rings.append(key)
        return key

    def last(self, events: tuple[str, ...], where: Filter, measure: str, sign: int = 0) -> int:
        key = _Key(events, where, measure, 0, 0, False, sign)
        if key not in self.lasts:
            self.lasts.append(key)
        return self.lasts.index(key)

    def lifetime(self, feature: Feature) -> int:
        key = _Key(feature.events, feature.where, feature.field or "", 0, 0, False, 0)
        if key not in self.lifetimes:
            self.lifetimes.append(key)
        return self.lifetimes.index(key)


def _buckets(feature: Feature) -> int:
    days = feature.window_days or 0
    return -(-days // 7) if feature.bucket == "week" else days


def vocabulary_of(spec: FeatureSpec) -> Vocabulary:
    """Category levels for the decoder: those that the specification names, and common ones.

    A condition names a level too. The services are filled up with `SERVICES`, because a count of services
    needs to tell them apart; all services that are in neither count as one.
    """
    levels: dict[str, tuple[str, ...]] = {"technology": TECHNOLOGIES, "channel": CARE_CHANNELS}
    for feature in spec.features:
        for name in ("technology", "channel"):
            value = normalise_category(getattr(feature.where, name) or "")
            if value and value not in levels[name]:
                levels[name] += (value,)
        if feature.aggregate == "one_hot" and feature.attribute is not None:
            known = levels.get(feature.attribute, ())
            new = tuple(normalise_category(level) for level in feature.levels)
            levels[feature.attribute] = known + tuple(level for level in new if level not in known)
    named = levels.get("services", ())
    common = tuple(service for service in SERVICES if service not in named)
    levels["services"] = (named + common)[:MAX_SERVICES]
    return Vocabulary(levels)


def _condition(where: Filter, sign: int) -> tuple[int, int]:
    mask = want = 0
    direction = None if where.direction is None else where.direction == "incoming"
    for bit, value in (
        (ROAMING, where.roaming),
        (INTERNATIONAL, where.international),
        (INCOMING, direction),
        (NIGHT, where.night),
        (WEEKEND, where.weekend),
    ):
        if value is not None:
            mask |= bit
            want |= bit if value else 0
    if sign == 1:
        mask |= NEGATIVE
    return mask, want


def _taps(keys: list[_Key], columns: list[int], vocabulary: Vocabulary, lifetime: bool) -> Taps:
    rows: list[list[tuple[float, ...]]] = [[] for _ in range(N_KINDS)]
    for key, column in zip(keys, columns, strict=True):
        mask, want = _condition(key.where, key.sign)
        for event in key.events:
            extra = NEGATIVE if key.sign == -1 and event == "invoice" else 0
            category = 0
            if event == "data":
                category = vocabulary.code("technology", key.where.technology)
            elif event == "care_contact":
                category = vocabulary.code("channel", key.where.channel)
            measure = (
                Measure.ONE
                if not key.measure
                else Measure.AUX
                if key.measure == "days_late"
                else Measure.VALUE
            )
            scale = LIFETIME_SCALE if lifetime else BUCKET_SCALE.get(key.measure, 1.0)
            row = (key.store, column, mask | extra, want | extra, category, measure, key.is_max, scale)
            rows[KINDS[event]].append(row)
    start = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    flat = np.array([row for kind in rows for row in kind], np.float64).reshape(-1, 8)
    ints = np.ascontiguousarray(flat[:, :7].T.astype(np.int64))
    store, target, mask, want, category, measure, is_max = ints
    scales = np.ascontiguousarray(flat[:, 7])
    return Taps(start, store, target, mask, want, category, measure, is_max, scales)


def compile_plan(spec: FeatureSpec) -> FeaturePlan:
    """Arrays for the kernels from a validated specification.

    Raises:
        SpecError: its windows take more than `MAX_WINDOW_BYTES` per customer.
    """
    compiler = _Compiler(spec)
    vocabulary = vocabulary_of(spec)
    pending: list[tuple[Feature, Op, _Key | int | None, _Key | int | None, str]] = []
    for feature in spec.features:
        pending.extend(_operands(compiler, feature, vocabulary))
    order = sorted(range(len(compiler.rings)), key=lambda i: compiler.rings[i].store)
    rings = [compiler.rings[i] for i in order]
    slot = {key: i for i, key in enumerate(rings)}
    first = np.array([sum(key.store < s for key in rings) for s in range(5)], np.int64)
    channels = Channels(
        first,
        np.array([key.window for key in rings], np.int64),
        np.array([key.is_max for key in rings], np.int64),
    )
    ring_columns = [slot[key] - int(first[key.store]) for key in rings]
    activity = -1
    if spec.dormancy_feature is not None:
        dormancy = next(feature for feature in spec.features if feature.name == spec.dormancy_feature)
        activity = compiler.last(dormancy.events, dormancy.where, "")
    limits = _limits(spec, rings, activity)
    _check_size(rings, limits)
    return FeaturePlan(
        spec=spec,
        columns=_columns(pending),
        vocabulary=vocabulary,
        rings=_taps(rings, ring_columns, vocabulary, lifetime=False),
        lifetimes=_taps(compiler.lifetimes, list(range(len(compiler.lifetimes))), vocabulary, lifetime=True),
        lasts=_taps(compiler.lasts, list(range(len(compiler.lasts))), vocabulary, lifetime=True),
        ops=_ops(pending, slot),
        channels=channels,
        limits=limits,
        horizon_us=_horizons(rings, compiler.lifetimes + [key for key in compiler.lasts if key.sign]),
        n_lifetime=len(compiler.lifetimes),
        n_last=len(compiler.lasts),
    )


_Pending = tuple[Feature, Op, "_Key | int | None", "_Key | int | None", str]


def _operands(  # noqa: PLR0911 - one return per aggregate
    compiler: _Compiler, feature: Feature, vocabulary: Vocabulary
) -> list[_Pending]:
    """Accumulators that one feature reads, and its columns."""
    f, none = feature, None
    match f.aggregate:
        case "sum":
            return [(f, Op.SUM, compiler.ring(f, f.events, f.where, f.field or ""), none, "")]
        case "max":
            return [(f, Op.MAX, compiler.ring(f, f.events, f.where, f.field or ""), none, "")]
        case "count":
            return [(f, Op.SUM, compiler.ring(f, f.events, f.where, ""), none, "")]
        case "mean":
            total = compiler.ring(f, f.events, f.where, f.field or "")
            return [(f, Op.MEAN, total, compiler.ring(f, f.events, f.where, ""), "")]
        case "share":
            part = compiler.ring(f, f.events, f.where, "")
            return [(f, Op.SHARE, part, compiler.ring(f, f.of or f.events, Filter(), ""), "")]
        case "active_days":
            return [(f, Op.ACTIVE_DAYS, compiler.ring(f, f.events, f.where, ""), none, "")]
        case "days_since":
            return [(f, Op.DAYS_SINCE, compiler.last(f.events, f.where, ""), none, "")]
        case "last":
            return [(f, Op.LAST, compiler.last(f.events, f.where, f.field or ""), none, "")]
        case "lifetime_sum":
            return [(f, Op.LIFETIME, compiler.lifetime(f), none, "")]
        case "tenure":
            return [(f, Op.TENURE_MONTHS if f.field == "months" else Op.TENURE_DAYS, none, none, "")]
        case "revenue":
            bill = compiler.last(("invoice",), Filter(), "amount", sign=1)
            return [
                (f, Op.REVENUE, bill, compiler.ring(f, ("topup", "invoice"), f.where, "amount", sign=-1), "")
            ]
        case "attribute":
            ops = {"age": Op.AGE, "income": Op.INCOME, "service_count": Op.SERVICE_COUNT}
            return [(f, ops[f.attribute or ""], none, none, "")]
        case "one_hot":
            return _levels(f, vocabulary)


def _levels(feature: Feature, vocabulary: Vocabulary) -> list[_Pending]:
    name = feature.attribute or ""
    if name == "services":
        known = vocabulary.levels["services"]
        return [(feature, Op.SERVICE, known.index(normalise_category(lv)), None, lv) for lv in feature.levels]
    column = CODED_FIELDS.index(name)
    return [(feature, Op.LEVEL, column, vocabulary.code(name, lv), lv) for lv in feature.levels]


def _ops(pending: list[_Pending], slot: dict[_Key, int]) -> Ops:
    def operand(value: _Key | int | None) -> int:
        return slot[value] if isinstance(value, _Key) else -1 if value is None else value

    def unit(feature: Feature, op: Op) -> float:
        if op in {Op.LAST, Op.LIFETIME, Op.REVENUE}:
            return 1.0 / LIFETIME_SCALE / feature.per
        if op in {Op.SUM, Op.MEAN, Op.MAX}:
            return 1.0 / BUCKET_SCALE.get(feature.field or "", 1.0) / feature.per
        return 1.0 / feature.per

    def ints(values: list[int]) -> npt.NDArray[np.int64]:
        return np.array(values, np.int64)

    return Ops(
        code=ints([int(op) for _, op, _, _, _ in pending]),
        a=ints([operand(a) for _, _, a, _, _ in pending]),
        b=ints([operand(b) for _, _, _, b, _ in pending]),
        window=ints([_buckets(f) for f, _, _, _, _ in pending]),
        bucket_days=ints([7 if f.bucket == "week" else 1 for f, _, _, _, _ in pending]),
        rate=ints([int(f.rate and op in {Op.SUM, Op.ACTIVE_DAYS, Op.REVENUE}) for f, op, _, _, _ in pending]),
        unit=np.array([unit(f, op) for f, op, _, _, _ in pending]),
        shrink=np.array([f.shrink for f, _, _, _, _ in pending]),
    )


def _columns(pending: list[_Pending]) -> Columns:
    features = [f for f, _, _, _, _ in pending]
    levels = [level for _, _, _, _, level in pending]
    one_hot = np.array([f.aggregate == "one_hot" for f in features])
    transforms = {"none": Transform.NONE, "log1p": Transform.SIGNED_LOG1P, "arcsine": Transform.ARCSINE}
    missing = {"ignore": Missing.IGNORE, "zero": Missing.ZERO, "mean": Missing.MEAN}
    return Columns(
        name=tuple(f"{f.name}={lv}" if lv else f.name for f, lv in zip(features, levels, strict=True)),
        feature=tuple(f.name for f in features),
        label=tuple(
            f"{f.label or f.name}: {lv}" if lv else (f.label or f.name)
            for f, lv in zip(features, levels, strict=True)
        ),
        unit=tuple(f.unit for f in features),
        block=tuple(f.block for f in features),
        weight=np.array([f.weight for f in features]),
        one_hot=one_hot,
        transform=np.array([transforms[f.transform] for f in features], np.int8),
        missing=np.array([missing[f.missing] for f in features], np.int8),
        clip=np.array([f.clip for f in features]) & ~one_hot,
        phrases=tuple(_phrases(f, lv) for f, lv in zip(features, levels, strict=True)),
        kinds=tuple(_kinds(f) for f in features),
    )


def _phrases(feature: Feature, level: str) -> Phrases:
    words = feature.words
    high = words.levels.get(level, "") if level else words.high
    same = words.model_dump(exclude={"high", "levels"})
    return Phrases(high=high, **same)


def _kinds(feature: Feature) -> frozenset[str]:
    """A share tells of its whole; what meets a condition (at night, abroad) only of the condition."""
    return frozenset() if feature.where != Filter() else frozenset(feature.events + feature.of)


def _limits(spec: FeatureSpec, rings: list[_Key], activity: int) -> Limits:
    days = max([key.window for key in rings if key.store in (Store.DAY32, Store.DAY16)], default=0)
    weeks = max([key.window for key in rings if key.store in (Store.WEEK32, Store.WEEK16)], default=0)
    return Limits(
        # Two buckets beyond the window: a topic may run one bucket ahead of the watermark.
        day_slots=_power_of_two(days + 2),
        week_slots=_power_of_two(weeks + 2),
        night_from=spec.night_from,
        night_to=spec.night_to,
        bill_valid_days=spec.bill_valid_days,
        activity_group=activity,
    )


def _check_size(rings: list[_Key], limits: Limits) -> None:
    """Every ring has as many slots as the longest window needs, so one long window is dear."""
    slots = {
        Store.DAY32: 4 * limits.day_slots,
        Store.DAY16: 2 * limits.day_slots,
        Store.WEEK32: 4 * limits.week_slots,
        Store.WEEK16: 2 * limits.week_slots,
    }
    size = sum(slots[Store(key.store)] for key in rings)
    if size > MAX_WINDOW_BYTES:
        raise SpecError(
            f"the windows take {size / 1024:.0f} KiB per customer, more than {MAX_WINDOW_BYTES // 1024} KiB; "
            "use fewer features, shorter windows, or 'bucket: week' for the long ones"
        )


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _horizons(rings: list[_Key], lasting: list[_Key]) -> npt.NDArray[np.int64]:
    """How late an event may come per kind, in us: the longest window that reads it.

    Kinds that no window reads, or that a lifetime sum or the last bill reads, have `LASTING_DAYS`
    at least; profiles, closings and erasures are never late.
    """
    days = np.zeros(N_KINDS, np.int64)
    for key in rings:
        length = key.window * (7 if key.store in (Store.WEEK32, Store.WEEK16) else 1)
        for event in key.events:
            days[KINDS[event]] = max(days[KINDS[event]], length)
    for key in lasting:
        for event in key.events:
            days[KINDS[event]] = max(days[KINDS[event]], LASTING_DAYS)
    days[days == 0] = LASTING_DAYS
    days[[Kind.PROFILE, Kind.CLOSED, Kind.FORGET]] = 400 * 366
    return days * DAY_US
