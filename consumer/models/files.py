"""The files a model is configured by, read from disk: feature specification and strategies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from consumer.errors import SpecError
from online_model import spec as feature_spec
from online_model import strategy
from online_model.compile_plan import compile_plan


def load_spec(path: str | None) -> feature_spec.FeatureSpec:
    """Feature specification from `path`, the built-in one for None. Raises `SpecError`."""
    if path is None:
        return feature_spec.default_spec()
    text = read_text(path, "feature specification", "model.spec")
    try:
        spec = feature_spec.parse_spec(text, path)
        compile_plan(spec)  # what is too large is told here
    except feature_spec.SpecError as error:
        raise SpecError(str(error), f"correct {path} (model.spec)") from None
    return spec


def load_strategies(path: str | None) -> strategy.StrategyFile:
    """Strategies from `path`, the built-in ones for None. Raises `SpecError`."""
    if path is None:
        return strategy.default_strategies()
    text = read_text(path, "strategy file", "model.strategies")
    try:
        return strategy.load_strategies(text, path)
    except strategy.StrategyError as error:
        raise SpecError(str(error), f"correct {path} (model.strategies)") from None


def check_rules(strategies: strategy.StrategyFile, columns: Sequence[str], path: str | None) -> None:
    """Raises `SpecError` if rules of a file of the user's own name what the specification does not have."""
    unknown = strategies.unknown_columns(columns)
    if unknown and path is not None:
        raise SpecError(
            f"strategy rules name features that the specification lacks: {', '.join(unknown)}",
            f"correct {path} (model.strategies) or model.spec",
        )


def read_text(path: str, what: str, setting: str) -> str:
    """UTF-8 text of a file. Raises `SpecError` that names `what` it is and the `setting` it comes from."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"{what} {path} cannot be read: {error.strerror}", f"set {setting} to an existing file"
        ) from None
    except UnicodeDecodeError:
        raise SpecError(f"{what} {path} is not UTF-8 text", "save it as UTF-8") from None
