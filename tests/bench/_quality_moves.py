"""Moves: how many customers change segment without a reason, and how soon those who have one do."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from tests.bench._quality_measures import IntArray, batch, renamed
from tests.bench._quality_ours import Ours
from tests.bench._quality_streams import AT_ONCE, MIGRATIONS, STATIONARY, Stream

#: Event-days within which a migration has to be seen.
WITHIN_DAYS: Final = 10


def identical(seed: int, customers: int, n_days: int) -> dict[str, float]:
    """Share of customers who move although nothing of theirs ever changes.

    Calibrated on half of them, so that what the scans learn is not what the calibration knew.
    """
    day = next(STATIONARY.days(customers, 0, seed))
    half = np.random.default_rng([seed, 2000]).random(len(day.raw)) < 0.5
    ours = Ours(day, STATIONARY.plan, STATIONARY.k, seed, half)
    for _ in range(n_days):
        ours.live_day(day)
    n = len(day.raw)
    return {"published": ours.published.moves / n, "hysteresis_off": ours.plain.moves / n}


def constant(seed: int, customers: int, n_days: int) -> dict[str, float]:
    """Moves per customer-day at constant rates, beside batch K-Means re-run daily with matched ids."""
    labels = _labels(STATIONARY, seed, customers, n_days)
    n = len(labels["published"][0])
    return {name: _moves(series) / (n * n_days) for name, series in labels.items()}


def migrations(seed: int, customers: int, n_days: int, at_once: bool) -> dict[str, float]:
    """Share of planted migrations after which the segment changes within `WITHIN_DAYS`.

    Beside it the share that `n_days` show at all: what never changes is in the features of neither.
    """
    stream = AT_ONCE if at_once else MIGRATIONS
    *_, last = stream.days(customers, n_days, seed)
    rows = np.flatnonzero(last.migrated_on >= 0)
    since = last.migrated_on[rows]
    result = {"migrations": float(len(rows))}
    for name, series in _labels(stream, seed, customers, n_days).items():
        labels = np.array(series)[:, rows]
        changed = labels != labels[since, np.arange(len(rows))]
        changed &= np.arange(len(labels))[:, None] > since
        delay = np.where(changed.any(axis=0), changed.argmax(axis=0) - since, n_days + 1)
        result[name] = float((delay <= WITHIN_DAYS).mean())
        result[f"{name}_ever"] = float((delay <= n_days).mean())
    return result


def _labels(stream: Stream, seed: int, customers: int, n_days: int) -> dict[str, list[IntArray]]:
    """Segment of every customer at the end of each day by who says so; the base does not grow."""
    rng = np.random.default_rng([seed, 3000])
    found: dict[str, list[IntArray]] = {"published": [], "hysteresis_off": [], "batch": []}
    ours = None
    for day in stream.days(customers, n_days, seed):
        ours = ours or Ours(day, stream.plan, stream.k, seed)
        ours.live_day(day)
        labels = batch(ours.scaled(day), stream.k, ours.model.scaler.importance, rng).labels
        if found["batch"]:
            labels = renamed(found["batch"][-1], labels)
        for name, now in zip(found, (ours.published.code, ours.plain.code, labels), strict=True):
            found[name].append(now)
    return found


def _moves(series: list[IntArray]) -> int:
    return sum(int((a != b).sum()) for a, b in pairwise(series))
