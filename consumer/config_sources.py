"""Where configuration values come from: file, environment, options; and readable errors about them."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from consumer.config import SETTINGS, Config, value_of
from consumer.errors import ConfigError
from consumer.masking import MASK, masked, masked_name

ENV_PREFIX: Final = "SEGMENTER_"

OriginKind = Literal["default", "file", "env", "option"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: `kind`, and the file, variable or option in `detail`."""

    kind: OriginKind
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".rstrip()


DEFAULT: Final = Origin("default")


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and the origin of each of its settings (by dotted name)."""

    config: Config
    origins: Mapping[str, Origin]


@dataclass(slots=True)
class _Collected:
    """Raw values by setting, and the problems met on the way."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, setting: str, value: Any, origin: Origin) -> None:
        if setting in SETTINGS:
            self.values[setting] = value
            self.origins[setting] = origin
        else:
            self.problems.append(f"unknown setting {masked_name(setting)} ({origin}){_did_you_mean(setting)}")


def load_config(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Configuration from a YAML file, the environment `env` and `overrides` by dotted name.

    Raises `ConfigError` that names every wrong setting, its value, its source and what is allowed.
    """
    return load_with_origins(path, env, overrides).config


def load_with_origins(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> LoadedConfig:
    """As `load_config`, with the origin of each value."""
    collected = _Collected()
    if path is not None:
        _collect_file(path, collected)
    _collect_environment(env or {}, collected)
    for setting, value in (overrides or {}).items():
        collected.put(setting, _parse_text(setting, value), Origin("option", f"--set {setting}"))
    if collected.problems:
        raise _config_error(collected.problems)
    try:
        config = Config.model_validate(_nest(collected.values))
    except ValidationError as error:
        raise _config_error([_explain(e, collected) for e in error.errors()]) from None
    return LoadedConfig(config, {s: collected.origins.get(s, DEFAULT) for s in SETTINGS})


def rows_for_display(loaded: LoadedConfig) -> list[dict[str, Any]]:
    """One dict per setting: `setting`, `value` (secrets masked), `origin`, `help`."""
    return [
        {
            "setting": setting,
            "value": masked(value_of(loaded.config, setting)),
            "origin": str(loaded.origins[setting]),
            "help": info.description or "",
        }
        for setting, info in SETTINGS.items()
    ]


class _GivenTwice(yaml.constructor.ConstructorError):
    """A key that is given twice."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice; YAML keeps the last one without a word."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in keys:
                raise _GivenTwice(None, None, f"{masked_name(str(key.value))} is given twice", key.start_mark)
            keys.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _collect_file(path: Path, collected: _Collected) -> None:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(
            f"configuration file {path} cannot be read: {error.strerror}",
            "give the path of an existing YAML file with --config",
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(
            f"configuration file {path} is not valid YAML: {_yaml_problem(error)}",
            "correct the file there; values with special characters belong in quotes",
        ) from None
    if content is None:
        return
    if not isinstance(content, dict):
        raise ConfigError(
            f"configuration file {path} holds a {type(content).__name__}, not settings",
            "write groups of settings, for example:\n    kafka:\n      bootstrap: localhost:9092",
        )
    origin = Origin("file", str(path))
    for name, value in content.items():
        _collect_mapping(str(name), value, origin, collected)


def _yaml_problem(error: yaml.YAMLError | ValueError) -> str:
    """What is wrong and where, without the line itself and without words of it: they may be a password."""
    if isinstance(error, yaml.MarkedYAMLError):
        said, mark = str(error.problem or error.context), error.problem_mark
        if not isinstance(error, _GivenTwice):
            said = re.sub(r"\b(alias|tag|handle) ['\"].*", r"\1 ...", said)  # all else that is told is syntax
        return said if mark is None else f"{said}, line {mark.line + 1}, column {mark.column + 1}"
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError):
        return " ".join(str(error).split())
    return "a number or a date in it is none"  # what the reason is quotes the value


def _collect_mapping(name: str, value: Any, origin: Origin, collected: _Collected) -> None:
    if name in SETTINGS or not any(s.startswith(f"{name}.") for s in SETTINGS):
        collected.put(name, value, origin)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _collect_mapping(f"{name}.{key}", inner, origin, collected)
    elif value is not None:  # an empty group is fine
        collected.problems.append(
            f"{name} ({origin}): must be a group of settings, not {type(value).__name__}"
        )


def _collect_environment(env: Mapping[str, str], collected: _Collected) -> None:
    names = {ENV_PREFIX + s.replace(".", "__").upper(): s for s in SETTINGS}
    for variable, text in sorted(env.items()):
        if variable in names:
            setting = names[variable]
            collected.put(setting, _parse_text(setting, text), Origin("env", variable))
        elif variable.startswith(ENV_PREFIX) and "__" in variable:
            # Without "__" it may be what Kubernetes sets for a service called "segmenter"
            # (SEGMENTER_SERVICE_HOST): no business of ours.
            close = difflib.get_close_matches(variable, names, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            collected.problems.append(f"unknown environment variable {variable}{hint}")


def _parse_text(setting: str, value: Any) -> Any:
    """Text of a variable or option as a value: null and mappings are YAML, the rest is for pydantic."""
    if not isinstance(value, str) or setting not in SETTINGS:
        return value
    annotation = SETTINGS[setting].annotation
    if typing.get_origin(annotation) is dict:
        try:
            return yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):
            return value
    is_union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    optional = is_union and type(None) in typing.get_args(annotation)
    return None if optional and value.strip().lower() in ("null", "none", "") else value


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for setting, value in values.items():
        *groups, name = setting.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return nested


def _explain(error: ErrorDetails, collected: _Collected) -> str:
    """One line about a pydantic error: setting, value, source, what is allowed."""
    parts = [str(p) for p in error["loc"]]
    setting = next((s for i in range(len(parts), 0, -1) if (s := ".".join(parts[:i])) in SETTINGS), None)
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if setting is None:  # a rule between settings of one group
        group = ".".join(parts)
        origins = sorted({str(o) for s, o in collected.origins.items() if s.startswith(f"{group}.")})
        return f"{group}: {message} ({', '.join(origins)})"
    value = _shown(setting, collected.values.get(setting))
    if error["type"] == "string_pattern_mismatch":  # a pattern alone is no help
        message = f"{message} ({SETTINGS[setting].description})"
    inner = ".".join(map(masked_name, parts[len(setting.split(".")) :]))
    where = f" at {inner}" if inner and isinstance(value, dict) else ""
    return f"{setting} = {value!r} ({collected.origins.get(setting, DEFAULT)}){where}: {message}"


def _did_you_mean(setting: str) -> str:
    close = difflib.get_close_matches(setting, SETTINGS, n=1)
    if not close:
        close = [s for s in SETTINGS if s.rsplit(".", 1)[-1] == setting.rsplit(".", 1)[-1]]
    return f", did you mean {close[0]}?" if close else ""


def _config_error(problems: list[str]) -> ConfigError:
    return ConfigError(
        "the configuration is wrong:\n" + "\n".join(f"  - {p}" for p in problems),
        "correct the values named; 'segmenter config show' lists every setting, its value and origin",
    )


def _shown(setting: str, value: Any) -> Any:
    """`value` without secrets; what should be a mapping and is none has no names to tell them by."""
    is_mapping = typing.get_origin(SETTINGS[setting].annotation) is dict
    return MASK if is_mapping and not isinstance(value, dict) else masked(value)
