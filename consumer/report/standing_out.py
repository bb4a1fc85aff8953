"""What stands out in a segment: features that tell different things, the strongest first."""

from __future__ import annotations

from typing import Final, get_args

import numpy as np

from consumer.report.findings import Findings
from online_model.columns import Columns
from online_model.spec import UsageName

#: From these rank correlations on, two columns say the same: whatever they are of; and a share with what is
#: about the same kind of events, or a category with another.
_SAME: Final = 0.8
_ALIKE: Final = 0.6
_USE: Final = frozenset(get_args(UsageName))
#: A level names a segment if so many of it have it.
MOST: Final = 0.5


def standing_out(findings: Findings, code: int) -> list[int]:
    """Columns of a centroid: of each category one level, of those that say the same the strongest."""
    profile, columns = findings.profiles[code], findings.columns
    found: list[int] = []
    seen: set[str] = set()
    for name in profile.significant:
        j = columns.name.index(name)
        if columns.feature[j] in seen:
            continue
        seen.add(columns.feature[j])
        place = telling_level(findings, code, columns.feature[j]) if columns.one_hot[j] else j
        if place is not None and not any(_says_the_same(findings, place, other) for other in found):
            found.append(place)
    return found


def telling_level(findings: Findings, code: int, feature: str) -> int | None:
    """The level that most have, if more than usual have it; else the one that more have than usual."""
    profile, columns = findings.profiles[code], findings.columns
    levels = [j for j in range(columns.n) if columns.feature[j] == feature and profile.deviation[j] > 0]
    most = [j for j in levels if (profile.mean[j] or 0.0) >= MOST]
    return max(most or levels, key=lambda j: profile.deviation[j], default=None)


def has_little(findings: Findings, code: int, far: float) -> list[int]:
    """Amounts of use, all of them, if the middle customer has at most the part 1/`far` of each; else none."""
    columns, profile = findings.columns, findings.profiles[code]
    amounts = [
        j
        for j in range(columns.n)
        if columns.phrases_of(j).always and is_of_use(columns, j) and not findings.units.is_share(j)
    ]
    own = [profile.median[j] for j in amounts]
    if len(amounts) < 2 or any(value is None for value in own):
        return []
    is_little = np.array(own, float) * far <= findings.medians[amounts]
    return amounts if bool(is_little.all()) and bool((findings.medians[amounts] > 0).all()) else []


def is_of_use(columns: Columns, j: int) -> bool:
    """Whether a column is about data, calls or messages, and not about bills or contacts."""
    return bool(columns.kinds) and bool(columns.kinds[j]) and columns.kinds[j] <= _USE


def _says_the_same(findings: Findings, j: int, other: int) -> bool:
    columns, units = findings.columns, findings.units
    together = abs(findings.correlation[j, other])
    is_part = columns.has_same_kinds(j, other) and (units.is_share(j) or units.is_share(other))
    is_close = is_part or (columns.one_hot[j] and columns.one_hot[other])
    return bool(together >= (_ALIKE if is_close else _SAME))
