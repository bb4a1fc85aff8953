"""What has to become of each fault that the simulator plants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from consumer.simulator import FaultKind, Faults, Simulation, SimulationSettings
from schemas.rejects import Reason

#: Every kind often enough to be seen in a short run.
FAULTS: Final = Faults(
    duplicates=0.01,
    late=0.01,
    late_day=0.01,
    late_week=0.01,
    late_window=0.01,
    out_of_order=0.01,
    bad_clock=0.03,
    malformed=0.15,
    misrouted=0.02,
)
#: Kinds whose every record is refused, and why.
ALWAYS: Final = {
    FaultKind.BROKEN_JSON: Reason.MALFORMED_JSON,
    FaultKind.EMPTY: Reason.MALFORMED_JSON,
    FaultKind.UNKNOWN_TYPE: Reason.UNKNOWN_TYPE,
    FaultKind.WRONG_TOPIC: Reason.WRONG_TOPIC,
    FaultKind.MISSING_FIELD: Reason.SCHEMA,
    FaultKind.WRONG_TYPE: Reason.SCHEMA,
    FaultKind.NEGATIVE: Reason.OUT_OF_RANGE,
    FaultKind.WRONG_CURRENCY: Reason.CURRENCY,
    FaultKind.KEY_MISMATCH: Reason.KEY_MISMATCH,
    FaultKind.MISROUTED: Reason.MISROUTED,
    FaultKind.CLOCK_YEARS_AHEAD: Reason.FUTURE,
}
#: Kinds of which some records are refused, and why. Profiles and closings are never late, nothing is before
#: there is a watermark, and clocks that are few days ahead are believed to be early.
MOSTLY: Final = {
    FaultKind.CLOCK_1970: Reason.LATE,
    FaultKind.LATE_WINDOW: Reason.LATE,
    FaultKind.CLOCK_DAYS_AHEAD: Reason.FUTURE,
}
#: A record: topic, key and value.
Bytes = tuple[str, bytes, bytes]


def fault_of_records(settings: SimulationSettings) -> dict[Bytes, FaultKind]:
    """The fault of every record of a run. A duplicate has the bytes of its original, which has none."""
    found: dict[Bytes, FaultKind] = {}
    for chunk in Simulation(settings).chunks():
        for topic, key, value, code in zip(
            chunk.topic, chunk.key, chunk.value, chunk.fault.tolist(), strict=True
        ):
            if code != FaultKind.DUPLICATE:
                found[topic, key, value] = FaultKind(code)
    return found


def check_refused(
    refused: Iterable[tuple[FaultKind, str]], planted: Mapping[str, int], kinds: Iterable[FaultKind]
) -> None:
    """Each of `kinds` was planted and was refused under its own reason; and nothing else was refused.

    `refused`: fault and reason of every refused record; `planted`: the truth's counts by fault.
    """
    # A word where the time should be is the wrong type of a record without a measure.
    same = {(FaultKind.WRONG_TYPE, Reason.BAD_TIME.value): (FaultKind.WRONG_TYPE, Reason.SCHEMA.value)}
    found = Counter(same.get(pair, pair) for pair in refused)
    kinds = set(kinds)
    sent = {kind: planted.get(kind.name.lower(), 0) for kind in FaultKind}
    assert [kind.name for kind in kinds if sent[kind] < 5] == [], "too few to prove anything"
    always = {(kind, reason.value): sent[kind] for kind, reason in ALWAYS.items() if kind in kinds}
    surely = Counter({pair: n for pair, n in found.items() if pair[0] in ALWAYS})
    assert surely == always, (surely - Counter(always), Counter(always) - surely)
    mostly = {(kind, reason.value): sent[kind] for kind, reason in MOSTLY.items() if kind in kinds}
    for pair, n in mostly.items():
        assert 0.7 * n <= found[pair] <= n, (pair, found[pair], n)
    assert found.keys() <= always.keys() | mostly.keys()
