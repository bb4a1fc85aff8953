"""The report of a running application: versions and a proposal from Kafka, customers from snapshots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from consumer.brokers import Broker
from consumer.errors import ConfigError
from consumer.kafka_clients import make_producer, plain_producer_settings
from consumer.options import ReportOptions
from online_model.model_json import to_json
from schemas.internal import PROPOSAL_KEY
from tests.report.conftest import Made, Month, make
from tests.service.world import World


def test_versions_come_from_the_models_topic(
    embedded_broker: Broker, month: Month, made: Made, tmp_path: Path
) -> None:
    """The same report as from a file of them, and the proposal that waits is in the history."""
    world = World.make(embedded_broker)
    scene = month.scene
    config = scene.config.model_copy(update={"kafka": world.config.kafka, "topics": world.config.topics})
    options = ReportOptions(config, tmp_path / "live.html")
    with pytest.raises(ConfigError, match="there is no model yet"):
        make(options)
    versions = scene.replay.versions
    producer = make_producer(plain_producer_settings(config))
    for model in versions:
        producer.produce(world.names.models, to_json(model), str(model.version).encode(), 0)
    newest = versions[-1]
    proposal = replace(newest, version=newest.version + 1, parent=newest.version, kind="recalibrated")
    producer.produce(world.names.models, to_json(proposal), PROPOSAL_KEY, 0)
    assert producer.flush(30) == 0
    live = make(options)
    for table in ("segments", "moves", "shares_over_time", "profiles"):
        mine, theirs = (pd.read_parquet(r.tables / f"{table}.parquet") for r in (live, made))
        pd.testing.assert_frame_equal(mine, theirs)
    assert pd.read_parquet(live.tables / "models.parquet")["version"].tolist()[-1] == "proposal"
