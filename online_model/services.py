"""Which services customers have, by name."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from online_model.rows import NO_SECOND, Rows
from schemas.batch import Attribute, Vocabulary

#: What all services are called together that the specification does not tell apart.
OTHER: Final = "other"


def services(rows: Rows, chosen: npt.NDArray[np.int32], vocabulary: Vocabulary) -> list[list[str] | None]:
    """Names of the services of the rows `chosen`, in the order of `vocabulary`; None where unknown."""
    names = [*vocabulary.levels.get("services", ()), OTHER]
    is_known = rows.attribute_time[chosen, int(Attribute.SERVICES)] != NO_SECOND
    # Few sets of services are many customers', so each is spelt once.
    masks, place = np.unique(rows.hot["services"][chosen], return_inverse=True)
    spelt = [[name for bit, name in enumerate(names) if mask >> bit & 1] for mask in masks.tolist()]
    return [spelt[p] if known else None for p, known in zip(place.tolist(), is_known.tolist(), strict=True)]
