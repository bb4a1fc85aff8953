"""Scaling, distances and decisions by hand and against the kernels; and that nothing of theirs is used."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import consumer.verify
from consumer.verify.audit import KEYS, Audit, Slice, unseen_before
from consumer.verify.dead_letters import Times, judge
from consumer.verify.events import Event
from consumer.verify.expected import AnyOf, Rounded, differences
from consumer.verify.model import Policy, Version
from online_model import scaler
from online_model.decision import Candidates, DecisionPolicy, decide
from online_model.model import DORMANT_CODE, UNCLASSIFIED_CODE

DAY = 86_400_000_000
NAN = math.nan
POLICY = Policy(0.1, DAY, 30.0)

#: Modules of `online_model` that only declare or parse.
DECLARATIVE = {"online_model.spec", "online_model.compile_plan", "online_model.strategy"}


def version(centroids: list[list[float]], transform: int = 0, missing: int = 0) -> Version:
    """A model with an identity scaler and segments s1, s2..."""
    d = len(centroids[0])
    ids = [f"s{i}" for i in range(1, len(centroids) + 1)]
    return Version(
        version=1,
        kind="calibrated",
        spec_hash="x",
        columns=[f"c{j}" for j in range(d)],
        priors=[NAN] * d,
        scaler={
            "center": [0.0] * d,
            "scale": [1.0] * d,
            "clip_low": [-math.inf] * d,
            "clip_high": [math.inf] * d,
            "transform": [transform] * d,
            "missing": [missing] * d,
            "importance": [1 / d] * d,
        },
        centroids=centroids,
        ids=ids,
        names={},
        typical={},
        strategies={},
    )


def test_nothing_of_the_computing_code_is_imported() -> None:
    """Of `online_model` only what declares; no numpy, no numba."""
    for path in Path(consumer.verify.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                top = name.split(".")[0]
                assert top not in {"numpy", "numba", "pandas", "river"}, (path.name, name)
                assert top != "online_model" or name in DECLARATIVE, (path.name, name)


@pytest.mark.parametrize(
    ("x", "current", "silent", "target"),
    [
        (0.4, (None, 0), 0.0, "s1"),
        (0.6, (None, 0), 0.0, "s2"),
        (0.54, ("s1", 0), 0.0, "s1"),  # gain 0.08
        (0.56, ("s1", 0), 0.0, "s2"),  # gain 0.12
        (0.9, ("s1", 10 * DAY - 1), 0.0, "s1"),  # not long enough
        (0.9, ("s1", 9 * DAY), 0.0, "s2"),
        (0.9, ("s1", 0), 30.0, "dormant"),
        (0.4, ("dormant", 10 * DAY), 29.0, "s1"),
        (0.51, ("s9", 10 * DAY), 0.0, "s2"),  # retired
        (NAN, ("s1", 0), 0.0, "unclassified"),
    ],
)
def test_a_decision_by_hand(x: float, current: tuple[str | None, int], silent: float, target: str) -> None:
    """Centroids at 0 and 1: the gain is 2x - 1."""
    made = version([[0.0], [1.0]]).decide([x], current, silent, 10 * DAY, POLICY)
    assert (made.target, made.others) == (target, frozenset())


def test_a_tie_is_left_open() -> None:
    """On the boundary, and where the gain is the hysteresis, rounding decides: both are right."""
    model = version([[0.0], [1.0]])
    assert model.decide([0.5], (None, 0), 0.0, 10 * DAY, POLICY).others == {"s2"}
    near = model.decide([0.55 + 1e-11], ("s1", 0), 0.0, 10 * DAY, POLICY)
    assert {near.target, *near.others} == {"s1", "s2"}


@given(st.integers(0, 1 << 32))
def test_decisions_are_those_of_the_kernels(seed: int) -> None:
    """Scaled values within the last bits; targets, runner-ups and margins equal unless it is a tie."""
    rng = np.random.default_rng(seed)
    k, d, m = int(rng.integers(1, 6)), int(rng.integers(1, 7)), 8
    model = version(rng.normal(size=(k, d)).tolist())
    s = dict(model.scaler)
    s["transform"] = rng.integers(0, 3, d).tolist()
    s["missing"] = rng.integers(0, 3, d).tolist()
    s["scale"] = np.where(rng.random(d) < 0.1, 0.0, rng.uniform(0.2, 3, d)).tolist()
    model = replace(model, scaler=s)
    arrays = {name: np.array(values) for name, values in s.items()}
    arrays |= {name: arrays[name].astype(np.int8) for name in ("transform", "missing")}
    fitted = scaler.Scaler(**arrays)
    raw = np.where(rng.random((m, d)) < 0.2, NAN, rng.normal(scale=2, size=(m, d)))
    x = scaler.apply(fitted, raw)
    current = rng.integers(-1, k, m).astype(np.int16)
    since, silent = rng.integers(0, 3 * DAY, m), rng.uniform(0, 40, m)
    us = 3 * DAY
    want = decide(
        x,
        Candidates(current, since, silent),
        np.array(model.centroids),
        fitted.importance,
        us,
        DecisionPolicy(),
    )
    special = {DORMANT_CODE: "dormant", UNCLASSIFIED_CODE: "unclassified"}
    for i in range(m):
        mine = model.scale(raw[i].tolist())
        np.testing.assert_allclose(mine, x[i], rtol=1e-15 * 8, atol=1e-15)
        was = None if current[i] < 0 else model.ids[current[i]]
        made = model.decide(mine, (was, int(since[i])), float(silent[i]), us, POLICY)
        target = int(want.target[i])
        assert (special.get(target) or model.ids[target]) in {made.target, *made.others}
        if target >= 0 and not made.others:
            assert made.margin == pytest.approx(want.margin[i], abs=1e-9)
            second = int(want.runner_up[i])
            assert made.runner_up == (None if second < 0 else model.ids[second])


def event(us: int) -> Event:
    """A data session at `us`."""
    return Event(0, 0, "e", b"ann", us, "data")


@pytest.mark.parametrize(
    ("us", "at_home", "reasons", "must"),
    [
        (100, True, {"future"}, False),
        (131, True, {"future"}, True),  # after the clock
        (49, True, {"late"}, True),  # before the watermark at the start less 50
        (55, True, {"late", "future"}, False),  # between the two watermarks
        (60, True, {"future"}, False),
        (100, False, {"misrouted"}, True),
        (120, False, {"misrouted", "future"}, True),
    ],
)
def test_verdicts_by_hand(us: int, at_home: bool, reasons: set[str], must: bool) -> None:
    """Watermark 100 before and 110 after, clock 130, window 50."""
    found = judge(event(us), Times(130, 100, 110), 50, at_home=at_home)
    assert (set(found.reasons), found.must) == (reasons, must)


def audit(version_number: int, lo: int, hi: int, unseen: bool | None) -> Audit:
    """An audit record with a slice of the scan."""
    return Audit(
        partition=0,
        n=1,
        from_offsets={},
        to_offsets={},
        now_us=0,
        watermark_us=0,
        model_version=version_number,
        previous_version=1,
        scan=Slice(1, lo, hi, unseen, unseen),
        outputs=0,
        outputs_crc32=0,
        rejects=0,
        run_id="r",
    )


def test_who_was_unseen_as_a_commit_decided() -> None:
    """The record tells it for after the commit; a slice that ends the pass has ended that."""
    middle, last = audit(2, 0, 100, True), audit(2, 100, KEYS, False)
    assert unseen_before(middle, None, False) is True
    assert unseen_before(last, middle, False) is True
    assert unseen_before(audit(2, 0, KEYS, False), last, False) is False
    assert unseen_before(audit(3, 0, KEYS, False), last, False) is True
    assert unseen_before(audit(3, 5, 5, True), last, False) is True
    assert unseen_before(audit(2, 0, KEYS, None), last, False) is None


def test_rounding_is_the_only_tolerance() -> None:
    """Four decimals of confidence and contributions; anything else is exact."""
    assert not list(differences({"m": Rounded(0.12345)}, {"m": 0.1234}))
    assert not list(differences({"m": Rounded(0.12345)}, {"m": 0.1235}))
    assert list(differences({"m": Rounded(0.12345)}, {"m": 0.1236}))
    assert list(differences({"m": Rounded(0.12345)}, {"m": 0.12345}))
    assert list(differences({"x": 1.0}, {"x": 1.0000000000000002}))
    assert list(differences({"x": True}, {"x": 1}))
    assert not list(differences({"x": AnyOf((None, 2.0))}, {"x": 2.0}))
    assert [path for path, _, _ in differences({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}})] == ["a.b[1]"]
