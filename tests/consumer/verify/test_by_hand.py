"""Rules of features solved by hand: kernels, oracle and plain replica come to the same number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from online_model.compile_plan import compile_plan
from tests.consumer.verify.test_features import Trio
from tests.online_model import streams
from tests.online_model.streams import DAY, HOUR, T0, small_spec

MB = "{name: mb, block: all, aggregate: sum, events: [data], field: megabytes, window_days: 30, rate: false}"


class Told(Trio):
    """The three, told events of ann; the watermark begins at T0."""

    def __init__(self, features: str, **settings: Any) -> None:
        super().__init__(compile_plan(small_spec(features, **settings)), 0)
        self.given: list[streams.Event] = []
        self.number = 0
        self.step(0)

    def _events(self) -> list[streams.Event]:
        self.now = self.given
        return self.now

    def event(self, kind: str, us: int, **fields: Any) -> streams.Event:
        """An event with an id of its own."""
        self.number += 1
        return {"event_id": f"e{self.number}", "customer_id": "ann", "us": us, "type": kind, **fields}

    def data(self, us: int, megabytes: float) -> streams.Event:
        """A data session."""
        return self.event("data", us, megabytes=megabytes)

    def profile(self, us: int, **fields: Any) -> streams.Event:
        """A profile with these attributes."""
        return self.event("profile", us, **fields)

    def commit(self, events: Sequence[streams.Event], at_us: int) -> None:
        """One commit; the watermark is at `at_us` after it."""
        self.given = list(events)
        self.step(at_us - int(self.watermark))

    def values(self, at_us: int | None = None) -> list[float]:
        """Features of ann, which all three agree on; [] if she is not in a life."""
        if at_us is not None:
            self.commit([], at_us)
        priors = [math.nan] * len(self.replica.features.columns)
        self.compare(priors)
        ann = self.replica.customers[b"ann"]
        alive = ann.status == "live"
        return self.replica.features.values(ann, int(self.watermark), priors) if alive else []


# -- consent ---------------------------------------------------------------------------------------

WITHDRAWN, RETURN, LATER = T0 + 3 * DAY + HOUR, T0 + 5 * DAY, T0 + 6 * DAY


@pytest.mark.parametrize("read", ["while withdrawn", "with the return", "after the return"])
@pytest.mark.parametrize(
    ("us", "counted"),
    [
        (T0 + DAY, False),  # of the life before
        (WITHDRAWN + 1, False),
        (T0 + 4 * DAY, False),
        (RETURN - 1, False),
        (RETURN, True),
        (RETURN + HOUR, True),
    ],
)
def test_what_happened_without_consent_is_never_counted(us: int, counted: bool, read: str) -> None:
    """Whenever it is read; what is of after the return counts if it is read after it."""
    told = Told(MB)
    told.commit([told.data(T0, 10.0)], T0 + DAY)
    told.commit([told.profile(WITHDRAWN, consent_profiling=False)], WITHDRAWN)
    assert told.values() == []
    use, back = [told.data(us, 70.0)], [told.profile(RETURN, consent_profiling=True)]
    commits = {
        "while withdrawn": [use, back, []],
        "with the return": [[], [*use, *back], []],  # usage is applied first, and dropped
        "after the return": [[], back, use],
    }
    for events in commits[read]:
        told.commit(events, LATER)
    expected = 70.0 if counted and read == "after the return" else 0.0
    assert told.values() == [expected]


def test_a_withdrawal_and_a_return_in_one_commit_drop_what_is_of_between() -> None:
    """As in two commits: the life before is over, and what was between is read to no effect."""
    told = Told(MB)
    told.commit([told.data(T0 + DAY, 10.0)], T0 + DAY)
    gone, back = (
        told.profile(WITHDRAWN, consent_profiling=False),
        told.profile(RETURN, consent_profiling=None),
    )
    told.commit([gone, back], LATER)
    told.commit([told.data(T0 + 4 * DAY, 70.0), told.data(RETURN + HOUR, 5.0)], LATER)
    assert told.values() == [5.0]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_newest_word_on_consent_holds(order: tuple[int, ...]) -> None:
    """Withdrawn, given again, withdrawn again, read in any order: there is no consent in the end."""
    told = Told(MB)
    told.commit([told.data(T0, 10.0)], T0)
    said = [
        told.profile(T0 + (1 + n) * DAY, consent_profiling=consent)
        for n, consent in enumerate([False, True, False])
    ]
    for n in order:
        told.commit([said[n]], LATER)
    told.commit([told.data(LATER, 70.0)], LATER)
    assert told.values() == []


@pytest.mark.parametrize("together", [True, False])
def test_usage_is_applied_before_the_end_of_a_life_in_its_commit(together: bool) -> None:
    """What is of after `closed` and read with it goes with the life that ends; read later it begins one."""
    told = Told(MB)
    closed, use = told.event("closed", T0 + DAY), told.data(T0 + 2 * DAY, 70.0)
    told.commit([told.data(T0, 10.0)], T0)
    told.commit([closed, use] if together else [closed], LATER)
    told.commit([] if together else [use], LATER)
    assert told.values() == ([] if together else [70.0])


# -- bills -----------------------------------------------------------------------------------------

REVENUE = "{name: revenue, block: all, aggregate: revenue, window_days: 30}"


def _day(us: int) -> str:
    return (date(1970, 1, 1) + timedelta(microseconds=us)).isoformat()


@pytest.mark.parametrize(
    ("period", "usual", "counts"),
    [
        (None, 62, 62),
        (1, 62, 62),
        (28, 62, 62),
        (30, 62, 62),
        (31, 62, 62),  # months as ever
        (61, 62, 92),
        (91, 62, 122),  # a quarter and the next bill a month late
        (365, 62, 396),
        (36_524, 62, 36_555),  # a century
        (31, 31, 31),
        (91, 20, 91),  # the period at least
        (7, 20, 20),
    ],
)
def test_a_bill_counts_for_its_period_and_a_grace(period: int | None, usual: int, counts: int) -> None:
    """91 EUR for 91 days are 30 EUR per 30 days until the next bill is due and a grace after it."""
    told = Told(REVENUE, bill_valid_days=usual)
    first, amount, span = date(1900, 1, 1), float(period or 30), {}
    if period is not None:
        span = {"period_start": str(first), "period_end": str(first + timedelta(period))}
    told.commit([told.event("invoice", T0, amount=amount, currency="EUR", **span)], T0)
    for days, expected in ((0, 30.0), (counts - 1, 30.0), (counts, 30.0)):
        assert told.values(T0 + days * DAY) == [pytest.approx(expected, rel=1e-6)]
    assert told.values(T0 + counts * DAY + 1) == [0.0]


# -- an activation after the first usage -----------------------------------------------------------

ALL = """
{name: mb, block: all, aggregate: sum, events: [data], field: megabytes, window_days: 30},
{name: weekly, block: all, aggregate: sum, events: [data], field: megabytes, window_days: 28, bucket: week},
{name: days, block: all, aggregate: active_days, events: [data], window_days: 30},
{name: n, block: all, aggregate: count, events: [data], window_days: 30, rate: false},
{name: most, block: all, aggregate: max, events: [data], field: megabytes, window_days: 30},
{name: each, block: all, aggregate: mean, events: [data], field: megabytes, window_days: 30},
{name: abroad, block: all, aggregate: share, events: [data], where: {roaming: true}, window_days: 30},
{name: money, block: all, aggregate: revenue, window_days: 30},
{name: tenure, block: all, aggregate: tenure, field: days}
"""


def _month(told: Told) -> list[list[streams.Event]]:
    """Thirty days with 300 MB and a top-up of 1 EUR each; the first ten are 900 MB, abroad."""
    return [
        [
            told.data(T0 + d * DAY + HOUR, 900.0 if d < 10 else 300.0) | {"roaming": d < 10},
            told.event("topup", T0 + d * DAY + HOUR, amount=1.0, currency="EUR"),
        ]
        for d in range(30)
    ]


@pytest.mark.parametrize("place", [0, 11, 30])
def test_of_a_window_only_what_is_after_the_activation_counts(place: int) -> None:
    """Sum and days are of the same time, whenever the profile is read: first, in between or last."""
    told = Told(ALL)
    commits = _month(told)
    activated = T0 + 20 * DAY
    commits.insert(place, [told.profile(T0 + HOUR, activated_on=_day(activated))])
    now = T0 + 30 * DAY
    for events in commits:
        told.commit(events, max(int(told.watermark), *(event["us"] for event in events)))
    told.commit([], now)
    # Days 20 to 29, ten days observed. Of weeks, which begin on Thursdays, those from day 17 on: 13 days.
    assert told.values() == [
        pytest.approx(value)
        for value in (9000.0, 13 * 300.0 * 28 / 13, 30.0, 10.0, 300.0, 300.0, 0.0, 30.0, 10.0)
    ]


def test_an_activation_today_multiplies_nothing() -> None:
    """A month at 300 MB a day, and the contract is renewed: one day's usage is a day's, not a month's."""
    told = Told(ALL)
    for events in _month(told)[10:]:
        told.commit(events, int(events[0]["us"]))
    now = T0 + 29 * DAY + 2 * HOUR
    before = told.values(now)
    told.commit([told.profile(now, activated_on=_day(now))], now)
    after = told.values()
    assert before[0] == pytest.approx(20 * 300.0 * 30 / (19 + 1 / 24))
    assert after[0] == pytest.approx(300.0 * 30)
    assert [after[2], after[7]] == pytest.approx([30.0, 30.0])
    assert after[8] == 0.0


@pytest.mark.parametrize("ahead", [0, 3, 40])
def test_a_profile_ahead_of_the_activation_changes_no_rate(ahead: int) -> None:
    """What there is to observe begins with the activation; before it all rates are 0."""
    told = Told(ALL)
    start = T0 + 40 * DAY
    told.commit([told.profile(start - ahead * DAY, activated_on=_day(start))], start)
    assert told.values()[0] == 0.0
    for d in range(6):
        told.commit([told.data(start + d * DAY + HOUR, 300.0)], start + d * DAY + HOUR)
    told.commit([], start + 6 * DAY)
    assert told.values()[0] == pytest.approx(300.0 * 30)
