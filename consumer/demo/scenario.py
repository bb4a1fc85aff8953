"""What the demo plays: who is simulated, what is planted when, and with which settings the service runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from consumer.config import Config
from consumer.options import DemoOptions
from consumer.simulator import Drift, Faults, Migration, SimulationSettings

PARTITIONS: Final = 3
DAY_US: Final = 86_400_000_000

#: Days that are replayed as fast as possible; the model is calibrated on them.
BACKFILL_DAYS: Final = 30
#: History the calibration asks for: the length of the feature windows, nearly.
HISTORY_DAYS: Final = 28.0
SCAN_INTERVAL_S: Final = 6 * 3600
#: The planted changes come right after the calibration: 30-day windows show them slowly.
CHANGE_DAY: Final = BACKFILL_DAYS + 1
MIGRATED_SHARE: Final = 0.08
DRIFT_FACTOR: Final = 3.0
DRIFT_RAMP_DAYS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """Instants of the run, event-time microseconds: its start, the end of the backfill, its end."""

    start_us: int
    backfill_end_us: int
    end_us: int


def simulation_of(options: DemoOptions, now: datetime) -> SimulationSettings:
    """The simulated run: it ends at the last midnight (UTC) before `now`."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return SimulationSettings(
        customers=options.customers,
        days=options.days,
        start=midnight - timedelta(days=options.days),
        seed=options.seed,
        drift=Drift(float(CHANGE_DAY), DRIFT_FACTOR, DRIFT_RAMP_DAYS),
        migration=Migration(MIGRATED_SHARE, CHANGE_DAY),
        faults=Faults.realistic(),
        currency=options.config.currency,
    )


def timeline_of(simulation: SimulationSettings) -> Timeline:
    """When the backfill of `simulation` ends."""
    backfill = simulation.start_us + BACKFILL_DAYS * DAY_US
    return Timeline(simulation.start_us, min(backfill, simulation.end_us), simulation.end_us)


def config_of(options: DemoOptions, bootstrap: str, run: str, snapshots: str) -> Config:
    """Settings of the service in the demo.

    `snapshots`: where they are kept unless the user chose. On somebody else's Kafka the topics and groups
    carry `run`, so that nothing of theirs is touched.
    """
    config = options.config
    groups: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap": bootstrap},
        "model": {
            "min_customers": max(options.customers // 2, 2),
            "min_history_days": HISTORY_DAYS,
        },
        "scan": {"interval_s": SCAN_INTERVAL_S},
        # The simulated clock may pause; the watermark then must not run past events still to come.
        "watermark": {"idle_grace_s": None},
        "http": _http(config),
    }
    if config.snapshots.uri == type(config.snapshots)().uri:
        groups["snapshots"] = {"uri": snapshots}
    if options.bootstrap is not None:
        groups["topics"] = {"prefix": f"demo-{run}."}
        groups["app"] = {"name": f"demo-{run}"}
    changed = {name: getattr(config, name).model_copy(update=values) for name, values in groups.items()}
    return config.model_copy(update=changed)


def _http(config: Config) -> dict[str, Any]:
    """Any free port on this machine only, unless the user chose: two demos may run side by side."""
    default = type(config.http)()
    return {
        "host": config.http.host if config.http.host != default.host else "127.0.0.1",
        "port": config.http.port if config.http.port != default.port else 0,
    }
