"""Who is where: as the example engine has it, and as the current topic does."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from deploy.examples.campaign_engine import CampaignEngine
from tests.service.world import World


def members(database: Path) -> dict[str, dict[str, Any]]:
    """What an engine takes the membership to be."""
    with closing(sqlite3.connect(database)) as store:
        rows = store.execute("SELECT customer, record FROM members").fetchall()
    return {customer: json.loads(record) for customer, record in rows}


def compacted(world: World) -> dict[str, dict[str, Any]]:
    """The current topic as compaction leaves it."""
    latest: dict[str, Any] = {}
    for record in world.read(world.names.current):
        latest[cast("bytes", record.key).decode()] = None if record.value is None else record.json
    return {customer: record for customer, record in latest.items() if record is not None}


def catch_up(world: World, database: Path) -> None:
    """An engine in this process, to the end."""
    config = world.config
    settings = {"bootstrap.servers": config.kafka.bootstrap}
    with CampaignEngine(settings, database, config.topics.prefix) as engine:
        end = time.monotonic() + 60
        while engine.step(0.2) or not engine.is_at_end:
            assert time.monotonic() < end
