"""What the quality benchmark asks for, and whether it was reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from tests.bench._quality_costs import MODEL, PUBLISHED, Run
from tests.bench._quality_streams import CHANGE_DAY, STREAMS

PEERS: Final = ("river_default", "river_warm", "mini_batch")
READERS: Final = (MODEL, PUBLISHED, *PEERS)

_SORTED: Final = frozenset(stream.name for stream in STREAMS if stream.sorted)
_JUMPS: Final = frozenset(stream.name for stream in STREAMS if stream.jumps)
_ALARM: Final = {stream.name: stream.alarm for stream in STREAMS}


def bar(value: float | None, limit: float, at_least: bool = False) -> dict[str, Any]:
    """A bar: the value, its limit and whether it holds (None: not measured)."""
    if value is None or not math.isfinite(value):
        return {"value": None, "limit": limit, "holds": None if value is None else False}
    holds = value >= limit if at_least else value <= limit
    return {"value": round(value, 4), "limit": limit, "holds": bool(holds)}


def table(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Per stream: median over the seeds of the mean cost ratio of every reader, and what else was seen."""
    rows = {}
    for name in dict.fromkeys(run.name for run in runs):
        mine = [run for run in runs if run.name == name]
        medians = {reader: float(np.median([run.mean_ratios[reader] for run in mine])) for reader in READERS}
        found = [run.ari for run in mine if run.ari is not None]
        rows[name] = {
            **{reader: round(value, 4) for reader, value in medians.items()},
            "worst_seed": round(max(run.mean_ratios[MODEL] for run in mine), 4),
            "worst_day": round(max(max(run.ratios[MODEL]) for run in mine), 4),
            "dead_cluster_days": sum(int(np.count_nonzero(run.dead)) for run in mine),
            "restart_ari": round(float(np.median([run.restart_ari for run in mine])), 3),
            "ari": round(float(np.median(found)), 3) if found else None,
            "ari_seeds": len(found),
            "better_peers": sorted(peer for peer in PEERS if medians[peer] < medians[MODEL]),
        }
    return rows


def detection(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Per stream: days from the planted change to the first alarm, by seed, and days of false alarm.

    None where no alarm came. Before a planted change every alarm is false; in a stream that is neither
    changed nor unchanged none is.
    """
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        kind = _ALARM.get(run.name, "either")
        row = found.setdefault(run.name, {"alarm": kind, "false_alarm_days": 0, "figures": []})
        after = [day for day in run.alarms if day >= CHANGE_DAY]
        if kind == "due":
            row.setdefault("delay_days", []).append(after[0] - CHANGE_DAY if after else None)
            row["false_alarm_days"] += len(run.alarms) - len(after)
        elif kind == "false":
            row["false_alarm_days"] += len(run.alarms)
        row["figures"] = sorted({*row["figures"], *run.alarms.values()})
    return found


def cost_bars(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """The bars on cost, on dead clusters and on the peers."""
    bars = {}
    for reader in (MODEL, PUBLISHED):
        means = [run.mean_ratios[reader] for run in runs]
        bars[f"{reader}_between_median"] = bar(float(np.median(means)), 1.05)
        worst = [run.mean_ratios[reader] for run in runs if run.name not in _SORTED]
        bars[f"{reader}_between_worst_seed"] = bar(max(worst), 1.10)
        jumped = [run.after_change(reader) for run in runs if run.name in _JUMPS]
        bars[f"{reader}_after_abrupt_shift"] = bar(max(jumped) if jumped else None, 1.10)
    bars["dead_cluster_days"] = bar(float(sum(np.count_nonzero(run.dead) for run in runs)), 0)
    ours = float(np.median([run.mean_ratios[MODEL] for run in runs]))
    peers = {peer: float(np.median([run.mean_ratios[peer] for run in runs])) for peer in PEERS}
    bars["ours_less_than_best_peer"] = bar(ours, round(min(peers.values()), 4))
    return bars


def recalibration_bars(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """The bars on what a recalibration leads to: the median over the streams and the worst of them.

    No name may be lost in any.
    """

    def values(name: str) -> list[float]:
        return [row[name] for row in found.values()]

    def median(name: str) -> float | None:
        return float(np.median(values(name))) if found else None

    def worst(name: str) -> float | None:
        return max(values(name)) if found else None

    return {
        "after_recalibration": bar(median("ratio"), 1.01),
        "after_recalibration_a_day_later": bar(median("ratio_a_day_later"), 1.01),
        "after_recalibration_worst_stream": bar(worst("ratio"), 1.01),
        "after_recalibration_a_day_later_worst_stream": bar(worst("ratio_a_day_later"), 1.01),
        "ids_renamed": bar(worst("ids_renamed"), 0),
    }


def move_bars(moves: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The bars on spurious moves and on planted ones, over all seeds."""
    still, planted = moves["constant"], moves["migrations_at_once"]
    return {
        "identical_features_moved": bar(moves["identical"]["published"], 0.005),
        "moves_to_daily_batch": bar(still["published"] / still["batch"] if still["batch"] else None, 0.5),
        "migrations_seen": bar(planted["published"], 0.95, at_least=True),
    }
