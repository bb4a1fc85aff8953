"""What a guide says comes out, beside what came out.

`...` stands for anything, a number for any number (a time and a version are numbers), everything else for
itself; columns are apart by any white space. A line that is quoted must be there; lines between may be left
out. JSON must have the quoted fields, with values of the quoted kinds.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_NUMBER: Final = r"[-+]?\d[\d.,:TZ%+-]*"
_PARTS: Final = re.compile(rf"(?P<any>\.\.\.)|(?P<number>(?<![A-Za-z_]){_NUMBER})|(?P<space>\s+)")


def missing_lines(expected: str, said: str) -> list[str]:
    """Lines of `expected` that are not in `said`."""
    lines = [line.strip() for line in said.splitlines()]
    wanted = [line.strip() for line in expected.splitlines() if line.strip() not in ("", "...")]
    return [line for line in wanted if not any(map(_pattern(line).fullmatch, lines))]


def _pattern(line: str) -> re.Pattern[str]:
    made, end = "", 0
    for part in _PARTS.finditer(line):
        made += re.escape(line[end : part.start()])
        made += {"any": ".*?", "number": _NUMBER, "space": r"\s+"}[str(part.lastgroup)]
        end = part.end()
    return re.compile(made + re.escape(line[end:]))


def missing_json(expected: str, said: str) -> list[str]:
    """What of the document `expected` no document in `said` has; the shortest list of complaints."""
    wanted = json.loads(expected)
    complaints = [_differences("$", wanted, found) for found in _documents(said)]
    return min(complaints, key=len, default=["there is no JSON"])


def _documents(said: str) -> list[Any]:
    found = []
    for text in (said, *said.splitlines()):
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def _differences(place: str, wanted: Any, found: Any) -> list[str]:
    if wanted == "...":
        return []
    if isinstance(wanted, dict) and isinstance(found, dict):
        lacking = [f"{place}.{key} is not there" for key in wanted if key not in found]
        both = [_differences(f"{place}.{key}", wanted[key], found[key]) for key in wanted if key in found]
        return [*lacking, *(line for lines in both for line in lines)]
    if isinstance(wanted, list) and isinstance(found, list):
        each = [[_differences(f"{place}[]", one, other) for other in found] for one in wanted]
        return [line for lines in each for line in min(lines, key=len, default=[f"{place} is empty"])]
    if _kind(wanted) != _kind(found):
        return [f"{place} is {found!r}, not like {wanted!r}"]
    return []


def _kind(value: Any) -> str:
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )
