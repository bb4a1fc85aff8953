"""Numbers and comparisons as people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from online_model.columns import Columns, Transform
from online_model.spec import BLANK

_MB_PER_GB: Final = 1000.0
#: What is at least so many times as much, or at most that part, is "far" more or less.
FAR: Final = 2.0
#: Shares of a segment with a level of a category from which on it is so many; and what is few.
_MANY: Final = ((0.995, "all"), (0.9, "nearly all"), (0.5, "most"))
_FEW: Final = 0.25
#: Spans of so many days are spoken of in years, and in months.
_YEARS: Final = 730.0
_MONTHS: Final = 90.0
_DAYS_IN: Final = {"days": 1.0, "months": 30.44, "years": 365.25}
_ABOUT_A_YEAR: Final = range(11, 15)
_PERIODS: Final = {" per 30 days": " a month", " per month": " a month", " per year": " a year"}
#: What is said in place of none of a unit.
_NONE_OF: Final = {"days late": "on time"}
#: Where what something is per, or of, begins.
_PER: Final = (" a month", " a year", " per ", " of ")
#: One half, one third, and so on.
_PARTS: Final = (
    "half",
    "a third",
    "a quarter",
    "a fifth",
    "a sixth",
    "a seventh",
    "an eighth",
    "a ninth",
    "a tenth",
)
_ACRONYMS: Final = {"tv": "TV", "sms": "SMS", "iot": "IoT", "wifi": "Wi-Fi"}


def thousands(value: float) -> str:
    """12,345."""
    return f"{value:,.0f}"


def decimal(value: float, digits: int = 3) -> str:
    """`digits` significant digits, thousands apart, nothing behind the point from 1,000 on."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    behind = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, behind)
    text = f"{rounded:,.{max(min(behind, 6), 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float, digits: int = 1) -> str:
    """16.5 %; below one per mille more digits."""
    value = share * 100
    if digits == 0:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if abs(value) >= 0.1 or value == 0 else f"{decimal(value, 2)} %"


def sign(change: float) -> str:
    """A difference of shares in points."""
    return f"{change * 100:+.1f} points".replace("-", "−")  # noqa: RUF001 - the sign, not a hyphen


def day(time_us: int) -> str:
    """2026-02-15."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d")


def minute(time_us: int) -> str:
    """2026-02-15 23:10 UTC."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


def span(days: float) -> str:
    """A number of days."""
    return "1 day" if round(days) == 1 else f"{days:.0f} days" if days >= 2 else f"{days:.1f} days"


def capital(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]


def joined(clauses: Sequence[str]) -> str:
    """Have a, b and c: a verb is not said twice in a row."""
    said = [
        clause.removeprefix(f"{verb} ")
        if verb in ("are", "have") and before.startswith(f"{verb} ")
        else clause
        for before, clause in zip(["", *clauses], clauses, strict=False)
        for verb in [clause.partition(" ")[0]]
    ]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


class Units:
    """Values of the model's columns in words; `currency` stands for the word in units of money."""

    def __init__(self, columns: Columns, currency: str) -> None:
        self.columns = columns
        self._currency = currency

    def label(self, j: int) -> str:
        """What column `j` is called; its name where the specification gives no label."""
        label, feature = self.columns.label[j], self.columns.feature[j]
        return label.replace("_", " ") if label.startswith(feature) else label

    def labelled(self, name: str) -> str:
        """Label of a column by its name; other names stay as they are."""
        return self.label(self.columns.name.index(name)) if name in self.columns.name else name

    def unit(self, j: int) -> str:
        """Unit of column `j`."""
        return self.columns.unit[j].replace("currency", self._currency)

    def value(self, j: int, value: float | None, digits: int = 3) -> str:
        """12.3 GB per 30 days, 34 % of activity, 142 minutes per 30 days."""
        if value is None or not math.isfinite(value):
            return "unknown"
        unit = self.unit(j)
        if self.columns.one_hot[j] or unit.startswith("share of"):
            rest = "" if self.columns.one_hot[j] else unit.removeprefix("share")
            return f"{_whole_percent(value)}{rest}"
        if unit.startswith("MB") and abs(value) >= _MB_PER_GB:
            value, unit = value / _MB_PER_GB, f"GB{unit.removeprefix('MB')}"
        return f"{decimal(value, digits)} {unit}".rstrip()

    def bare(self, j: int, value: float | None) -> str:
        """As `spoken`, without what it is per: 12 GB, 34 %, 140 minutes."""
        text = self.spoken(j, value)
        if self.unit(j) in _DAYS_IN:
            return text
        for per in _PER:
            text = text.partition(per)[0]
        return text

    def spoken(self, j: int, value: float | None) -> str:
        """As `value`, as people say it: 12 GB a month, 140 texts a month, 7 years, 34 % of what they do."""
        if value is None or not math.isfinite(value):
            return "unknown"
        unit = self.columns.phrases_of(j).unit or self.unit(j)
        if self.is_share(j):
            rest = "" if self.columns.one_hot[j] else unit.removeprefix("share").strip()
            share = "less than 1 %" if 0 < value < 0.01 else f"{value * 100:.0f} %"
            return f"{share} {rest}".rstrip()
        if unit in _DAYS_IN:
            return _span_of_life(value, unit)
        if unit.startswith("MB") and abs(value) >= _MB_PER_GB:
            value, unit = value / _MB_PER_GB, f"GB{unit.removeprefix('MB')}"
        for per, said in _PERIODS.items():
            unit = unit.replace(per, said)
        number = decimal(value if abs(value) >= 0.1 else 0.0, 2)
        if number == "0" and unit and not self.columns.unit[j].startswith("currency"):
            return _NONE_OF.get(unit, f"no {unit}")
        return f"{number} {_singular(unit) if number == '1' else unit}".rstrip()

    def is_share(self, j: int) -> bool:
        """Whether values are shares of a whole, 0..1."""
        return bool(self.columns.one_hot[j]) or self.unit(j).startswith("share")

    def fact(self, j: int, value: float) -> str:
        """A value of one customer, or of the middle one: spending 39 EUR a month; of a category the level."""
        phrase = self.columns.phrases_of(j).fact
        if self.columns.one_hot[j]:
            return _filled(phrase or BLANK, self.columns.level(j))
        text = self.bare(j, value) if self.is_share(j) else self.spoken(j, value)
        return _filled(phrase or f"{self.label(j)} {BLANK}", text)

    def compared(self, j: int, is_more: bool, how: str = "") -> str:
        """As in "use more data", with `how` (far) before the more."""
        phrases = self.columns.phrases_of(j)
        side = "higher" if is_more else "lower"
        phrase = (phrases.more if is_more else phrases.less) or f"have {BLANK} {side} {self.label(j)}"
        return _filled(phrase, how)

    def counted(self, j: int, share: float, deviation: float) -> str:
        """How many have a level of a category: most have a two-year contract."""
        how = next((word for least, word in _MANY if share >= least), "")
        if deviation < 0:
            how = "few" if share < _FEW else "fewer than usual"
        phrase = self.columns.phrases_of(j).more or f"are {BLANK}"
        return f"{how or 'more than usual'} {_filled(phrase, self.columns.level(j))}"

    def usual(self, j: int, own: float, usual: float) -> str:
        """What is usual, beside what a segment has: 12 times the usual 2.8 GB; only of skewed amounts so."""
        text = self.bare(j, usual)
        if text.startswith("no "):
            return "usual: none"
        is_skewed = self.columns.transform[j] == Transform.SIGNED_LOG1P
        if is_skewed and own > 0 and usual > 0 and is_far(own, usual):
            return f"{times(own / usual)} the usual {text}"
        return f"usual: {text}"


def is_far(own: float, usual: float) -> bool:
    """Whether a number is at least twice or at most half of the usual one."""
    return own != usual and (own >= FAR * usual or usual >= FAR * own) and min(own, usual) >= 0


def times(ratio: float) -> str:
    """Twice, 12 times, half of, a third of, less than a tenth of."""
    if ratio >= 1:
        return "twice" if ratio < 2.5 else f"{decimal(round(ratio), 2)} times"
    part = round(1 / ratio)
    return f"{_PARTS[part - 2]} of" if part - 2 < len(_PARTS) else "less than a tenth of"


def named(service: str) -> str:
    """A service by its name in events: family sharing, SMS flat."""
    return " ".join(_ACRONYMS.get(word, word) for word in service.replace("_", "-").split("-"))


def _span_of_life(value: float, unit: str) -> str:
    """Days, months or years; roughly, as people say it of the past."""
    days = value * _DAYS_IN[unit]
    if unit == "years" or days >= _YEARS:
        return _of(round(days / _DAYS_IN["years"]), "years")
    if unit == "months" or days >= _MONTHS:
        months = round(days / _DAYS_IN["months"])
        return "about a year" if months in _ABOUT_A_YEAR else _of(months, "months")
    return _of(round(days), "days")


def _of(number: int, unit: str) -> str:
    return f"no {unit}" if number == 0 else f"{number} {_singular(unit) if number == 1 else unit}"


def _filled(phrase: str, word: str) -> str:
    return " ".join(w for w in (word if w == BLANK else w for w in phrase.split()) if w)


def _singular(unit: str) -> str:
    noun, _, rest = unit.partition(" ")
    return f"{noun.removesuffix('s')} {rest}".rstrip()


def _whole_percent(share: float) -> str:
    value = share * 100
    return f"{value:.0f} %" if value >= 9.5 or value == 0 else f"{decimal(value, 2)} %"
