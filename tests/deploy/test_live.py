"""The service under load, a real Prometheus, and what the boards and the alerts make of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.brokers import Broker
from deploy.monitoring.boards import boards
from deploy.monitoring.panels import Board, Panel
from deploy.monitoring.thresholds import Thresholds
from tests.deploy.rig import Rig
from tests.deploy.runbook import entries, run

PANELS = [(board, panel) for board in boards(Thresholds.load()) for row in board.rows for panel in row.panels]


@pytest.fixture(scope="module")
def rig(kafka: Broker, prometheus_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One worker that has a model and whose drift has been measured."""
    with Rig(kafka, tmp_path_factory.mktemp("live")) as made:
        made.settle()
        yield made


def asked(expr: str) -> str:
    """A query of a board as Grafana sends it."""
    for name, value in {"$job": "segmenter", "$instance": ".*", "$__rate_interval": "10s"}.items():
        expr = expr.replace(name, value)
    return expr


@pytest.mark.kafka
@pytest.mark.slow
class TestLive:
    """In this order: what is planted last would disturb the others."""

    def test_nothing_is_up_while_all_is_well(self, rig: Rig) -> None:
        """Neither firing nor waiting to fire."""
        rig.run(5.0)
        assert rig.prometheus.alerts("firing") == set()
        assert rig.prometheus.alerts("pending") == set()

    @pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda item: getattr(item, "title", None))
    def test_the_panel_shows_something(self, rig: Rig, board: Board, panel: Panel) -> None:
        """Each of its queries has a value; one that may be empty is understood by Prometheus at least."""
        rig.tick()
        for query in panel.queries:
            found = rig.prometheus.query(asked(query.expr))
            values = [row["value"][1] for row in found]
            assert panel.empty or (values and set(values) != {"NaN"}), f"{board.title}: {query.expr}"

    def test_a_tenth_of_broken_records_is_told_and_nothing_else(self, rig: Rig) -> None:
        """The warning and what wakes somebody, both of one cause."""
        rig.run(25.0, rejects=0.1)
        wanted = {("SegmenterRejects", "warning"), ("SegmenterRejects", "critical")}
        assert rig.prometheus.alerts() == wanted

    @pytest.mark.parametrize("name", entries())
    def test_the_commands_of_the_runbook_run(self, rig: Rig, name: str) -> None:
        """What looks, of every entry, on a service that is well; nothing of it changes anything."""
        worker = rig.workers[0]
        code, output = run(entries()[name].look, f"127.0.0.1:{worker.port}", worker.config)
        if name == "SegmenterProposalWaiting":  # there is none, and it says so
            assert "there is no version 'proposal'" in output
        else:
            assert code == 0, output
        assert "Traceback" not in output
