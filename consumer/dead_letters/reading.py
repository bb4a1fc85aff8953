"""Reading the dead-letter topic: committed letters only, outside of any group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from consumer.config import Config
from consumer.dead_letters.letter import Letter, Selection
from consumer.errors import DataError
from consumer.kafka_clients import make_admin, make_consumer, reader_settings
from consumer.log_reader import LogReader
from consumer.restore.tail import read_back
from consumer.topics import TopicNames, partitions_of


class DeadLetters:
    """The letters of an application as they are now. Methods raise `BrokerUnreachable` or `TopicError`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.topic = TopicNames.with_prefix(config.topics.prefix).dlq
        self.partitions = partitions_of(make_admin(config), self.topic)

    def read(self, selection: Selection) -> Iterator[Letter]:
        """Every letter that is meant, per partition in order."""
        with self._log() as log:
            for partition in self._places(selection):
                first, end = log.bounds(self.topic, partition)
                if selection.offsets is not None:
                    first, end = max(first, selection.offsets[0]), min(end, selection.offsets[1] + 1)
                for chunk in log.chunks({(self.topic, partition): (first, end)}):
                    yield from filter(selection.takes, map(Letter.of, chunk))

    def last(self, selection: Selection, n: int) -> list[Letter]:
        """The newest `n` that are meant, oldest first; as much as that takes is read, from the end back."""
        found: list[Letter] = []
        with self._log() as log:
            for partition in self._places(selection):
                messages = read_back(
                    log,
                    self.topic,
                    partition,
                    lambda read: sum(selection.takes(Letter.of(message)) for message in read) >= n,
                )
                found += [letter for letter in map(Letter.of, messages) if selection.takes(letter)]
        found.sort(key=lambda letter: (letter.time_ms, letter.partition, letter.offset))
        return found[-n:]

    def one(self, partition: int, offset: int) -> Letter:
        """The letter at a place. Raises `DataError` if there is none (any more)."""
        if partition in range(self.partitions):
            for letter in self.read(Selection(partition=partition, offsets=(offset, offset))):
                return letter
        raise DataError(
            f"{self.topic} has no letter {partition}:{offset}",
            "segmenter dlq show --last 20 names those that are there; old ones go with the topic's retention",
        )

    def _places(self, selection: Selection) -> list[int]:
        return [p for p in range(self.partitions) if selection.partition in (None, p)]

    def _log(self) -> LogReader:
        return LogReader(lambda committed: make_consumer(reader_settings(self._config, committed)))


@dataclass(slots=True)
class Summary:
    """Letters of one topic and reason: how many, of which times (us since the epoch), how many sent again."""

    letters: int = 0
    first_us: int = 0
    last_us: int = 0
    sent: int = 0
    details: Counter[str] = field(default_factory=Counter)


def summarise(letters: Iterable[Letter], sent: set[str]) -> dict[tuple[str, str], Summary]:
    """By topic of origin and reason, most first; `sent` holds the ledger's names of letters sent again."""
    from consumer.dead_letters.ledger import entry_name

    found: dict[tuple[str, str], Summary] = {}
    for letter in letters:
        time_us = letter.time_ms * 1000
        one = found.setdefault((letter.topic, letter.reason), Summary(0, time_us, time_us))
        one.letters += 1
        one.first_us, one.last_us = min(one.first_us, time_us), max(one.last_us, time_us)
        one.sent += entry_name(letter) in sent
        one.details[letter.detail] += 1
    return dict(sorted(found.items(), key=lambda item: (-item[1].letters, item[0])))
