"""Laws of the strategy file, of binding and of control groups."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from online_model.compile_plan import compile_plan
from online_model.model import Profile, Segment
from online_model.spec import default_spec
from online_model.strategy import (
    StrategyError,
    StrategyFile,
    arm,
    bind,
    default_strategies,
    load_strategies,
)

BODY = {
    "name": "n",
    "offer": "o",
    "channel": "app",
    "message_tone": "t",
    "service_package": "p",
    "support_tier": "standard",
    "retention_trigger": "r",
    "kpi": "k",
}
FIXED: list[dict[str, Any]] = [{"id": i, **BODY} for i in ("default", "dormant", "unclassified")]


def loaded(*strategies: dict[str, Any]) -> StrategyFile:
    """A file of the given strategies and the three fixed ones."""
    return load_strategies(yaml.safe_dump({"version": 1, "strategies": [*strategies, *FIXED]}))


def rule(strategy_id: str, *rules: tuple[str, str, float]) -> dict[str, Any]:
    """A strategy with rules."""
    when = [{"column": column, "op": op, "value": value} for column, op, value in rules]
    return {"id": strategy_id, **BODY, "when": when}


def segment(segment_id: str, mean: float | None, deviation: float) -> Segment:
    """A segment with one column `a`."""
    return Segment(segment_id, segment_id, Profile(1, 1.0, [mean], [mean], [None], [deviation], [], None))


def test_the_first_strategy_whose_rules_all_hold_wins() -> None:
    """Order is preference; high and low are deviations, at_least and at_most real units."""
    file = loaded(
        rule("both", ("a", "high", 1.0), ("a", "at_most", 5.0)),
        rule("up", ("a", "high", 1.0)),
        rule("down", ("a", "low", 1.0)),
        rule("big", ("a", "at_least", 100.0)),
        rule("absent", ("zzz", "low", 0.0)),
    )
    segments = [
        segment("s1", 4.0, 1.0),
        segment("s2", 6.0, 1.0),
        segment("s3", 200.0, -1.0),
        segment("s4", 100.0, 0.0),
        segment("s5", None, 0.0),
        Segment("s6", "no profile"),
    ]
    bound = bind(file, segments, ["a"])
    expected = ["both", "up", "down", "big", "default", "default"]
    assert [bound[s.id] for s in segments] == expected
    assert (bound["dormant"], bound["unclassified"]) == ("dormant", "unclassified")
    assert file.unknown_columns(["a"]) == ["zzz"]


def test_existing_bindings_stay() -> None:
    """A bound segment keeps its strategy whatever its profile became; retired ones drop out."""
    file = loaded(rule("up", ("a", "high", 1.0)))
    existing = {"s1": "default", "s9": "up", "dormant": "up"}
    bound = bind(file, [segment("s1", 1.0, 3.0), segment("s2", 1.0, 3.0)], ["a"], existing)
    assert bound == {"s1": "default", "s2": "up", "dormant": "up", "unclassified": "unclassified"}
    with pytest.raises(StrategyError, match="no strategy 'gone'"):
        bind(file, [segment("s1", 1.0, 0.0)], ["a"], {"s1": "gone"})


def test_the_default_file_covers_the_default_features() -> None:
    """At least seven segment strategies; every rule names a column of the default specification."""
    file = default_strategies()
    assert len([strategy for strategy in file.strategies if strategy.when]) >= 7
    assert file.unknown_columns(compile_plan(default_spec()).columns.name) == []


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        (FIXED[:2], "add a strategy with id unclassified"),
        ([*FIXED, FIXED[0]], "given twice: default"),
        ([*FIXED, {"id": "x", **BODY}], "'x' needs a 'when'"),
        ([*FIXED[:2], {**rule("unclassified", ("a", "high", 1.0))}], "'unclassified' must not have a 'when'"),
        ([*FIXED, {**rule("x", ("a", "high", 1.0)), "tone": 1}], r"strategies\.3\.tone.*Extra inputs"),
        ([*FIXED, rule("x", ("a", "above", 1.0))], r"when\.0\.op.*'above'"),
        ([*FIXED, {**rule("x", ("a", "high", 1.0)), "control_share": 0.9}], r"control_share.*0\.9"),
        ([*FIXED, {**rule("x", ("a", "high", 1.0)), "channel": "fax"}], r"channel.*'fax'"),
        ([*FIXED, rule("x", ("a", "high", 1.0), ("a", "low", 0.5))], "'x' can never be chosen: a cannot be"),
        ([*FIXED, rule("x", ("a", "at_most", 1.0), ("a", "at_least", 2.0))], "'x' can never be chosen"),
        (
            [*FIXED, rule("x", ("a", "high", 0.5)), rule("y", ("a", "high", 1.0))],
            "fits 'x' before it; put 'y'",
        ),
        (
            [*FIXED, rule("x", ("a", "at_most", 5.0)), rule("y", ("b", "low", 1.0), ("a", "at_most", 4.0))],
            "'y' can never be chosen: whatever fits it fits 'x'",
        ),
        ([], "strategies"),
    ],
)
def test_wrong_files_are_clear_errors(strategies: list[dict[str, Any]], message: str) -> None:
    """Every mistake is named with its place and value."""
    with pytest.raises(StrategyError, match=message):
        load_strategies(yaml.safe_dump({"version": 1, "strategies": strategies}), "mine.yaml")


def test_strategies_may_overlap() -> None:
    """The narrow one before the wide one, and rules that only sometimes hold together."""
    file = loaded(
        rule("narrow", ("a", "high", 1.0), ("a", "at_most", 5.0)),
        rule("wide", ("a", "high", 0.5)),
        rule("other", ("a", "high", 0.4), ("a", "at_least", 3.0)),
        rule("slightly", ("a", "high", -0.5), ("a", "low", -0.5)),
    )
    own = segment("s1", 4.0, 1.0).profile
    assert own is not None
    assert file.fitting(own, ["a"]) == ["narrow", "wide", "other"]
    assert file.impossible(["a"]) == []
    assert file.impossible(["b"]) == ["narrow", "wide", "other", "slightly"]


@pytest.mark.parametrize("text", ["a: [", "", "just text", "- 1"])
def test_what_is_no_mapping_is_a_clear_error(text: str) -> None:
    """Broken YAML and other shapes name the file."""
    with pytest.raises(StrategyError, match=r"mine\.yaml"):
        load_strategies(text, "mine.yaml")


def test_arms_are_stable_and_of_the_given_size() -> None:
    """Known customers keep their arm for ever; the control share comes out; strategies are independent."""
    arms = [arm(b"c-%d" % i, "heavy-data", 0.1) for i in range(20_000)]
    other = [arm(b"c-%d" % i, "texters", 0.1) for i in range(20_000)]
    both = sum(a == b == "control" for a, b in zip(arms, other, strict=True))
    assert arms.count("control") == pytest.approx(2000, abs=150)
    assert both == pytest.approx(200, abs=60)
    assert [i for i in range(40) if arms[i] == "control"] == [0, 10, 19, 25]


@given(st.binary(max_size=64), st.text(max_size=63), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_larger_control_group_contains_the_smaller(
    customer: bytes, strategy: str, a: float, b: float
) -> None:
    """Raising the share only moves customers from treatment to control; 0 has no control at all."""
    if arm(customer, strategy, min(a, b)) == "control":
        assert arm(customer, strategy, max(a, b)) == "control"
    assert arm(customer, strategy, 0.0) == "treatment"
