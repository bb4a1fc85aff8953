"""Random streams: every draw belongs to a purpose and an index, never to the order of calls."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a random stream is for; the values are part of the seed, so they never change."""

    POPULATION = 1
    TRAITS = 2
    MIGRATION = 3
    MIGRATED_TRAITS = 4
    DAY_FACTOR = 5
    TRIPS = 6
    USAGE = 7
    BILLING = 8
    FAULTS = 9


def stream(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """Generator of `purpose` and `index` (>= 0), independent of every other one."""
    return np.random.default_rng(np.random.SeedSequence([seed, int(purpose), index]))
