"""What the commands hand to the functions behind them, where a `Config` does not say it all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the command line starts quickly without pydantic
    from consumer.config import Config

MergeOrder = Literal["time", "given"]
BrokerChoice = Literal["embedded", "docker", "maven", "real", "auto"]
CalibrateWhen = Literal["end", "ready"]


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """`segmenter replay`. The options --spec, --k and --seed are in `config` already.

    `events`: NDJSON files, "-" is stdin. `merge`: several files by event time, or in the order given.
    `calibrate`: once at the end of the input whatever the minimum, or as soon as the minimum of
    customers and history is there and going on as the service does. `partitions`: number of
    partitions customers are hashed to.
    """

    config: Config
    events: tuple[str, ...]
    out: Path
    merge: MergeOrder = "time"
    calibrate: CalibrateWhen = "end"
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`segmenter demo`. `broker`: which one to start; with `bootstrap` it must be "auto".

    `seconds`: how long the event time is spread over. `plain`: lines instead of the live view.
    `config`: settings of the service; the demo chooses some of them itself.
    """

    config: Config
    broker: BrokerChoice = "embedded"
    bootstrap: str | None = None
    customers: int = 3000
    days: int = 49
    seconds: float = 60.0
    seed: int = 7
    plain: bool = False


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """`segmenter report`. `replay`: directory of a replay; `models`: file of model records; else Kafka.

    `days`: of moves and trends. `sample`: customers whose features are looked at.
    """

    config: Config
    out: Path
    replay: Path | None = None
    models: Path | None = None
    days: float = 30.0
    sample: int = 50_000
    title: str = ""
