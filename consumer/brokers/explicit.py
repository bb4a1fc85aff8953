"""A broker that somebody else runs."""

from __future__ import annotations

from consumer.brokers.broker import Broker, BrokerOptions
from consumer.brokers.readiness import answers
from consumer.clock import Deadline
from consumer.errors import BrokerUnreachable


def connect(bootstrap: str, options: BrokerOptions) -> Broker:
    """The broker at `bootstrap` (``host:port[,host:port...]``), checked to answer.

    Raises:
        BrokerUnreachable: nothing answered within `options.connect_timeout_s`.
    """
    if not answers(bootstrap, Deadline(options.connect_timeout_s)):
        raise BrokerUnreachable(
            f"no Kafka broker answered at {bootstrap} within {options.connect_timeout_s:g} s",
            "check the address, the network and that the broker accepts plain-text clients",
        )
    return Broker(bootstrap, "explicit", "given broker")
