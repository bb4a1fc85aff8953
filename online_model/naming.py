"""Names of segments: a few words that people would use, from what stands out in each profile.

A name is a noun ("texters") with what qualifies it ("prepaid texters", "heavy data users at night"), made
from the phrases of the specification. Where it has none for a segment, labels do: "low tenure, high age".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from online_model.columns import Columns
from online_model.model import Profile
from online_model.spec import BLANK

_ANYBODY: Final = "customers"
_AVERAGE: Final = "average customers"
_TYPICAL_SHARE: Final = 0.5  # a category names a segment when at least half of it has it
#: Standard deviations from which on a name is qualified without need.
_TELLING: Final = 0.6
#: Of features; more are added only while two segments share a name.
_FEW: Final = 2
_MOST: Final = 6


@dataclass(frozen=True, slots=True)
class _Trait:
    """What stands out: `phrase` (empty: none was written), and the words "high" or "low" and a label."""

    phrase: str
    side: str
    label: str
    deviation: float
    is_level: bool

    @property
    def is_noun(self) -> bool:
        return bool(self.phrase) and BLANK not in self.phrase.split()


def make_names(profiles: Sequence[Profile], columns: Columns) -> list[str]:
    """A readable, unique name per profile, from its strongest deviations; deterministic.

    Two features name a segment; more are added while two segments share a name, a number if words run out.
    """
    traits = [_traits(profile, columns) for profile in profiles]
    writers = [_spoken if any(t.phrase and not t.is_level for t in own) else _listed for own in traits]
    names = [write(own, _FEW) for write, own in zip(writers, traits, strict=True)]
    for count in range(_FEW + 1, _MOST + 1):
        names = [
            write(own, count) if names.count(name) > 1 else name
            for write, own, name in zip(writers, traits, names, strict=True)
        ]
    return unique([name[:1].upper() + name[1:] for name in names])


def unique(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """`names` with a number behind those that were there before, in `taken` or among themselves."""
    seen, found = set(taken), []
    for name in names:
        number, candidate = 2, name
        while candidate in seen:
            candidate, number = f"{name} {number}", number + 1
        seen.add(candidate)
        found.append(candidate)
    return found


def _traits(profile: Profile, columns: Columns) -> list[_Trait]:
    """The strongest first; of a category the level that most have."""
    found: list[_Trait] = []
    described: set[str] = set()
    for name in profile.significant:
        j = columns.name.index(name)
        deviation, phrases = profile.deviation[j], columns.phrases_of(j)
        if not columns.one_hot[j]:
            phrase, side = (phrases.high, "high") if deviation > 0 else (phrases.low, "low")
            found.append(_Trait(phrase, side, columns.label[j], deviation, False))
        elif _is_typical(profile, j) and columns.feature[j] not in described:
            level = columns.level(j)
            found.append(_Trait(phrases.high or f"{level} {BLANK}", "", level, deviation, True))
            described.add(columns.feature[j])
    return found


def _is_typical(profile: Profile, j: int) -> bool:
    return profile.deviation[j] > 0 and (profile.mean[j] or 0.0) >= _TYPICAL_SHARE


def _spoken(traits: Sequence[_Trait], count: int) -> str:
    """From phrases: a noun and, if it has one, a telling qualifier; above `_FEW`, `count` features."""
    nouns = [trait for trait in traits if trait.is_noun]
    noun = nouns[0].phrase if nouns else _ANYBODY
    others = [t for t in traits if t.phrase and not t.is_noun]
    room = count - 1 if nouns else count
    chosen = [t for t in others[:room] if count > _FEW or not nouns or abs(t.deviation) >= _TELLING]
    # A category stands next to the noun: "light prepaid customers".
    name = _filled(noun, sorted(chosen, key=lambda t: not t.is_level))
    rest = [t for t in traits if not t.phrase][: max(0, room - len(others))]
    return f"{name} with {_labels(rest)}" if rest else name


def _filled(noun: str, traits: Sequence[_Trait]) -> str:
    name = noun
    for trait in traits:
        name = " ".join(name if word == BLANK else word for word in trait.phrase.split())
    return name


def _listed(traits: Sequence[_Trait], count: int) -> str:
    """From labels: the features, then the categories."""
    numbers = [trait for trait in traits if not trait.is_level][:count]
    levels = [trait for trait in traits if trait.is_level][: max(count - 1, 1)]
    if not numbers:
        return _filled(_ANYBODY, levels[::-1]) if levels else _AVERAGE
    return ", ".join([_labels(numbers), *(trait.label for trait in levels)])


def _labels(traits: Sequence[_Trait]) -> str:
    """High a and b, low c."""
    groups = [(key, [t.label for t in group]) for key, group in groupby(traits, lambda t: t.side)]
    return ", ".join(f"{key} {_joined(labels)}" for key, labels in groups)


def _joined(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
