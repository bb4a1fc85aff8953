"""What one scan said about drift: a small record that travels with the version the scan made.

The models topic thus holds the history that the drift rule needs, and every process that reads the
topic comes to the same alarms, whoever coordinates.
"""

from __future__ import annotations

from typing import Literal

import msgspec

#: What a figure beyond a threshold calls for: a remark, a look, a recalibration, or none before the input
#: is mended.
Level = Literal["note", "watch", "act", "hold"]


class Raised(msgspec.Struct, frozen=True, array_like=True):
    """A figure beyond a threshold: which kind, of what (feature, segment, or empty), how far, its value."""

    kind: str
    subject: str
    level: Level
    value: float


class Observation(msgspec.Struct, frozen=True):
    """One scan: its number and boundary, customers seen, what was raised, and the means it saw.

    `measured` is false for too few customers; then nothing is raised. `means`: the error ratio, then the
    mean of every column in standard deviations of the calibration (null: nothing to compare). `members`:
    customers by the centroid they are nearest to, then the dormant and the unclassified (empty in records
    from before).
    """

    scan_id: int
    boundary_us: int
    rows: int
    measured: bool
    raised: list[Raised] = []
    means: list[float | None] = []
    members: list[int] = []
