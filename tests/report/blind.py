"""The blind test of the cards: what a reader sees of them without names, and who might be meant.

    python -m tests.report.blind --replay DIR --truth FILE --out FOLDER

writes `cards.md` (the cards of the segments in shuffled order, without name, strategy or neighbour),
`personas.md` (one line per planted persona, shuffled) and `key.json`, which the reader must not see. A reader
writes down a persona for each card; five of six right is what the report promises.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from consumer.config_sources import load_config
from consumer.options import ReportOptions
from consumer.report.cards import Card, make_cards, reading_guide
from consumer.report.report import findings_of
from consumer.simulator.truth import Truth

#: The planted personas as somebody would tell a colleague about them, written from what the simulator plants.
PERSONAS: Final = {
    "data_heavy_young": "In their twenties, always on the mobile internet, on an unlimited plan.",
    "voice_traditional": "Pensioners who have had the same phone plan for years and mostly phone, by day.",
    "business_traveller": "Well-paid people whose phone works during the week, at home and on trips abroad.",
    "light_prepaid": "People who buy credit now and then and hardly use their phone.",
    "family_bundle": "Parents with everything from one company: mobile, internet at home, television.",
    "night_streamer": "People who watch films on the mobile network after midnight.",
    "texter": "Students with little money who write messages all day.",
    "international_caller": "Migrants who buy credit often and phone their families in other countries.",
}
#: The share of a segment that a persona has to have, for the segment to be that persona's.
MAJORITY: Final = 0.6


@dataclass(frozen=True)
class Blind:
    """`texts`: cards without names by letter; `key`: the persona of each; both in shuffled order.

    `guide`: what the page says before its cards.
    """

    texts: dict[str, str]
    key: dict[str, str]
    guide: tuple[str, ...] = ()


def text_of(card: Card) -> str:
    """What the page shows of a card, without its name, its strategy and the name of its neighbour."""
    lines = [
        " ".join(filter(None, [f"{card.size},", card.share, card.trend])),
        card.headline,
        f"The typical customer: {', '.join(card.facts)}.",
        "What stands out:",
    ]
    lines += [f"- {feature.words}: {feature.value} ({feature.usual})" for feature in card.features]
    lines.append(re.sub(r" to: “[^”]*”", " to another segment", card.apart))
    return "\n".join(filter(None, [*lines, card.services, card.example]))


def homes(segments: pd.Series[str], personas: pd.Series[str]) -> dict[str, str]:
    """The persona of each segment that has one: a clear majority there, and most of its customers are there.

    `segments`, `personas`: by customer.
    """
    both = pd.DataFrame({"segment": segments, "persona": personas}).dropna()
    counts = pd.crosstab(both["segment"], both["persona"])
    found = {}
    for persona in counts.columns:
        segment = str(counts[persona].idxmax())
        if counts.loc[segment, persona] > MAJORITY * counts.loc[segment].sum():
            found[segment] = str(persona)
    return found


def blind(cards: list[Card], persona_of: dict[str, str], rng: np.random.Generator) -> Blind:
    """The cards of the segments that have a persona, in the order that `rng` gives."""
    known = [card for card in cards if card.id in persona_of]
    order = rng.permutation(len(known))
    letters = {chr(ord("A") + place): known[row] for place, row in enumerate(order)}
    return Blind(
        {letter: text_of(card) for letter, card in letters.items()},
        {letter: persona_of[card.id] for letter, card in letters.items()},
    )


def options_of(folder: Path) -> ReportOptions:
    """A report of the replay in `folder`, with the default settings."""
    return ReportOptions(load_config(None, {}, {}), folder / "page.html", replay=folder)


def of_replay(folder: Path, truth: pd.Series[str], seed: int) -> Blind:
    """The cards of a replay; `truth`: the persona by customer."""
    findings = findings_of(options_of(folder))
    table = pd.read_parquet(folder / "customers.parquet").set_index("customer_id")
    cards = make_cards(findings)
    made = blind(cards, homes(table["segment_id"], truth), np.random.default_rng(seed))
    return replace(made, guide=reading_guide(findings))


def main() -> None:
    """Writes the three files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replay", type=Path, required=True, help="what segmenter replay --out has filled")
    parser.add_argument("--truth", type=Path, required=True, help="the simulator's truth file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    given = parser.parse_args()
    truth = Truth.read(given.truth).customers.set_index("customer_id")["persona_after"]
    made = of_replay(given.replay, truth, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    cards = "\n\n".join(f"## Card {letter}\n\n{text}" for letter, text in made.texts.items())
    guide = "\n\n".join(made.guide)
    (given.out / "cards.md").write_text(f"# Customer segments\n\n{guide}\n\n{cards}\n")
    order = np.random.default_rng(given.seed + 1).permutation(list(PERSONAS))
    lines = [f"{number}. {PERSONAS[name]}" for number, name in enumerate(order, 1)]
    text = "Which of these does each card describe? Not all of them need have a card.\n\n" + "\n".join(lines)
    (given.out / "personas.md").write_text(f"# Kinds of customers\n\n{text}\n")
    number_of = {str(name): number for number, name in enumerate(order, 1)}
    key = {letter: {"persona": name, "number": number_of[name]} for letter, name in made.key.items()}
    (given.out / "key.json").write_text(json.dumps(key, indent=1) + "\n")


if __name__ == "__main__":
    main()
