"""Deliberate bugs of the example subscriber, put into it on request. None of this is in the example."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import Consumer

from deploy.examples import campaign_engine
from deploy.examples.campaign_engine import CampaignEngine, Record, TopicReader
from tests.chaos.patching import patch

#: How long a mutant stays where it does harm if it dies there.
_WINDOW_S: Final = 0.05


def _uncommitted() -> None:
    def careless(settings: dict[str, Any]) -> Consumer:
        return Consumer(settings | {"isolation.level": "read_uncommitted"})

    patch(campaign_engine, "Consumer", careless)


def _forgets_seq() -> None:
    change = CampaignEngine._change

    def fresh(self: CampaignEngine, customer: str, record: Record) -> None:
        self._store.execute("DELETE FROM seen WHERE customer = ?", (customer,))
        change(self, customer, record)

    patch(CampaignEngine, "_change", fresh)


def _progress_first() -> None:
    """Two transactions: what was read counts as done before anything has come of it."""
    take = TopicReader.take
    step = CampaignEngine.step

    def eager(self: CampaignEngine, timeout_s: float = 0.5) -> int:
        def noting(reader: TopicReader, wait_s: float) -> list[Any]:
            records = take(reader, wait_s)
            if records and reader is self._changes:
                with self._store:
                    self._save(reader, reader.next)
                time.sleep(_WINDOW_S)
            return records

        patch(TopicReader, "take", noting)
        return step(self, timeout_s)

    patch(CampaignEngine, "step", eager)


def _null_ignored() -> None:
    member = CampaignEngine._member

    def keeping(self: CampaignEngine, customer: str, record: Record | None) -> None:
        if record is not None:
            member(self, customer, record)

    patch(CampaignEngine, "_member", keeping)


def _numbers_anew() -> None:
    """A message has another number each time that it is handed over."""
    hand_over = CampaignEngine.hand_over

    def renumbered(self: CampaignEngine, to: campaign_engine.HandOver) -> int:
        with _written(self) as execute:
            execute(
                "UPDATE messages SET id = id + (SELECT max(id) FROM messages) WHERE handed_over = 0 "
                "AND arm = 'treatment' AND customer IS NOT NULL"
            )

        def lingering(number: int, message: dict[str, Any]) -> None:
            to(number, message)
            time.sleep(_WINDOW_S)

        return hand_over(self, lingering)

    patch(CampaignEngine, "hand_over", renumbered)


@contextmanager
def _written(engine: CampaignEngine) -> Iterator[Callable[[str], Any]]:
    with engine._store:
        yield engine._store.execute


#: By name: what is wrong, and how to make it so.
ENGINE_MUTANTS: Final[dict[str, tuple[str, Callable[[], None]]]] = {
    "engine_uncommitted": ("acts on what is not committed", _uncommitted),
    "engine_forgets_seq": ("acts on a change as often as it is read", _forgets_seq),
    "engine_progress_first": ("stores how far it has read before it acts", _progress_first),
    "engine_null_ignored": ("keeps members who have left", _null_ignored),
    "engine_numbers_anew": ("hands a message over under another number after a crash", _numbers_anew),
}
