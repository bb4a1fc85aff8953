"""A model as the step uses it: with segment numbers in place of ids, and the version before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from online_model.columns import Columns
from online_model.decision import feature_index
from online_model.fold import Gauge, gauge_of
from online_model.model import DORMANT_CODE, NO_SEGMENT, RETIRED_CODE, UNCLASSIFIED_CODE, Model
from online_model.rows import SEGMENT_DORMANT, SEGMENT_NONE, SEGMENT_UNCLASSIFIED

Int16Array = npt.NDArray[np.int16]

#: Special codes of decisions and the numbers that stand for them in rows and changes.
_SPECIAL = {DORMANT_CODE: SEGMENT_DORMANT, UNCLASSIFIED_CODE: SEGMENT_UNCLASSIFIED}


def segment_number(segment_id: str) -> int:
    """Number of a stable id: ``s7`` is 7; dormant and unclassified have fixed negative ones."""
    fixed = {"dormant": SEGMENT_DORMANT, "unclassified": SEGMENT_UNCLASSIFIED}
    return fixed[segment_id] if segment_id in fixed else int(segment_id[1:])


def segment_id(number: int) -> str | None:
    """Stable id of a segment number; None for no segment."""
    fixed = {SEGMENT_NONE: None, SEGMENT_DORMANT: "dormant", SEGMENT_UNCLASSIFIED: "unclassified"}
    return fixed.get(number, f"s{number}")


@dataclass(frozen=True, slots=True, eq=False)
class ActiveModel:
    """`model` with what a step derives from it once."""

    model: Model
    numbers: Int16Array  # segment number per centroid
    feature: npt.NDArray[np.int32]
    gauge: Gauge

    @classmethod
    def of(cls, model: Model, columns: Columns) -> ActiveModel:
        """Checks that the model was made for `columns` and prepares it."""
        if model.columns != columns.name:
            raise ValueError(
                f"model version {model.version} was made for another feature specification; "
                "recalibrate with this one or go back to the specification of the model"
            )
        numbers = np.array([segment_number(segment.id) for segment in model.segments], np.int16)
        return cls(model, numbers, feature_index(columns), gauge_of(model))

    def codes(self, numbers: Int16Array) -> Int16Array:
        """Decision codes int16[m] of segment numbers: the centroid, or a special code."""
        codes = np.full(len(numbers), RETIRED_CODE, np.int16)
        codes[numbers == SEGMENT_NONE] = NO_SEGMENT
        for code, number in _SPECIAL.items():
            codes[numbers == number] = code
        for code, number in enumerate(self.numbers):
            codes[numbers == number] = code
        return codes

    def numbers_of(self, codes: Int16Array) -> Int16Array:
        """Segment numbers int16[m] of decision codes."""
        numbers = np.where(codes >= 0, self.numbers[np.maximum(codes, 0)], np.int16(SEGMENT_NONE))
        for code, number in _SPECIAL.items():
            numbers[codes == code] = number
        return numbers.astype(np.int16)
