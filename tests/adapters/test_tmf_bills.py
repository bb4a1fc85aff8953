"""Bills of TM Forum: days are those of the sender, and every part of a payment counts once."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.tmf_bill import part_id
from consumer.adapters.tmf_values import day_after
from schemas.limits import ID_LENGTH
from tests.adapters.test_tmf import adapter, bill, customer, events, memories
from tests.adapters.twin import Document

__all__ = ["memories"]

OFFSETS = ("Z", "+02:00", "-05:00", "+05:45")


def paid(name: str, *parts: tuple[str, float], **more: Any) -> Document:
    """A settled bill, and what was applied to it as (payment, amount)."""
    applied = [
        {"appliedAmount": {"unit": "EUR", "value": amount}, "payment": {"id": payment}}
        for payment, amount in parts
    ]
    more = {"lastUpdate": "2026-03-20T10:00:00Z", "appliedPayment": applied} | more
    return bill(50, "settled", **more) | {"id": name}


def payments(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those among events."""
    return [event for event in made if event["type"] == "payment"]


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("end", ["2026-02-28T23:59:59", "2026-02-28T23:59:59.999", "2026-03-01T00:00:00"])
def test_a_period_is_as_long_as_the_sender_says(offset: str, end: str) -> None:
    """February is February, whatever its midnight is in UTC."""
    period = {"startDateTime": f"2026-02-01T00:00:00{offset}", "endDateTime": f"{end}{offset}"}
    [invoice] = events(adapter(), bill(billingPeriod=period))
    assert (invoice["period_start"], invoice["period_end"]) == ("2026-02-01", "2026-03-01")


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_contract_begins_on_the_day_that_the_sender_says(offset: str) -> None:
    """At the first and at the last second of it."""
    for clock in ("00:00:00", "23:59:59"):
        valid = {"startDateTime": f"2020-05-01T{clock}{offset}"}
        [profile] = events(adapter(), customer("CustomerAttributeValueChangeEvent", validFor=valid))
        assert profile["activated_on"] == "2020-05-01"


@given(st.dates(max_value=date(9999, 12, 30)), st.just(time.min) | st.times(), st.integers(-14 * 60, 14 * 60))
def test_the_day_after_depends_on_no_offset(day: date, at: time, minutes: int) -> None:
    """The same wall clock has the same day after."""
    there = datetime.combine(day, at, timezone(timedelta(minutes=minutes)))
    assert day_after(there) == day + timedelta(days=at != time.min)


def test_a_payment_of_two_bills_counts_for_both() -> None:
    """Each with its own amount, customer's days late and bill; sent again it says nothing new."""
    adapting = adapter()
    first = paid("b-1", ("p-1", 50), paymentDueDate="2026-03-10T10:00:00Z")
    second = paid("b-2", ("p-1", 30), paymentDueDate="2026-03-18T10:00:00Z")
    made = payments(events(adapting, first) + events(adapting, second))
    assert [(event["amount"], event["days_late"]) for event in made] == [(50, 10), (30, 2)]
    assert len({event["event_id"] for event in made}) == 2
    assert events(adapting, first) == events(adapting, second) == []


def test_parts_of_a_payment_of_one_bill_count_each() -> None:
    """Also when another payment stands before them later."""
    adapting = adapter()
    made = payments(events(adapting, paid("b-1", ("p-1", 20), ("p-1", 30))))
    assert [event["amount"] for event in made] == [20, 30]
    assert len({event["event_id"] for event in made}) == 2
    more = payments(events(adapting, paid("b-1", ("p-2", 5), ("p-1", 20), ("p-1", 30))))
    assert [event["amount"] for event in more] == [5]


def test_ids_of_parts_are_short_and_apart() -> None:
    """Whatever ends where in the names, for the longest ones too; and they do not change."""
    names = ["a", "b", "a.b", "x" * 63 + "a", "x" * 63 + "b", "x" * 200, "\ud800"]
    made = {part_id(bill, payment, part) for bill in names for payment in names for part in (1, 2, 12)}
    assert len(made) == len(names) ** 2 * 3
    assert max(map(len, made)) <= ID_LENGTH
    assert part_id("b-1", "p-1", 1) == "p-1.a1bd4dfae26409a1"
