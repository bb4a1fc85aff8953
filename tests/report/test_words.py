"""Values and comparisons as a card says them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer.report.cards import make_cards
from consumer.report.words import Units, joined, sign
from online_model.compile_plan import compile_plan
from online_model.spec import default_spec
from online_model.strategy import StrategyFile
from tests.report.conftest import Month
from tests.report.test_small_groups import with_few

UNITS = Units(compile_plan(default_spec()).columns, "EUR")


def place(column: str) -> int:
    """Of a column by its name."""
    return UNITS.columns.name.index(column)


@pytest.mark.parametrize(
    ("column", "value", "spoken", "bare", "short"),
    [
        ("data_mb_30d", 12_345.0, "12 GB a month", "12 GB", "12 GB a month"),
        ("data_mb_30d", 112.3, "110 MB a month", "110 MB", "110 MB a month"),
        ("sms_30d", 152.0, "150 messages a month", "150 messages", "150 a month"),
        ("sms_30d", 1.04, "1 message a month", "1 message", "1 a month"),
        ("topup_count_30d", 0.02, "no top-ups a month", "no top-ups", "none"),
        ("mou_30d", 35.7, "36 minutes a month", "36 minutes", "36 a month"),
        ("night_share_28d", 0.248, "25 % of activity", "25 %", "25 % of activity"),
        (
            "roaming_share_28d",
            0.003,
            "less than 1 % of activity",
            "less than 1 %",
            "less than 1 % of activity",
        ),
        ("roaming_share_28d", 0.0, "0 % of activity", "0 %", "0 % of activity"),
        ("tenure_days", 2610.0, "7.1 years", "7.1 years", "7.1 years"),
        ("tenure_days", 300.0, "9.9 months", "9.9 months", "9.9 months"),
        ("tenure_days", 20.0, "20 days", "20 days", "20 days"),
        ("income", 26_149.0, "26,000 EUR per year", "26,000 EUR", "26,000 EUR per year"),
        ("service_count", 1.0, "1 service", "1 service", "1"),
        ("service_count", 0.0, "no services", "no services", "none"),
        ("age", 39.2, "39 years", "39 years", "39 years"),
        ("line_type=prepaid", 0.93, "93 %", "93 %", "93 %"),
        ("age", float("nan"), "unknown", "unknown", "unknown"),
    ],
)
def test_values_are_rounded_and_in_units_of_people(
    column: str, value: float, spoken: str, bare: str, short: str
) -> None:
    """Two digits, months and years, one of a thing, and nothing that the label says already."""
    j = place(column)
    assert (UNITS.spoken(j, value), UNITS.bare(j, value), UNITS.short(j, value)) == (spoken, bare, short)


@pytest.mark.parametrize(
    ("column", "deviation", "mean", "words", "plain"),
    [
        ("data_mb_30d", 1.6, 1.0, "use far more data", "use more data"),
        ("age", -0.9, 1.0, "are clearly younger", "are younger"),
        ("night_share_28d", 0.5, 1.0, "are somewhat more active at night", "are more active at night"),
        ("line_type=prepaid", 1.0, 0.9, "are mostly prepaid", "are mostly prepaid"),
        ("line_type=prepaid", -1.0, 0.1, "are rarely prepaid", "are rarely prepaid"),
        ("line_type=prepaid", -0.5, 0.3, "are less often prepaid", "are less often prepaid"),
        (
            *("contract=two-year", 0.5, 0.4),
            *("more often have a two-year contract", "more often have a two-year contract"),
        ),
    ],
)
def test_comparisons_are_sentences(
    column: str, deviation: float, mean: float, words: str, plain: str
) -> None:
    """Of the specification's words, with an adverb for how much."""
    assert UNITS.compared(place(column), deviation, mean) == words
    assert UNITS.compared(place(column), deviation, mean, is_plain=True) == plain


def test_without_words_labels_do() -> None:
    """Of a specification that has none."""
    units = Units(replace(UNITS.columns, phrases=()), "EUR")
    assert units.compared(place("age"), 1.6, 50.0) == "have far higher age"
    assert units.compared(place("contract=two-year"), 1.6, 0.9) == "are mostly two-year"


def test_every_column_has_words() -> None:
    """The default specification leaves no sentence to the labels."""
    for j, name in enumerate(UNITS.columns.name):
        phrases = UNITS.columns.phrases_of(j)
        assert phrases.more, name
        assert phrases.less or UNITS.columns.one_hot[j], name


def test_verbs_are_not_repeated() -> None:
    """Have a and b, are c."""
    assert joined(["use more data"]) == "use more data"
    assert joined(["have a", "have b", "are c", "are d"]) == "have a, b, are c and d"
    assert sign(-0.016) == "\N{MINUS SIGN}1.6 points"


def test_a_card_says_where_its_strategy_comes_from(month: Month) -> None:
    """From a rule, from before although another one would be chosen now, or from nothing that fits."""
    findings = with_few(month, 1000)

    def reason(strategies: StrategyFile, strategy: str) -> str:
        bound = replace(findings.model, strategies={**findings.model.strategies, "s1": strategy})
        changed = replace(findings, models=[*findings.models[:-1], bound], strategies=strategies)
        (card,) = [card for card in make_cards(changed) if card.id == "s1"]
        return card.reason

    file = findings.strategies
    chosen = file.get(findings.model.strategies["s1"])
    fixed = StrategyFile(strategies=tuple(s for s in file.strategies if not s.when))
    assert reason(file, chosen.id).startswith("Chosen because they ")
    for other in ("newcomers", "default"):
        assert reason(file, other) == f"Chosen earlier and kept; today it would be “{chosen.name}”."
    assert reason(fixed, "default") == "No other strategy fits this segment."
