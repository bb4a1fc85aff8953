"""Names that people give to segments, and keeping names through recalibrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import structs

from online_model.catalog import FIXED_SEGMENTS
from online_model.model import Lineage, Model, Segment, origin_of
from online_model.naming import unique

#: Of a name; the contract allows twice as much, which leaves room for what makes a name unique.
LONGEST: Final = 64


def renamed(newest: Model, segment_id: str, name: str, command: str = "") -> Model:
    """The version after `newest` with another name for one segment; nobody moves because of it.

    `command`: id of the command that asks for it.

    Raises:
        ValueError: there is no such segment, or the name cannot be used; the message says why.
    """
    name = usable_name(newest, segment_id, name)
    version = newest.version + 1
    return dataclasses.replace(
        newest,
        version=version,
        parent=newest.version,
        kind="renamed",
        segments=tuple(structs.replace(s, name=name) if s.id == segment_id else s for s in newest.segments),
        reference=dataclasses.replace(newest.reference, origin=origin_of(newest)),
        lineage=(Lineage(segment_id, "renamed", version, [segment_id]),),
        transition=None,
        command=command,
        observed=None,
    )


def usable_name(model: Model, segment_id: str, name: str) -> str:
    """`name` without blanks around it, for a segment of `model`. Raises ValueError, as `renamed`."""
    ids = [segment.id for segment in model.segments]
    if segment_id not in ids:
        raise ValueError(f"there is no segment {segment_id!r} to rename: there are {', '.join(ids)}")
    name = name.strip()
    if not name or len(name) > LONGEST or not name.isprintable():
        raise ValueError(f"a name has 1 to {LONGEST} printable characters on one line, not {name!r}")
    for segment in (*model.segments, *FIXED_SEGMENTS):
        if segment.name.casefold() != name.casefold():
            continue
        if segment.id != segment_id:
            raise ValueError(f"{segment.id} is called {segment.name!r} already")
        if segment.name == name:
            raise ValueError(f"{segment_id} is called that already")
    return name


def keep_names(segments: Sequence[Segment], names: Mapping[str, str]) -> tuple[Segment, ...]:
    """Whoever has a name in `names` (by segment id) keeps it; others get one that nobody there has."""
    new = [segment.name for segment in segments if not names.get(segment.id)]
    found = iter(unique(new, list(names.values())))
    return tuple(structs.replace(s, name=names.get(s.id) or next(found)) for s in segments)


def names_of(model: Model) -> dict[str, str]:
    """By segment id."""
    return {segment.id: segment.name for segment in model.segments}
