"""Which broker to use: the one asked for, or the best that can be had here."""

from __future__ import annotations

from typing import Literal

from consumer.brokers import docker, embedded, explicit, maven
from consumer.brokers.broker import Broker, BrokerKind, BrokerOptions
from consumer.errors import BrokerUnreachable, ConfigError

Wanted = Literal["auto", "real", "explicit", "docker", "maven", "embedded"]

#: What is tried, in this order; "real" leaves out what is no Apache Kafka.
ORDER: dict[str, tuple[BrokerKind, ...]] = {
    "auto": ("docker", "maven", "embedded"),
    "real": ("docker", "maven"),
    "docker": ("docker",),
    "maven": ("maven",),
    "embedded": ("embedded",),
}

FIX = "start Docker, or install Java 17 and Maven, or give the address of a broker (--bootstrap)"


def unavailable(kind: BrokerKind) -> str | None:
    """Why a broker of `kind` cannot be started here, None if it can."""
    if kind == "docker":
        return docker.unavailable()
    if kind == "maven":
        return maven.unavailable()
    return embedded.unavailable() if kind == "embedded" else None


def resolve(
    wanted: Wanted = "auto", bootstrap: str | None = None, options: BrokerOptions | None = None
) -> Broker:
    """A running broker; the caller stops it.

    Args:
        wanted: a kind, "auto" (Docker, else Maven, else embedded) or "real" (Docker, else Maven).
        bootstrap: address of a broker to use as it is; with it only "auto", "real" and "explicit" make sense.
        options: how to run a broker that is started here.

    Raises:
        ConfigError: `wanted` and `bootstrap` contradict each other.
        BrokerUnreachable: nothing that was asked for can be had; the message has the reasons.
    """
    options = options or BrokerOptions()
    if bootstrap is not None:
        if wanted not in ("auto", "real", "explicit"):
            raise ConfigError(
                f"broker {wanted!r} would be started here, but --bootstrap {bootstrap} names another one",
                "give one of the two",
            )
        return explicit.connect(bootstrap, options)
    if wanted == "explicit":
        raise ConfigError("broker 'explicit' needs an address", "give --bootstrap host:port")
    reasons = []
    for kind in ORDER[wanted]:
        reason = unavailable(kind)
        if reason is None:
            return _start(kind, options)
        reasons.append(f"{kind}: {reason}")
    raise BrokerUnreachable(f"no broker can be started here ({'; '.join(reasons)})", FIX)


def _start(kind: BrokerKind, options: BrokerOptions) -> Broker:
    if kind == "docker":
        return docker.start(options)
    if kind == "maven":
        return maven.start(options)
    return embedded.start(options)
