"""The kinds of drift: their thresholds, what each sees and what it is blind to.

No figure sees everything, so all are watched. Thresholds come from simulated drift of a mixture of
six groups (without drift at 2,000 customers: PSI 0.008, share distance 0.02, displacement 0.12; one
feature by half a deviation: 0.24, 0.03, 0.23; a mix shift of 15 points: share distance 0.2; a far group
of 5 %: error 1.9, outliers 0.06); those of age and missing are judgements. Clipped is above what a
simulated month without drift gave (0.022, by tenure and by the week's cycle).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from online_model.observation import Level

#: Its part in the combined rule: the input has drifted, the model fits worse, or none.
Role = Literal["input", "fit", "alone"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of drift: its figure's thresholds, what it sees and what it cannot see.

    From `watch` on somebody should look; from `act` on a recalibration is called for by this alone;
    from `hold` on none may be made. `base` is what `watch` amounts to. `says` is the reason in
    words: subject and value are filled in.
    """

    name: str
    role: Role
    says: str
    sees: str
    blind_to: str
    watch: float
    act: float | None = None
    hold: float | None = None
    base: Level = "watch"

    def level(self, value: float) -> Level | None:
        """What `value` calls for; None below every threshold or for NaN."""
        if self.hold is not None and value >= self.hold:
            return "hold"
        if self.act is not None and value >= self.act:
            return "act"
        return self.base if value >= self.watch else None


KINDS: Final = (
    Kind(
        "psi",
        "input",
        "the distribution of {subject} has changed (PSI {value:.2f})",
        "a feature's distribution shifts or widens",
        "a small group far away; features that change together",
        watch=0.25,
    ),
    Kind(
        "missing",
        "alone",
        "{subject} is missing for {value:.0%} more customers than at calibration",
        "a feature that is no longer delivered",
        "a feature that is delivered as a constant (PSI sees it)",
        watch=0.05,
        hold=0.2,
    ),
    Kind(
        "clipped",
        "input",
        "{subject} is beyond its calibrated range for {value:.1%} more customers",
        "values the scaler cuts off, which the distances then do not see",
        "shifts inside the range",
        watch=0.025,
    ),
    Kind(
        "share",
        "fit",
        "the sizes of the segments have changed (distance {value:.2f})",
        "another mix of customers",
        "a shift of one feature; a new group inside a segment",
        watch=0.1,
        act=0.2,
    ),
    Kind(
        "error",
        "fit",
        "customers are farther from their segments' centres than at calibration (x{value:.2f})",
        "widening spread, a new far group",
        "a feature without values, another mix, what the folds have followed",
        watch=1.25,
        act=1.6,
    ),
    Kind(
        "shrinking",
        "alone",
        "customers are closer to their segments' centres than at calibration (1/{value:.2f})",
        "features that lose their spread",
        "one feature of many",
        watch=1.25,
    ),
    Kind(
        "segment_error",
        "alone",
        "customers of {subject} are farther from its centre than at calibration (x{value:.2f})",
        "a group that joins one segment, a segment that widens",
        "segments with too few customers",
        watch=1.6,
    ),
    Kind(
        "outliers",
        "fit",
        "{value:.1%} of customers are farther out than 99 % were at calibration",
        "a new far group, however small its effect on the mean",
        "new groups between the segments",
        watch=0.03,
        act=0.06,
    ),
    Kind(
        "displacement",
        "fit",
        "customers of {subject} have moved {value:.0%} of the way to the nearest segment",
        "drift that the folds follow and the error therefore hides",
        "a change of the mix; a column without values",
        watch=0.3,
        act=0.6,
    ),
    Kind(
        "silhouette",
        "alone",
        "the segments stand less apart (silhouette down by {value:.0%})",
        "a new group between the segments",
        "another mix",
        watch=0.1,
    ),
    Kind(
        "davies_bouldin",
        "alone",
        "the segments overlap more (Davies-Bouldin up by {value:.0%})",
        "segments that widen or come closer",
        "another mix",
        watch=0.15,
    ),
    Kind(
        "change_point",
        "alone",
        "the mean of {subject} has changed lately (by ADWIN)",
        "that a mean has just changed, by less than what the others see",
        "spread and mix; slow trends; the first thirty scans after a calibration; a week's cycle is a change",
        watch=1.0,
        base="note",
    ),
    Kind(
        "age",
        "alone",
        "the model was calibrated {value:.0f} days ago",
        "what nothing else sees",
        "everything else",
        watch=90.0,
        act=180.0,
    ),
)
