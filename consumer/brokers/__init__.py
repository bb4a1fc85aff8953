"""A Kafka broker for the demo, the tests and the benchmarks, wherever it can be had.

`resolve` returns a running `Broker`: an explicit one, one in Docker, a real Apache Kafka from Maven
artifacts, or the small embedded one. The product itself never starts a broker.
"""

from consumer.brokers.broker import Broker, BrokerKind, BrokerOptions
from consumer.brokers.resolver import Wanted, resolve, unavailable

__all__ = ["Broker", "BrokerKind", "BrokerOptions", "Wanted", "resolve", "unavailable"]
