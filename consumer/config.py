"""Typed configuration: every setting is declared once, with type, default, limits and help.

Values come from defaults, a YAML file, the environment (`SEGMENTER_KAFKA__BOOTSTRAP`) and command
line options, later ones win. `load` also says where each value came from. The parts of the program
below the shell never see a `Config`: they get plain parameters.
"""

from __future__ import annotations

import re
import socket
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

Days = Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)]
KafkaName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]

#: Beginning of the names in `kafka.client` that are for the Schema Registry's client.
REGISTRY_PREFIX: Final = "schema.registry."

#: librdkafka settings that exactly-once processing rests on; `kafka.client` must not touch them.
PROTECTED_CLIENT_SETTINGS: Final = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "delivery.report.only.error",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "metadata.broker.list",
        "partition.assignment.strategy",
        "partitioner",
        "request.required.acks",
        "retry.backoff.ms",
        "transaction.timeout.ms",
        "transactional.id",
    }
)


class Group(BaseModel):
    """A frozen group of settings; unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AppConfig(Group):
    """Who this process is."""

    name: KafkaName = Field(
        default="segmenter", description="application name: consumer group and prefix of transactional ids"
    )
    instance: KafkaName = Field(
        default_factory=lambda: re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "instance",
        description="name of this process, stable over restarts and unique in the group "
        "(default: the host name)",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of every random choice of the model")


class KafkaConfig(Group):
    """How to reach Kafka."""

    bootstrap: str = Field(
        default="localhost:9092",
        min_length=1,
        pattern=r"^\s*[^\s,]+(\s*,\s*[^\s,]+)*\s*$",
        description="bootstrap servers, host:port, comma separated",
    )
    client: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="further librdkafka settings for every client, for example security.protocol; with "
        f"{REGISTRY_PREFIX}url (and the like) input records are framed by a Schema Registry's serializers",
    )

    @model_validator(mode="after")
    def _leave_protected_settings(self) -> Self:
        taken = sorted(PROTECTED_CLIENT_SETTINGS & self.client.keys())
        if taken:
            raise ValueError(
                f"client must not set {', '.join(taken)}: exactly-once rests on the built-in value"
            )
        return self

    @model_validator(mode="after")
    def _know_the_registry(self) -> Self:
        if self.registry and "url" not in self.registry:
            names = ", ".join(sorted(REGISTRY_PREFIX + name for name in self.registry))
            raise ValueError(
                f"client has {names} but not {REGISTRY_PREFIX}url, without which records are plain"
            )
        return self

    @property
    def librdkafka(self) -> dict[str, str | int | float | bool]:
        """What of `client` is for the Kafka clients."""
        return {name: value for name, value in self.client.items() if not name.startswith(REGISTRY_PREFIX)}

    @property
    def registry(self) -> dict[str, str | int | float | bool]:
        """What of `client` is for the Schema Registry's client, without the prefix.

        If there is any, input records are framed: a byte 0 and a schema id come first.
        """
        return {
            name.removeprefix(REGISTRY_PREFIX): value
            for name, value in self.client.items()
            if name.startswith(REGISTRY_PREFIX)
        }


class TopicsConfig(Group):
    """Names of topics: fixed by the contract except for a prefix."""

    prefix: str = Field(
        default="",
        max_length=100,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="put before every topic name, for example 'staging.'",
    )


class CommitConfig(Group):
    """When a transaction is committed."""

    interval_ms: int = Field(
        default=50, ge=5, le=5000, description="time between commits, milliseconds; sets the output latency"
    )
    max_events: int = Field(
        default=50_000, ge=1, le=1_000_000, description="commit earlier when this many events wait"
    )


class SnapshotsConfig(Group):
    """What a restart goes on from."""

    uri: str = Field(
        default="snapshots",
        min_length=1,
        description="directory, or a URI that Arrow knows (s3://, gs://, ...); workers on several hosts need "
        "one that all of them reach",
    )
    interval_s: float = Field(
        default=60.0,
        ge=1,
        le=86_400,
        allow_inf_nan=False,
        description="time between two snapshots of a partition, seconds; a restart replays the input since",
    )


class WatermarkConfig(Group):
    """How event time advances."""

    idle_grace_s: float | None = Field(
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        description="when every input is read to its end, the watermark follows the clock minus this "
        "many seconds (null: it waits for events)",
    )
    max_future_s: float = Field(
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        description="an event further ahead of the clock than this many seconds is rejected",
    )


class ScanConfig(Group):
    """The sweep over all customers."""

    interval_s: int = Field(
        default=3600, ge=60, le=86_400, description="event time between sweeps over all customers, seconds"
    )


def _check_k(text: str) -> str:
    found = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", text)
    if found is None or not 2 <= int(found[1]) <= int(found[2] or found[1]) <= 64:
        raise ValueError("give one number, or bounds like 5-10, from 2 to 64, the smaller one first")
    return text


class ModelConfig(Group):
    """Features and clustering."""

    spec: str | None = Field(
        default=None, description="feature specification file (null: the built-in telecom set)"
    )
    strategies: str | None = Field(default=None, description="strategy file (null: the built-in offers)")
    k: Annotated[str, BeforeValidator(str), AfterValidator(_check_k)] = Field(
        default="5-10",
        description="number of segments from 2 to 64: one number, or bounds between which it is chosen",
    )
    min_customers: int = Field(
        default=5000, ge=2, description="customers needed before the first calibration"
    )
    min_history_days: Annotated[float, Field(ge=0, le=3650, allow_inf_nan=False)] = Field(
        default=28.0, description="days of event time needed before the first calibration"
    )
    half_life_days: Days = Field(
        default=0.5, description="event time after which a scan counts half in the centres, days"
    )
    learner: Literal["own", "river", "frozen"] = Field(
        default="own",
        description="own: vectorised k-means; river: river.cluster.KMeans, warm-started; "
        "frozen: centres stay as calibrated",
    )

    recalibrate_days: Days | None = Field(
        default=30.0,
        description="event time between recalibrations, days (null: only on drift or by command)",
    )
    max_moved: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="share of customers whose segment a recalibration may change without a person's approval",
    )

    @property
    def k_bounds(self) -> tuple[int, int]:
        """Smallest and largest number of segments."""
        low, _, high = self.k.partition("-")
        return int(low), int(high or low)


class DecisionConfig(Group):
    """When a customer moves."""

    hysteresis: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="how far beyond the boundary a customer must be to move: "
        "(d_old^2 - d_new^2) / |c_old - c_new|^2",
    )
    min_dwell_days: Annotated[float, Field(ge=0, le=3650, allow_inf_nan=False)] = Field(
        default=1.0, description="days of event time a customer stays in a segment before moving again"
    )
    dormant_after_days: Days = Field(
        default=30.0, description="a customer without activity for this many days is dormant"
    )


class HttpConfig(Group):
    """Where metrics and health are served."""

    host: str = Field(default="0.0.0.0", min_length=1, description="address of /metrics and /status")
    port: int = Field(
        default=9464, ge=0, le=65_535, description="port of /metrics and /status (0: any free port)"
    )


class LogConfig(Group):
    """Logs on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe level that is written"
    )


class Config(Group):
    """All settings."""

    app: AppConfig = Field(default_factory=AppConfig)
    kafka: KafkaConfig = Field(default_factory=KafkaConfig)
    topics: TopicsConfig = Field(default_factory=TopicsConfig)
    commit: CommitConfig = Field(default_factory=CommitConfig)
    snapshots: SnapshotsConfig = Field(default_factory=SnapshotsConfig)
    watermark: WatermarkConfig = Field(default_factory=WatermarkConfig)
    scan: ScanConfig = Field(default_factory=ScanConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    decision: DecisionConfig = Field(default_factory=DecisionConfig)
    http: HttpConfig = Field(default_factory=HttpConfig)
    log: LogConfig = Field(default_factory=LogConfig)
    currency: str = Field(
        default="EUR", pattern=r"^[A-Z]{3}$", description="base currency; events in another one are rejected"
    )


def _settings(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Group):
            found |= _settings(annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field
    return found


#: Every setting by its dotted name, in the order of declaration.
SETTINGS: Final[dict[str, FieldInfo]] = _settings(Config)


def value_of(config: Config, setting: str) -> Any:
    """Value of the setting with the dotted name `setting`."""
    value: Any = config
    for part in setting.split("."):
        value = getattr(value, part)
    return value
