"""Laws of the customers that a calibration sees: who they are, and in which order."""

from __future__ import annotations

import random

import numpy as np
import pytest

from online_model.engine import Engine
from online_model.population import by_hash, by_segment, population_of, populations_of
from tests.online_model.streams import DAY, DEFAULT, T0, Event, Log, engine_of, random_event

PARTITIONS = 2


def filled(events: list[Event], steps: int = 1) -> Engine:
    """An engine that has read `events` in as many steps."""
    engine, log = engine_of(DEFAULT, PARTITIONS), Log(partitions=PARTITIONS)
    for part in range(steps):
        engine.step(log.poll(events[part::steps]), T0 + 6 * DAY)
    for state in engine.partitions.values():
        n = state.index.n
        state.store.rows.hot["segment"][:n] = state.index.hashes[:n] % np.uint64(3)
    return engine


@pytest.fixture(scope="module")
def engines() -> tuple[Engine, Engine]:
    """Two that hold the same 80 customers, who came to them in another order."""
    rng = random.Random(4)
    kinds = ("data", "voice", "sms", "topup", "profile")
    events = [
        random_event(rng, rng.choice(kinds), T0 + number * 600_000_000, f"c{rng.randrange(80)}", number)
        for number in range(600)
    ]
    engines = filled(events), filled(rng.sample(events, len(events)), steps=5)
    rows = [engine.partitions[0].index.hashes[: engine.partitions[0].index.n] for engine in engines]
    assert rows[0].tolist() != rows[1].tolist()
    assert sorted(rows[0].tolist()) == sorted(rows[1].tolist())
    return engines


@pytest.mark.parametrize("limit", [1000, 30])
def test_the_order_in_which_customers_came_does_not_show(engines: tuple[Engine, Engine], limit: int) -> None:
    """Bit for bit, all of them or a sample: a restart numbers rows anew."""
    one, other = (engine.population(limit) for engine in engines)
    assert 0 < len(one.raw) <= 80
    assert (len(one.raw) == 80) == (limit == 1000)
    for a, b in zip(one, other, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("limit", [1000, 30])
def test_nor_does_it_in_a_sample_by_segment(engines: tuple[Engine, Engine], limit: int) -> None:
    """The same for a recalibration, with the features under the former priors."""
    former = np.full(DEFAULT.columns.n, 0.25)
    one, other = (
        populations_of(engine.partitions.values, DEFAULT, limit, by_segment, former) for engine in engines
    )
    assert one[0].raw.tobytes() == other[0].raw.tobytes()
    assert one[1].tobytes() == other[1].tobytes()
    assert one[1].shape == one[0].raw.shape
    assert one[1].tobytes() != one[0].raw.tobytes()


def test_a_sample_has_its_share_of_every_segment(engines: tuple[Engine, Engine]) -> None:
    """Half of each, rounded up."""
    for state in engines[0].partitions.values():
        segment = state.store.rows.hot["segment"]
        everybody, half = by_segment(state, 1.0), by_segment(state, 0.5)
        counts = np.bincount(segment[everybody], minlength=3)
        np.testing.assert_array_equal(np.bincount(segment[half], minlength=3), -(-counts // 2))
        assert set(half.tolist()) < set(everybody.tolist())
        assert set(by_hash(state, 0.5).tolist()) < set(everybody.tolist())


def test_shares_are_those_of_everybody(engines: tuple[Engine, Engine]) -> None:
    """Also where only a sample is looked at."""
    everybody, some = (engines[0].population(limit) for limit in (1000, 30))
    np.testing.assert_array_equal(everybody.priors, some.priors)
    assert np.isfinite(everybody.priors).any()


def test_a_population_of_nobody() -> None:
    """No rows, and nothing to divide by."""
    nobody = population_of(list, DEFAULT, 10)
    assert nobody.raw.shape == (0, DEFAULT.columns.n)
