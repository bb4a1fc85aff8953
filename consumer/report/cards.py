"""Segment cards: what a segment is, in the words of somebody who will write to its customers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consumer.report.findings import Findings
from consumer.report.words import capital, decimal, percent, sign, span, thousands
from online_model.model import DORMANT, UNCLASSIFIED
from online_model.portrait import DIGITS, telling, typical_columns
from online_model.strategy import Strategy
from online_model.timeline import Trend

_FEATURES: Final = 7
#: Mean place between border (0) and centre (1) from which on a segment stands so far apart.
_APART: Final = ((0.5, "stands clearly apart from"), (0.3, "stands apart from"), (0.15, "borders on"))
_RULES: Final = {
    DORMANT: "Silent for so long that there is nothing to describe. Whoever uses the line again is back.",
    UNCLASSIFIED: "Too little is known of these customers to say which segment they are in.",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that stands out: `words`, its `value` in the segment and the one of `everybody`.

    `bar`: -100..100, standard deviations from everybody, 3 being the full length.
    """

    words: str
    value: str
    everybody: str
    bar: float


@dataclass(frozen=True, slots=True)
class Card:
    """One segment. `colour`: its number in all figures, None for those without a place there."""

    id: str
    name: str
    colour: int | None
    size: str
    share: str
    headline: str
    trend: str
    features: tuple[Feature, ...] = ()
    typical: tuple[tuple[str, str], ...] = ()
    apart: str = ""
    strategy: Strategy | None = None
    treated: str = ""


def make_cards(findings: Findings) -> list[Card]:
    """Segments by falling size, then the two that are rules."""
    sizes = findings.customers.by_segment
    order = sorted(range(findings.model.k), key=lambda code: -sizes.get(findings.ids[code], 0))
    cards = [_card(findings, code) for code in order]
    return cards + [_rule(findings, segment_id) for segment_id in _RULES if sizes.get(segment_id, 0)]


def _card(findings: Findings, code: int) -> Card:
    segment = findings.model.segments[code]
    strategy = findings.strategy(segment.id)
    parts = _head(findings, segment.id)
    if not findings.is_described(code):
        headline = "Fewer than ten customers are known here, so nothing is said about them."
        return Card(segment.id, segment.name, code, *parts, headline, "", strategy=strategy)
    profile = findings.profiles[code]
    places = _places(findings, code)[:_FEATURES]
    features = tuple(_feature(findings, code, j) for j in places)
    words = [findings.units.compared(j, profile.deviation[j], profile.mean[j]) for j in places[:4]]
    headline = f"Compared with everybody: {_listed(words)}." if words else "Much like the average customer."
    return Card(
        segment.id,
        segment.name,
        code,
        *parts,
        headline,
        _trend(findings.trend(segment.id)),
        features,
        _typical(findings, code),
        _apart(findings, code),
        strategy,
        _treated(strategy),
    )


def _feature(findings: Findings, code: int, j: int) -> Feature:
    """The middle customer of the segment and of all; a share or a mean where the middle says nothing.

    Deviations are those of logarithms where a feature is skewed, which a few large values do not move: means
    may lie the other way.
    """
    units, deviation = findings.units, findings.profiles[code].deviation[j]
    own, everybody = findings.profiles[code].median[j], findings.medians[j]
    on_average = ""
    if findings.columns.one_hot[j] or own is None or (own - everybody) * deviation <= 0:
        own, everybody = findings.profiles[code].mean[j], findings.means[j]
        on_average = "" if findings.columns.one_hot[j] else " on average"
    return Feature(
        capital(units.compared(j, deviation, findings.profiles[code].mean[j])),
        units.value(j, own) + on_average,
        units.bare(j, float(everybody)),
        round(max(-100.0, min(100.0, deviation / 3 * 100)), 1),
    )


def _places(findings: Findings, code: int) -> list[int]:
    return telling(findings.profiles[code].significant, findings.columns)


def _rule(findings: Findings, segment_id: str) -> Card:
    strategy = findings.strategy(segment_id)
    head = _head(findings, segment_id)
    return Card(
        segment_id,
        findings.name(segment_id),
        None,
        *head,
        _RULES[segment_id],
        "",
        strategy=strategy,
        treated=_treated(strategy),
    )


def _head(findings: Findings, segment_id: str) -> tuple[str, str]:
    size, share = findings.size(segment_id), findings.share(segment_id)
    if size is None or share is None:
        return "fewer than 10 customers", ""
    return f"{thousands(size)} customers", percent(share)


def _trend(trend: Trend | None) -> str:
    if trend is None:
        return ""
    change = f"{sign(trend.now - trend.before)} in {span(trend.days)}"
    return f"{trend.direction}: {change}"


def _typical(findings: Findings, code: int) -> tuple[tuple[str, str], ...]:
    """Features of the medoid: what is significant for the segment first, then for all segments."""
    medoid = findings.portraits[code].medoid
    assert medoid is not None
    raw, columns, units = findings.customers.raw[medoid], findings.columns, findings.units
    found = []
    for j in typical_columns(raw, findings.profiles[code].significant, findings.strongest, columns):
        if columns.one_hot[j]:
            feature, _, level = units.label(j).rpartition(": ")
            found.append((feature or columns.feature[j], level))
        else:
            found.append((units.label(j), units.value(j, float(raw[j]), DIGITS)))
    return tuple(found)


def _apart(findings: Findings, code: int) -> str:
    portrait = findings.portraits[code]
    if portrait.nearest is None or portrait.separation is None or portrait.border is None:
        return ""
    how = next((text for least, text in _APART if portrait.separation >= least), "overlaps with")
    neighbour = findings.model.segments[portrait.nearest].name
    border = f"{portrait.border:.0%} of its customers are on the border"
    return f"{capital(how)} its nearest segment, {neighbour} ({border})."


def _treated(strategy: Strategy | None) -> str:
    if strategy is None:
        return ""
    return f"{decimal(strategy.control_share * 100)} % are left alone for comparison"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
