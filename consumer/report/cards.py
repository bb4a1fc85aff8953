"""Segment cards: what a segment is, in the words of somebody who will write to its customers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from consumer.report.few import share_shown, share_words
from consumer.report.findings import Findings
from consumer.report.services import services_of
from consumer.report.standing_out import MOST, has_little, standing_out
from consumer.report.words import FAR, capital, decimal, is_far, joined, percent, sign, span, thousands
from online_model.model import DORMANT, UNCLASSIFIED, Profile
from online_model.portrait import middle_member
from online_model.strategy import DEFAULT, Strategy
from online_model.timeline import Trend

_FEATURES: Final = 5
#: Of those, so many make up the headline.
_LEADING: Final = 3
#: Facts of a specification that does not say which are to be on every card.
_FACTS: Final = 4
#: Bars beside a share that is not told have one of five lengths.
_COARSE: Final = 50.0
_RULES: Final = {
    DORMANT: "Silent for so long that there is nothing to describe. Whoever uses the line again is back.",
    UNCLASSIFIED: "Too little is known of these customers to say which segment they are in.",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that stands out: `words`, its `value` in the segment, and what is `usual`.

    `bar`: -100..100, standard deviations from everybody, 3 being the full length.
    """

    words: str
    value: str
    usual: str
    bar: float


@dataclass(frozen=True, slots=True)
class Card:
    """One segment. `colour`: its number in all figures, None for those without a place there.

    `facts`: of the typical customer, the same on every card; `services`: those that most have; `example`: one
    of its customers; `reason`: why it has this strategy.
    """

    id: str
    name: str
    colour: int | None
    size: str
    share: str
    headline: str
    trend: str
    features: tuple[Feature, ...] = ()
    facts: tuple[str, ...] = ()
    services: str = ""
    example: str = ""
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
    places = standing_out(findings, code)[:_FEATURES]
    return Card(
        segment.id,
        segment.name,
        code,
        *parts,
        _headline(findings, code, places),
        _trend(findings.trend(segment.id)),
        tuple(_feature(findings, code, j) for j in places),
        _facts(findings, code),
        services_of(findings, code),
        _example(findings, code, places),
        _apart(findings, code),
        strategy,
        _treated(strategy),
        _reason(findings, code, strategy),
    )


def reading_guide(findings: Findings) -> tuple[str, ...]:
    """What the numbers on the cards are, and where the customers are that are in no segment."""
    known = sum(findings.share(segment_id) or 0.0 for segment_id in findings.ids)
    rest = [
        f"{percent(share)} {words}"
        for segment_id, words in (
            (DORMANT, "are dormant"),
            (UNCLASSIFIED, "have too little data"),
            (None, "are not looked at yet"),
        )
        if (share := findings.share(segment_id))
    ]
    usual = joined(_usual_facts(findings))
    return (
        "Numbers are those of the typical customer, the one in the middle: half of the segment have more, "
        f"half less. “Usual” is the same number for all customers ({usual}). “Far” is at least twice as "
        "much, or at most half. Bars lead to the right for more than usual, to the left for less; they are "
        "long where a segment is unlike the others. Of features that say the same, only the one that stands "
        "out most is listed.",
        f"{percent(known)} of all customers are in a segment; {joined(rest)}."
        if rest
        else "Every customer is in a segment, but for groups of fewer than ten.",
    )


def _headline(findings: Findings, code: int, places: Sequence[int]) -> str:
    """A picture in a few words, in the order of what stands out: young, always online, active at night."""
    columns, profile = findings.columns, findings.profiles[code]
    little = has_little(findings, code, FAR)
    words = ["little use of the phone in every way"] if little else []
    for j in places:
        phrases = columns.phrases_of(j)
        if columns.one_hot[j]:
            words += [findings.units.fact(j, 1.0)] if (profile.mean[j] or 0.0) >= MOST else []
        elif j not in little:
            words.append(phrases.much if profile.deviation[j] > 0 else _little(findings, code, j))
    pictures = [word for word in words if word][:_LEADING]
    if any(columns.phrases_of(j).much or columns.phrases_of(j).little for j in range(columns.n)) and pictures:
        return f"{capital(', '.join(pictures))}."
    more, many = _clauses(findings, profile, places[:_LEADING])
    clauses = [f"they {joined(more)} than most"] if more else []
    return (
        f"{capital(', and '.join(clauses + many))}." if clauses + many else "Much like the average customer."
    )


def _little(findings: Findings, code: int, j: int) -> str:
    """Few add-ons; no add-ons, if the middle customer has none."""
    phrase = findings.columns.phrases_of(j).little
    is_none = findings.profiles[code].median[j] == 0 and not findings.units.is_share(j)
    return findings.units.bare(j, 0.0) if phrase and is_none else phrase


def _clauses(findings: Findings, profile: Profile, places: Iterable[int]) -> tuple[list[str], list[str]]:
    """What columns say in plain words: numbers (use more data), and categories (most are prepaid)."""
    is_level, units = findings.columns.one_hot, findings.units
    chosen = list(places)
    return (
        [units.compared(j, profile.deviation[j] > 0) for j in chosen if not is_level[j]],
        [units.counted(j, profile.mean[j] or 0.0, profile.deviation[j]) for j in chosen if is_level[j]],
    )


def _feature(findings: Findings, code: int, j: int) -> Feature:
    """The middle customer of the segment and of all; a share or a mean where the middle says nothing.

    Deviations are those of logarithms where a feature is skewed, which a few large values do not move: means
    may lie the other way.
    """
    units, profile = findings.units, findings.profiles[code]
    deviation = profile.deviation[j]
    bar = round(max(-100.0, min(100.0, deviation / 3 * 100)), 1)
    if findings.columns.one_hot[j]:
        share = profile.mean[j] or 0.0
        levels = findings.levels
        usual = f"usual: {levels.words(-1, j) or units.bare(j, float(findings.means[j]))}"
        if levels.is_beside_hidden(code, j):  # a bar of full precision is a share again
            bar = round(bar / _COARSE) * _COARSE
        return Feature(
            capital(units.counted(j, share, deviation)), _level_share(findings, code, j), usual, bar
        )
    own, of_all, kind = profile.median[j], float(findings.medians[j]), ""
    if own is None or (own - of_all) * deviation <= 0:
        own, of_all, kind = profile.mean[j] or 0.0, float(findings.means[j]), " on average"
    words = units.compared(j, deviation > 0, "far" if is_far(own, of_all) else "")
    return Feature(capital(words), units.spoken(j, own) + kind, units.usual(j, own, of_all) + kind, bar)


def _level_share(findings: Findings, code: int, j: int) -> str:
    """How many of a segment have a level of a category: per cent, or a word where that is hidden."""
    words = findings.levels.words(code, j)
    return words or findings.units.spoken(j, findings.profiles[code].mean[j])


def _facts(findings: Findings, code: int) -> tuple[str, ...]:
    """What every card states: who they are, which specifications have last, then what they use."""
    profile, columns, units = findings.profiles[code], findings.columns, findings.units
    found = []
    for j in _stated(findings):
        value = profile.mean[j] if columns.one_hot[j] else profile.median[j]
        if value is None or (columns.one_hot[j] and value < MOST):
            continue
        share = f" ({_level_share(findings, code, j)})" if columns.one_hot[j] else ""
        found.append(f"{units.fact(j, value)}{share}")
    return tuple(found)


def _usual_facts(findings: Findings) -> list[str]:
    return [
        findings.units.fact(j, float(findings.medians[j]))
        for j in _stated(findings)
        if not findings.columns.one_hot[j] and np.isfinite(findings.medians[j])
    ]


def _stated(findings: Findings) -> list[int]:
    columns = findings.columns
    always = [j for j in reversed(range(columns.n)) if columns.phrases_of(j).always]
    return always or findings.strongest[:_FACTS]


def _example(findings: Findings, code: int, places: Sequence[int]) -> str:
    """The customer nearest to the middle of what the card tells, without id and in rounded values.

    Of those who have every level that the card says most have; of all where nobody has all of them.
    """
    columns, units, mean = findings.columns, findings.units, findings.profiles[code].mean
    shown = dict.fromkeys([*_stated(findings), *places])
    numbers = [j for j in shown if not columns.one_hot[j]]
    levels = [j for j in shown if columns.one_hot[j] and (mean[j] or 0.0) >= MOST]
    members = np.flatnonzero(findings.codes == code)
    alike = members[(findings.customers.raw[members][:, levels] == 1.0).all(axis=1)]
    members = alike if alike.size else members
    row = findings.customers.raw[members[middle_member(findings.x[members][:, numbers])]]
    told = [j for j in shown if (row[j] == 1.0 if columns.one_hot[j] else np.isfinite(row[j]))]
    return f"For example: {', '.join(units.fact(j, float(row[j])) for j in told)}." if told else ""


def _reason(findings: Findings, code: int, strategy: Strategy | None) -> str:
    """The rules that lead to a strategy, in the words of the card.

    Strategies are bound by the profile of the fit, which leaves out the dormant; who is there now may differ.
    """
    profile, columns = findings.model.segments[code].profile, findings.columns.name
    if strategy is None or profile is None:
        return ""
    fitting = findings.strategies.fitting(profile, columns) or [DEFAULT]
    if strategy.id != fitting[0]:
        name = findings.strategies.get(fitting[0]).name
        return f"Chosen earlier and kept; by the last fit of the segments it would be “{name}”."
    if strategy.id == DEFAULT:
        return "No other strategy fits this segment."
    rules = dict.fromkeys(columns.index(rule.column) for rule in strategy.when)
    more, many = _clauses(findings, profile, rules)
    clauses = [f"they {joined(more)}"] if more else []
    return f"Chosen because {' and '.join(clauses + many)}."


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


def _apart(findings: Findings, code: int) -> str:
    portrait = findings.portraits[code]
    if portrait.nearest is None or portrait.separation is None or portrait.border is None:
        return ""
    neighbour = findings.model.segments[portrait.nearest].name
    n = portrait.members
    how_many = percent(portrait.border, 0)
    if share_shown(portrait.border, n) is None:
        how_many = share_words(round(portrait.border * n), n).replace("<10", "fewer than ten")
    return f"Closest to: “{neighbour}”; {how_many} of these customers are nearly as close to it."


def _treated(strategy: Strategy | None) -> str:
    if strategy is None:
        return ""
    return f"{decimal(strategy.control_share * 100)} % are left alone for comparison"
