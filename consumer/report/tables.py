"""The report's tables about segments: what they are, what is done with them, how they change."""

from __future__ import annotations

from typing import Final

from consumer.report.few import in_tens, share_shown
from consumer.report.findings import Findings
from consumer.report.table import Column, Table, Value
from consumer.report.words import minute
from online_model.exploration import shown
from online_model.model import DORMANT, UNCLASSIFIED, Transition

#: Of tables with shares of levels.
HIDDEN_NOTE: Final = (
    "A share that tells of fewer than ten customers is left out; of a category all of its shares are."
)
_SEGMENT: Final = (Column("segment_id", "Id"), Column("segment", "Segment"))
_FROM_TO: Final = (
    Column("from_id", "From id"),
    Column("from", "From"),
    Column("to_id", "To id"),
    Column("to", "To"),
    Column("customers", "Customers", "count", hides=True),
)


def segments(findings: Findings) -> Table:
    """Size, share, trend, separation, nearest segment and strategy of every segment."""
    rows: list[tuple[Value, ...]] = []
    for code, segment in enumerate(findings.model.segments):
        portrait, change = findings.portraits[code], findings.trend(segment.id)
        nearest = None if portrait.nearest is None else findings.model.segments[portrait.nearest].name
        rows.append(
            (
                segment.id,
                segment.name,
                findings.size(segment.id),
                findings.share(segment.id),
                None if change is None else change.now - change.before,
                None if change is None else change.direction,
                portrait.separation,
                share_shown(portrait.border, portrait.members),
                nearest,
                findings.model.strategies.get(segment.id),
            )
        )
    rows.sort(key=lambda row: -findings.customers.by_segment.get(str(row[0]), 0))
    for segment_id in (DORMANT, UNCLASSIFIED, None):
        if findings.customers.by_segment.get(segment_id):
            head = (segment_id or "", findings.name(segment_id), findings.size(segment_id))
            strategy = findings.model.strategies.get(segment_id or "")
            rows.append((*head, findings.share(segment_id), *[None] * 5, strategy))
    return Table(
        "segments",
        "Segments",
        (
            *_SEGMENT,
            Column("customers", "Customers", "count", hides=True),
            Column("share", "Share", "share", hides=True),
            Column("trend", "Trend", "change"),
            Column("direction", "Direction"),
            Column("separation", "Separation (0-1)", "number"),
            Column("border_share", "On the border", "share"),
            Column("nearest", "Nearest segment"),
            Column("strategy", "Strategy"),
        ),
        rows,
        "Sizes count all customers. Separation: 0 on the border to the next segment, 1 in the centre.",
    )


def profiles(findings: Findings) -> Table:
    """Mean and median of every feature per segment, in real units."""
    rows: list[tuple[Value, ...]] = []
    for code, segment in enumerate(findings.model.segments):
        if not findings.is_described(code):
            continue
        profile, levels = findings.profiles[code], findings.levels
        for j in range(findings.columns.n):
            own = (None, None) if levels.hidden[code, j] else (profile.mean[j], profile.median[j])
            beside = (
                (None, None) if levels.is_beside_hidden(code, j) else (profile.index[j], profile.deviation[j])
            )
            names = (findings.columns.name[j], findings.units.label(j), findings.units.unit(j))
            rows.append((segment.id, segment.name, *names, *own, *beside))
    return Table(
        "profiles",
        "Profiles in real units",
        (
            *_SEGMENT,
            *_feature_columns(),
            Column("mean", "Mean", "number"),
            Column("median", "Median", "number"),
            Column("index", "Times the average", "number"),
            Column("deviation", "Standard deviations from everybody", "number"),
        ),
        rows,
        f"{sample_note(findings)} {HIDDEN_NOTE}",
    )


def _feature_columns() -> tuple[Column, Column, Column]:
    return Column("feature", "Feature"), Column("label", "In words"), Column("unit", "Unit")


def sample_note(findings: Findings) -> str:
    """What features were computed of."""
    n, total = len(findings.customers.raw), findings.total
    if findings.customers.is_sampled:
        return f"Of a sample of {in_tens(n):,} of {total:,} customers, drawn by hash."
    return f"Of all {total:,} customers."


def strategies(findings: Findings) -> Table:
    """The strategy of every segment as its owner wrote it."""
    rows: list[tuple[Value, ...]] = []
    for segment_id in [*findings.ids, DORMANT, UNCLASSIFIED]:
        strategy = findings.strategy(segment_id)
        if strategy is None:
            bound = findings.model.strategies.get(segment_id, "none")
            rows.append((segment_id, findings.name(segment_id), bound, *[None] * 12))
            continue
        rows.append(
            (
                segment_id,
                findings.name(segment_id),
                strategy.id,
                strategy.version,
                strategy.name,
                strategy.offer,
                strategy.channel,
                strategy.message_tone,
                strategy.service_package,
                strategy.support_tier,
                strategy.retention_trigger,
                "; ".join(strategy.exclusions),
                strategy.control_share,
                strategy.kpi,
                _also(findings, segment_id, strategy.id),
            )
        )
    return Table(
        "strategies",
        "Strategies",
        (
            *_SEGMENT,
            Column("strategy", "Strategy id"),
            Column("version", "Version", "count"),
            Column("name", "Strategy"),
            Column("offer", "Offer"),
            Column("channel", "Channel"),
            Column("message_tone", "Tone"),
            Column("service_package", "Service package"),
            Column("support_tier", "Support"),
            Column("retention_trigger", "Retention trigger"),
            Column("exclusions", "Leave out"),
            Column("control_share", "Control share", "share"),
            Column("kpi", "Measured by"),
            Column("would_fit", "Would fit, too"),
        ),
        rows,
        "The first strategy that fits a new segment is chosen. What would fit, too, is of the last fit. "
        f"{_unused(findings)}",
    )


def _also(findings: Findings, segment_id: str, bound: str) -> str | None:
    """Other strategies whose rules held for a segment when it was fitted."""
    if segment_id not in findings.ids or not findings.is_described(findings.ids.index(segment_id)):
        return None
    profile = findings.model.segments[findings.ids.index(segment_id)].profile
    if profile is None:
        return None
    fitting = findings.strategies.fitting(profile, findings.columns.name)
    return ", ".join(other for other in fitting if other != bound) or None


def _unused(findings: Findings) -> str:
    """The strategies that no segment has."""
    used = set(findings.model.strategies.values())
    unused = [s.name for s in findings.strategies.strategies if s.when and s.id not in used]
    return f"Of no segment: {', '.join(unused)}." if unused else "Every strategy has a segment."


def shares(findings: Findings) -> Table:
    """Share of every segment at every version."""
    rows: list[tuple[Value, ...]] = []
    for point in findings.history:
        shares = findings.shares_at(point)
        for segment_id, customers in point.customers.items():
            is_few = shown(customers) is None or findings.size(segment_id) is None
            share = None if is_few else shares.get(segment_id, 0.0)
            at = minute(point.at_us)
            rows.append((at, point.version, segment_id, findings.name(segment_id), share))
    return Table(
        "shares_over_time",
        "Shares over time",
        (
            Column("at", "Event time", "time"),
            Column("version", "Version", "count"),
            *_SEGMENT,
            Column("share", "Share", "share", hides=True),
        ),
        rows,
        "Of the customers with a segment; a scan counts half after the half-life of the model.",
    )


def moves(findings: Findings) -> Table:
    """Who went where in the last days."""
    counted = sorted(findings.customers.moves.items(), key=lambda item: (-item[1], item[0]))
    rows = [(a, findings.name(a), b, findings.name(b), shown(n)) for (a, b), n in counted]
    return Table(
        "moves",
        f"Moves of the last {findings.days:.0f} days",
        _FROM_TO,
        rows,
        "The last move of each customer between two segments, all customers counted.",
    )


def recalibrated(findings: Findings) -> Table:
    """Who went where when the model was fitted again the last time."""
    newest = next((m for m in reversed(findings.models) if m.transition is not None), None)
    rows: list[tuple[Value, ...]] = []
    if newest is not None and newest.transition is not None:
        rows = _transition_rows(findings, newest.transition)
    when = "" if newest is None else f" (version {newest.version})"
    return Table(
        "recalibration_moves",
        f"The last recalibration{when}",
        _FROM_TO,
        rows,
        "Of the customers a recalibration looks at, a sample of at most 250,000.",
    )


def _transition_rows(findings: Findings, transition: Transition) -> list[tuple[Value, ...]]:
    return [
        (a, findings.name(a), b, findings.name(b), shown(n))
        for a, row in zip(transition.from_ids, transition.customers, strict=True)
        for b, n in zip(transition.to_ids, row, strict=True)
        if n and a != b
    ]
