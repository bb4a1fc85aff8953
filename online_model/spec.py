"""The feature specification: a declarative, versioned description of every feature.

A specification is YAML, validated by `FeatureSpec`; its hash names it in models and snapshots.
`online_model.plan.compile_plan` turns it into the arrays that the window kernels run on.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.batch import MAX_SERVICES, normalise_category

EventName = Literal["data", "voice", "sms", "invoice", "payment", "topup", "care_contact"]
UsageName = Literal["data", "voice", "sms"]
Aggregate = Literal[
    "sum",
    "count",
    "mean",
    "max",
    "share",
    "active_days",
    "days_since",
    "last",
    "lifetime_sum",
    "tenure",
    "revenue",
    "attribute",
    "one_hot",
]

#: Aggregates that read a ring buffer and so need a window.
WINDOWED = frozenset({"sum", "count", "mean", "max", "share", "active_days", "revenue"})
#: Field that `sum`, `mean`, `max`, `last` and `lifetime_sum` may read, per event type.
MEASURES: dict[str, tuple[str, ...]] = {
    "data": ("megabytes",),
    "voice": ("duration_seconds",),
    "sms": ("count",),
    "invoice": ("amount",),
    "payment": ("amount", "days_late"),
    "topup": ("amount",),
    "care_contact": (),
}
#: Events that have the field of a condition; those on the time of an event are for all.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "roaming": ("data", "voice", "sms"),
    "international": ("voice", "sms"),
    "direction": ("voice", "sms"),
    "technology": ("data",),
    "channel": ("care_contact",),
}
NUMERIC_ATTRIBUTES = ("age", "income", "service_count")
CODED_ATTRIBUTE_NAMES = ("gender", "region", "plan", "contract", "line_type", "payment_method", "services")


#: Where the noun, the adverb or the level goes in a phrase of `Words`.
BLANK = "_"
_LONGEST_PHRASE = 40
#: How many blanks a phrase of `Words` may have.
_BLANKS: dict[str, tuple[int, ...]] = {
    "high": (0, 1),
    "low": (0, 1),
    "more": (1,),
    "less": (1,),
    "much": (0,),
    "little": (0,),
    "fact": (1,),
    "unit": (0,),
}


class SpecError(ValueError):
    """The feature specification is wrong; the message names the place and the fix."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Filter(_Strict):
    """Which events of a type count: every condition given must hold."""

    roaming: bool | None = None
    international: bool | None = None
    direction: Literal["outgoing", "incoming"] | None = None
    night: bool | None = Field(None, description="event time between night_from and night_to (UTC)")
    weekend: bool | None = Field(None, description="event time on Saturday or Sunday (UTC)")
    technology: str | None = None
    channel: str | None = None


class Words(_Strict):
    """How people speak of a feature; all optional, and not part of the hash.

    In names of segments: `high`, `low`, or `levels` of a category. A phrase is a noun ("texters"), or has
    `_` where the noun goes ("young _", "_ at night"). In sentences of the report: `more`, `less`, with `_`
    for an adverb ("use _ more data") or, for a category, `more` with `_` for the level ("have a _ contract").
    In the headline of a card: `much`, `little` ("always online"). Of a value: `unit` instead of the feature's
    ("of their calls and texts"), `fact` with `_` for the value, or the level ("spending _"); where `always`,
    every card states it.
    """

    high: str = ""
    low: str = ""
    levels: dict[str, str] = {}
    more: str = ""
    less: str = ""
    much: str = ""
    little: str = ""
    fact: str = ""
    unit: str = ""
    always: bool = False

    def all(self) -> dict[str, str]:
        """The phrases that were given, by where they stand."""
        plain = {name: getattr(self, name) for name in _BLANKS}
        levels = {f"levels.{level}": phrase for level, phrase in self.levels.items()}
        return {place: phrase for place, phrase in (plain | levels).items() if phrase}


class Feature(_Strict):
    """One feature: what is aggregated over which window, and how the model sees it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    label: str = Field("", description="words for people; the name where empty")
    unit: str = ""
    aggregate: Aggregate
    events: tuple[EventName, ...] = ()
    field: str | None = None
    where: Filter = Filter()
    of: tuple[EventName, ...] = Field(
        (), description="share: events of the denominator; `events` where empty"
    )
    window_days: Annotated[int, Field(ge=1, le=366)] | None = None
    bucket: Literal["day", "week"] = "day"
    rate: bool = Field(True, description="scale a window's sum to the full window by the days observed")
    shrink: Annotated[float, Field(ge=0)] = Field(10.0, description="share: events worth of population share")
    per: Annotated[float, Field(gt=0)] = Field(
        1.0, description="the value is divided by this (60: seconds to minutes)"
    )
    attribute: str | None = None
    levels: tuple[str, ...] = ()
    transform: Literal["none", "log1p", "arcsine"] = "none"
    clip: bool = True
    block: str
    weight: Annotated[float, Field(gt=0)] = 1.0
    missing: Literal["ignore", "zero", "mean"] = "ignore"
    words: Words = Words()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problem = _problem_of(self) or _words_problem(self)
        if problem:
            raise ValueError(f"feature '{self.name}': {problem}")
        return self


def _problem_of(feature: Feature) -> str | None:
    """What is wrong with the combination of settings of `feature`, or None."""
    aggregate = feature.aggregate
    problem = _window_problem(feature)
    if problem:
        return problem
    if aggregate in {"attribute", "one_hot"}:
        return _attribute_problem(feature)
    if aggregate not in {"tenure", "revenue"} and not feature.events:
        return f"aggregate '{aggregate}' needs events, for example [data]"
    if aggregate in {"sum", "mean", "max", "last", "lifetime_sum"}:
        for event in feature.events:
            if feature.field not in MEASURES[event]:
                allowed = ", ".join(MEASURES[event]) or "none"
                return f"field '{feature.field}' is not a measure of '{event}' (allowed: {allowed})"
    elif feature.field is not None and aggregate != "tenure":
        return f"aggregate '{aggregate}' counts events; remove field"
    if feature.aggregate == "tenure" and feature.field not in {None, "days", "months"}:
        return "field of a tenure is 'days' or 'months'"
    return _condition_problem(feature)


def _window_problem(feature: Feature) -> str | None:
    aggregate = feature.aggregate
    if aggregate in WINDOWED and feature.window_days is None:
        return f"aggregate '{aggregate}' needs window_days"
    if aggregate not in WINDOWED and feature.window_days is not None:
        return f"aggregate '{aggregate}' has no window; remove window_days"
    if aggregate == "active_days" and feature.bucket == "week":
        return "aggregate 'active_days' counts days, which bucket: week does not keep; set bucket: day"
    return None


def _condition_problem(feature: Feature) -> str | None:
    for condition, having in CONDITIONS.items():
        # Without the field an event is at home, national and outgoing.
        is_asked = getattr(feature.where, condition) not in (None, False, "outgoing")
        if is_asked and not set(having) & set(feature.events):
            return f"where.{condition} fits none of its events: only {', '.join(having)} events have it"
    return None


def _words_problem(feature: Feature) -> str | None:
    words, is_category = feature.words, feature.aggregate == "one_hot"
    for place, phrase in words.all().items():
        blanks = phrase.split().count(BLANK)
        is_bare = phrase == BLANK and place != "fact"
        if phrase != " ".join(phrase.split()) or len(phrase) > _LONGEST_PHRASE or is_bare:
            return f"words.{place} must be a phrase of at most {_LONGEST_PHRASE} characters"
        needed = _BLANKS.get(place, (0, 1))
        if blanks not in needed or phrase.count(BLANK) != blanks:
            return f"words.{place} needs {' or '.join(map(str, needed))} '{BLANK}' as a word of its own"
    if is_category and not set(words.model_fields_set) <= {"levels", "more", "fact", "always"}:
        return "words of a category are levels, more, fact and always"
    unknown = sorted(set(words.levels) - set(feature.levels))
    if unknown:
        known = ", ".join(feature.levels) or "it has none"
        return f"words.levels names '{unknown[0]}', which is no level ({known})"
    return None


def _attribute_problem(feature: Feature) -> str | None:
    if feature.aggregate == "attribute":
        if feature.attribute not in NUMERIC_ATTRIBUTES:
            return f"attribute must be one of {', '.join(NUMERIC_ATTRIBUTES)}"
        return None
    if feature.attribute not in CODED_ATTRIBUTE_NAMES:
        return f"attribute must be one of {', '.join(CODED_ATTRIBUTE_NAMES)}"
    if not feature.levels:
        return "a one_hot feature needs levels"
    limit = MAX_SERVICES if feature.attribute == "services" else 254
    if (
        len({normalise_category(level) for level in feature.levels}) != len(feature.levels)
        or len(feature.levels) > limit
    ):
        return f"levels must be distinct and at most {limit}"
    return None


class Block(_Strict):
    """A group of features that shares a variance budget."""

    budget: Annotated[float, Field(ge=0)]


class FeatureSpec(_Strict):
    """A whole specification. `hash` is stable over formatting and key order."""

    version: Literal[1]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    blocks: dict[str, Block]
    features: Annotated[tuple[Feature, ...], Field(min_length=1)]
    provisional_days: Annotated[float, Field(ge=0)] = Field(
        14.0, description="below this many observed days a change is marked provisional"
    )
    night_from: Annotated[int, Field(ge=0, le=23)] = 22
    night_to: Annotated[int, Field(ge=0, le=23)] = 6
    bill_valid_days: Annotated[int, Field(ge=1)] = Field(
        62,
        description="revenue: a bill counts so long; one of more than a month for its period and a grace",
    )
    dormancy_feature: str | None = Field(
        "days_since_last_activity",
        description="the days_since feature that the dormancy rule reads; null for none",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [feature.name for feature in self.features]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"feature names must be unique: {', '.join(doubled)}")
        for feature in self.features:
            if feature.block not in self.blocks:
                known = ", ".join(self.blocks)
                raise ValueError(
                    f"feature '{feature.name}': block '{feature.block}' is not in blocks ({known})"
                )
        if self.dormancy_feature is not None:
            kinds = {feature.name: feature.aggregate for feature in self.features}
            if kinds.get(self.dormancy_feature) != "days_since":
                raise ValueError(
                    f"dormancy_feature '{self.dormancy_feature}' must be a days_since feature of this "
                    "specification; set it to null to switch the dormancy rule off"
                )
        return self

    @property
    def hash(self) -> str:
        """First 16 hex digits of SHA-256 over the canonical JSON of the specification without `words`.

        Snapshots and models are of one hash: words change nothing that is in them.
        """
        content = self.model_dump(mode="json", exclude={"features": {"__all__": {"words"}}})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse_spec(text: str, source: str = "specification") -> FeatureSpec:
    """Specification from YAML `text`; `source` names it in errors. Raises `SpecError`."""
    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise SpecError(f"{source} must be a mapping with version, name, blocks and features")
    try:
        return FeatureSpec.model_validate(data)
    except ValidationError as error:
        lines = [_line_of(detail, data) for detail in error.errors()]
        raise SpecError(f"{source} is not a valid feature specification: " + "; ".join(lines)) from error


def _line_of(detail: Any, data: dict[Any, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = "not a setting of a specification, not permitted here"
    match detail["loc"]:
        case ("features", int(number), *_) if isinstance(features := data.get("features"), list):
            feature = features[number]
            name = feature.get("name") if isinstance(feature, dict) else None
            place += f" (of {name!r})" if name and f"'{name}'" not in message else ""
    return f"{place}: {message}" if place else message


def default_spec() -> FeatureSpec:
    """The telecom specification that ships with the package."""
    text = resources.files("online_model").joinpath("default_spec.yaml").read_text("utf-8")
    return parse_spec(text, "default_spec.yaml")
