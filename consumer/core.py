"""The computing core as the service and the replay both run it: decode, step, coordinate, name.

Everything that decides is in `online_model`; this assembles it from a `Config`. It knows no Kafka.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from consumer.config import Config
from consumer.errors import SpecError
from consumer.failpoints import failpoint
from consumer.metric_table import Stage
from consumer.models.files import check_rules, load_spec, load_strategies
from consumer.models.readiness import Needs, Share, middle_history_us
from consumer.registry import FramedDecoder, Unframe
from online_model.compile_plan import compile_plan
from online_model.coordinator import Coordinator, CoordinatorSettings, Report
from online_model.decision import DecisionPolicy
from online_model.engine import Engine, EngineSettings, Pass, Step
from online_model.fold import ScanStatistics
from online_model.model import Model
from online_model.panel import CalibrationPolicy
from online_model.poll import Poll
from schemas.decode import Decoder
from schemas.internal import DeltaRecord
from schemas.records import RawRecords

_US: Final = 1_000_000
_DAY_US: Final = 86_400 * _US
_NEVER_LIVE_US: Final = -(1 << 62)

#: Rows a calibration looks at; more cost time and change nothing.
CALIBRATION_ROWS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Positions:
    """Where a poll left the inputs: next offset and whether the end was reached, by (partition, topic)."""

    next_offset: dict[tuple[int, int], int]
    at_end: dict[tuple[int, int], bool]


class Core:
    """Decoder, engine and coordinator of one worker.

    Without `follow_clock` the watermark waits for events however late it gets, and no change is live.
    `unframe` takes the frames of records off where they have some.
    Raises `SpecError` if the specification or the strategies cannot be used.
    """

    def __init__(
        self,
        config: Config,
        partition_count: int,
        *,
        follow_clock: bool = True,
        unframe: Unframe | None = None,
    ) -> None:
        self.config = config
        self.partition_count = partition_count
        self.run_id = uuid.uuid4().hex
        self.spec = load_spec(config.model.spec)
        self.plan = compile_plan(self.spec)
        self.strategies = load_strategies(config.model.strategies)
        check_rules(self.strategies, self.plan.columns.name, config.model.strategies)
        decoder = Decoder(self.plan.vocabulary, config.currency)
        self.decoder: Decoder | FramedDecoder = (
            decoder if unframe is None else FramedDecoder(decoder, unframe)
        )
        self.engine = Engine(self.plan, _engine_settings(config, partition_count, follow_clock))
        self.coordinator = Coordinator(
            CoordinatorSettings(
                partition_count=partition_count,
                half_life_us=int(config.model.half_life_days * _DAY_US),
                scan_interval_us=config.scan.interval_s * _US,
                learner=config.model.learner,
            )
        )
        self._pieces: list[Poll] = []
        low, high = config.model.k_bounds
        self.calibration = CalibrationPolicy(
            k_min=low, k_max=high, k=low if low == high else None, seed=config.app.seed
        )

    def process(
        self,
        raw: RawRecords,
        positions: Positions,
        now_us: int,
        lap: Callable[[Stage], None] = lambda _: None,
    ) -> Step:
        """One step from raw records, and from those offered before; `lap` is told when a stage has ended."""
        self.offer(raw, positions, lap)
        pieces, self._pieces = self._pieces, []
        step = self.engine.step(Poll.concat(pieces), now_us)
        lap(Stage.EVALUATE)
        failpoint("step.after")
        return step

    def offer(
        self, raw: RawRecords, positions: Positions, lap: Callable[[Stage], None] = lambda _: None
    ) -> None:
        """Decodes records for the next step while they are in the processor's cache."""
        self._pieces.append(self._decode(raw, positions))
        lap(Stage.DECODE)
        failpoint("decode.after")

    def drop_partition(self, number: int) -> None:
        """Forgets a partition that is no longer owned, and what was offered of it.

        It may be back, restored, before the next step: what was offered before will be read again.
        """
        self.engine.drop_partition(number)
        self._pieces = [piece.without(number) for piece in self._pieces]

    def _decode(self, raw: RawRecords, positions: Positions) -> Poll:
        batch, rejects = self.decoder.decode(raw)
        return Poll(raw, batch, rejects, positions.next_offset, positions.at_end)

    def adopt(self, model: Model) -> None:
        """A version has become visible: decides by it, and coordinates from it.

        Raises `SpecError` if it belongs to another specification.
        """
        try:
            self.engine.offer_model(model)
        except ValueError as error:
            raise SpecError(
                str(error),
                "run with the specification of the model, or start a new group (app.name) with new topics",
            ) from None
        self.coordinator.adopt(model)
        failpoint("model.adopted")

    @property
    def is_ready_to_calibrate(self) -> bool:
        """Whether there are customers and history enough for the first model, by the share of this worker.

        It is made on the customers of all workers, if snapshots show them: `consumer.models.calibrator`.
        """
        shares = self._shares()
        if self.engine.active is not None or not shares:
            return False
        return not Needs.of(self.config, self.partition_count).lacking(shares)

    def _shares(self) -> list[Share]:
        return [Share(state.index.n, state.history_us) for state in self.engine.partitions.values()]

    def history_us(self) -> int:
        """Event time that half of the customers of this process have behind them."""
        return middle_history_us(self._shares())

    def history_days(self) -> float:
        """`history_us` in days."""
        return self.history_us() / _DAY_US


def _engine_settings(config: Config, partition_count: int, follow_clock: bool) -> EngineSettings:
    grace = config.watermark.idle_grace_s
    return EngineSettings(
        partition_count=partition_count,
        scan_interval_us=config.scan.interval_s * _US,
        max_future_us=int(config.watermark.max_future_s * _US),
        idle_grace_us=int(grace * _US) if follow_clock and grace is not None else None,
        backfill_lag_us=_DAY_US if follow_clock else _NEVER_LIVE_US,
        keep_points=config.model.learner == "river",
        policy=DecisionPolicy(
            hysteresis=config.decision.hysteresis,
            min_dwell_us=int(config.decision.min_dwell_days * _DAY_US),
            dormant_after_days=config.decision.dormant_after_days,
        ),
    )


def delta_of(partition: int, scanned: Pass, model_version: int, interval_us: int) -> DeltaRecord:
    """Record of a completed scan pass."""
    s = scanned.completed
    assert s is not None
    return DeltaRecord(
        partition=partition,
        scan_id=scanned.id,
        boundary_us=scanned.id * interval_us,
        model_version=model_version,
        customers=s.n_rows,
        counts=s.counts.tolist(),
        sums=s.sums.tolist(),
        sq_error=s.errors.tolist(),
        statistics={
            "present": s.present.reshape(-1).tolist(),
            "histogram": s.histogram.reshape(-1).tolist(),
            "missing": s.missing.tolist(),
            "clipped": s.clipped.tolist(),
            "totals": s.totals.tolist(),
            "separation": s.separation.reshape(-1).tolist(),
            "dormant": s.dormant.tolist(),
        },
    )


def report_of(delta: DeltaRecord) -> Report:
    """The coordinator's view of a delta record. Raises ValueError if its lists do not fit together."""
    sums = np.array(delta.sums, np.int64)
    if sums.ndim != 2:
        raise ValueError(f"delta of partition {delta.partition}: sums are not a matrix")
    more = {name: np.array(values, np.int64) for name, values in delta.statistics.items()}
    statistics = ScanStatistics(
        counts=np.array(delta.counts, np.int64),
        sums=sums,
        present=more["present"].reshape(sums.shape),
        errors=np.array(delta.sq_error, np.int64),
        histogram=more["histogram"].reshape(sums.shape[1], -1),
        missing=more["missing"],
        clipped=more["clipped"],
        totals=more["totals"],
        # A worker of before these fields counts nobody for them.
        separation=more.get("separation", np.zeros(3 * len(sums), np.int64)).reshape(len(sums), 3),
        dormant=more.get("dormant", np.zeros(1, np.int64)),
    )
    return Report(delta.partition, delta.scan_id, delta.model_version, statistics)
