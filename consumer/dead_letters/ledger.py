"""The ledger of letters that were sent again: an entry is committed together with what it is about.

A topic of its own, compacted, with one partition: the dead-letter topic itself takes no other records,
because a restart counts the letters of a commit from its end. Entries name letters by place and time and
hold nothing about customers.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.cimpl import NewTopic

from consumer.config import Config
from consumer.dead_letters.letter import Letter
from consumer.errors import TopicError
from consumer.kafka_clients import make_admin, make_consumer, reader_settings
from consumer.log_reader import LogReader
from consumer.topics import ADMIN_TIMEOUT_S, TopicNames, cluster_metadata

_SETTINGS: Final = {"cleanup.policy": "compact"}


def entry_name(letter: Letter) -> str:
    """Name of a letter in the ledger; its time is part of it, because a topic may be made anew."""
    return f"{letter.partition}:{letter.offset}@{letter.time_ms}"


class Ledger:
    """The ledger's topic. Methods raise `BrokerUnreachable` or `TopicError`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._names = TopicNames.with_prefix(config.topics.prefix)
        self.topic = self._names.replayed

    @property
    def exists(self) -> bool:
        """Whether anything was ever sent again."""
        metadata = cluster_metadata(make_admin(self._config), ADMIN_TIMEOUT_S)
        return self.topic in metadata.topics and metadata.topics[self.topic].error is None

    def read(self) -> set[str]:
        """Names of the letters sent again."""
        if not self.exists:
            return set()
        with LogReader(lambda committed: make_consumer(reader_settings(self._config, committed))) as log:
            return {(message.key() or b"").decode() for message in log.all_of(self.topic, 0)}

    def create(self) -> None:
        """Makes the topic, if it is not there, with as many copies as the dead-letter topic has."""
        if self.exists:
            return
        admin = make_admin(self._config)
        letters = cluster_metadata(admin, ADMIN_TIMEOUT_S).topics[self._names.dlq]
        copies = len(letters.partitions[0].replicas)
        asked = NewTopic(self.topic, num_partitions=1, replication_factor=copies, config=_SETTINGS)
        try:
            admin.create_topics([asked], operation_timeout=10)[self.topic].result(ADMIN_TIMEOUT_S)
        except (KafkaException, TimeoutError) as exception:
            if not self.exists:  # somebody else may have been quicker
                raise TopicError(
                    f"the topic {self.topic} of letters sent again cannot be created: {exception}",
                    "have it created with one partition and cleanup.policy=compact, or allow this client to",
                ) from exception
