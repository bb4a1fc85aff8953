"""What a recalibration at the end of a stream leads to, for customers that it has not seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from online_model.distance import nearest
from tests.bench._quality_costs import Source
from tests.bench._quality_customers import Day
from tests.bench._quality_measures import batch, cost, ids_renamed
from tests.bench._quality_ours import Ours, Recalibrate


def recalibrate_at_end(
    source: Source, seed: int, customers: int, n_days: int, by: Recalibrate
) -> dict[str, float]:
    """Recalibrates on a random half of the customers after `n_days`; looks at the other half.

    `ratio`: cost over that of batch K-Means on those customers, `ratio_a_day_later` again one event-day
    of scans later, both with the new scaler; `ids_renamed`: segments that live on under another id.
    """
    rng = np.random.default_rng([seed, 4000])
    *before, last, next_day = source.days(customers, n_days + 1, seed)
    ours = Ours(before[0], source.plan, source.k, seed)
    for day in (*before[1:], last):
        ours.live_day(day)
    sample = rng.random(len(last.raw)) < 0.5
    old_ids = ours.ids(ours.published.code)
    ours.recalibrate(last, sample, by)
    model = ours.model
    new_ids = ours.ids(nearest(ours.scaled(last), model.centroids, model.scaler.importance)[0])
    ratio = _ratio(ours, last, ~sample & ours.awake(last), rng)
    ours.live_day(next_day)
    later = ours.awake(next_day)
    later[: len(sample)] &= ~sample
    return {
        "ratio": ratio,
        "ratio_a_day_later": _ratio(ours, next_day, later, rng),
        "ids_renamed": float(ids_renamed(old_ids, new_ids)),
    }


def _ratio(ours: Ours, day: Day, rows: npt.NDArray[np.bool_], rng: np.random.Generator) -> float:
    x, model = ours.scaled(day)[rows], ours.model
    importance = model.scaler.importance
    return cost(x, model.centroids, importance) / batch(x, model.k, importance, rng).cost
