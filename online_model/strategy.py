"""The strategy file: what marketing does with a segment, and how strategies bind to segment ids.

Binding happens when a model is promoted and then stays with the segment id: a drifting centroid
never swaps offers. Only a person changes a binding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from online_model.model import DORMANT, UNCLASSIFIED, Profile, Segment

DEFAULT: Final = "default"

Text = Annotated[str, Field(min_length=1, max_length=500)]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class StrategyError(ValueError):
    """A strategy file or binding that cannot be used; the message names field, value and fix."""


class Rule(BaseModel):
    """A condition on a column of a segment's profile.

    `high` / `low`: the segment's mean deviates from the population by at least `value` standard
    deviations up / down; `at_least` / `at_most`: its mean in real units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: Annotated[str, Field(min_length=1)]
    op: Literal["high", "low", "at_least", "at_most"]
    value: Annotated[float, Field(allow_inf_nan=False)] = 0.5

    def holds(self, profile: Profile, columns: Sequence[str]) -> bool:
        """Whether a profile over `columns` meets the rule; False if it lacks the column."""
        if self.column not in columns:
            return False
        j = list(columns).index(self.column)
        mean = profile.mean[j]
        match self.op:
            case "high":
                return profile.deviation[j] >= self.value
            case "low":
                return profile.deviation[j] <= -self.value
            case "at_least":
                return mean is not None and mean >= self.value
            case "at_most":
                return mean is not None and mean <= self.value


def contradiction(rules: Sequence[Rule]) -> str:
    """Why no segment can meet all of `rules`; empty if one can."""
    for rule in rules:
        for other in rules:
            if rule.column != other.column:
                continue
            is_apart = (rule.op, other.op) == ("high", "low") and rule.value > -other.value
            if is_apart or ((rule.op, other.op) == ("at_least", "at_most") and rule.value > other.value):
                return f"{rule.column} cannot be {rule.op} {rule.value:g} and {other.op} {other.value:g}"
    return ""


def implied(rules: Sequence[Rule], by: Sequence[Rule]) -> bool:
    """Whether every segment that meets all of `by` meets all of `rules`."""
    return all(any(_implies(stronger, rule) for stronger in by) for rule in rules)


def _implies(stronger: Rule, rule: Rule) -> bool:
    if (stronger.column, stronger.op) != (rule.column, rule.op):
        return False
    return stronger.value <= rule.value if rule.op == "at_most" else stronger.value >= rule.value


class Strategy(BaseModel):
    """What a segment's customers get; `control_share` of them are left alone for comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Identifier
    version: Annotated[int, Field(ge=1)] = 1
    name: Text
    offer: Text
    channel: Literal["app", "sms", "email", "call", "letter", "none"]
    message_tone: Text
    service_package: Text
    support_tier: Literal["self-service", "standard", "priority", "premium"]
    retention_trigger: Text
    exclusions: tuple[Text, ...] = ()
    control_share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    kpi: Text
    when: tuple[Rule, ...] = ()


class StrategyFile(BaseModel):
    """All strategies, in order of preference; `default`, `dormant` and `unclassified` must exist."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    strategies: Annotated[tuple[Strategy, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _complete(self) -> StrategyFile:
        ids = [strategy.id for strategy in self.strategies]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"strategy ids must be unique, given twice: {', '.join(twice)}")
        absent = [i for i in (DEFAULT, DORMANT, UNCLASSIFIED) if i not in ids]
        if absent:
            raise ValueError(f"add a strategy with id {', '.join(absent)}")
        for strategy in self.strategies:
            fixed = strategy.id in (DEFAULT, DORMANT, UNCLASSIFIED)
            if fixed == bool(strategy.when):
                fix = "must not have a 'when'" if fixed else "needs a 'when' with at least one rule"
                raise ValueError(f"strategy '{strategy.id}' {fix}")
            if problem := contradiction(strategy.when):
                raise ValueError(f"strategy '{strategy.id}' can never be chosen: {problem}")
        for place, later in enumerate(self.strategies):
            for earlier in self.strategies[:place]:
                if later.when and earlier.when and implied(earlier.when, later.when):
                    raise ValueError(
                        f"strategy '{later.id}' can never be chosen: whatever fits it fits '{earlier.id}' "
                        f"before it; put '{later.id}' first or change a rule"
                    )
        return self

    def get(self, strategy_id: str) -> Strategy:
        """The strategy of an id; StrategyError if there is none."""
        for strategy in self.strategies:
            if strategy.id == strategy_id:
                return strategy
        known = ", ".join(strategy.id for strategy in self.strategies)
        raise StrategyError(f"no strategy '{strategy_id}' in the strategy file (known: {known})")

    def fitting(self, profile: Profile, columns: Sequence[str]) -> list[str]:
        """Ids of the strategies all of whose rules hold for a profile, in order; the first one is chosen."""
        return [s.id for s in self.strategies if s.when and all(r.holds(profile, columns) for r in s.when)]

    def unknown_columns(self, columns: Sequence[str]) -> list[str]:
        """Columns that rules name and the feature specification lacks (such rules never hold)."""
        named = {rule.column for strategy in self.strategies for rule in strategy.when}
        return sorted(named - set(columns))

    def impossible(self, columns: Sequence[str]) -> list[str]:
        """Ids of strategies that no segment gets, because a rule names a column that is not there."""
        return [s.id for s in self.strategies if {rule.column for rule in s.when} - set(columns)]


def load_strategies(text: str, source: str = "strategy file") -> StrategyFile:
    """Parse YAML `text`; `source` names it in errors.

    Raises:
        StrategyError: not YAML, or a field is missing, unknown or out of range.
    """
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StrategyError(f"{source} is not valid YAML: {error}") from error
    try:
        return StrategyFile.model_validate(document)
    except ValidationError as error:
        lines = [_line_of(detail) for detail in error.errors()]
        raise StrategyError(f"{source} is not valid: " + "; ".join(lines)) from error


def default_strategies() -> StrategyFile:
    """The strategies that ship with the package."""
    name = "default_strategies.yaml"
    text = resources.files("online_model").joinpath(name).read_text(encoding="utf-8")
    return load_strategies(text, name)


def bind(
    file: StrategyFile,
    segments: Sequence[Segment],
    columns: Sequence[str],
    existing: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Strategy id per segment id, with `dormant` and `unclassified`.

    A segment that is bound in `existing` keeps its binding; a new one gets the first strategy all
    of whose rules hold for its profile, else `default`. `columns` are those of the profiles.

    Raises:
        StrategyError: an existing binding names a strategy that is no longer in the file.
    """
    bound = {DORMANT: DORMANT, UNCLASSIFIED: UNCLASSIFIED}
    for segment in segments:
        bound[segment.id] = _matching(file, segment.profile, columns)
    for segment_id, strategy_id in (existing or {}).items():
        if segment_id in bound:
            bound[segment_id] = file.get(strategy_id).id
    return bound


def arm(customer_id: bytes, strategy_id: str, control_share: float) -> Literal["treatment", "control"]:
    """Stable arm of a customer under a strategy: the same on every worker and for ever.

    Raising `control_share` only moves customers from treatment to control.
    """
    digest = hashlib.blake2b(customer_id, digest_size=8, key=_arm_key(strategy_id)).digest()
    return "control" if int.from_bytes(digest, "big") < control_share * 2.0**64 else "treatment"


@lru_cache(maxsize=1024)
def _arm_key(strategy_id: str) -> bytes:
    """The strategy keys the hash: without it the same customers would be the control of everything."""
    return hashlib.blake2b(strategy_id.encode(), digest_size=32).digest()


def _matching(file: StrategyFile, profile: Profile | None, columns: Sequence[str]) -> str:
    fitting = file.fitting(profile, columns) if profile is not None else []
    return fitting[0] if fitting else DEFAULT


def _line_of(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not isinstance(detail["input"], dict):
        message += f" (got {detail['input']!r:.80})"
    return f"{where}: {message}" if where else message
