"""Features of customers at a watermark, from their rows.

Each row is computed on its own from integers, so the result does not depend on which rows are
evaluated together. Rates divide by the days observed: a window's
sum times window / min(window, days since activation or first event, whichever is later). Of a window
only the buckets from that of the activation on count, so that sum and days are of the same time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from online_model.plan import Channels, FeaturePlan, Limits, Op, Ops
from online_model.rings import active_buckets, sum_channels
from online_model.rows import NEVER, NO_BUCKET, NO_SECOND, Rows
from schemas.batch import NO_DAY, Attribute, Int32Array, Int64Array
from schemas.kernel import AHEAD, inlined, kernel, prefetch

_DAY_US = 86_400_000_000
_SUM, _MEAN, _SHARE, _ACTIVE, _SINCE, _LAST, _LIFETIME = (
    int(Op.SUM),
    int(Op.MEAN),
    int(Op.SHARE),
    int(Op.ACTIVE_DAYS),
    int(Op.DAYS_SINCE),
    int(Op.LAST),
    int(Op.LIFETIME),
)
_DAYS, _MONTHS, _REVENUE, _AGE, _INCOME, _COUNT, _LEVEL, _SERVICE, _MAX = (
    int(Op.TENURE_DAYS),
    int(Op.TENURE_MONTHS),
    int(Op.REVENUE),
    int(Op.AGE),
    int(Op.INCOME),
    int(Op.SERVICE_COUNT),
    int(Op.LEVEL),
    int(Op.SERVICE),
    int(Op.MAX),
)
_SERVICES = int(Attribute.SERVICES)
#: Days of the longest month.
_MONTH_DAYS = 31


class Evaluated(NamedTuple):
    """Features of m customers.

    `raw` float64[m, D] (NaN missing), `observed_days` and `silent_days` float64[m].
    """

    raw: npt.NDArray[np.float64]
    observed_days: npt.NDArray[np.float64]
    silent_days: npt.NDArray[np.float64]


@inlined
def month_index(day: int) -> tuple[int, int]:
    """Months since year 0 and day of the month of `day` (days since 1970), proleptic Gregorian.

    Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    """
    z = day + 719468
    era = z // 146097
    doe = z - era * 146097
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (1 if month <= 2 else 0)
    return year * 12 + month - 1, doy - (153 * mp + 2) // 5 + 1


class Population(NamedTuple):
    """Evaluated customers for a calibration.

    `raw` float64[m, D], `observed_days`, `silent_days` float64[m]; `priors` float64[D]: population
    share per share column, NaN elsewhere; `watermark_us`: as of when.
    """

    raw: npt.NDArray[np.float64]
    observed_days: npt.NDArray[np.float64]
    silent_days: npt.NDArray[np.float64]
    priors: npt.NDArray[np.float64]
    watermark_us: int


@inlined
def _exposure(watermark: int, start: int, window: int, bucket_days: int) -> float:
    """Factor from a window's sum to a full window: its days over those observed (one at least)."""
    length = bucket_days * _DAY_US
    opens = (watermark // length - window + 1) * length
    covered = (watermark - max(opens, start)) / _DAY_US
    return float(window * bucket_days / max(covered, 1.0))


@inlined
def _observed(rows: Rows, r: int, since: int, bucket_days: int) -> int:
    """Since when row `r` is observed in buckets, us: the first event, or the bucket of a later activation.

    `since` is that of `_since`. A bucket counts whole: where buckets are weeks, the days of its week before
    the activation are in it.
    """
    first_event = int(np.int64(rows.hot[r].first_event))
    if since == NO_BUCKET:
        return first_event
    return max(first_event, since // bucket_days * bucket_days * _DAY_US)


@inlined
def _since(rows: Rows, r: int) -> int:
    """The day before whose bucket nothing of row `r` counts: that of an activation after the first event.

    For others it is long ago: there is nothing before the first event, and the kept sums are right.
    """
    activated = np.int64(rows.hot[r].activated_on)
    if activated != NO_DAY and activated * _DAY_US > rows.hot[r].first_event:
        return int(activated)
    return NO_BUCKET


@inlined
def _valid_us(period: float, limits: Limits) -> int:
    """How long a bill over `period` days counts: that and a grace, or the usual time if it is longer.

    The grace is what the usual time leaves to the bill of a month. NaN and 0: no period is known.
    """
    usual = limits.bill_valid_days
    if period > 0:
        return max(usual, int(period) + max(usual - _MONTH_DAYS, 0)) * _DAY_US
    return usual * _DAY_US


@inlined
def _tenure(watermark: int, start: int, months: bool) -> float:
    """Whole days or whole calendar months from the day of `start` to the watermark."""
    today, day = watermark // _DAY_US, start // _DAY_US
    if not months:
        return float(max(today - day, 0))
    now_month, now_day = month_index(today)
    then_month, then_day = month_index(day)
    return float(max(now_month - then_month - (1 if now_day < then_day else 0), 0))


@inlined
def _column(
    rows: Rows,
    r: int,
    j: int,
    watermark: int,
    start: int,
    since: int,
    sums: Int64Array,
    ops: Ops,
    channels: Channels,
    limits: Limits,
    prior: float,
) -> float:
    """Raw value of column `j` of row `r`; NaN if it is missing."""
    code, a, b, unit = ops.code[j], ops.a[j], ops.b[j], ops.unit[j]
    if code == _SUM or code == _ACTIVE:
        span = (since, watermark)
        total = float(sums[a] if code == _SUM else active_buckets(rows, r, a, span, channels, limits))
        if ops.rate[j]:
            begun = _observed(rows, r, since, ops.bucket_days[j])
            total *= _exposure(watermark, begun, ops.window[j], ops.bucket_days[j])
        return float(total * unit)
    if code == _SHARE:
        if np.isnan(prior):
            return float(sums[a] / sums[b] * unit if sums[b] > 0 else np.nan)
        weight = sums[b] + ops.shrink[j]
        return float((sums[a] + ops.shrink[j] * prior) / weight * unit) if weight > 0 else np.nan
    if code == _MEAN:
        return float(sums[a] * unit / sums[b] if sums[b] > 0 else np.nan)
    if code == _MAX:
        return float(sums[a] * unit)
    if code == _REVENUE:
        total = sums[b] * unit * 1e4  # buckets hold hundredths, unit is per millionth
        if ops.rate[j]:
            begun = _observed(rows, r, since, ops.bucket_days[j])
            total *= _exposure(watermark, begun, ops.window[j], ops.bucket_days[j])
        billed, period = rows.last_time[r, a], np.float64(rows.last_aux[r, a])
        if billed != NEVER and watermark - billed <= _valid_us(period, limits):
            days = ops.window[j] * ops.bucket_days[j]
            total += rows.last_value[r, a] * unit * (days / period if period > 0 else 1.0)
        return float(total)
    if code == _SINCE:
        last = rows.last_time[r, a] if rows.last_time[r, a] != NEVER else start
        # Whole days: the hour at which one looks is not behaviour, and would show as drift.
        return float(max(watermark - last, 0) // _DAY_US * unit)
    if code == _LAST:
        return float(rows.last_value[r, a] * unit if rows.last_time[r, a] != NEVER else np.nan)
    if code == _LIFETIME:
        return float(rows.lifetime[r, a] * unit)
    if code == _LEVEL:
        return np.nan if rows.codes[r, a] == 0 else 1.0 if rows.codes[r, a] == b else 0.0
    if code == _DAYS or code == _MONTHS:
        dated = rows.hot[r].activated_on != NO_DAY
        begun = rows.hot[r].activated_on * _DAY_US if dated else rows.hot[r].first_event
        return float(_tenure(watermark, begun, code == _MONTHS) * unit)
    if code == _AGE:
        return float(rows.hot[r].age * unit)
    if code == _INCOME:
        return float(rows.hot[r].income * unit)
    if rows.attribute_time[r, _SERVICES] == NO_SECOND:
        return np.nan
    if code == _SERVICE:
        return float((rows.hot[r].services >> a) & 1)
    bits, count = rows.hot[r].services, 0
    while bits:
        count += bits & 1
        bits >>= 1
    return float(count * unit)


@inlined
def _fetch(rows: Rows, r: int) -> None:
    """Begins to load what the features of row `r` are computed from."""
    prefetch(rows.hot, r, 0, rows.hot.strides[0])
    prefetch(rows.sum32, r, 0, rows.sum32.strides[0])
    prefetch(rows.sum16, r, 0, rows.sum16.strides[0])
    prefetch(rows.last_time, r, 0, rows.last_time.strides[0])
    prefetch(rows.last_value, r, 0, rows.last_value.strides[0])
    prefetch(rows.last_aux, r, 0, rows.last_aux.strides[0])
    prefetch(rows.codes, r, 0, rows.codes.strides[0])
    prefetch(rows.attribute_time, r, 0, rows.attribute_time.strides[0])


@kernel
def _evaluate(
    rows: Rows,
    which: Int32Array,
    watermark: int,
    ops: Ops,
    channels: Channels,
    limits: Limits,
    priors: npt.NDArray[np.float64],
    sums: Int64Array,
    out: Evaluated,
) -> None:
    for i in range(len(which)):
        if i + AHEAD < len(which):
            _fetch(rows, which[i + AHEAD])
        r = which[i]
        start = rows.hot[r].first_event
        if rows.hot[r].activated_on != NO_DAY:
            start = max(start, rows.hot[r].activated_on * _DAY_US)
        since = _since(rows, r)
        sum_channels(rows, r, (since, watermark), channels, limits, sums)
        for j in range(len(ops.code)):
            out.raw[i, j] = _column(
                rows, r, j, watermark, start, since, sums, ops, channels, limits, priors[j]
            )
        out.observed_days[i] = max(watermark - start, 0) / _DAY_US
        group = limits.activity_group
        last = start
        if group >= 0:
            last = max(start, rows.last_time[r, group])
            out.silent_days[i] = max(watermark - last, 0) / _DAY_US
        else:
            out.silent_days[i] = 0.0


def evaluate(
    rows: Rows, which: Int32Array, watermark_us: int, plan: FeaturePlan, priors: npt.NDArray[np.float64]
) -> Evaluated:
    """Features of the live rows `which` int32[m] at `watermark_us`.

    `priors` float64[D]: population share per share column (NaN: not shrunk, and missing without events).
    """
    m, d = len(which), plan.columns.n
    out = Evaluated(np.empty((m, d)), np.empty(m), np.empty(m))
    sums = np.zeros(len(plan.channels.window), np.int64)
    _evaluate(rows, which, watermark_us, plan.ops, plan.channels, plan.limits, priors, sums, out)
    return out


@kernel
def _share_totals(
    rows: Rows,
    which: Int32Array,
    watermark: int,
    ops: Ops,
    channels: Channels,
    limits: Limits,
    sums: Int64Array,
    totals: Int64Array,
) -> None:
    for i in range(len(which)):
        span = (_since(rows, which[i]), watermark)
        sum_channels(rows, which[i], span, channels, limits, sums)
        for j in range(len(ops.code)):
            if ops.code[j] == _SHARE:
                totals[j, 0] += sums[ops.a[j]]
                totals[j, 1] += sums[ops.b[j]]


def share_totals(
    rows: Rows, which: Int32Array, watermark_us: int, plan: FeaturePlan
) -> npt.NDArray[np.int64]:
    """Numerator and denominator int64[D, 2] of every share over the customers `which` (0 elsewhere)."""
    totals = np.zeros((plan.columns.n, 2), np.int64)
    sums = np.zeros(len(plan.channels.window), np.int64)
    _share_totals(rows, which, watermark_us, plan.ops, plan.channels, plan.limits, sums, totals)
    return totals


def priors_of(totals: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Population share per column from summed `share_totals`; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        return np.where(totals[:, 1] > 0, totals[:, 0] / np.maximum(totals[:, 1], 1), np.nan)
