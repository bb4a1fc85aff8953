"""A small part of the chaos suite: it runs, its faults happen, the product stands them, bugs are noticed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.failpoints import FAILPOINTS
from tests.chaos.__main__ import FULL, MIN_FAILPOINTS, MIN_KILLS, SHORT, run_one
from tests.chaos.mutants import MUTANTS
from tests.chaos.plans import chains
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stage import Stage


@pytest.fixture(scope="module")
def stage(apache_kafka_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A broker of its own, which may be killed, and a nursery."""
    with Stage(tmp_path_factory.mktemp("chaos")) as made:
        yield made


def test_the_full_suite_plans_enough() -> None:
    """Deaths and failpoints by plan are more than the least that counts, and all names exist."""
    legs = [leg for chain in chains(1, FULL.rounds, FULL.inputs) for leg in chain.legs]
    names = {leg.name for leg in legs}
    assert len(legs) >= MIN_KILLS
    assert len(names) >= MIN_FAILPOINTS
    assert names <= set(FAILPOINTS)
    assert {mutant.scenario for mutant in MUTANTS.values()} <= set(SCENARIOS)
    assert len(MUTANTS) >= 12


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize(
    "id",
    [
        "chain:1:0",
        "chain:1:1",
        "storm:1001",
        "followed:1201",
        "scenario:kills",
        "scenario:snapshots",
        "scenario:abort",
    ],
)
def test_nothing_is_lost(stage: Stage, id: str) -> None:
    """The run ends as the failure-free one does, and the faults did happen."""
    verdict = run_one(stage, id, 1, SHORT)
    assert verdict.faults
    assert not verdict.problems


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT.mutants)
def test_bugs_are_noticed(stage: Stage, name: str) -> None:
    """The same runs with a deliberate bug do not end so."""
    assert run_one(stage, f"mutant:{name}", 1, SHORT).problems
