"""river's ADWIN on the means of scans: one detector for the error and one per column.

A mean per scan is a slow series with little noise, which is what ADWIN is good at; on single events it
fires at changes that matter to nobody. It has no notion of a week: the cycle of a feature is a change
to it, so what it finds is a remark beside the alarms and none itself. The detectors hold no state of
their own: they are run again over the scans kept, so whoever has the history has their answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from river.drift import ADWIN

#: Scans that are kept: four days of hourly ones.
HISTORY: Final = 96

#: ADWIN's bound is the noise of the series plus a term made for values in 0..1, which hides changes well
#: below 1: a tenth of a standard deviation (of the mean error for the error) is made 1. With a quarter it
#: did not find 0.6 deviations in 26 scans; much less, and the noise alone would have to keep it quiet.
_UNIT: Final = 0.1


def changed(means: Sequence[Sequence[float | None]], names: Sequence[str], last: int) -> list[str]:
    """Names of the series in which ADWIN has found a change within the `last` scans.

    `means`: per scan one value per name, oldest first. Its bound needs some thirty values before it can
    find anything, so the first scans after a recalibration raise nothing.
    """
    found = []
    for j, name in enumerate(names):
        series = [row[j] for row in means[-HISTORY:]]
        detector = ADWIN(clock=1)  # type: ignore[no-untyped-call]
        since = last
        for value in series:
            since += 1
            if value is None:
                continue
            detector.update(value / _UNIT)  # type: ignore[no-untyped-call]
            if detector.drift_detected:
                since = 0
        if since < last:
            found.append(name)
    return found
