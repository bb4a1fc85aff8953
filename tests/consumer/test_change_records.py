"""Change records speak with the words of the version that decided."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from consumer.change_records import ChangeRecords
from consumer.models.files import load_strategies
from online_model.change_batch import ChangeBatch
from online_model.model import Model, Segment
from tests.online_model.tiny import TINY, model

INPUTS = ("telecom.usage.v1", "telecom.billing.v1", "telecom.customer.v1")


def moved(old: int, new: int) -> ChangeBatch:
    """One customer who moves."""
    one, none = np.ones(1), np.full((1, 3), np.nan)
    return ChangeBatch(
        customer_ids=[b"c"], change=one.astype(np.uint8), cause=np.full(1, 3, np.uint8),
        old=np.full(1, old, np.int16), new=np.full(1, new, np.int16), old_since_us=np.zeros(1, np.int64),
        left=np.zeros(1, np.int16), seq=np.full(1, 2, np.int32), margin=one / 2,
        runner_up=np.full(1, old, np.int16),
        provisional=np.zeros(1, np.bool_), actionable=np.ones(1, np.bool_),
        driver=np.full((1, 3), -1, np.int32), before=none, after=none, contribution=none,
        trigger_topic=np.full(1, -1, np.int16), trigger_offset=np.full(1, -1, np.int64),
        consent=np.zeros(1, np.uint8), consent_us=np.zeros(1, np.int64),
    )  # fmt: skip


def named(version: int, *names: tuple[str, str]) -> Model:
    """A model whose segments (id, name) are called so."""
    return replace(model(version), segments=tuple(Segment(*pair) for pair in names))


def test_a_version_that_waits_changes_no_words() -> None:
    """A version may be visible long before it decides; until then names are those of the one that does."""
    records = ChangeRecords(TINY.columns, load_strategies(None), INPUTS, "run", "/app")
    records.learn(named(1, ("s1", "Light"), ("s2", "Heavy")))
    records.learn(named(2, ("s2", "Streamer"), ("s3", "Caller")))

    def names(old: int, new: int, version: int) -> tuple[str, str]:
        made = records.of(moved(old, new), 0, 0, version, True).change_values[0]
        body = msgspec.json.decode(made or b"")
        return body["previous_segment"]["name"], body["segment"]["name"]

    assert names(1, 2, version=1) == ("Light", "Heavy")
    assert names(1, 3, version=2) == ("Light", "Caller")
    assert names(3, 2, version=2) == ("Caller", "Streamer")
