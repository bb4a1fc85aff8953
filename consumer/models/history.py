"""Versions, the proposal and commands of an application, from outside of the service."""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

from consumer.config import Config
from consumer.errors import BrokerUnreachable, ConfigError
from consumer.kafka_clients import make_consumer, make_producer, plain_producer_settings, reader_settings
from consumer.log_reader import LogReader
from consumer.models.versions import Versions
from consumer.topics import TopicNames
from online_model.model import Model
from online_model.model_head import Head, Version
from online_model.model_json import from_json, to_json
from schemas.internal import COMMAND_KEY, PROPOSAL_KEY, CommandName, CommandRecord
from schemas.internal import to_json as record_to_json

_SEND_TIMEOUT_S: Final = 20.0
_LOOK_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class History:
    """Versions by number, and the proposal that waits for a person, if one does.

    `versions`: the newest, and whatever is no fold; `overtaken`: heads of the other folds. `end`: offset in
    the models topic up to which this was read.
    """

    versions: dict[int, Model]
    overtaken: dict[int, Head]
    proposal: Model | None
    end: int

    @classmethod
    def read(cls, config: Config, *wanted: str) -> History:
        """Everything committed; `wanted`: versions that are looked at, whole then.

        Raises `BrokerUnreachable`, or `ModelError` for a damaged record.
        """
        nothing = cls({}, {}, None, 0)
        return nothing._read_on(config, Versions(int(name) for name in wanted if name.isdigit()))

    def read_on(self, config: Config) -> History:
        """With what has been committed since. Raises as `read`."""
        return self._read_on(config, Versions())

    def _read_on(self, config: Config, stream: Versions) -> History:
        topic = TopicNames.with_prefix(config.topics.prefix).models
        versions, overtaken, proposal = self.versions.copy(), self.overtaken.copy(), self.proposal
        found: list[Version] = []
        with LogReader(lambda committed: make_consumer(reader_settings(config, committed))) as log:
            first, end = log.bounds(topic, 0)
            for chunk in log.chunks({(topic, 0): (max(first, self.end), end)}):
                for message in chunk:
                    value = message.value()
                    if message.key() == PROPOSAL_KEY:
                        proposal = None if value is None else from_json(value)
                    elif value is not None:
                        found += map(stream.old, stream.add(value))
        for version in (*found, *map(from_json, stream.rest())):
            if isinstance(version, Model):
                versions[version.version] = version
            else:
                overtaken[version.version] = version
        return History(versions, overtaken, proposal, end)

    @property
    def everything(self) -> list[Version]:
        """All versions, oldest first."""
        found: dict[int, Version] = {**self.overtaken, **self.versions}
        return [found[number] for number in sorted(found)]

    def before(self, model: Model) -> Version | None:
        """The version that `model` was made from."""
        number = model.parent or 0
        return self.versions.get(number) or self.overtaken.get(number)

    @property
    def newest(self) -> Model:
        """The newest version. Raises `ConfigError` without any."""
        if not self.versions:
            raise ConfigError(
                "there is no model yet", "wait for the first calibration, or check topics.prefix and app.name"
            )
        return self.versions[max(self.versions)]

    def get(self, name: str) -> Model:
        """A version by number, `newest` or `proposal`, that was `wanted`. Raises `ConfigError` without it."""
        if name == "newest":
            return self.newest
        found = self.proposal if name == "proposal" else None
        if name.isdigit():
            found = self.versions.get(int(name))
        if found is None:
            raise ConfigError(
                f"there is no version {name!r}",
                "segmenter models list shows all of them; 'newest' and 'proposal' are names too",
            )
        return found


def command(name: CommandName, model: Model | None = None, /, **arguments: Any) -> CommandRecord:
    """A command of this user, now; with the version that it is about, if any."""
    more = {} if model is None else {"model": to_json(model).decode()}
    return CommandRecord(
        id=uuid.uuid4().hex,
        command=name,
        model_version=None if model is None else model.version,
        arguments=more | arguments,
        issued_us=time.time_ns() // 1000,
        issued_by=f"{getpass.getuser()}@{socket.gethostname()}",
    )


def send(config: Config, record: CommandRecord) -> None:
    """Writes a command where the coordinator reads. Raises `BrokerUnreachable`."""
    topic = TopicNames.with_prefix(config.topics.prefix).deltas
    producer = make_producer(plain_producer_settings(config))
    producer.produce(topic, record_to_json(record), COMMAND_KEY, 0)
    if producer.flush(_SEND_TIMEOUT_S):
        raise BrokerUnreachable("the command could not be written", "check kafka.bootstrap and the brokers")


def wait_for_outcome(config: Config, before: History, timeout_s: float) -> tuple[Model, bool] | None:
    """The version, or the proposal (True), that is new since `before` and no fold; None if none comes."""
    end = time.monotonic() + timeout_s
    known = max(before.versions, default=0)
    proposed = None if before.proposal is None else to_json(before.proposal)
    now = before
    while True:
        now = now.read_on(config)
        made = [m for number, m in sorted(now.versions.items()) if number > known and m.kind != "folded"]
        if made:
            return made[-1], False
        if now.proposal is not None and to_json(now.proposal) != proposed:
            return now.proposal, True
        if time.monotonic() > end:
            return None
        time.sleep(_LOOK_AGAIN_S)
