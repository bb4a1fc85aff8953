"""Laws of the drift rule: persistence, calm, hold, and the combined rule."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.drift import measure
from online_model.drift_kinds import KINDS
from online_model.drift_rule import Alarm, DriftPolicy, decide, observe
from online_model.fold import empty
from online_model.observation import Level, Observation, Raised
from online_model.scan_means import changed
from tests.online_model.tiny import model

HOUR, DAY = 3_600_000_000, 86_400_000_000
COLUMNS = ("mb", "calls")


def history(*scans: str) -> list[Observation]:
    """Six scans a day from the second day on, each with the signals in its string.

    Small letters watch, large ones act or hold: p(si of mb), s(hare), e(rror), m(issing mb); "-" is a
    scan of too few customers.
    """
    kinds = {"p": "psi", "s": "share", "e": "error", "m": "missing"}
    made = []
    for number, signals in enumerate(scans):
        raised = []
        for letter in signals.replace("-", ""):
            kind = kinds[letter.lower()]
            large: Level = "hold" if kind == "missing" else "act"
            level = large if letter.isupper() else "watch"
            raised.append(Raised(kind, "mb" if kind in {"psi", "missing"} else "", level, 0.3))
        boundary = DAY + number * 4 * HOUR
        made.append(Observation(6 + number, boundary, 5000, "-" not in signals, raised, [1.0, 0.0, 0.0]))
    return made


def reasons(*scans: str, calibrated_us: int | None = 0) -> set[tuple[str, str]]:
    """Kinds and severities after the last scan."""
    return {(reason.kind, reason.severity) for reason in decide(history(*scans), COLUMNS, calibrated_us)}


def test_one_scan_is_an_accident_and_four_of_six_are_not() -> None:
    """On with the fourth of six, whichever; scans of too few customers are no scans."""
    assert reasons("s", "s", "s") == set()
    assert reasons("s", "s", "s", "", "", "s") == {("share", "watch")}
    assert reasons("s", "s", "", "", "", "s", "s") == set()
    assert reasons("s", "-", "s", "-", "-", "-", "-", "s", "s") == {("share", "watch")}


@pytest.mark.parametrize(("hours", "before", "enough"), [(1, 24, 16), (1, 40, 16), (4, 6, 4), (168, 6, 4)])
def test_a_day_of_scans_counts_however_many_they_are(hours: int, before: int, enough: int) -> None:
    """Hourly scans need two thirds of 24; scans a week apart, four of six."""
    share = Raised("share", "", "watch", 0.1)
    scans = [
        Observation(i, DAY + i * hours * HOUR, 5000, True, [share] if i >= before else [], [1.0, 0.0, 0.0])
        for i in range(before + enough)
    ]
    assert decide(scans[:-1], COLUMNS, None) == []
    assert [alarm.kind for alarm in decide(scans, COLUMNS, None)] == ["share"]


def test_a_signal_stays_on_until_it_is_rare() -> None:
    """Two of six keep it up, one does not; off, it needs four again."""
    up = ["s"] * 6
    assert reasons(*up, "", "", "", "") == {("share", "watch")}
    assert reasons(*up, "", "", "", "", "") == set()
    assert reasons(*up, "", "", "", "", "", "s", "s", "s") == set()


def test_severity_must_persist_too() -> None:
    """Six scans to look at, of which three call for action, are to look at."""
    assert reasons("S", "s", "S", "s", "S", "s") == {("share", "watch")}
    assert reasons("S", "S", "s", "S", "s", "S") == {("share", "act")}


def test_input_and_fit_together_call_for_action() -> None:
    """Neither a shifted feature nor a worse fit does alone, below its own limit."""
    assert reasons(*["p"] * 4) == {("psi", "watch")}
    assert reasons(*["e"] * 4) == {("error", "watch")}
    assert reasons(*["pe"] * 4) == {("psi", "watch"), ("error", "watch"), ("combined", "act")}


def test_nothing_acts_while_a_feature_is_missing() -> None:
    """Large gaps withhold every recalibration, small ones do not."""
    assert reasons(*["peSM"] * 4) == {(kind, "watch") for kind in ("psi", "error", "share", "missing")}
    assert ("combined", "act") in reasons(*["pem"] * 4)
    assert "no recalibration" in next(r.text for r in decide(history(*["M"] * 4), COLUMNS, 0))


def test_reasons_to_act_come_first_and_are_in_words() -> None:
    """Subject and value are in the text."""
    first, *others = decide(history(*["pe"] * 4), COLUMNS, 0)
    assert first == Alarm(
        "combined",
        "",
        "act",
        "the distribution of mb has changed (PSI 0.30), and "
        "customers are farther from their segments' centres than at calibration (x0.30)",
    )
    assert {reason.severity for reason in others} == {"watch"}


def test_a_day_of_calm_follows_a_calibration() -> None:
    """Its scans count, but nothing is raised before it is over; the age needs no samples."""
    up = ["s"] * 4
    assert reasons(*up, calibrated_us=12 * HOUR) == {("share", "watch")}
    assert reasons(*up, calibrated_us=13 * HOUR) == set()
    assert reasons(*up, calibrated_us=None) == {("share", "watch")}
    assert reasons("-", calibrated_us=-90 * DAY) == {("age", "watch")}
    assert reasons("-", calibrated_us=-200 * DAY) == {("age", "act")}
    assert decide([], COLUMNS, -200 * DAY) == []


def test_adwin_finds_a_step_and_forgets_it() -> None:
    """Within the last scans only; gaps in a series are no values, and few values no series."""
    series: list[list[float | None]] = [[0.0, None if i % 7 == 3 else 0.0] for i in range(50)]
    step: list[list[float | None]] = [[1.0, 0.0] for _ in range(8)]
    names = ["mb", "calls"]
    assert changed(series + step, names, 6) == ["mb"]
    assert changed(series + step * 3, names, 6) == []
    assert changed(series[:6] + step, names, 6) == []


@given(st.lists(st.sampled_from(["", "p", "e", "pe", "S", "M", "-"]), max_size=30))
def test_the_rule_is_a_function_of_the_history(scans: list[str]) -> None:
    """Any history gives reasons, the same for the same; act only without a hold."""
    first = decide(history(*scans), COLUMNS, 0)
    assert first == decide(history(*scans), COLUMNS, 0)
    if any("recalibration" in reason.text for reason in first):
        assert all(reason.severity == "watch" for reason in first)


def test_levels_are_at_their_thresholds() -> None:
    """The threshold itself counts; NaN does not."""
    for kind in KINDS:
        assert kind.level(kind.watch) == kind.base
        assert kind.level(np.nextafter(kind.watch, 0)) is None
        assert kind.level(float("nan")) is None
        if kind.act is not None:
            assert kind.level(kind.act) == "act"
        if kind.hold is not None:
            assert kind.level(kind.hold) == "hold"


def test_every_kind_says_what_it_sees_and_what_not() -> None:
    """Each is named once, can be put into words, and has a blind spot."""
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert re.fullmatch(r"[a-z_]+", kind.name)
        assert kind.says.format(subject="mb", value=0.5)
        assert len(kind.sees) > 10
        assert len(kind.blind_to) > 10


def test_what_is_observed_by_hand() -> None:
    """All of 4,000 customers at 60 MB in the first of two segments at 0 and 100."""
    statistics = empty(2, 3)
    statistics.counts[0] = statistics.totals[0] = 4000
    statistics.present[0] = 4000
    statistics.sums[0, 0] = 4000 * 60 << 20
    statistics.histogram[0, 6] = 4000
    statistics.errors[0] = 4000 * 100 << 20
    seen = observe(measure(statistics, model()), model(), 7, 7 * HOUR)
    assert (seen.scan_id, seen.rows, seen.measured) == (7, 4000, True)
    raised = {(item.kind, item.subject): item for item in seen.raised}
    assert raised["displacement", "s1"].value == pytest.approx(0.6)
    assert raised["displacement", "s1"].level == "act"
    assert raised["share", ""].level == "act"
    assert raised["psi", "mb"].level == "watch"
    assert not {kind for kind, _ in raised} & {"error", "missing", "silhouette"}
    assert seen.means[0] == pytest.approx(1.0)
    few = observe(measure(empty(2, 3), model()), model(), 8, 8 * HOUR)
    assert few == Observation(8, 8 * HOUR, 0, measured=False)


def test_senseless_policies_are_refused() -> None:
    """Off above on would never rest."""
    with pytest.raises(ValueError, match="off <= on"):
        DriftPolicy(off=0.5, on=0.4)
