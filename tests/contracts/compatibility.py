"""What in a JSON Schema of today would break those who rely on the one that was released.

Input topics have senders: what they were allowed to send must stay allowed (`for_senders`). Output topics
have readers: what they were promised must still be there (`for_readers`). Both compare the schemas of
pydantic models, which use objects, arrays, unions, constants, enumerations, limits and patterns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def for_senders(released: Schema, today: Schema) -> list[str]:
    """Records that `released` accepts and `today` does not, as far as schemas tell; a line for each place."""
    return list(_narrowed(released, released, today, today, ""))


def for_readers(released: Schema, today: Schema) -> list[str]:
    """Promises of `released` that records of `today` may break; a line for each place.

    The other way round, but for fields: readers ignore those they do not know, and rely on those they do.
    """
    lost = list(_lost(released, released, today, today, ""))
    return lost + list(_narrowed(today, today, released, released, "", readers=True))


def _narrowed(
    wide_root: Schema, wide: Schema, narrow_root: Schema, narrow: Schema, at: str, *, readers: bool = False
) -> Iterator[str]:
    """Where `narrow` refuses what `wide` accepts."""
    options = _options(narrow_root, narrow)
    for option in _options(wide_root, wide):
        matching = [other for other in options if _kind(other) == _kind(option)]
        if not matching:
            yield f"{at or 'record'}: {_kind(option)} is not accepted"
            continue
        found = [
            list(_differences((wide_root, option), (narrow_root, other), at, readers)) for other in matching
        ]
        yield from min(found, key=len)


def _differences(
    wide: tuple[Schema, Schema], narrow: tuple[Schema, Schema], at: str, readers: bool
) -> Iterator[str]:
    (wide_root, one), (narrow_root, other) = wide, narrow
    if "enum" in other and not set(_values(one)) <= set(other["enum"]):
        yield f"{at}: values {sorted(set(_values(one)) - set(other['enum']), key=str)} are not accepted"
    for name, sign in [*((n, 1) for n in _LOWER), *((n, -1) for n in _UPPER)]:
        if name in other and (name not in one or sign * one[name] < sign * other[name]):
            yield f"{at}: {name} {other[name]} is stricter than {one.get(name, 'none')}"
    if other.get("pattern", one.get("pattern")) != one.get("pattern"):
        yield f"{at}: pattern {other['pattern']} instead of {one.get('pattern')}"
    if "items" in other:
        yield from _narrowed(
            wide_root, one.get("items", {}), narrow_root, other["items"], f"{at}[]", readers=readers
        )
    if not readers:
        for field in other.get("required", []):
            if field not in one.get("required", []):
                yield f"{_join(at, field)}: is required now"
    for field, schema in one.get("properties", {}).items():
        if field in other.get("properties", {}):
            theirs = other["properties"][field]
            yield from _narrowed(wide_root, schema, narrow_root, theirs, _join(at, field), readers=readers)
        elif not readers:
            yield f"{_join(at, field)}: is ignored now"


def _lost(old_root: Schema, old: Schema, new_root: Schema, new: Schema, at: str) -> Iterator[str]:
    """Fields of objects of `old` that are not, or not always, in those of `new`."""
    after = {_kind(option): option for option in _options(new_root, new)}
    for option in _options(old_root, old):
        other = after.get(_kind(option), {})
        for field, schema in option.get("properties", {}).items():
            name = _join(at, field)
            if field not in other.get("properties", {}):
                yield f"{name}: is gone"
                continue
            if field in option.get("required", []) and field not in other.get("required", []):
                yield f"{name}: is no longer always there"
            yield from _lost(old_root, schema, new_root, other["properties"][field], name)
        if "items" in option and "items" in other:
            yield from _lost(old_root, option["items"], new_root, other["items"], f"{at}[]")


def _options(root: Schema, schema: Schema) -> list[Schema]:
    """The plain schemas that `schema` allows a choice of, references followed."""
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return _options(root, target)
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return [option for part in schema[union] for option in _options(root, part)]
    return [schema]


def _kind(schema: Schema) -> str:
    """What makes two options the same one: the type of JSON, or of an event."""
    event = schema.get("properties", {}).get("type", {}).get("const")
    return f"event {event}" if event else str(schema.get("type", "anything"))


def _values(schema: Schema) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    return list(schema.get("enum", ["any text"]))


def _join(at: str, field: str) -> str:
    return f"{at}.{field}" if at else field
