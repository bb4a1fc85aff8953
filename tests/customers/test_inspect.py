"""Laws of `segmenter inspect`: it says what the service knows, and what it expects comes true."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest

from consumer import cli
from consumer.brokers import Broker
from consumer.customer.lookup import Found
from consumer.customer.portrait import Portrait
from consumer.exit_codes import ExitCode
from online_model.evaluate import evaluate
from online_model.model import Model
from online_model.rows import LIVE
from schemas.times import format_time, parse_time
from tests.customers.conftest import catch_up, settle
from tests.customers.quiet import END_US
from tests.service.world import World, is_settled, turn_until

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000


def arguments(world: World, command: str, *more: str) -> list[str]:
    """A command about a customer, with the settings of the world's service."""
    config = world.config
    chosen = {
        "kafka.bootstrap": config.kafka.bootstrap,
        "topics.prefix": config.topics.prefix,
        "app.name": config.app.name,
        "snapshots.uri": config.snapshots.uri,
        "watermark.idle_grace_s": "null",
        "log.level": "error",
    }
    return [
        command,
        *more,
        *(part for name, value in chosen.items() for part in ("--set", f"{name}={value}")),
    ]


def told(capsys: pytest.CaptureFixture[str], line: list[str]) -> Any:
    """What a command that must succeed says with --json."""
    capsys.readouterr()
    assert cli.execute([*line, "--json"]) == ExitCode.OK
    # A service on another thread of this process may log meanwhile.
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture(scope="module")
def lived(embedded_broker: Broker, calibrated: Model) -> World:
    """The month applied by a service, with a snapshot; nothing is written to it any more."""
    return settle(embedded_broker, calibrated)


def customers_of(world: World) -> list[str]:
    """Ids of customers with a segment, sorted."""
    return sorted({cast("bytes", record.key).decode() for record in world.read(world.names.current)})


def test_it_says_what_the_service_knows(lived: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Features bit by bit (to six digits), the published membership, the history, the last events."""
    current = {record.key: record.json for record in lived.read(lived.names.current)}
    features: dict[bytes, Any] = {}
    with lived.service(END_US) as service:
        turn_until(service, lambda: is_settled(service))
        model = service.core.coordinator.model
        assert model is not None
        for state in service.core.engine.partitions.values():
            rows = np.flatnonzero(state.store.rows.hot["status"][: state.index.n] == LIVE).astype(np.int32)
            raw = evaluate(
                state.store.rows, rows, state.watermark_us, service.core.plan, model.share_priors
            ).raw
            features |= dict(zip(state.index.ids(rows), raw, strict=True))
    for customer in customers_of(lived)[:4]:
        said = told(capsys, arguments(lived, "inspect", customer, "--history", "50", "--events", "3"))
        record = current[customer.encode()]
        assert (said["customer_id"], said["status"]) == (customer, "live")
        assert (said["segment"], said["seq"]) == (record["segment"], record["seq"])
        assert (said["since"], said["provisional"]) == (record["since"], record["provisional"])
        assert said["strategy"] == record["strategy"]
        values = [np.nan if one["value"] is None else one["value"] for one in said["features"]]
        np.testing.assert_allclose(values, features[customer.encode()], rtol=1e-5)
        changes = [r.json for r in lived.read(lived.names.changes) if r.key == customer.encode()]
        assert said["history"] == changes
        assert len(said["events"]) == 3
        assert {one["outcome"] for one in said["events"]} == {"counted"}
        assert all(one["event"]["customer_id"] == customer for one in said["events"])


def test_people_get_a_table(lived: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The same in three columns, with the way to another segment."""
    customer = customers_of(lived)[0]
    capsys.readouterr()
    said = told(capsys, arguments(lived, "inspect", customer, "--events", "0", "--history", "0"))
    other = "s1" if said["segment"]["id"] != "s1" else "s2"
    assert cli.execute(arguments(lived, "inspect", customer, "--to", other)) == ExitCode.OK
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["what", "value", "remark"]
    assert {len(line) for line in lines} == {3}
    whats = [line[0] for line in lines]
    assert {"customer", "status", "segment", "margin", "dormant from", "change 1"} <= set(whats)
    assert any(what.startswith(f"to {other}") for what in whats)


def test_the_answer_applied_moves_the_customer(lived: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command says, put in place of the features, is what the decision needs to move them."""
    tried = 0
    for customer in customers_of(lived)[:6]:
        found = Found.of(lived.config, customer)
        portrait = Portrait(found)
        active = found.state.active
        assert active is not None
        hot = found.state.store.rows.hot[found.row]
        own = int(active.codes(np.array([hot["segment"]], np.int16))[0])
        for code in range(active.model.k):
            answer = portrait.towards(active.model.segments[code].id)
            if code == own or answer["smallest"] is None:
                continue
            tried += 1
            situation, _ = portrait._situation(active, active.model)
            raw = situation.raw.copy()
            names = found.core.plan.columns.name
            for step in answer["smallest"]["steps"]:
                raw[names.index(step["feature"])] = step["after"]
            assert _decided(found, raw, own) == code
    assert tried >= 8


def _decided(found: Found, raw: Any, own: int) -> int:
    """The service's decision on features, after the dwell time."""
    from online_model.decision import Candidates, decide
    from online_model.scaler import apply as scale

    active = found.state.active
    assert active is not None
    made = decide(
        scale(active.model.scaler, raw[None]),
        Candidates(np.array([own], np.int16), found.state.store.rows.hot["since"][[found.row]], np.zeros(1)),
        active.model.centroids,
        active.model.scaler.importance,
        found.state.watermark_us + 30 * DAY_US,
        found.core.engine.settings.policy,
    )
    return int(made.target[0])


def test_the_forecast_of_dormancy_comes_true(
    embedded_broker: Broker, calibrated: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """Silent from now on, the customer is published as dormant by the scan that was named, not before."""
    world = settle(embedded_broker, calibrated, model__learner="frozen")
    customer = customers_of(world)[3]
    ahead = told(capsys, arguments(world, "inspect", customer, "--to", "dormant"))
    assert ahead["towards"]["dormant_from"] == ahead["outlook"]["dormant_from"]
    scan_us = cast("int", parse_time(ahead["outlook"]["found_by_scan"]))
    assert scan_us >= cast("int", parse_time(ahead["outlook"]["dormant_from"]))
    others = [name for name in customers_of(world) if name != customer]
    hour_us = 3_600_000_000
    for n, at_us in enumerate((scan_us - hour_us, scan_us - 1, scan_us)):
        # Somebody on every partition goes on, so that event time passes.
        world.send(
            [
                (
                    world.names.usage,
                    {
                        "event_id": f"tick-{n}-{name}",
                        "customer_id": name,
                        "event_time": format_time(at_us),
                        "type": "sms",
                        "count": 1,
                    },
                )
                for name in others
            ]
        )
        catch_up(world, at_us + MINUTE_US)
        mine = [r.json for r in world.read(world.names.changes) if r.key == customer.encode()]
        dormant = [one["effective_at"] for one in mine if one["segment"]["id"] == "dormant"]
        assert dormant == ([] if at_us < scan_us else [format_time(scan_us)])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("nobody",), "nothing is known of this customer"),
        (("{}", "--to", "atlantis"), "there is no such segment"),
    ],
)
def test_mistakes_are_named(
    lived: World, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    """One message with what to do, nothing on stdout."""
    customer = customers_of(lived)[0]
    capsys.readouterr()
    assert cli.execute(arguments(lived, "inspect", *(x.format(customer) for x in more))) == ExitCode.CONFIG
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
