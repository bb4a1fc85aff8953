"""Numbers and comparisons as people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from online_model.columns import Columns
from online_model.spec import BLANK

_MB_PER_GB: Final = 1000.0
#: Deviations from the population, in standard deviations, and the words for them.
_STEPS: Final = ((1.5, "far"), (0.8, "clearly"), (0.0, "somewhat"))
#: Shares of a segment with a level of a category, where larger and where smaller than those of all customers.
_MOSTLY: Final = 0.5
_RARELY: Final = 0.25
#: Spans of so many days are spoken of in years, and in months.
_YEARS: Final = 730.0
_MONTHS: Final = 90.0


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
        return self.spoken(j, value).partition(" a month")[0].partition(" per ")[0].partition(" of ")[0]

    def spoken(self, j: int, value: float | None) -> str:
        """As `value`, as people say it: 12 GB a month, 140 minutes a month, 7.1 years, 34 % of activity."""
        if value is None or not math.isfinite(value):
            return "unknown"
        unit = self.unit(j)
        if self.columns.one_hot[j] or unit.startswith("share"):
            rest = "" if self.columns.one_hot[j] else unit.removeprefix("share")
            return f"{'less than 1 %' if 0 < value < 0.01 else f'{value * 100:.0f} %'}{rest}"
        if unit == "days" and abs(value) >= _MONTHS:
            per_unit, name = (365.25, "years") if abs(value) >= _YEARS else (30.44, "months")
            return f"{decimal(value / per_unit, 2)} {name}"
        text = self.value(j, value if abs(value) >= 0.1 else 0.0, 2).replace(" per 30 days", " a month")
        number, _, rest = text.partition(" ")
        if number == "0" and rest:
            return f"no {rest}"
        return f"1 {_singular(rest)}".rstrip() if number == "1" else text

    def short(self, j: int, value: float) -> str:
        """As `spoken`, without what the label says already: 140 a month beside "text messages"."""
        text = self.spoken(j, value)
        number, _, rest = text.partition(" ")
        noun, _, per = rest.partition(" ")
        if number == "no":
            return "none"
        return f"{number} {per}".rstrip() if {noun, f"{noun}s"} & set(self.label(j).split()) else text

    def compared(self, j: int, deviation: float, value: float | None, is_plain: bool = False) -> str:
        """As in "use far more data", or of a category "are mostly postpaid"; `value` is the mean.

        A plain one does not say how much.
        """
        phrases = self.columns.phrases_of(j)
        if self.columns.one_hot[j]:
            how = _how_many(deviation, value or 0.0)
            verb, _, rest = _filled(phrases.more or "are _", self.columns.level(j)).partition(" ")
            return f"{verb} {how} {rest}" if verb == "are" else f"{how} {verb} {rest}"
        how = "" if is_plain else next(word for least, word in _STEPS if abs(deviation) >= least)
        side = "higher" if deviation > 0 else "lower"
        phrase = (phrases.more if deviation > 0 else phrases.less) or f"have _ {side} {self.label(j)}"
        return _filled(phrase, how)


def _how_many(deviation: float, share: float) -> str:
    if deviation > 0:
        return "mostly" if share >= _MOSTLY else "more often"
    return "rarely" if share < _RARELY else "less often"


def _filled(phrase: str, word: str) -> str:
    return " ".join(w for w in (word if w == BLANK else w for w in phrase.split()) if w)


def _singular(unit: str) -> str:
    noun, _, rest = unit.partition(" ")
    return f"{noun.removesuffix('s')} {rest}".rstrip()


def _whole_percent(share: float) -> str:
    value = share * 100
    return f"{value:.0f} %" if value >= 9.5 or value == 0 else f"{decimal(value, 2)} %"
