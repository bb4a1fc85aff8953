"""Numbers and comparisons as people write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from online_model.columns import Columns

_MB_PER_GB: Final = 1000.0
#: Deviations from the population, in standard deviations, and the words for them.
_STEPS: Final = ((1.5, "far "), (0.8, "much "), (0.0, ""))


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


def percent(share: float) -> str:
    """16.5 %; below one per mille more digits."""
    value = share * 100
    return f"{value:.1f} %" if abs(value) >= 0.1 or value == 0 else f"{decimal(value, 2)} %"


def sign(change: float) -> str:
    """A difference of shares in points."""
    return f"{change * 100:+.1f} points"


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
        """As `value`, without what it is per: 12.3 GB, 34 %, 142."""
        text, unit = self.value(j, value), self.unit(j)
        if unit.startswith("share of"):
            return text.removesuffix(unit.removeprefix("share"))
        return text.partition(" per ")[0]

    def compared(self, j: int, deviation: float, value: float | None) -> str:
        """As in "much higher data use", or of a category "mostly postpaid"; `value` is the mean."""
        if self.columns.one_hot[j]:
            level = self.label(j).rpartition(": ")[2]
            how = "mostly" if (value or 0.0) >= 0.5 else "more often" if deviation > 0 else "less often"
            return f"{how} {level}"
        strength = next(word for least, word in _STEPS if abs(deviation) >= least)
        return f"{strength}{'higher' if deviation > 0 else 'lower'} {self.label(j)}"


def _whole_percent(share: float) -> str:
    value = share * 100
    return f"{value:.0f} %" if value >= 9.5 or value == 0 else f"{decimal(value, 2)} %"
