"""What marketing can do with the segments of a simulated month: tell who they are, and what fits them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest

from consumer.models.files import load_strategies
from consumer.report.cards import Card, make_cards
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
#: What a reader with `PERSONAS` at hand looks for in a card; "…" stands for how much.
LOOKS_FOR: Final = {
    "data_heavy_young": ("are … younger", "use … more data", "go online … more often"),
    "voice_traditional": ("are … older", "turn to calls … more often", "talk … more on the phone"),
    "business_traveller": ("earn … more", "use the phone abroad … more", "are … less active at weekends"),
    "light_prepaid": ("are mostly prepaid", "use … less data", "send … fewer texts"),
    "family_bundle": ("have … more services", "spend … more", "rarely have a month-to-month contract"),
    "night_streamer": ("are … more active at night", "use … more data", "talk … less on the phone"),
    "texter": ("send … more texts", "are … younger", "earn … less"),
    "international_caller": (
        "call other countries … more often",
        "top up … more often",
        "are mostly prepaid",
    ),
}


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
    lines = [line.lower() for line in re.findall(r"^- ([^:]+):", text, re.MULTILINE)]
    scores = {}
    for persona, signs in LOOKS_FOR.items():
        patterns = [re.compile(re.escape(sign).replace("…", r"\w+")) for sign in signs]
        scores[persona] = sum(
            len(lines) - place
            for pattern in patterns
            for place, line in enumerate(lines)
            if pattern.fullmatch(line)
        )
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
            assert re.fullmatch(r"Chosen because they .+\.", card.reason)
    used = set(simulated.findings.model.strategies.values())
    (table,) = [t for t in simulated.document.tables if t.name == "strategies"]
    listed = table.note.partition("Of no segment: ")[2].removesuffix(".").split(", ")
    chosen = [s for s in load_strategies(None).strategies if s.when]
    assert listed == [strategy.name for strategy in chosen if strategy.id not in used]


def test_a_reader_can_be_wrong() -> None:
    """The reader of these tests reads: of other words it thinks of others."""
    assert read("- Send far more texts: 300 (x)\n- Earn clearly less: 1 (x)") == "texter"
    assert read("- Have far more services: 6 (x)\n- Spend clearly more: 1 (x)") == "family_bundle"
    assert read("- Use somewhat less data: 1 MB (x)") == "light_prepaid"


def test_homes_by_hand() -> None:
    """A persona's home has most of its customers, and is clearly its own."""
    segments = pd.Series(["s1", "s1", "s1", "s2", "s2", "s2", "s2"])
    personas = pd.Series(["a", "a", "b", "b", "b", "a", "c"])
    assert homes(segments, personas) == {"s1": "a"}
