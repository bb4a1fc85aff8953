"""100,000 records with faults of every kind through real Kafka: none is lost, none does harm."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import pytest

from consumer.brokers import Broker
from consumer.core import Core
from consumer.kafka_clients import MAX_RECORD_BYTES, make_producer, plain_producer_settings
from consumer.metric_table import Outcome
from consumer.output import ORIGIN_OFFSET, ORIGIN_PARTITION, ORIGIN_TOPIC, REASON
from consumer.replay_feed import partition_of
from schemas import reference
from schemas.rejects import Reason
from tests.service import fuzz
from tests.service.conftest import Run
from tests.service.world import PARTITIONS, Record, World, features, is_settled, same_features, turn_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

MUTATED: Final = 100_000
GOOD: Final = 20_000
SEED: Final = 2026
KIND: Final = "kind"

#: Found after decoding, so the reference accepts such records.
AFTER_DECODING: Final = {Reason.MISROUTED, Reason.LATE, Reason.FUTURE}

#: A field that fits the contract where it occurs last, but not where it occurs first.
REPEATED: Final = b"a field occurs twice with an invalid value"

Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """What was in the input topics, what the service counted (int64[3, 5]) and wrote, and what it knows."""

    currency: str
    inputs: dict[Place, Record]
    letters: list[tuple[Place, Record]]
    totals: npt.NDArray[np.int64]
    features: dict[bytes, npt.NDArray[np.float64]]
    restored: dict[bytes, npt.NDArray[np.float64]]
    good_only: dict[bytes, npt.NDArray[np.float64]]


def fresh(run: Run, kafka: Broker) -> World:
    """A world with the model of the run, whose inputs take large records."""
    world = World.make(kafka)
    world.limit_records(world.names.inputs, MAX_RECORD_BYTES)
    producer = make_producer(plain_producer_settings(world.config))
    producer.produce(
        world.names.models, cast("bytes", run.records[run.world.names.models][0].value), b"1", partition=0
    )
    assert producer.flush(20) == 0
    return world


def send(world: World, records: Iterable[fuzz.Fuzzed]) -> int:
    """Produces the records where they say; the number of them."""
    settings = plain_producer_settings(world.config) | {"message.max.bytes": MAX_RECORD_BYTES}
    producer, sent = make_producer(settings), 0
    for item in records:
        partition = -1
        if item.shift:
            partition = (partition_of(item.key or b"", PARTITIONS) + item.shift) % PARTITIONS
        topic = world.names.inputs[item.topic]
        while True:
            try:
                producer.produce(topic, item.value, item.key, partition, headers={KIND: item.kind.encode()})
                break
            except BufferError:
                producer.poll(0.05)
        sent += 1
    assert producer.flush(60) == 0
    return sent


def good_features(core: Core, at_us: int) -> dict[bytes, npt.NDArray[np.float64]]:
    """Of the good customers, at one time: bad clocks may have moved the watermark."""
    return {key: row for key, row in features(core, at_us).items() if key.startswith(b"g")}


@pytest.fixture(scope="module")
def found(run: Run, kafka: Broker) -> Found:
    """Both streams through the service, and the service started once more."""
    begin_us, end_us = run.end_us - 5 * fuzz.DAY_US, run.end_us
    mixed, clean = fresh(run, kafka), fresh(run, kafka)
    everything = list(fuzz.stream(SEED, MUTATED, GOOD, begin_us, end_us))
    send(mixed, everything)
    send(clean, (item for item in everything if item.kind == "good"))
    with mixed.service(end_us) as service:
        turn_until(service, lambda: is_settled(service))
        totals = service.recorder.totals.copy()
        mixed_features = good_features(service.core, end_us)
    with mixed.service(end_us) as service:
        turn_until(service, lambda: is_settled(service))
        assert service.recorder.totals.sum() == 0
        restored = good_features(service.core, end_us)
    with clean.service(end_us) as service:
        turn_until(service, lambda: is_settled(service))
        good_only = good_features(service.core, end_us)
    names = mixed.names
    return Found(
        currency=mixed.config.currency,
        inputs={(topic, r.partition, r.offset): r for topic in names.inputs for r in mixed.read(topic)},
        letters=[(origin(letter), letter) for letter in mixed.read(names.dlq)],
        totals=totals,
        features=mixed_features,
        restored=restored,
        good_only=good_only,
    )


def origin(letter: Record) -> Place:
    """Where a dead letter says it came from."""
    headers = letter.headers
    return (
        headers[ORIGIN_TOPIC].decode(),
        int(headers[ORIGIN_PARTITION]),
        int(headers[ORIGIN_OFFSET]),
    )


def has_repeated_field(value: bytes) -> bool:
    """Whether a name occurs twice in the object."""
    names: list[str] = []
    json.loads(value, object_pairs_hook=lambda pairs: names.extend(name for name, _ in pairs))
    return len(set(names)) < len(names)


def test_every_record_has_exactly_one_outcome(found: Found) -> None:
    """Accepted + duplicate + late + rejected + dropped is what the broker holds, topic by topic."""
    held = Counter(topic for topic, _, _ in found.inputs)
    assert found.totals.sum(axis=1).tolist() == [held[topic] for topic in held]
    assert found.totals.sum() == len(found.inputs) >= MUTATED + GOOD
    count = dict(zip(Outcome, found.totals.sum(axis=0).tolist(), strict=True))
    late = sum(letter.headers[REASON].decode() == Reason.LATE for _, letter in found.letters)
    assert count[Outcome.LATE] == late > 0
    assert count[Outcome.REJECTED] == len(found.letters) - late > MUTATED * 0.7
    assert count[Outcome.DROPPED] == 0


def test_every_refused_record_is_one_dead_letter_as_it_came(found: Found) -> None:
    """Key and bytes of the place it names, once, in the partition it came from, with a reason and words."""
    places = [place for place, _ in found.letters]
    assert len(set(places)) == len(places)
    for place, letter in found.letters:
        came = found.inputs[place]
        assert (letter.key, letter.value) == (came.key, came.value)
        assert letter.partition == came.partition
        assert letter.headers["__streams.errors.message"]


def test_good_records_are_never_refused_and_certain_faults_always(found: Found) -> None:
    """No kind that is surely wrong comes through, not once; every kind has occurred."""
    refused = Counter(found.inputs[place].headers[KIND].decode() for place, _ in found.letters)
    sent = Counter(r.headers[KIND].decode() for r in found.inputs.values())
    assert refused["good"] == 0
    surely = {mutation.__name__.removeprefix("_") for mutation in fuzz.REFUSED}
    assert {kind: sent[kind] for kind in surely} == {kind: refused[kind] for kind in surely}
    kinds = surely | {mutation.__name__.removeprefix("_") for mutation in fuzz.OPEN} | {"good", "huge"}
    assert sent.keys() == kinds


def test_the_verdicts_are_those_of_the_published_models(found: Found) -> None:
    """Whatever came through is an event to them; of the others every eighth has the reason they give."""
    topics = list(dict.fromkeys(topic for topic, _, _ in found.inputs))
    refused = dict(found.letters)
    for place, came in found.inputs.items():
        letter = refused.get(place)
        if letter is None and came.headers[KIND] == b"good":
            continue
        if letter is not None and place[2] % 8:
            continue
        verdict = reference.check(came.value, came.key, topics.index(place[0]), found.currency)
        reason = None if letter is None else Reason(letter.headers[REASON].decode())
        words = b"" if letter is None else letter.headers["__streams.errors.message"]
        if words == REPEATED:  # the models see its last value only, the decoder all of them
            assert reason == Reason.MALFORMED_JSON
            assert not isinstance(verdict, reference.Refusal)
            assert has_repeated_field(came.value or b"")
        elif reason is None or reason in AFTER_DECODING:
            assert not isinstance(verdict, reference.Refusal), (came, verdict)
        else:
            assert isinstance(verdict, reference.Refusal), (came, reason)
            assert verdict.reason == reason, (came, verdict)


def test_good_customers_are_as_if_nothing_had_been_wrong(found: Found) -> None:
    """Their features equal bit for bit those of a run with the good records only, also after a restart."""
    assert len(found.good_only) == 300
    assert same_features(found.features, found.good_only)
    assert same_features(found.restored, found.good_only)
