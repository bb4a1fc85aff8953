"""What marketing can do with the segments of a simulated month: tell who they are, and what fits them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest

from consumer.models.files import load_strategies
from consumer.report.cards import Card, make_cards, reading_guide
from consumer.report.document import make_document
from consumer.report.findings import Findings
from consumer.report.report import findings_of
from consumer.simulator import Simulation, SimulationSettings, write_ndjson
from tests.replay.simulated import Replayed, replay
from tests.report.blind import PERSONAS, blind, homes, options_of

SEEDS: Final = (1, 2, 3)

#: The strategy of the default file that is made for each persona.
MADE_FOR: Final = {
    "data_heavy_young": "heavy-data",
    "voice_traditional": "voice-traditionalists",
    "business_traveller": "roaming-business",
    "light_prepaid": "light-prepaid",
    "family_bundle": "family-bundle",
    "night_streamer": "heavy-data-night",
    "texter": "texters",
    "international_caller": "international-callers",
}
#: What a reader with `PERSONAS` at hand looks for in a card.
LOOKS_FOR: Final = {
    "data_heavy_young": ("are younger", "use more data", "go online more often"),
    "voice_traditional": ("are older", "rely more on calls", "talk more on the phone"),
    "business_traveller": ("earn more", "use the phone abroad more", "are less active at weekends"),
    "light_prepaid": ("are prepaid", "use less data", "send fewer texts"),
    "family_bundle": ("have more add-ons", "spend more", "have a two-year contract"),
    "night_streamer": ("are more active at night", "use more data", "talk less on the phone"),
    "texter": ("send more texts", "are younger", "earn less"),
    "international_caller": ("call other countries more often", "top up more often", "are prepaid"),
}
#: How much, and how many.
DEGREES: Final = re.compile(r"\bfar |^(all|nearly all|most) ")


class SimulatedMonth:
    """A month replayed with the defaults: the findings of its report, and the persona of each segment."""

    def __init__(self, folder: Path, seed: int) -> None:
        simulation = Simulation(SimulationSettings(customers=900, days=35, seed=seed, activity=0.4))
        write_ndjson(simulation, folder / "events.ndjson")
        replayed: Replayed = replay(folder / "events.ndjson", folder / "out")
        truth = simulation.truth.customers.set_index("customer_id")["persona_after"]
        self.folder = replayed.folder
        self.findings: Findings = findings_of(options_of(replayed.folder))
        self.personas: dict[str, str] = homes(replayed.customers["segment_id"], truth)
        self.cards: list[Card] = make_cards(self.findings)
        self.document = make_document(self.findings, "A month", 0)


@pytest.fixture(scope="module", params=SEEDS)
def simulated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimulatedMonth:
    """Of one seed."""
    return SimulatedMonth(tmp_path_factory.mktemp("simulated"), request.param)


def read(text: str) -> str:
    """The persona a simple reader takes a card for: what it looks for counts more the higher up it stands."""
    lines = [DEGREES.sub("", line.lower()) for line in re.findall(r"^- ([^:]+):", text, re.MULTILINE)]
    scores = {}
    for persona, signs in LOOKS_FOR.items():
        scores[persona] = sum(len(lines) - place for place, line in enumerate(lines) if line in signs)
    return max(scores, key=lambda persona: scores[persona])


def test_a_reader_recognises_the_personas(simulated: SimulatedMonth) -> None:
    """By the words of the cards alone, without their names: at least five of six."""
    made = blind(simulated.cards, simulated.personas, np.random.default_rng(1))
    assert len(made.key) >= 6
    right = [letter for letter, text in made.texts.items() if read(text) == made.key[letter]]
    assert len(right) / len(made.key) >= 5 / 6


def test_a_blind_card_gives_nothing_away(simulated: SimulatedMonth) -> None:
    """No name, no strategy and no id is left, and nothing else is missing."""
    made = blind(simulated.cards, simulated.personas, np.random.default_rng(1))
    for text in made.texts.values():
        for card in simulated.cards:
            assert card.name not in text
            assert card.strategy is None or card.strategy.name not in text
        assert not re.search(r"\bs\d+\b|“", text)
        (card,) = [card for card in simulated.cards if card.headline in text and card.size in text]
        assert all(f"- {feature.words}: {feature.value}" in text for feature in card.features)


def test_personas_get_the_strategy_that_is_made_for_them(simulated: SimulatedMonth) -> None:
    """Every segment that is a persona's home, with the default number of segments."""
    bound = simulated.findings.model.strategies
    expected = {segment: MADE_FOR[persona] for segment, persona in simulated.personas.items()}
    assert {segment: bound[segment] for segment in expected} == expected
    assert set(PERSONAS) == set(MADE_FOR) == set(LOOKS_FOR)


#: Of each pair of sentences a card has one at most: they would say the same.
SAYING_THE_SAME: Final = (
    ("on calls", "on the phone"),
    ("on calls", "online"),
    ("online", "more data"),
    ("prepaid", "top up"),
    ("prepaid", "month-to-month"),
)
#: Of what the simulator sells to most of a persona, and to few others.
SOLD: Final = {
    "voice_traditional": ("voice flat",),
    "business_traveller": ("roaming pass",),
    "family_bundle": ("family sharing", "TV", "fixed internet"),
    "texter": ("SMS flat",),
    "international_caller": ("international pass",),
}


def test_sentences_of_a_card_tell_different_things(simulated: SimulatedMonth) -> None:
    """And there are at least three of them, of which none says what few have."""
    for card in simulated.cards:
        words = [feature.words.lower() for feature in card.features]
        assert len(words) >= 3 or card.colour is None
        for one, other in SAYING_THE_SAME:
            assert not (any(one in w for w in words) and any(other in w for w in words)), words
        assert not [w for w in words if w.startswith("few")]


def test_services_are_named(simulated: SimulatedMonth) -> None:
    """Those of each persona, by name and share."""
    homes = {persona: segment for segment, persona in simulated.personas.items()}
    told = {card.id: card.services for card in simulated.cards}
    assert len(homes.keys() & SOLD.keys()) >= 4
    for persona in homes.keys() & SOLD.keys():
        for service in SOLD[persona]:
            assert re.search(rf"(^Most have: |, ){service} \((\d\d %|nearly all)\)", told[homes[persona]]), (
                told
            )
    if "light_prepaid" in homes:
        assert told[homes["light_prepaid"]].startswith("No service that most have;")


def test_numbers_of_a_card_are_medians(simulated: SimulatedMonth) -> None:
    """On both sides, and the same ones on every card."""
    table = pd.read_parquet(simulated.folder / "customers.parquet").set_index("segment_id")
    usual = table["raw_sms_30d"].median()
    for card in simulated.cards:
        if card.colour is None:
            continue
        own = table.loc[card.id]
        facts = [own["raw_age"].median(), own["raw_revenue_30d"].median(), own["raw_sms_30d"].median()]
        found = [next(f for f in card.facts if w in f) for w in ("old", "EUR", "texts")]
        shown = [float(re.sub(r"^no ", "0 ", text).removeprefix("spending ").split()[0]) for text in found]
        assert shown == pytest.approx(facts, rel=0.05, abs=0.06)
        for feature in card.features:
            if "texts" in feature.words:
                assert float(feature.value.split()[0]) == pytest.approx(facts[2], rel=0.05)
                assert float(re.findall(r"[\d.]+(?= texts)", feature.usual)[0]) == pytest.approx(
                    usual, rel=0.05
                )
                assert feature.words.startswith("Send far") == (not usual / 2 < facts[2] < usual * 2)


def test_headlines_are_pictures(simulated: SimulatedMonth) -> None:
    """Without comparisons; of the light ones the first thing is that they are light."""
    for card in simulated.cards:
        if card.colour is not None:
            assert not re.search(r"\b(more|less|than|mostly)\b", card.headline)
            assert 1 <= card.headline.count(", ") <= 2
        is_light = simulated.personas.get(card.id) == "light_prepaid"
        assert card.headline.startswith("Little use of the phone in every way, prepaid") == is_light


def test_the_guide_tells_where_the_rest_is(simulated: SimulatedMonth) -> None:
    """Shares of the segments and of those without one add up; who is fewer than ten is not told."""
    findings = simulated.findings
    rest = Counter({"dormant": 60, "unclassified": 30, None: 5})
    customers = replace(
        findings.customers,
        by_segment=findings.customers.by_segment + rest,
        total=findings.customers.total + rest.total(),
    )
    changed = replace(findings, customers=customers)
    sentence = reading_guide(changed)[-1]
    shares = [float(share) for share in re.findall(r"([\d.]+) %", sentence)]
    assert sum(shares) == pytest.approx(100.0, abs=0.2)
    assert re.fullmatch(
        r"[\d.]+ % of all .+; [\d.]+ % are dormant and [\d.]+ % have too little data.", sentence
    )
    cards = make_cards(changed)
    on_cards = sum(float(card.share.split()[0]) for card in cards if card.colour is not None)
    assert on_cards == pytest.approx(shares[0], abs=0.5)


def test_names_are_short_and_of_no_statistics(simulated: SimulatedMonth) -> None:
    """At most five words, and none of those that only analysts use."""
    names = [segment.name for segment in simulated.findings.model.segments]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name.split()) <= 5, name
        assert not re.search(r"(^| )(high|low|very|share) ", name.lower()), name


def test_a_card_says_why_its_strategy_was_chosen(simulated: SimulatedMonth) -> None:
    """By its rules; the strategies that no segment has are listed with the table."""
    for card in simulated.cards:
        if card.id in simulated.personas:
            assert re.fullmatch(r"Chosen because .+\.", card.reason)
    used = set(simulated.findings.model.strategies.values())
    (table,) = [t for t in simulated.document.tables if t.name == "strategies"]
    listed = table.note.partition("Of no segment: ")[2].removesuffix(".").split(", ")
    chosen = [s for s in load_strategies(None).strategies if s.when]
    assert listed == [strategy.name for strategy in chosen if strategy.id not in used]


def test_a_reader_can_be_wrong() -> None:
    """The reader of these tests reads: of other words it thinks of others."""
    assert read("- Send far more texts: 300 (x)\n- Earn less: 1 (x)") == "texter"
    assert read("- Have far more add-ons: 6 (x)\n- Spend more: 1 (x)") == "family_bundle"
    assert read("- Nearly all are prepaid: 95 % (x)\n- Use less data: 1 MB (x)") == "light_prepaid"


def test_homes_by_hand() -> None:
    """A persona's home has most of its customers, and is clearly its own."""
    segments = pd.Series(["s1", "s1", "s1", "s2", "s2", "s2", "s2"])
    personas = pd.Series(["a", "a", "b", "b", "b", "a", "c"])
    assert homes(segments, personas) == {"s1": "a"}
