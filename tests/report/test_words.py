"""Values and comparisons as a card says them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from msgspec import structs

from consumer.report.cards import make_cards
from consumer.report.standing_out import is_of_use
from consumer.report.tables import strategies
from consumer.report.words import Units, is_far, joined, named, sign
from online_model.catalog import Population, make_profiles
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
    ("column", "value", "spoken", "bare", "fact"),
    [
        ("data_mb_30d", 12_345.0, "12 GB a month", "12 GB", "12 GB a month"),
        ("data_mb_30d", 112.3, "110 MB a month", "110 MB", "110 MB a month"),
        ("sms_30d", 152.0, "150 texts a month", "150 texts", "150 texts a month"),
        ("sms_30d", 1.04, "1 text a month", "1 text", "1 text a month"),
        ("topup_count_30d", 0.02, "no top-ups a month", "no top-ups", "no top-ups a month"),
        ("mou_30d", 35.7, "36 minutes a month", "36 minutes", "36 minutes a month on the phone"),
        ("night_share_28d", 0.248, "25 % of what they do", "25 %", "25 % at night"),
        (
            "roaming_share_28d",
            0.003,
            "less than 1 % of what they do",
            "less than 1 %",
            "less than 1 % abroad",
        ),
        ("voice_share_28d", 0.0, "0 % of their calls, texts and data sessions", "0 %", "0 % calls"),
        ("tenure_days", 2610.0, "7 years", "7 years", "with us for 7 years"),
        ("tenure_days", 430.0, "about a year", "about a year", "with us for about a year"),
        ("tenure_days", 300.0, "10 months", "10 months", "with us for 10 months"),
        ("tenure_days", 20.0, "20 days", "20 days", "with us for 20 days"),
        ("tenure_days", 1.2, "1 day", "1 day", "with us for 1 day"),
        ("income", 26_149.0, "26,000 EUR a year", "26,000 EUR", "earning 26,000 EUR a year"),
        (
            "care_contacts_90d",
            2.0,
            "2 contacts per 90 days",
            "2 contacts",
            "2 contacts per 90 days with support",
        ),
        ("service_count", 1.0, "1 add-on", "1 add-on", "1 add-on"),
        ("service_count", 0.0, "no add-ons", "no add-ons", "no add-ons"),
        ("revenue_30d", 0.0, "0 EUR a month", "0 EUR", "spending 0 EUR a month"),
        ("age", 39.2, "39 years", "39 years", "39 years old"),
        ("line_type=prepaid", 0.93, "93 %", "93 %", "prepaid"),
        ("age", float("nan"), "unknown", "unknown", "unknown old"),
    ],
)
def test_values_are_rounded_and_in_units_of_people(
    column: str, value: float, spoken: str, bare: str, fact: str
) -> None:
    """Two digits, whole months and years, one of a thing, and what a share is of."""
    j = place(column)
    assert (UNITS.spoken(j, value), UNITS.bare(j, value), UNITS.fact(j, value)) == (spoken, bare, fact)


@pytest.mark.parametrize(
    ("column", "own", "usual", "words"),
    [
        ("data_mb_30d", 33_000.0, 2800.0, "12 times the usual 2.8 GB"),
        ("data_mb_30d", 5600.0, 2800.0, "twice the usual 2.8 GB"),
        ("data_mb_30d", 5500.0, 2800.0, "usual: 2.8 GB"),
        ("mou_30d", 38.0, 75.0, "usual: 75 minutes"),
        ("mou_30d", 36.0, 75.0, "half of the usual 75 minutes"),
        ("mou_30d", 14.0, 75.0, "a fifth of the usual 75 minutes"),
        ("mou_30d", 2.0, 75.0, "less than a tenth of the usual 75 minutes"),
        ("mou_30d", 0.0, 75.0, "usual: 75 minutes"),
        ("topup_count_30d", 8.0, 0.0, "usual: none"),
        ("service_count", 6.0, 2.0, "usual: 2 add-ons"),
        ("night_share_28d", 0.25, 0.11, "usual: 11 %"),
        ("income", 78_000.0, 26_000.0, "3 times the usual 26,000 EUR"),
    ],
)
def test_what_is_usual_stands_beside(column: str, own: float, usual: float, words: str) -> None:
    """Of amounts as a multiple or a part from twice or half on, as they are rounded themselves."""
    assert UNITS.usual(place(column), own, usual) == words


@pytest.mark.parametrize(
    ("own", "usual", "far"),
    [
        (2.0, 1.0, True),
        (1.99, 1.0, False),
        (1.0, 2.0, True),
        (1.01, 2.0, False),
        (1.0, 0.0, True),
        (0.0, 0.0, False),
    ],
)
def test_far_is_twice_or_half(own: float, usual: float, far: bool) -> None:
    """One rule for all numbers, which the page tells."""
    assert is_far(own, usual) == far


def test_comparisons_are_sentences() -> None:
    """Of the specification's words."""
    assert UNITS.compared(place("data_mb_30d"), True) == "use more data"
    assert UNITS.compared(place("age"), False, "far") == "are far younger"
    assert UNITS.compared(place("sms_30d"), False, "far") == "send far fewer texts"


@pytest.mark.parametrize(
    ("column", "share", "deviation", "words"),
    [
        ("line_type=prepaid", 0.996, 1.0, "all are prepaid"),
        ("line_type=prepaid", 0.93, 1.0, "nearly all are prepaid"),
        ("contract=two-year", 0.6, 0.7, "most have a two-year contract"),
        ("contract=two-year", 0.4, 0.5, "more than usual have a two-year contract"),
        ("line_type=prepaid", 0.6, -0.5, "fewer than usual are prepaid"),
        ("line_type=prepaid", 0.1, -1.0, "few are prepaid"),
    ],
)
def test_levels_are_counted(column: str, share: float, deviation: float, words: str) -> None:
    """How many have one."""
    assert UNITS.counted(place(column), share, deviation) == words


def test_services_are_spelt_as_people_do() -> None:
    """From the names in events."""
    assert [named(name) for name in ("tv", "sms-flat", "family_sharing")] == [
        "TV",
        "SMS flat",
        "family sharing",
    ]


def test_without_words_labels_do() -> None:
    """Of a specification that has none."""
    units = Units(replace(UNITS.columns, phrases=()), "EUR")
    assert units.compared(place("age"), True, "far") == "have far higher age"
    assert units.counted(place("contract=two-year"), 0.8, 1.6) == "most are two-year"
    assert units.fact(place("age"), 50.0) == "age 50 years"
    assert units.fact(place("contract=two-year"), 1.0) == "two-year"
    assert units.spoken(place("voice_share_28d"), 0.5) == "50 % of activity"


def test_every_column_has_words() -> None:
    """The default specification leaves no sentence to the labels."""
    for j, name in enumerate(UNITS.columns.name):
        phrases = UNITS.columns.phrases_of(j)
        assert phrases.more, name
        assert phrases.less or UNITS.columns.one_hot[j], name
        assert phrases.fact or name == "days_late_90d" or name == "days_since_last_activity", name


def test_little_use_is_of_the_phone() -> None:
    """Little is said of data, calls and messages only; few bills are no little use."""
    found = {name for j, name in enumerate(UNITS.columns.name) if is_of_use(UNITS.columns, j)}
    shares = {"voice_share_28d", "data_share_28d"}
    assert found == {"data_mb_30d", "mou_30d", "sms_30d"} | shares
    assert not is_of_use(replace(UNITS.columns, kinds=()), 0)


def test_verbs_are_not_repeated() -> None:
    """Have a and b, are c."""
    assert joined(["use more data"]) == "use more data"
    assert joined(["have a", "have b", "are c", "are d"]) == "have a, b, are c and d"
    assert sign(-0.016) == "\N{MINUS SIGN}1.6 points"


def test_where_the_middle_says_nothing_the_average_does(month: Month) -> None:
    """Of what most have none of, on both sides."""
    findings, j = with_few(month, 1000), place("care_contacts_90d")
    own = findings.profiles[0]
    mean, median, deviation = list(own.mean), list(own.median), list(own.deviation)
    mean[j], median[j], deviation[j] = 0.8, 0.0, 2.0
    changed = msgspec.structs.replace(
        own, mean=mean, median=median, deviation=deviation, significant=[UNITS.columns.name[j]]
    )
    means, medians = findings.means.copy(), findings.medians.copy()
    means[j], medians[j] = 0.2, 0.0
    profiles = [changed, *findings.profiles[1:]]
    cards = make_cards(replace(findings, profiles=profiles, means=means, medians=medians))
    (card,) = [card for card in cards if card.colour == 0]
    (feature,) = card.features
    assert feature.words == "Contact support far more often"
    assert feature.value == "0.8 contacts per 90 days on average"
    assert feature.usual == "4 times the usual 0.2 contacts on average"
    assert card.headline == "Often in contact with support."


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
    assert reason(file, chosen.id).startswith("Chosen because ")
    for other in ("newcomers", "default"):
        assert (
            reason(file, other)
            == f"Chosen earlier and kept; by the last fit of the segments it would be “{chosen.name}”."
        )
    assert reason(fixed, "default") == "No other strategy fits this segment."


def test_reasons_are_those_of_the_fit(month: Month) -> None:
    """Also where the customers of now, with the dormant among them, are unlike those that it was made of."""
    findings = with_few(month, 1000)
    turned = [structs.replace(p, deviation=[-d for d in p.deviation]) for p in findings.profiles]
    changed = replace(findings, profiles=turned)
    profile = findings.model.segments[0].profile
    assert profile is not None
    fitted = findings.strategies.fitting(profile, findings.columns.name)
    assert fitted
    assert fitted != findings.strategies.fitting(turned[0], findings.columns.name)
    assert [card.reason for card in make_cards(changed)] == [card.reason for card in make_cards(findings)]
    assert strategies(changed) == strategies(findings)


def test_late_payments_have_words() -> None:
    """Of days, of none, and beside what is usual."""
    j = UNITS.columns.name.index("days_late_90d")
    assert UNITS.fact(j, 3.0) == "paying bills 3 days late"
    assert UNITS.fact(j, 1.0) == "paying bills 1 day late"
    assert UNITS.fact(j, 0.0) == "paying bills on time"
    assert UNITS.usual(j, 3.0, 0.0) == "usual: on time"
    assert UNITS.bare(j, 0.42) == "0.42 days late"


def test_the_example_has_what_most_have(month: Month) -> None:
    """The one in the middle of the numbers has another contract and another line; it is not the example."""
    findings = with_few(month, 1000)
    columns, code = findings.columns, 1
    names = ("line_type=prepaid", "line_type=postpaid", "contract=month-to-month", "contract=one-year")
    prepaid, postpaid, monthly, yearly = (columns.name.index(name) for name in names)
    levels = [j for j in range(columns.n) if columns.feature[j] in ("line_type", "contract")]
    members = np.flatnonzero(findings.codes == code)
    few = members[:: len(members) // 8][:4]

    def with_middle(*held: int) -> str:
        """The example where most are prepaid by the month, and the four in the middle have what is `held`."""
        raw, x = findings.customers.raw.copy(), findings.x.copy()
        for rows, own in ((members, (prepaid, monthly)), (few, held)):
            for level in levels:
                raw[rows, level] = float(level in own)
        x[few] = np.nanmedian(x[members], axis=0)
        raw[few, columns.name.index("age")] = 77.0
        population = Population(raw, x, findings.codes)
        profiles = make_profiles(population, columns, findings.model.centroids, findings.ids)
        customers = replace(findings.customers, raw=raw)
        cards = make_cards(replace(findings, customers=customers, x=x, profiles=profiles))
        (card,) = [card for card in cards if card.colour == code]
        return card.example

    assert "77 years old" in with_middle(prepaid, monthly)
    for held in ((postpaid, yearly), (prepaid, yearly), (postpaid, monthly)):
        example = with_middle(*held)
        assert "77 years old" not in example
        assert "prepaid" in example
        assert "month-to-month contract" in example
