"""Laws of the feature specification: clear errors, a stable hash, a complete default."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from online_model.compile_plan import compile_plan, vocabulary_of
from online_model.plan import Store
from online_model.spec import SpecError, default_spec, parse_spec
from schemas.batch import MAX_SERVICES

GOOD: dict[str, Any] = {"name": "f", "block": "b", "aggregate": "count", "events": ["data"], "window_days": 7}

CATEGORY: dict[str, Any] = {
    "aggregate": "one_hot",
    "events": [],
    "window_days": None,
    "attribute": "plan",
    "levels": ["a", "b"],
}


def text_of(features: list[dict[str, Any]], **settings: Any) -> str:
    """A specification as YAML."""
    head = {"version": 1, "name": "s", "blocks": {"b": {"budget": 1.0}}, "dormancy_feature": None}
    return yaml.safe_dump({**head, "features": features, **settings})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window_days": None}, ["f", "needs window_days"]),
        ({"aggregate": "tenure"}, ["f", "remove window_days"]),
        ({"aggregate": "sum"}, ["f", "not a measure of 'data'", "megabytes"]),
        ({"aggregate": "sum", "field": "amount"}, ["f", "amount", "allowed: megabytes"]),
        ({"field": "megabytes"}, ["f", "remove field"]),
        ({"events": []}, ["f", "needs events"]),
        ({"block": "x"}, ["f", "block 'x' is not in blocks", "b"]),
        ({"aggregate": "one_hot", "window_days": None, "attribute": "gender"}, ["f", "needs levels"]),
        ({"aggregate": "one_hot", "window_days": None, "attribute": "shoe"}, ["f", "gender, region"]),
        ({"aggregate": "attribute", "window_days": None, "attribute": "gender"}, ["f", "age, income"]),
        (
            {"aggregate": "one_hot", "window_days": None, "attribute": "plan", "levels": ["A b", "a_B"]},
            ["f", "distinct"],
        ),
        ({"windows_days": 3}, ["windows_days", "not permitted"]),
        ({"name": "Bad Name"}, ["name"]),
        ({"where": {"planet": "mars"}}, ["where", "planet"]),
        ({"colour": "red"}, ["features.0.colour (of 'f')", "not permitted"]),
        ({"aggregate": "active_days", "bucket": "week"}, ["f", "counts days", "set bucket: day"]),
        ({"aggregate": "median"}, ["features.0.aggregate (of 'f')", "'active_days'"]),
        ({"where": {"channel": "shop"}}, ["f", "fits none", "only care_contact"]),
        ({"events": ["voice"], "where": {"technology": "5g"}}, ["f", "fits none", "only data"]),
        ({"where": {"international": True}}, ["f", "fits none", "only voice, sms"]),
        ({"words": {"high": "_ and _"}}, ["f", "words.high needs 0 or 1 '_'"]),
        ({"words": {"high": "heavy_users"}}, ["f", "words.high needs", "as a word of its own"]),
        ({"words": {"high": "_"}}, ["f", "words.high must be a phrase"]),
        ({"words": {"low": "x" * 41}}, ["f", "words.low", "at most 40 characters"]),
        ({"words": {"more": "use more"}}, ["f", "words.more needs 1 '_'"]),
        ({"words": {"levels": {"a": "a _"}}}, ["f", "'a', which is no level", "it has none"]),
        ({**CATEGORY, "words": {"levels": {"c": "c _"}}}, ["f", "'c', which is no level (a, b)"]),
        (
            {**CATEGORY, "words": {"low": "few _"}},
            ["f", "words of a category are levels, more, fact and always"],
        ),
        ({"words": {"unit": "_ a month"}}, ["f", "words.unit needs 0 '_'"]),
        ({"words": {"fact": "old"}}, ["f", "words.fact needs 1 '_'"]),
        ({"words": {"always": "maybe"}}, ["words.always", "boolean"]),
        ({"words": {"higher": "x"}}, ["features.0.words.higher", "not permitted"]),
    ],
)
def test_errors_name_the_feature_and_the_fix(change: dict[str, Any], words: list[str]) -> None:
    """One line that says where and what to do."""
    with pytest.raises(SpecError) as error:
        parse_spec(text_of([{**GOOD, **change}]), "my.yaml")
    message = str(error.value)
    assert message.startswith("my.yaml")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid YAML"),
        ("- a", "mapping"),
        (text_of([]), "features"),
        (text_of([GOOD, GOOD]), "unique: f"),
        (text_of([GOOD], dormancy_feature="f"), "set it to null"),
        (text_of([GOOD], version=2), "version"),
    ],
)
def test_errors_of_the_whole(text: str, words: str) -> None:
    """Broken YAML, doubled names and a wrong dormancy feature are told as such."""
    with pytest.raises(SpecError, match=words):
        parse_spec(text)


def test_the_hash_is_that_of_the_meaning() -> None:
    """Formatting, key order and written-out defaults do not change it; any setting does."""
    spec = parse_spec(text_of([GOOD]))
    data = yaml.safe_load(text_of([{**GOOD, "rate": True, "per": 1}]))
    assert parse_spec(json.dumps(dict(reversed(list(data.items()))), indent=3)).hash == spec.hash
    assert parse_spec(text_of([{**GOOD, "window_days": 8}])).hash != spec.hash
    assert parse_spec(text_of([GOOD], night_from=21)).hash != spec.hash
    assert len(spec.hash) == 16


def test_words_are_not_part_of_the_hash() -> None:
    """Models and snapshots from before there were words, or of other words, are of the same specification."""
    spoken = parse_spec(text_of([{**GOOD, "words": {"high": "heavy users", "more": "use _ more"}}]))
    assert spoken.hash == parse_spec(text_of([GOOD])).hash
    assert spoken.features[0].words.all() == {"high": "heavy users", "more": "use _ more"}
    assert default_spec().hash == "e29cb7f065754f38"  # of version 0.1, in every model and snapshot of it


def test_columns_have_the_words_of_their_feature() -> None:
    """A level its own ones, with the sentence of its category."""
    category = {"levels": {"b": "big _"}, "more": "have plan _", "fact": "plan _", "always": True}
    features = [
        {**GOOD, "words": {"low": "light _", "fact": "_"}},
        {**GOOD, **CATEGORY, "name": "g", "words": category},
    ]
    columns = compile_plan(parse_spec(text_of(features))).columns
    assert [columns.phrases_of(j).low for j in range(3)] == ["light _", "", ""]
    assert [columns.phrases_of(j).high for j in range(3)] == ["", "", "big _"]
    assert [columns.phrases_of(j).more for j in range(3)] == ["", "have plan _", "have plan _"]
    assert [columns.phrases_of(j).fact for j in range(3)] == ["_", "plan _", "plan _"]
    assert [columns.phrases_of(j).always for j in range(3)] == [False, True, True]


def test_columns_are_about_kinds_of_events() -> None:
    """A share about all of its whole; what is counted at night only is about the night."""
    columns = compile_plan(default_spec()).columns
    place = {name: j for j, name in enumerate(columns.name)}
    assert columns.kinds[place["mou_30d"]] == {"voice"}
    assert columns.kinds[place["data_share_28d"]] == {"data", "voice", "sms"}
    assert columns.has_same_kinds(place["mou_30d"], place["data_share_28d"])
    assert not columns.has_same_kinds(place["mou_30d"], place["data_mb_30d"])
    for name in ("night_share_28d", "age", "contract=two-year"):
        assert columns.kinds[place[name]] == frozenset()


def test_the_default_has_what_the_business_asked_for() -> None:
    """Average monthly usage, service preferences and tenure, and the rest of the telecom set."""
    spec = default_spec()
    assert {f.name for f in spec.features} >= {
        *("data_mb_30d", "mou_30d", "sms_30d", "tenure_days", "service_count", "line_type"),
        *("voice_share_28d", "data_share_28d", "roaming_share_28d", "international_share_28d"),
        *("night_share_28d", "weekend_share_28d", "topup_count_30d", "revenue_30d", "days_late_90d"),
        *("care_contacts_90d", "days_since_last_activity", "age", "income", "gender"),
    }
    budgets = {name: block.budget for name, block in spec.blocks.items()}
    assert min(budgets, key=lambda name: budgets[name]) == "demographics"
    assert all(f.label and f.unit for f in spec.features)


def test_services_that_are_counted_are_told_apart() -> None:
    """The levels of the specification come first, then common services, as many as there are bits."""
    levels = vocabulary_of(default_spec()).levels["services"]
    assert len(levels) == len(set(levels)) <= MAX_SERVICES
    assert {"broadband", "tv", "cloud", "mobile-data", "insurance"} <= set(levels)
    wanted = [f"Own {i}" for i in range(MAX_SERVICES)]
    feature = {"name": "f", "block": "b", "aggregate": "one_hot", "attribute": "services"}
    spec = parse_spec(text_of([{**feature, "levels": wanted}]))
    assert vocabulary_of(spec).levels["services"] == tuple(f"own-{i}" for i in range(MAX_SERVICES))
    with pytest.raises(SpecError, match="at most 31"):
        parse_spec(text_of([{**feature, "levels": [*wanted, "one more"]}]))


def test_a_named_technology_is_told_apart() -> None:
    """A condition on a technology of its own does not count the other unknown ones."""
    spec = parse_spec(text_of([{**GOOD, "where": {"technology": "6G "}}]))
    vocabulary = vocabulary_of(spec)
    assert "6g" in vocabulary.levels["technology"]
    assert vocabulary.code("technology", "6g") != vocabulary.code("technology", "7g")


def test_windows_have_a_limit() -> None:
    """A specification that no machine holds is refused with what to do, not with a lack of memory."""
    events = ("data", "voice", "sms", "invoice", "payment", "topup", "care_contact")
    features = [
        {**GOOD, "name": f"f_{event}_{days}", "events": [event], "window_days": days}
        for event in events
        for days in (7, 30, 60, 90, 120, 180, 240, 300, 366)
    ]
    assert compile_plan(parse_spec(text_of(features)))
    filtered = [{**f, "name": f"{f['name']}_n", "where": {"night": True}} for f in features]
    with pytest.raises(SpecError, match=r"126 KiB per customer, more than 64 KiB; .*bucket: week"):
        compile_plan(parse_spec(text_of(features + filtered)))


def test_features_share_accumulators() -> None:
    """The default needs 16 ring channels at most; equal requests get one."""
    plan = compile_plan(default_spec())
    assert len(plan.channels.window) == int(plan.channels.first[len(Store)]) <= 16
    double = compile_plan(parse_spec(text_of([GOOD, {**GOOD, "name": "g", "rate": False}])))
    assert len(double.channels.window) == 1
    assert double.columns.name == ("f", "g")
