"""Segment cards: what a segment is, in the words of somebody who will write to its customers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from consumer.report.findings import Findings
from consumer.report.words import capital, decimal, joined, percent, sign, span, thousands
from online_model.model import DORMANT, UNCLASSIFIED
from online_model.portrait import telling, typical_columns
from online_model.strategy import DEFAULT, Strategy
from online_model.timeline import Trend

_FEATURES: Final = 6
#: Of those, so many make up the first sentence.
_LEADING: Final = 4
#: Mean place between border (0) and centre (1) from which on a segment stands so far apart.
_APART: Final = ((0.5, "stands clearly apart from"), (0.3, "stands apart from"), (0.15, "borders on"))
_RULES: Final = {
    DORMANT: "Silent for so long that there is nothing to describe. Whoever uses the line again is back.",
    UNCLASSIFIED: "Too little is known of these customers to say which segment they are in.",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that stands out: `words`, its `value` in the segment and the `usual` one, of all customers.

    `bar`: -100..100, standard deviations from everybody, 3 being the full length.
    """

    words: str
    value: str
    usual: str
    bar: float


@dataclass(frozen=True, slots=True)
class Card:
    """One segment. `colour`: its number in all figures, None for those without a place there.

    `reason`: why it has this strategy.
    """

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
    reason: str = ""


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
    places = _places(findings, code)[:_FEATURES]
    features = tuple(_feature(findings, code, j) for j in places)
    return Card(
        segment.id,
        segment.name,
        code,
        *parts,
        _headline(findings, code, places[:_LEADING]),
        _trend(findings.trend(segment.id)),
        features,
        _typical(findings, code),
        _apart(findings, code),
        strategy,
        _treated(strategy),
        _reason(findings, code, strategy),
    )


def _headline(findings: Findings, code: int, places: list[int]) -> str:
    """One sentence, what is compared before what most of them have."""
    more, mostly = _clauses(findings, code, places)
    clauses = [f"{joined(more)} than most"] if more else []
    clauses += [joined(mostly)] if mostly else []
    return f"They {', and '.join(clauses)}." if clauses else "Much like the average customer."


def _clauses(findings: Findings, code: int, places: Iterable[int]) -> tuple[list[str], list[str]]:
    """What columns say about a segment, in plain words: numbers, and categories."""
    profile, is_level = findings.profiles[code], findings.columns.one_hot
    words = {
        j: findings.units.compared(j, profile.deviation[j], profile.mean[j], is_plain=True) for j in places
    }
    return [w for j, w in words.items() if not is_level[j]], [w for j, w in words.items() if is_level[j]]


def _feature(findings: Findings, code: int, j: int) -> Feature:
    """The middle customer of the segment and of all; a share or a mean where the middle says nothing.

    Deviations are those of logarithms where a feature is skewed, which a few large values do not move: means
    may lie the other way.
    """
    units, deviation = findings.units, findings.profiles[code].deviation[j]
    own, usual = findings.profiles[code].median[j], float(findings.medians[j])
    who = "typical customer"
    if findings.columns.one_hot[j] or own is None or (own - usual) * deviation <= 0:
        own, usual = findings.profiles[code].mean[j], float(findings.means[j])
        who = "all customers" if findings.columns.one_hot[j] else "average customer"
    value = units.spoken(j, own) + (" on average" if who == "average customer" else "")
    return Feature(
        capital(units.compared(j, deviation, findings.profiles[code].mean[j])),
        value,
        f"{who}: {units.bare(j, usual)}",
        round(max(-100.0, min(100.0, deviation / 3 * 100)), 1),
    )


def _reason(findings: Findings, code: int, strategy: Strategy | None) -> str:
    """The rules that lead to a strategy, in the words of the card."""
    if strategy is None:
        return ""
    profile, columns = findings.profiles[code], findings.columns.name
    fitting = findings.strategies.fitting(profile, columns) or [DEFAULT]
    if strategy.id != fitting[0]:
        name = findings.strategies.get(fitting[0]).name
        return f"Chosen earlier and kept; today it would be “{name}”."
    if strategy.id == DEFAULT:
        return "No other strategy fits this segment."
    more, mostly = _clauses(
        findings, code, dict.fromkeys(columns.index(rule.column) for rule in strategy.when)
    )
    return f"Chosen because they {joined(more + mostly)}."


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
    change = sign(trend.now - trend.before).replace("points", "percentage points")
    return f"{trend.direction}: {change} in {span(trend.days)}"


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
            found.append((units.label(j), units.short(j, float(raw[j]))))
    return tuple(found)


def _apart(findings: Findings, code: int) -> str:
    portrait = findings.portraits[code]
    if portrait.nearest is None or portrait.separation is None or portrait.border is None:
        return ""
    how = next((text for least, text in _APART if portrait.separation >= least), "overlaps with")
    neighbour = findings.model.segments[portrait.nearest].name
    border = f"{percent(portrait.border, 0)} of these customers could as well be there"
    return f"{capital(how)} the nearest segment, “{neighbour}”; {border}."


def _treated(strategy: Strategy | None) -> str:
    if strategy is None:
        return ""
    return f"{decimal(strategy.control_share * 100)} % are left alone for comparison"
