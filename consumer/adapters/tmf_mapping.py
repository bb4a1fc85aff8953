"""How TM Forum resources are read: names of characteristics, units, states. A YAML file, validated."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.errors import SpecError
from consumer.models.files import read_text

UsageType = Literal["data", "voice", "sms"]
Attribute = Literal[
    "activated_on", "age", "income", "gender", "region", "plan", "contract", "line_type", "payment_method",
    "services", "consent_profiling",
]  # fmt: skip
Names = tuple[str, ...]

DEFAULT: Final = Path(__file__).with_name("tmf_default.yaml")

#: Units by their measure: what one of them is in that of the contract (megabytes, seconds, messages).
UNITS: Final[dict[str, dict[str, float]]] = {
    "data": {
        "b": 1e-6, "kb": 1e-3, "mb": 1.0, "gb": 1e3, "tb": 1e6,
        "kib": 2**10 / 1e6, "mib": 2**20 / 1e6, "gib": 2**30 / 1e6, "bytes": 1e-6,
    },
    "voice": {
        "ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minutes": 60.0,
        "h": 3600.0,
    },
    "sms": {"1": 1.0, "count": 1.0, "sms": 1.0, "message": 1.0, "messages": 1.0, "unit": 1.0, "units": 1.0},
}  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UsageNames(_Part):
    """How one type of usage is recognised and measured; `unit` where the characteristic has none."""

    types: Names
    measure: Names
    unit: str


class BillNames(_Part):
    """Which bills count, and which of their amounts."""

    states: Names
    amount: Names = Field(min_length=1)


class TmfMapping(_Part):
    """The whole mapping."""

    version: Literal[1]
    customer_roles: Names
    usage: dict[UsageType, UsageNames]
    roaming: Names = ()
    international: Names = ()
    direction: Names = ()
    technology: Names = ()
    bill: BillNames
    profile: dict[Attribute, Names] = Field(default_factory=dict)
    closed_states: Names
    deleted: Literal["forget", "closed"]


def plain(name: str) -> str:
    """`name` without case, spaces and signs."""
    return "".join(filter(str.isalnum, name)).lower()


def load_mapping(path: str | None = None) -> TmfMapping:
    """The mapping in `path`, the built-in one for None. Raises `SpecError`."""
    name = str(DEFAULT) if path is None else path
    text = read_text(name, "TM Forum mapping", "--mapping")
    try:
        mapping = TmfMapping.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise SpecError(f"{name} is not YAML: {error}", f"correct {name}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise SpecError(f"{name}: {field or 'the file'}: {first['msg']}", f"correct {name}") from None
    for kind, names in mapping.usage.items():
        if names.unit.lower() not in UNITS[kind]:
            raise SpecError(
                f"{name}: usage.{kind}.unit: {names.unit} is not a unit of {kind}",
                f"use one of {', '.join(UNITS[kind])}",
            )
    return mapping
