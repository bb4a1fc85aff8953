"""Every command of README and of the guides does what the page says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.brokers import Broker
from tests.guides.markdown import PAGES, blocks
from tests.guides.not_run import why_not
from tests.guides.stage import Stage

# A page is some fifteen commands one after the other; under load each takes several seconds.
pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

#: Pages that begin with a broker and nothing else; the others with a service as README starts it.
FROM_NOTHING = ("deploy/guides/data-engineer.md", "deploy/guides/operations.md")
SERVED = [page for page in PAGES if page not in (*FROM_NOTHING, "README.md")]


def play(page: str, stage: Stage) -> None:
    """Runs the page from its beginning to its end."""
    for block in blocks(page):
        if why_not(block) is None and block.language != "mermaid":
            stage.run(block)


@pytest.mark.parametrize("page", FROM_NOTHING)
def test_a_page_from_nothing(page: str, kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> None:
    """On a broker without topics."""
    with Stage(kafka, tmp_path_factory.mktemp("page")) as stage:
        play(page, stage)
        stage.end()


@pytest.fixture(scope="module")
def served(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """README from beginning to end: a service with six weeks behind it, which the other pages share."""
    with Stage(kafka, tmp_path_factory.mktemp("served")) as stage:
        play("README.md", stage)
        stage.wait_until_ready()
        yield stage
        stage.end()


@pytest.mark.parametrize("page", SERVED)
def test_a_page_beside_a_service(page: str, served: Stage) -> None:
    """In any order: no page rests on another one."""
    served.begin_page()
    play(page, served)
