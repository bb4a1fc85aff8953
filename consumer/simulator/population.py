"""Who is there and when: personas, joining, leaving, silent churn and the planted migration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consumer.simulator.settings import Migration, SimulationSettings
from consumer.simulator.streams import Purpose, stream
from consumer.simulator.traits import FloatArray, IntArray, ObjectArray, draw_tenure_days, pick

DAY_US = 86_400_000_000
#: "Never", as a time.
NEVER_US = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Population:
    """The life of `n` customers; row order is the order of customer ids.

    `ids` object[n] str, `keys` object[n] bytes; `persona`, `persona_after` int64[n] (equal where
    nobody migrates); `migrated_us`, `churned_us` (silent), `closed_us` int64[n], `NEVER_US` if not;
    `activated_us` int64[n]: the first instant in this run (its start for customers from before);
    `activated_day` int64[n] days since 1970-01-01; `bill_day` int64[n] day of the month 1-28.
    """

    ids: ObjectArray
    keys: ObjectArray
    persona: IntArray
    persona_after: IntArray
    migrated_us: IntArray
    activated_us: IntArray
    activated_day: IntArray
    churned_us: IntArray
    closed_us: IntArray
    bill_day: IntArray

    @property
    def ends_us(self) -> IntArray:
        """int64[n]: when the customer stops producing events."""
        return np.minimum(self.churned_us, self.closed_us)

    @property
    def migrants(self) -> IntArray:
        """Rows of the customers who change persona."""
        return np.flatnonzero(self.migrated_us < NEVER_US)


def draw_population(settings: SimulationSettings) -> Population:
    """The population of a run; depends on nothing but the settings."""
    rng = stream(settings.seed, Purpose.POPULATION)
    n = settings.customers
    persona = _personas(rng, settings)
    activated_us, n_old = _activations(rng, settings)
    tenure = draw_tenure_days(rng, settings.personas, persona)
    churned_us, closed_us = _departures(rng, settings, n_old)
    activated_day = activated_us // DAY_US
    activated_day[:n_old] -= tenure[:n_old]
    ends_us = np.minimum(churned_us, closed_us)
    persona_after, migrated_us = persona.copy(), np.full(n, NEVER_US)
    if settings.migration is not None:
        at_us = settings.start_us + settings.migration.day * DAY_US
        here = np.flatnonzero((activated_us < at_us) & (ends_us > at_us))
        rows, target = _migrants(settings, settings.migration, persona, here)
        persona_after[rows], migrated_us[rows] = target, at_us
    ids = np.array([f"c{i:08d}" for i in range(1, n + 1)], object)
    return Population(
        ids=ids,
        keys=np.array([i.encode() for i in ids], object),
        persona=persona,
        persona_after=persona_after,
        migrated_us=migrated_us,
        activated_us=activated_us,
        activated_day=activated_day,
        churned_us=churned_us,
        closed_us=closed_us,
        bill_day=rng.integers(1, 29, n),
    )


def _personas(rng: np.random.Generator, settings: SimulationSettings) -> IntArray:
    """Persona codes with exact shares (up to rounding), shuffled."""
    share = np.array([p.share for p in settings.personas])
    bounds = np.round(np.cumsum(share) / share.sum() * settings.customers).astype(np.int64)
    codes = np.searchsorted(bounds, np.arange(settings.customers), side="right")
    return rng.permutation(codes).astype(np.int64)


def _activations(rng: np.random.Generator, settings: SimulationSettings) -> tuple[IntArray, int]:
    """Activation instants; the last rows join during the run, in the order of their ids."""
    n = settings.customers
    n_new = round(n * settings.new_customer_share)
    activated_us = np.full(n, settings.start_us)
    seconds = rng.integers(3600, settings.days * 86_400, n_new)
    activated_us[n - n_new :] += np.sort(seconds) * 1_000_000
    return activated_us, n - n_new


def _departures(
    rng: np.random.Generator, settings: SimulationSettings, n_old: int
) -> tuple[IntArray, IntArray]:
    """Instants of silent churn and of `closed`, for customers from before the run."""
    n = settings.customers
    churned_us, closed_us = np.full(n, NEVER_US), np.full(n, NEVER_US)
    order = rng.permutation(n_old)
    n_churned = round(n_old * settings.silent_churn_share)
    n_gone = n_churned + round(n_old * settings.closed_share)
    seconds = rng.integers(3600, settings.days * 86_400, n_old)
    at_us = settings.start_us + seconds * 1_000_000
    churned_us[order[:n_churned]] = at_us[:n_churned]
    closed_us[order[n_churned:n_gone]] = at_us[n_churned:n_gone]
    return churned_us, closed_us


def _migrants(
    settings: SimulationSettings, migration: Migration, persona: IntArray, here: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], IntArray]:
    """Rows that migrate and the persona each goes to (never its own)."""
    rng = stream(settings.seed, Purpose.MIGRATION)
    names = [p.name for p in settings.personas]
    if migration.to is not None:
        here = here[persona[here] != names.index(migration.to)]
    rows = np.sort(rng.permutation(here)[: round(len(here) * migration.fraction)])
    if migration.to is not None:
        return rows, np.full(len(rows), names.index(migration.to))
    weights: FloatArray = np.tile([p.share for p in settings.personas], (len(rows), 1))
    weights[np.arange(len(rows)), persona[rows]] = 0.0
    return rows, pick(rng, weights)
