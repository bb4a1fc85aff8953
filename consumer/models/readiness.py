"""When there is enough for the first calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from consumer.config import Config
from online_model.coordinator import is_ready
from online_model.plan import DAY_US

#: Customers per possible segment that must be seen for a share of the partitions to be a sample at all.
SAMPLE_PER_SEGMENT: Final = 20


@dataclass(frozen=True, slots=True)
class Share:
    """What one partition has: `customers` with an id, and event time from its first events on."""

    customers: int
    history_us: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What a first calibration asks for; `sample`: customers that must be seen, whatever that stands for."""

    partition_count: int
    customers: int
    history_days: float
    sample: int

    @classmethod
    def of(cls, config: Config, partition_count: int) -> Needs:
        """With the settings of `config`."""
        model = config.model
        sample = min(model.min_customers, SAMPLE_PER_SEGMENT * model.k_bounds[1])
        return cls(partition_count, model.min_customers, model.min_history_days, sample)

    def lacking(self, shares: Sequence[Share]) -> str:
        """What is missing, in words; empty if nothing is.

        Customers are spread over the partitions by hash: those of some partitions are a fair sample, and tell
        how many there are in all. Of several workers none would ever have all by itself.
        """
        seen = sum(share.customers for share in shares)
        customers = seen * self.partition_count // max(len(shares), 1)
        history_us = middle_history_us(shares)
        is_sample = len(shares) > 0 and seen >= self.sample
        if is_sample and is_ready(customers, history_us, self.customers, self.history_days):
            return ""
        return (
            f"about {customers} customers with {history_us / DAY_US:.1f} days of history, "
            f"needs {self.customers} and {self.history_days:g}"
        )


def middle_history_us(shares: Sequence[Share]) -> int:
    """Event time from the first events to the watermark that half of the customers have behind them.

    Not the shortest of all partitions: one that is empty, or began with a bad clock, would hold back all.
    """
    if not shares:
        return 0
    by_history = sorted(shares, key=lambda share: share.history_us)
    customers = np.cumsum([share.customers for share in by_history])
    middle = by_history[int(np.searchsorted(customers, (customers[-1] + 1) // 2))]
    return max(middle.history_us, 0)
