"""A campaign engine as a subscriber of the segmenter: who is where now, and a message per change that counts.

    python campaign_engine.py --bootstrap kafka:9092 --database campaigns.sqlite

All it knows is in one SQLite file: the membership of every customer, how far it has read, and its messages.
What records change and how far they were read are one transaction of that file, so it may be killed at any
moment and goes on where it was.

1. The first start reads `segments.current.v1` to its end: the membership. Changes are followed from where
   they ended before that; what the membership told of already (`seq`) is dropped.
2. From then on both topics are followed. A change and its current record are of one transaction, so before
   changes are acted on the current topic is read to its end: nobody gets a message who has left or was erased
   meanwhile. A null record ends a membership, and erases what is kept here; an erasure tells nothing else.
   Whoever comes back begins a life in which changes of the one before, read late, count for nothing. The null
   record may have been compacted away by then: a change without a `previous_segment` says the same.
3. A message is made of a change that is `actionable`, if the customer consents to profiling. The control
   group of a strategy is written down, and left alone. Messages wait in the file until they are handed over,
   which is when all has been read that was there after they were made: a life may have ended in it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

CHANGES, CURRENT = "segments.changes.v1", "segments.current.v1"
TIMEOUT_S = 10.0

TABLES = """
CREATE TABLE IF NOT EXISTS positions (topic TEXT, part INTEGER, next INTEGER, PRIMARY KEY (topic, part));
CREATE TABLE IF NOT EXISTS members (customer TEXT PRIMARY KEY, segment TEXT, seq INTEGER, record TEXT);
CREATE TABLE IF NOT EXISTS seen (customer TEXT PRIMARY KEY, seq INTEGER, at REAL);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, customer TEXT, seq INTEGER, segment TEXT, strategy TEXT, arm TEXT,
    handed_over INTEGER DEFAULT 0);
"""

Record = dict[str, Any]
#: Per topic and partition, where the log ended.
Ends = dict[str, dict[int, int]]
#: Hands a message over: the number never changes, so that a receiver can drop what comes again after a crash.
HandOver = Callable[[int, Record], None]


class TopicReader:
    """One topic from given positions: `next` is, per partition, what has not been taken yet."""

    def __init__(self, settings: dict[str, Any], topic: str) -> None:
        self.topic = topic
        self.next: dict[int, int] = {}
        chosen = {
            "group.id": "campaign-engine",  # the client wants one; positions are in the database
            "enable.auto.commit": False,
            "auto.offset.reset": "error",  # records that are gone must stop us, not be skipped
            "enable.partition.eof": True,
            **settings,
        }
        # Only what is committed is read; the rest may never have happened.
        self._consumer = Consumer(chosen | {"isolation.level": "read_committed"})
        self._watcher = Consumer(chosen | {"isolation.level": "read_uncommitted"})

    def committed(self) -> dict[int, tuple[int, int]]:
        """First offset and end of what can be read now, per partition."""
        topic = self._consumer.list_topics(self.topic, timeout=TIMEOUT_S).topics[self.topic]
        if topic.error is not None:
            raise KafkaException(topic.error)
        places = [TopicPartition(self.topic, part) for part in topic.partitions]
        return {p.partition: self._consumer.get_watermark_offsets(p, timeout=TIMEOUT_S) for p in places}

    def ends(self) -> dict[int, int]:
        """The ends of the log per partition, with what is not committed yet.

        A transaction becomes visible in one topic a moment before the other: who waits for this end, and not
        for that of what can be read, has all of it.
        """
        places = [TopicPartition(self.topic, part) for part in self.next]
        return {p.partition: self._watcher.get_watermark_offsets(p, timeout=TIMEOUT_S)[1] for p in places}

    def begin(self, positions: dict[int, int]) -> None:
        """Reads from `positions` on."""
        self.next = dict(positions)
        self._consumer.assign([TopicPartition(self.topic, part, at) for part, at in positions.items()])

    def take(self, timeout_s: float) -> list[Message]:
        """What has come, at most 500 records."""
        records = []
        for message in self._consumer.consume(500, timeout_s):
            part, offset, error = message.partition() or 0, message.offset() or 0, message.error()
            if error is None:
                records.append(message)
                self.next[part] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self.next[part] = max(self.next[part], offset)
            else:
                raise KafkaException(error)
        return records

    def has_reached(self, ends: dict[int, int]) -> bool:
        """Whether everything before `ends` was taken."""
        return all(self.next[part] >= end for part, end in ends.items())

    def close(self) -> None:
        """Ends the clients."""
        self._consumer.close()
        self._watcher.close()


class CampaignEngine:
    """Follows both topics. Use as a context manager, and call `step` again and again."""

    def __init__(self, settings: dict[str, Any], database: Path, prefix: str = "") -> None:
        self._store = sqlite3.connect(database)
        self._store.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten, not only let go
        self._store.executescript(TABLES)
        self._changes = TopicReader(settings, prefix + CHANGES)
        self._current = TopicReader(settings, prefix + CURRENT)
        if not self._positions(self._changes):
            with self._store:  # the ends of changes before the membership is read: nothing is missed between
                self._save(self._changes, {part: end for part, (_, end) in self._changes.committed().items()})
                self._save(self._current, {part: low for part, (low, _) in self._current.committed().items()})
        for reader in (self._changes, self._current):
            reader.begin(self._positions(reader))
        if not self._store.execute("PRAGMA user_version").fetchone()[0]:
            self._read_membership()

    def _read_membership(self) -> None:
        """To the end as it is now; a start that was killed goes on with it."""
        ends = self._current.ends()
        while not self._current.has_reached(ends):
            records = self._current.take(1.0)
            with self._store:
                for customer, record in map(_content, records):
                    self._member(customer, record)
                    if record is not None:
                        self._note(customer, record)
                self._save(self._current, self._current.next)
        self._store.execute("PRAGMA user_version = 1")
        self._store.commit()

    def step(self, timeout_s: float = 0.5) -> int:
        """Takes the changes of the next `timeout_s`; the number of records taken of both topics."""
        changes = self._changes.take(timeout_s)
        records = self._current.take(0.0)
        ends = self._current.ends() if changes else {}
        while not self._current.has_reached(ends):
            records += self._current.take(0.1)
        with self._store:
            for customer, record in map(_content, records):
                self._member(customer, record)
            for customer, record in map(_content, changes):
                if record is not None:
                    self._change(customer, record)
            for reader in (self._changes, self._current):
                self._save(reader, reader.next)
        return len(changes) + len(records)

    def hand_over(self, to: HandOver) -> int:
        """Hands over the messages that wait; how many. One of them may come twice after a crash."""
        waiting = self._store.execute(
            "SELECT id, customer, seq, segment, strategy FROM messages WHERE handed_over = 0 "
            "AND arm = 'treatment' AND customer IS NOT NULL ORDER BY id"
        ).fetchall()
        for number, *values in waiting:
            to(number, dict(zip(("customer", "seq", "segment", "strategy"), values, strict=True)))
            with self._store:
                self._store.execute("UPDATE messages SET handed_over = 1 WHERE id = ?", (number,))
        return len(waiting)

    def ends(self) -> Ends:
        """How far both topics go now."""
        return {reader.topic: reader.ends() for reader in (self._changes, self._current)}

    def has_reached(self, ends: Ends) -> bool:
        """Whether both topics have been read as far as `ends`."""
        return all(reader.has_reached(ends[reader.topic]) for reader in (self._changes, self._current))

    @property
    def is_at_end(self) -> bool:
        """Whether both topics have been read as far as they go now."""
        return self.has_reached(self.ends())

    # -- what records mean -----------------------------------------------------------------------

    def _member(self, customer: str, record: Record | None) -> None:
        """The membership is `record`; None ends it, and with it all that is kept of the customer."""
        if record is not None:
            row = (customer, record["segment"]["id"], record["seq"], json.dumps(record))
            self._store.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)", row)
            if record["previous_segment"] is None:  # a life begins: nothing before this change is news
                before = (customer, record["seq"] - 1, _time(record))
                self._store.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", before)
            return
        self._store.execute("DELETE FROM members WHERE customer = ?", (customer,))
        self._store.execute("DELETE FROM seen WHERE customer = ?", (customer,))
        self._disown(customer)

    def _change(self, customer: str, change: Record) -> None:
        """Acts on a change that has not been seen, of a customer who is still there."""
        member = self._store.execute("SELECT seq FROM members WHERE customer = ?", (customer,)).fetchone()
        if member is None or change["seq"] > member[0]:  # gone, or of a life before this one
            return
        row = self._store.execute("SELECT at, seq FROM seen WHERE customer = ?", (customer,)).fetchone()
        # `seq` begins again after an erasure, later than before: time goes first.
        if row is not None and (_time(change), change["seq"]) <= row:
            return
        if change["previous_segment"] is None:
            # A life begins, the first one or one after an exit or an erasure. All that is here is of before,
            # and the null record that ended it may have been compacted away.
            self._disown(customer)
        self._note(customer, change)
        strategy = change["strategy"]
        if not change["actionable"] or strategy is None or change["consent"]["profiling"] is not True:
            return
        self._store.execute(
            "INSERT INTO messages (customer, seq, segment, strategy, arm) VALUES (?, ?, ?, ?, ?)",
            (customer, change["seq"], change["segment"]["id"], strategy["id"], strategy["arm"]),
        )

    def _disown(self, customer: str) -> None:
        """No message is the customer's any more, and none that waits is handed over."""
        self._store.execute("UPDATE messages SET customer = NULL WHERE customer = ?", (customer,))

    def _note(self, customer: str, record: Record) -> None:
        row = (customer, record["seq"], _time(record))
        self._store.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", row)

    # -- positions -------------------------------------------------------------------------------

    def _positions(self, reader: TopicReader) -> dict[int, int]:
        rows = self._store.execute("SELECT part, next FROM positions WHERE topic = ?", (reader.topic,))
        return dict(rows.fetchall())

    def _save(self, reader: TopicReader, positions: dict[int, int]) -> None:
        rows = [(reader.topic, part, at) for part, at in positions.items()]
        self._store.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._changes.close()
        self._current.close()
        self._store.close()


def _content(message: Message) -> tuple[str, Record | None]:
    value = message.value()
    return (message.key() or b"").decode(), None if value is None else json.loads(value)


def _time(record: Record) -> float:
    return datetime.fromisoformat(record["effective_at"]).timestamp()


def _print(number: int, message: Record) -> None:
    """Where a real engine would send something."""
    sys.stdout.write(json.dumps({"message": number, **message}) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs until SIGTERM or Ctrl-C; prints a line per message."""
    parser = argparse.ArgumentParser(description="An example campaign engine.")
    parser.add_argument("--bootstrap", required=True, help="Kafka address host:port")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file with all that it knows")
    parser.add_argument("--prefix", default="", help="prefix of the topics (topics.prefix)")
    options = parser.parse_args(arguments)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.append(number))
    with CampaignEngine({"bootstrap.servers": options.bootstrap}, options.database, options.prefix) as engine:
        ends: Ends | None = None
        while not stopping:
            engine.step()
            # Noted after the messages were made, and kept until it is reached: there may always be more.
            ends = ends or engine.ends()
            if engine.has_reached(ends):
                engine.hand_over(_print)
                ends = None


if __name__ == "__main__":
    main()
