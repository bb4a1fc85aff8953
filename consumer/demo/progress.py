"""What has happened so far, gathered from the service turn by turn, and a snapshot of it for the view."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from consumer.demo.pacer import Phase
from consumer.demo.scenario import DAY_US, Timeline
from consumer.service import Service
from online_model.active_model import segment_id
from online_model.catalog import FIXED_SEGMENTS
from online_model.change_batch import Cause, Change, ChangeBatch
from online_model.columns import Columns
from online_model.drift import Drift
from online_model.engine import Step

_KEPT_CHANGES: Final = 12
#: Changes taken of one turn: a turn of thousands (the first assignments) would only flush the list.
_PER_TURN: Final = 3
_RATE_OVER_S: Final = 3.0
#: The planted drift is of data usage.
DRIFTING: Final = "data_mb_30d"

_FIXED_NAMES: Final = {segment.id: segment.name for segment in FIXED_SEGMENTS}


@dataclass(frozen=True, slots=True)
class RecentChange:
    """A change for the view: names, not numbers."""

    at_us: int
    customer: str
    before: str | None
    after: str | None
    cause: str
    drivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment and its customers now."""

    id: str
    name: str
    customers: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the view shows."""

    phase: Phase
    now_us: int
    day: int
    days: int
    events: int
    events_per_s: float
    backlog: int
    model_version: int
    customers: int
    drift: str
    segments: tuple[SegmentRow, ...]
    recent: tuple[RecentChange, ...]
    changes: tuple[tuple[str, int], ...]
    rejects: tuple[tuple[str, int], ...]
    metrics_url: str


class Progress:
    """Follows a service. `step` after each turn, `snapshot` as often as the view is drawn."""

    def __init__(self, service: Service, timeline: Timeline) -> None:
        self._service = service
        self._timeline = timeline
        self._recent: deque[RecentChange] = deque(maxlen=_KEPT_CHANGES)
        self._rates: deque[tuple[float, int]] = deque()
        self._drift: Drift | None = None
        self.rejects: Counter[str] = Counter()

    @property
    def processed(self) -> int:
        """Records with an outcome."""
        return int(self._service.recorder.totals.sum())

    @property
    def model(self) -> str:
        """State of the model as the pacer asks for it."""
        if self._service.core.engine.active is not None:
            return "ready"
        return "calibrating" if self._service.keeper.is_calibrating else "waiting"

    def step(self, step: Step) -> None:
        """One turn of the service."""
        latest = self._service.core.coordinator.drift
        # A scan that not every partition has reported may be too small to say anything.
        if latest is not None and (latest.psi is not None or self._drift is None):
            self._drift = latest
        columns = self._service.core.plan.columns
        for part in step.partitions:
            self.rejects.update(reason.value for reason in part.rejects.reasons)
            if part.changes is not None:
                for i in _most_telling(part.changes):
                    self._recent.append(_describe(part.changes, i, part.watermark_us, columns))

    def snapshot(self, phase: Phase, now_us: int, backlog: int) -> Snapshot:
        """The state now."""
        service, timeline = self._service, self._timeline
        active = service.core.engine.active
        recorder = service.recorder
        segments = tuple(self._segments())
        return Snapshot(
            phase=phase,
            now_us=now_us,
            day=min((now_us - timeline.start_us) // DAY_US + 1, self.days),
            days=self.days,
            events=self.processed,
            events_per_s=self._rate(),
            backlog=backlog,
            model_version=0 if active is None else active.model.version,
            customers=sum(state.index.n for state in service.core.engine.partitions.values()),
            drift=describe_drift(self._drift, service.core.plan.columns),
            segments=segments,
            recent=tuple(reversed(self._recent)),
            changes=tuple((f"{change} {cause}", n) for (change, cause), n in recorder.changes.most_common()),
            rejects=tuple(self.rejects.most_common()),
            metrics_url=f"http://{service.config.http.host}:{service.server.port}/metrics",
        )

    @property
    def days(self) -> int:
        """Days of the run."""
        return (self._timeline.end_us - self._timeline.start_us) // DAY_US

    def names(self) -> dict[str, str]:
        """Name of each segment by id."""
        active = self._service.core.engine.active
        named = {} if active is None else {s.id: s.name for s in active.model.segments}
        return named | _FIXED_NAMES

    def _segments(self) -> Iterator[SegmentRow]:
        names = self.names()
        sizes = self._service.recorder.segments
        for segment, n in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
            yield SegmentRow(segment, names.get(segment, segment), n)

    def _rate(self) -> float:
        """Events per second over the last seconds."""
        now, n = time.monotonic(), self.processed
        self._rates.append((now, n))
        while len(self._rates) > 1 and now - self._rates[1][0] > _RATE_OVER_S:
            self._rates.popleft()
        begun, first = self._rates[0]
        return (n - first) / (now - begun) if now > begun else 0.0


def describe_drift(drift: Drift | None, columns: Columns) -> str:
    """Drift in a few words."""
    if drift is None:
        return "not measured yet"
    if drift.psi is None:
        return f"too few customers to tell ({drift.n_rows:,})"
    worst = int(drift.psi.argmax())
    words = [f"{columns.name[worst]} PSI {drift.psi[worst]:.2f}"]
    if DRIFTING in columns.name and columns.name[worst] != DRIFTING:
        words.insert(0, f"{DRIFTING} PSI {drift.psi[columns.name.index(DRIFTING)]:.2f}")
    if drift.error_ratio is not None:
        words.append(f"error x{drift.error_ratio:.2f}")
    return ", ".join(words)


def _most_telling(changes: ChangeBatch) -> list[int]:
    """The last few, moves before first assignments."""
    moved = [i for i in range(changes.n) if changes.change[i] != Change.ASSIGNED]
    return (moved or list(range(changes.n)))[-_PER_TURN:]


def _describe(changes: ChangeBatch, i: int, at_us: int, columns: Columns) -> RecentChange:
    drivers = []
    for n in range(changes.driver.shape[1]):
        column = int(changes.driver[i, n])
        if column < 0:
            break
        before, after = float(changes.before[i, n]), float(changes.after[i, n])
        drivers.append(f"{columns.label[column]} {_number(before)}→{_number(after)}")
    return RecentChange(
        at_us=at_us,
        customer=changes.customer_ids[i].decode(),
        before=segment_id(int(changes.old[i])),
        after=segment_id(int(changes.new[i])),
        cause=Cause(changes.cause[i]).name.lower(),
        drivers=tuple(drivers),
    )


def _number(value: float) -> str:
    if value != value:  # NaN: not known before
        return "?"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
