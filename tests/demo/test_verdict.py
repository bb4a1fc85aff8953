"""The verdict is a pure function of the truth and the published changes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from consumer.demo.published import Published
from consumer.demo.verdict import Results, conservation, dominance, final_segments, judge

START = pd.Timestamp("2026-01-05", tz="UTC")
CHANGE = START + pd.Timedelta(days=31)
END = START + pd.Timedelta(days=42)
PERSONAS = ("heavy", "light", "night", "talker")
OUTCOMES = {"accepted": 95, "duplicate": 2, "late": 1, "rejected": 1, "dropped": 1}


def customers(n: int = 200, migrants: int = 20) -> pd.DataFrame:
    """`n` customers of four personas in turn; the first `migrants` become the next persona."""
    persona = [PERSONAS[i % 4] for i in range(n)]
    after = [PERSONAS[(i + 1) % 4] if i < migrants else PERSONAS[i % 4] for i in range(n)]
    never = pd.Series(pd.DatetimeIndex([pd.NaT] * n, tz="UTC"))
    migrated = never.copy()
    migrated.iloc[:migrants] = CHANGE
    return pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(n)],
            "persona": persona,
            "persona_after": after,
            "migrated_at": migrated,
            "activated_at": START,
            "churned_at": never,
            "closed_at": never,
        }
    )


def published(customer: str, seq: int, segment: str | None, cause: str) -> Published:
    """An assignment for the cause `first`, otherwise a move a week after the planted change."""
    first = cause == "first"
    at = START + pd.Timedelta(days=30) if first else CHANGE + pd.Timedelta(days=7)
    return Published(customer, seq, "assigned" if first else "moved", cause, segment, at.to_pydatetime())


def results(table: pd.DataFrame, moved: float = 1.0, cause: str = "behaviour") -> Results:
    """Everybody in the segment of their persona; the share `moved` of the migrants follows the change."""
    segment = {persona: f"s{i + 1}" for i, persona in enumerate(PERSONAS)}
    changes = [
        published(c, 1, segment[p], "first")
        for c, p in zip(table["customer_id"], table["persona"], strict=True)
    ]
    migrants = table[table["migrated_at"].notna()]
    for c, p in list(zip(migrants["customer_id"], migrants["persona_after"], strict=True))[
        : round(moved * len(migrants))
    ]:
        changes.append(published(c, 2, segment[p], cause))
    return Results(table, changes, OUTCOMES, 100, END)


def test_what_was_planted_and_found_is_a_success() -> None:
    """Segments equal to personas, migrants that moved and no record lost: every criterion is met."""
    verdict = judge(results(customers()))
    assert verdict.success
    assert verdict.ari == 1.0
    assert (verdict.migrants.moved, verdict.migrants.customers) == (20, 20)
    assert verdict.others.moved == 0


def test_shuffled_personas_are_a_failure() -> None:
    """Segments that have nothing to do with the personas are told from those that have."""
    table = customers()
    found = results(table)
    order = np.random.default_rng(1).permutation(len(table))
    shuffled = table.assign(persona_after=table["persona_after"].to_numpy()[order])
    verdict = judge(Results(shuffled, found.changes, OUTCOMES, 100, END))
    assert not verdict.success
    assert verdict.ari < 0.1
    assert {c.name for c in verdict.criteria if not c.met} == {
        "personas found (ARI)",
        "every persona has a segment",
    }


@pytest.mark.parametrize(("moved", "cause"), [(0.0, "behaviour"), (0.1, "time"), (1.0, "model")])
def test_migrations_that_are_not_published_are_a_failure(moved: float, cause: str) -> None:
    """Too few moves, or moves that the model and not the customer caused, do not count."""
    verdict = judge(results(customers(), moved, cause))
    assert [c.name for c in verdict.criteria if not c.met] == ["planted migrations published"]


def test_moves_of_everybody_prove_nothing() -> None:
    """Migrants must move more often than customers to whom nothing happened."""
    table = customers()
    found = results(table)
    noise = [published(c, 2, "s1", "time") for c in table["customer_id"][20:]]
    verdict = judge(Results(table, [*found.changes, *noise], OUTCOMES, 100, END))
    assert "planted migrations published" in {c.name for c in verdict.criteria if not c.met}


def test_migrants_who_left_soon_are_not_counted() -> None:
    """A customer who leaves within days of migrating cannot be expected to move."""
    table = customers()
    table.loc[:9, "closed_at"] = CHANGE + pd.Timedelta(days=2)
    assert judge(results(table)).migrants.customers == 10


def test_nothing_published_is_a_failure() -> None:
    """A service that publishes nothing fails, it does not crash the summary."""
    verdict = judge(Results(customers(), [], {}, 0, END))
    assert not any(c.met for c in verdict.criteria)


@pytest.mark.parametrize(
    ("sent", "met"), [(100, True), (101, False), (99, False)], ids=["equal", "lost", "invented"]
)
def test_conservation_is_exact(sent: int, met: bool) -> None:
    """The outcomes add up to what was sent, to the record."""
    assert conservation(sent, OUTCOMES).met is met


def test_no_record_at_all_is_not_conservation() -> None:
    """Zero of zero proves nothing."""
    assert not conservation(0, {}).met


def test_the_last_change_of_a_customer_holds() -> None:
    """Order in the topic across partitions does not matter, `seq` does; who left has no segment."""
    changes = [
        published("a", 2, "s2", "time"),
        published("a", 1, "s1", "first"),
        published("b", 1, "s1", "first"),
        published("b", 2, None, "closed"),
    ]
    assert final_segments(Results(customers(), changes, {}, 0, END)) == {"a": "s2"}


def test_dominance_is_the_share_of_the_largest_segment() -> None:
    """By hand: 3 of 4, 5 of 10, and nobody."""
    table = pd.DataFrame({"s1": [3, 5, 0], "s2": [1, 5, 0]}, index=["a", "b", "c"])
    assert dominance(table).tolist() == [0.75, 0.5, 0.0]
